"""In every layout, at every block size, in any number of processes: the bytes of json.load and a plain loop."""

from __future__ import annotations

import json
import os
import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from telegram_exports import LAYOUTS, OWNER, PEER, account, chat, message, service, write

from engines.config.prepare import PrepareConfig
from engines.contract.errors import UserError
from finetune import reading, reading_side_by_side
from finetune.formats.telegram import Export
from finetune.prepare_dataset import prepare

PROCESSES = (1, 2, 3, 7)
OPTIONS: list[dict[str, Any]] = [
    {"redact": True}, {"mode": "conversational"}, {"include_groups": True}, {"min_tokens": 9},
    {"drop_duplicates": True}, {"thread_replies": True}, {"join_messages": False},
]  # fmt: skip
GAP = 180 * 60
TURNS = 20
TEXTS = [
    "ok", "a\nb", " padded ", "", "Привет, «сосед»", "🙂 \u2028 line", 'quote " and \\ backslash', "tab\there",
    '}, {"id": 7, "type": "message", "text": "x"}', '"messages": [', "]}]}", "{[", "\x00\x1b[0m", "half \u200d",
]  # fmt: skip


def plain_rows(export: dict[str, Any]) -> bytes:
    """Default parameters, written without a thought of memory or speed."""
    chats = [export] if "messages" in export else export["chats"]["list"] + export["left_chats"]["list"]
    lines = []
    for one in chats:
        if one["type"] != "personal_chat":
            continue
        for began, turns in plain_sessions(one["messages"]):
            while turns and turns[-1][0] == "user":
                turns.pop()
            for start in range(0, len(turns), TURNS):
                rows = [{"role": role, "content": "\n".join(parts)} for role, parts in turns[start : start + TURNS]]
                row = {"messages": rows, "conversation": f"{one['id']}/{began}"}
                lines.append(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")
    return "".join(lines).encode()


def plain_sessions(messages: list[dict[str, Any]]) -> list[tuple[int, list[tuple[str, list[str]]]]]:
    sessions: list[tuple[int, list[tuple[str, list[str]]]]] = [(0, [])]
    last = 0
    for item in messages:
        text = item.get("text", "")
        if isinstance(text, list):
            text = "".join(part if isinstance(part, str) else part["text"] for part in text)
        text = "".join(letter for letter in text.strip() if letter in "\n\t" or letter.isprintable() or letter > "\x9f")
        role = "assistant" if item.get("from_id") == OWNER else "user"
        if item["type"] != "message" or not text.strip() or (role == "assistant" and "forwarded_from" in item):
            continue
        time = int(item.get("date_unixtime", 0)) or last
        if time - last >= GAP:
            sessions.append((time, []))
        last = time
        turns = sessions[-1][1]
        if turns and turns[-1][0] == role:
            turns[-1][1].append(text.strip())
        elif turns or role == "user":
            turns.append((role, [text.strip()]))
    return sessions


def random_chat(source: random.Random, count: int, kind: str, number: int) -> dict[str, Any]:
    items: list[dict[str, Any]] = []
    at = 0
    for _ in range(count):
        at += source.choice([-5, 1, 60, 60, 600, GAP - 1, GAP, 5 * GAP])
        text: Any = source.choice(TEXTS)
        if source.random() < 0.2:
            text = [text, {"type": "bold", "text": source.choice(TEXTS)}]
        item = message(source.choice([OWNER, f"user{number}"]), text, at)
        if source.random() < 0.1:
            item = source.choice([service(), {"id": 9, "type": "unsupported"}])
        elif source.random() < 0.1:
            item["forwarded_from"] = None
        elif source.random() < 0.05:
            del item["date_unixtime"], item["date"]
        items.append(item)
    return chat(*items, kind=kind, id=number, name=source.choice(["Peer", '"messages": [', "{"]))


def random_export(seed: int) -> dict[str, Any]:
    """One chat, or an account of several kinds, of which some are long."""
    source = random.Random(seed)
    if seed % 2:
        return random_chat(source, 400, "personal_chat", 200)
    kinds = [source.choice(["personal_chat", "personal_chat", "private_group", "bot_chat"]) for _ in range(5)]
    chats = [
        random_chat(source, source.choice([0, 3, 60, 300]), kind, 200 + number) for number, kind in enumerate(kinds)
    ]
    return account(random_chat(source, 100, "personal_chat", 300), *chats)


def prepared(
    folder: Path, source: Path, monkeypatch: pytest.MonkeyPatch, block: int, **config: Any
) -> tuple[bytes, Any]:
    """(dataset, report without its parameters)"""
    monkeypatch.setattr(Export.__init__, "__defaults__", (block, None))
    output = folder / "out.jsonl"
    report = prepare(str(source), output, PrepareConfig(**config))
    del report["config"]
    return output.read_bytes(), report


@pytest.mark.parametrize("seed", range(6))
def test_any_export_in_any_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    export = random_export(seed)
    expected = plain_rows(export)
    assert expected.count(b"\n") > 10
    for layout in LAYOUTS:
        source = write(tmp_path / "result.json", export, layout)
        reports = []
        for block in (700, 64 * 1024):
            for processes in PROCESSES:
                found, report = prepared(tmp_path, source, monkeypatch, block, processes=processes)
                assert found == expected, (layout, block, processes)
                reports.append(report)
        assert all(report == reports[0] for report in reports), layout  # what was counted, too
        assert (reports[0]["repaired"], reports[0]["lost"], reports[0]["problems"]) == (0, 0, [])
    assert {path.name for path in tmp_path.iterdir()} == {"result.json", "out.jsonl", "out.report.json"}


def test_the_file_is_cut_where_sessions_begin(tmp_path: Path) -> None:
    config = PrepareConfig(processes=7)
    source = write(tmp_path / "result.json", random_export(1))
    builder = reading.DialogBuilder(config, {OWNER}, lambda rows: None)
    parts = reading_side_by_side.parts_of(Export(source), 7, config, builder)
    assert len(parts) == 7
    size = source.stat().st_size
    assert all(abs((part.end - part.start) - size / 7) < size / 20 for part in parts)
    assert [part.start - before.end for before, part in pairwise(parts)] == [1] * 6


@pytest.mark.parametrize("processes", PROCESSES)
@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: next(iter(options)))
def test_every_option_gives_the_same_in_several_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: int, options: dict[str, Any]
) -> None:
    source = write(tmp_path / "result.json", random_export(4))
    alone = prepared(tmp_path, source, monkeypatch, 4096, processes=1, **options)
    assert prepared(tmp_path, source, monkeypatch, 4096, processes=processes, **options) == alone


