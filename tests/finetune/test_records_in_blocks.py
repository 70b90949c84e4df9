"""Records that are decoded in blocks are those that are read one by one, whatever is in them."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engines.config.prepare import PrepareConfig
from finetune.dialog_counts import DialogCounts
from finetune.formats import ROW_FORMATS, records
from finetune.formats.dialog import Dialog
from finetune.formats.records import Rows
from finetune.plain_text import HARMFUL, is_surely_harmless
from finetune.ready_dialogs import ReadyDialogs

ONE_BY_ONE = tuple(replace(form, decode_lines=None) for form in ROW_FORMATS)
TEXTS = [
    "fine", "Привет", "two\nlines", "tab\there", "\\ and \"", " padded", "\u00a0nbsp", "", " ", "\r\n", "a\r\nb",
    "bell \x07",
    "\x7f", "c1 \x9b[0m", "half \ud83d", "🙂", "\u2028", "\\b is no control", "nul \x00",
]  # fmt: skip
DAMAGED = ["", "   ", "{", '{"messages": []}', '{"messages": [{"role": "user"}]}', "[]", "7", '{"a": 1},']


def formed(path: Path, formats: tuple[Any, ...]) -> tuple[bytes, dict[str, Any], list[Any]]:
    rows: list[Dialog] = []
    counts = DialogCounts()
    counts.source_names[""] = path.name
    ready = ReadyDialogs(PrepareConfig(), counts, rows.extend)
    read = Rows(path, formats)
    for batch in read.batches():
        ready.add(batch)
    return (
        msgspec.json.Encoder().encode_lines(rows),
        counts.figures(),
        [read.good, read.bad, read.repaired, read.problems, read.shapes, ready.flaws, ready.flawed],
    )


def random_text(source: random.Random) -> str:
    return " ".join(source.choice(TEXTS) for _ in range(source.choice([1, 1, 2])))


def random_turns(source: random.Random, role: str, content: str, user: str, assistant: str) -> list[dict[str, Any]]:
    roles = source.choice([[user, assistant], [user, assistant] * 2, ["system", user, assistant], [user]])
    turns: list[dict[str, Any]] = [{role: name, content: random_text(source)} for name in roles]
    if source.random() < 0.1:
        source.choice(turns).update(
            source.choice([{"weight": 0}, {"weight": 1}, {"weight": 2}, {"name": "x"}, {role: "tool"}])
        )
    return turns


def random_parts(source: random.Random) -> list[dict[str, Any]]:
    return [{"text": random_text(source)} for _ in range(source.choice([1, 1, 1, 2]))]


def messages(source: random.Random) -> dict[str, Any]:
    return {"messages": random_turns(source, "role", "content", "user", "assistant")}


def older_messages(source: random.Random) -> dict[str, Any]:
    return {"messages": random_turns(source, "from", "value", "user", "assistant")}


def sharegpt(source: random.Random) -> dict[str, Any]:
    record = {"conversations": random_turns(source, "from", "value", "human", "gpt")}
    return record | source.choice([{}, {"id": "a1"}, {"system": random_text(source)}, {"system": None}, {"lang": "ru"}])


def alpaca(source: random.Random) -> dict[str, Any]:
    record = {"instruction": random_text(source), "output": random_text(source)}
    more = [{}, {"input": random_text(source)}, {"system": random_text(source)}, {"history": [["a", "b"]]}]
    return record | source.choice(more)


def prompt_completion(source: random.Random) -> dict[str, Any]:
    record = {"prompt": random_text(source), "completion": random_text(source)}
    return record | source.choice([{}, {}, {"label": True}, {"label": False}])


def input_output(source: random.Random) -> dict[str, Any]:
    record = {"input_text": random_text(source), "output_text": random_text(source)}
    return record | source.choice([{}, {"context": random_text(source)}, {"context": None}])


def vertex(source: random.Random) -> dict[str, Any]:
    contents = [{"role": role, "parts": random_parts(source)} for role in ("user", "model")]
    if source.random() < 0.2:
        source.choice(contents).update(source.choice([{"role": "function"}, {"parts": []}, {"role": "odd"}]))
    instruction = {"systemInstruction": source.choice([{"parts": random_parts(source)}, "text", None])}
    return {"contents": contents} | source.choice([{}, instruction])


def labelled(source: random.Random) -> dict[str, Any]:
    return {"text": random_text(source), "label": source.choice(["x", "", True, 3, 10**25, 0.5, None])}


def text(source: random.Random) -> dict[str, Any]:
    return {"text": random_text(source)}


KINDS = (
    messages, older_messages, sharegpt, alpaca, prompt_completion, input_output, vertex, labelled, text
)  # fmt: skip


def random_line(source: random.Random, kinds: tuple[Any, ...], damage: float) -> str:
    if source.random() < damage:
        return source.choice(DAMAGED)
    record = source.choice(kinds)(source)
    if source.random() < 0.2:
        record["conversation"] = source.choice(["4/2", "", 7])
    end = "," if source.random() < damage / 2 else ""
    return json.dumps(record, ensure_ascii=source.random() < 0.5) + end


def compare(source: random.Random, lines: list[str], path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ending = source.choice(["", "\n", "\r\n"])
    path.write_bytes((ending or "\n").join(lines).encode("utf-8", "surrogatepass") + ending.encode())
    expected = formed(path, ONE_BY_ONE)
    for size in (1, 300, 1 << 20):
        monkeypatch.setattr(records, "BLOCK_BYTES", size)
        assert formed(path, ROW_FORMATS) == expected, size


@pytest.mark.parametrize("seed", range(30))
def test_any_mixture_of_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    source = random.Random(seed)
    lines = [random_line(source, KINDS, 0.1) for _ in range(source.choice([1, 3, 40, 200]))]
    compare(source, lines, tmp_path / "rows.jsonl", monkeypatch)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("kind", KINDS)
def test_lines_of_one_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Any, seed: int) -> None:
    source = random.Random(seed)
    lines = [random_line(source, (kind,), source.choice([0, 0, 0.02])) for _ in range(source.choice([1, 3, 40, 200]))]
    compare(source, lines, tmp_path / "rows.jsonl", monkeypatch)


@pytest.mark.parametrize("kind", KINDS)
def test_plain_lines_are_decoded_together(kind: Any) -> None:
    """So that the test above compares two ways and not one with itself."""
    source = random.Random(1)
    form = next(form for form in ROW_FORMATS if form.matches(kind(source)))
    assert form.decode_lines is not None
    found = [form.decode_lines(json.dumps(kind(source)).encode()) for _ in range(40)]
    assert sum(dialogs is not None for dialogs in found) > 10


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(st.characters(max_codepoint=0x2030)), st.booleans())
def test_what_is_surely_harmless_holds_nothing_harmful(text: str, as_ascii: bool) -> None:
    raw = json.dumps(text, ensure_ascii=as_ascii).encode("utf-8", "surrogatepass")
    if HARMFUL.search(text):
        assert not is_surely_harmless(raw)
