"""Bytes of sound exports are changed, cut out, put in twice: nothing crashes, and nothing sound is lost uncounted."""

from __future__ import annotations

import json
import os
import random
import re
import time
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from telegram_exports import LAYOUTS, OWNER, PEER, account, chat, message, service, write

from engines.config.prepare import PrepareConfig
from engines.contract.errors import UserError
from finetune.dialogs import DialogBuilder
from finetune.formats.telegram import Export
from finetune.formats.telegram_message import Message
from finetune.prepare_dataset import prepare

TEXTS = ["plain", 'quote " \\ ', "}, {", '"messages": [', "Сосед 🙂", "a\nb", "]}]}", ""]
SECONDS = 20  # a reading that takes so long hangs
ROUNDS = 400


class Damage(NamedTuple):
    """What was done: `raw` instead of the sound file, whose bytes [low, high) are not there any more as they were."""

    raw: bytes
    low: int
    high: int
    what: str


def sound_export(source: random.Random) -> dict[str, Any]:
    """Each message has a text that no other one has."""

    def some_chat(number: int) -> dict[str, Any]:
        items = []
        for at in range(source.choice([0, 1, 2, 12, 40])):
            text = f"<{number}.{at}> {source.choice(TEXTS)}"
            body: Any = text if source.random() < 0.7 else [text, {"type": "bold", "text": "x"}]
            items.append(message(source.choice([OWNER, PEER]), body, at * 60, extra={"list": [{"id": 1, "type": "a"}]}))
            if source.random() < 0.1:
                items.append(service())
        for position, item in enumerate(items, 1):
            item["id"] = position
        kind = source.choice(["personal_chat", "personal_chat", "private_group"])
        return chat(*items, kind=kind, id=200 + number, name=source.choice(["Peer", "{", '"id"']))

    chats = [some_chat(number) for number in range(source.choice([1, 3, 5]))]
    return chats[0] if len(chats) == 1 else account(*chats)


def damaged(source: random.Random, whole: bytes) -> Damage:
    low = source.randrange(len(whole))
    length = source.choice([0, 1, 1, 2, 10, 100, 1000])
    high = min(len(whole), low + length)
    what = source.choice(["changed", "cut out", "put in", "copied", "emptied", "truncated"])
    if what == "truncated":
        return Damage(whole[:low], low, len(whole), what)
    if what == "cut out":
        return Damage(whole[:low] + whole[high:], low, high, what)
    if what == "put in":
        junk = bytes(source.choices(b'{}[]",:\\x0 \xff1n', k=source.randint(1, 12)))
        return Damage(whole[:low] + junk + whole[low:], low, low, what)
    if what == "copied":
        begin = source.randrange(len(whole))
        return Damage(whole[:low] + whole[begin : begin + length] + whole[low:], low, low, what)
    fill = bytes(length) if what == "emptied" else bytes(source.choices(b'{}[]",:\\ a7\xfe', k=length))
    return Damage(whole[:low] + fill[: high - low] + whole[high:], low, high, what)


def places(whole: bytes) -> dict[str, tuple[int, int]]:
    """Where each message with a text stands, with the bytes up to its neighbours."""
    found = {}
    starts = [item.start() for item in re.finditer(rb'\{\s*"id": ?\d+,\s*"type": ?"(?:message|service)"', whole)]
    for start, end in pairwise([*starts, len(whole)]):
        key = re.search(rb"<\d+\.\d+>", whole[start:end])
        if key:
            found[key[0].decode()] = (whole.rfind(b'"', 0, start), end)
    return found


def test_nothing_sound_is_lost_uncounted(tmp_path: Path) -> None:
    seed = int(os.environ.get("FTUI_SEED", "0")) or random.randrange(1, 1 << 30)
    print(f"seed {seed}: FTUI_SEED={seed} repeats this")
    for number in range(ROUNDS):
        source = random.Random(f"{seed}.{number}")
        export = sound_export(source)
        layout = source.choice([name for name in LAYOUTS if name != "ascii"])
        whole = write(tmp_path / "sound.json", export, layout).read_bytes()
        path = tmp_path / "damaged.json"
        damage = damaged(source, whole)
        path.write_bytes(damage.raw)
        reader = Export(path, source.choice([40, 700, 1 << 17]))
        began = time.monotonic()
        batches = list(reader.batches())
        assert time.monotonic() - began < SECONDS, number
        kinds = {item.kind for item, _, _ in batches}
        texts = [item.joined_text() for _, batch, _ in batches for item in batch if isinstance(item, Message)]
        found = {key[0] for text in texts if (key := re.match(r"<\d+\.\d+>", text))}
        untouched = {
            key
            for key, (low, high) in places(whole).items()
            if high <= damage.low or low > max(damage.low, damage.high - 1)
        }
        missing = untouched - found
        if not (reader.truncated or "unknown" in kinds):  # which are told
            assert len(missing) <= reader.lost, (number, damage.what, sorted(missing))
        check_sums(batches)


def check_sums(batches: list[Any]) -> None:
    builder = DialogBuilder(PrepareConfig(include_groups=True, min_dialog_messages=2), {OWNER}, lambda rows: None)
    for item, batch, harmless in batches:
        if builder.uses(item) or not batch:
            builder.add(item, batch, harmless)
    builder.end_session()
    assert builder.messages_read == builder.messages_used + builder.dropped.total()


@pytest.mark.parametrize("seed", range(25))
def test_a_damaged_export_ends_in_words_or_in_a_dataset_whose_sums_hold(tmp_path: Path, seed: int) -> None:
    source = random.Random(seed)
    sound = write(tmp_path / "sound.json", sound_export(source), "telegram").read_bytes()
    path = tmp_path / "result.json"
    for _ in range(6):
        path.write_bytes(damaged(source, sound).raw)
        try:
            report = prepare(str(path), tmp_path / "out.jsonl", PrepareConfig(owner_name=OWNER, include_groups=True))
        except UserError as error:
            assert error.cause and error.next_step
            continue
        rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
        assert report["messages_read"] == report["messages_used"] + sum(report["dropped"].values())
        assert report["rows"]["written"] == len(rows) == report["dialogs"]
        assert sum(report["sources"].values()) == len(rows)