@pytest.mark.parametrize("processes", PROCESSES)
@pytest.mark.parametrize("block", [700, 64 * 1024])
def test_invalid_escapes_lose_no_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: int, block: int
) -> None:
    export = random_export(3)
    damaged = [item for number, item in enumerate(export["messages"]) if item.get("text") == "ok" and number % 2]
    assert len(damaged) > 5
    for item in damaged:
        item["text"] = item["text_entities"][0]["text"] = "a\nb"
    expected = plain_rows(export)
    source = write(tmp_path / "result.json", export)
    text = source.read_bytes()
    for item in damaged:
        at = text.index(b'"id": %d,' % item["id"])
        text = text[:at] + text[at:].replace(rb'"a\nb"', rb'"a\x0Bb"', 2)
    source.write_bytes(text)
    found, report = prepared(tmp_path, source, monkeypatch, block, processes=processes)
    assert found == expected
    assert (report["repaired"], report["lost"]) == (len(damaged), 0)


@pytest.mark.parametrize("processes", [1, 3])
@pytest.mark.parametrize("layout", ["telegram", "minified"])
def test_a_truncated_file_loses_only_the_message_that_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: int, layout: str
) -> None:
    export = random_export(5)
    whole = write(tmp_path / "whole.json", export, layout).read_bytes()
    source = tmp_path / "result.json"
    for length in range(len(whole) // 3, len(whole) - 20, len(whole) // 9):
        source.write_bytes(whole[:length])
        complete = [item for item in export["messages"] if ends_before(whole, item["id"], length, layout)]
        found, report = prepared(tmp_path, source, monkeypatch, 4096, processes=processes)
        assert found == plain_rows({**export, "messages": complete})
        assert report["lost"] <= 1 and "ends in the middle" in report["problems"][-1]


def ends_before(whole: bytes, number: int, length: int, layout: str) -> bool:
    """Does the message of that number end before the cut? Unsupported ones, which share one, say nothing."""
    key = b'"id":%d,' if layout == "minified" else b'"id": %d,'
    at = whole.index(key % number)
    end = whole.find(b'"id":', at + 5)
    return whole.rfind(b"}", 0, end if end > 0 else len(whole)) < length


def test_a_helper_that_dies_fails_the_run_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parent = os.getpid()

    class Dying(reading.DialogBuilder):
        def end_session(self) -> None:
            if os.getpid() != parent:
                os._exit(9)
            super().end_session()

    monkeypatch.setattr(reading_side_by_side, "DialogBuilder", Dying)
    source = write(tmp_path / "result.json", random_export(1))
    with pytest.raises(UserError, match="was ended"):
        prepare(str(source), tmp_path / "out.jsonl", PrepareConfig(processes=2))
    assert {path.name for path in tmp_path.iterdir()} == {"result.json"}


def test_messages_without_a_time_do_not_mislead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = [message((PEER, OWNER)[number % 2], str(number), at=number // 2 * GAP) for number in range(60)]
    for number, item in enumerate(items):
        if number % 20 < 13:
            del item["date_unixtime"], item["date"]
    export = chat(*items)
    source = write(tmp_path / "result.json", export, "minified")
    for processes in range(1, 9):
        assert prepared(tmp_path, source, monkeypatch, 700, processes=processes)[0] == plain_rows(export)


@pytest.mark.parametrize("block", [700, 64 * 1024])
def test_messages_of_any_age_need_no_names_and_replies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    """Where times, ids or names are missing or strange, what is read briefly is what is read in full."""
    source, export = random.Random(9), random_export(9)
    for number, item in enumerate(export["messages"]):
        if number % 40 < 20:
            continue  # so that some blocks are as usual
        match source.randrange(6):
            case 0:
                item.pop("date_unixtime", None)
            case 1:
                item.update(date_unixtime="0", from_id=None)
            case 2:
                item.pop("from_id", None)
            case 3:
                item.update(from_id=int(OWNER.removeprefix("user")), date_unixtime=1_700_000_000)
            case 4:
                item.pop("text", None)
    path = write(tmp_path / "result.json", export)
    brief = prepared(tmp_path, path, monkeypatch, block, processes=1)
    assert reading.DialogBuilder(PrepareConfig(), (), len).takes_brief_messages
    monkeypatch.setattr(reading.DialogBuilder, "takes_brief_messages", False)
    assert prepared(tmp_path, path, monkeypatch, block, processes=1) == brief
    assert brief[1]["dialogs"] > 10
