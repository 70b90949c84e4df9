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

from engines.config import PrepareConfig
from finetune.dialogs import DialogBuilder, Row
from finetune.formats import ROW_FORMATS, records
from finetune.formats.records import Rows
from finetune.plain_text import HARMFUL, is_surely_harmless

ONE_BY_ONE = tuple(replace(form, decode_lines=None) for form in ROW_FORMATS)
TEXTS = [
    "fine", "Привет", "two\nlines", "tab\there", "\\ and \"", " padded", "\u00a0nbsp", "", " ", "\r\n", "a\r\nb",
    "bell \x07",
    "\x7f", "c1 \x9b[0m", "half \ud83d", "🙂", "\u2028", "\\b is no control", "nul \x00",
]  # fmt: skip
DAMAGED = ["", "   ", "{", '{"messages": []}', '{"messages": [{"role": "user"}]}', "[]", "7", '{"a": 1},']


def formed(path: Path, formats: tuple[Any, ...]) -> tuple[bytes, dict[str, Any], list[Any]]:
    rows: list[Row] = []
    builder = DialogBuilder(PrepareConfig(), (), rows.append)
    read = Rows(path, formats)
    for batch in read.batches():
        builder.add_dialogs(*batch)
    return (
        msgspec.json.Encoder().encode_lines(rows),
        builder.figures(),
        [read.good, read.bad, read.repaired, read.problems, read.shapes],
    )


def random_record(source: random.Random) -> str:
    def text() -> str:
        return " ".join(source.choice(TEXTS) for _ in range(source.choice([1, 1, 2])))

    kind = source.random()
    if kind < 0.5:
        roles = source.choice(
            [["user", "assistant"], ["user", "assistant"] * 2, ["system", "user", "assistant"], ["user"]]
        )
        turns: list[dict[str, Any]] = [{"role": role, "content": text()} for role in roles]
        if source.random() < 0.1:
            turns[-1] |= source.choice([{"weight": 0}, {"weight": 2}, {"name": "x"}, {"role": "tool"}])
        record: dict[str, Any] = {"messages": turns}
    elif kind < 0.8:
        record = {"instruction": text(), "output": text()} | source.choice([{}, {"input": text()}, {"system": text()}])
    elif kind < 0.9:
        record = source.choice([{"text": text()}, {"text": text(), "label": "x"}])
    else:
        return source.choice(DAMAGED)
    if source.random() < 0.2:
        record["conversation"] = source.choice(["4/2", "", 7])
    end = "," if source.random() < 0.05 else ""
    return json.dumps(record, ensure_ascii=source.random() < 0.5) + end


@pytest.mark.parametrize("seed", range(30))
def test_any_mixture_of_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    source = random.Random(seed)
    lines = [random_record(source) for _ in range(source.choice([1, 3, 40, 200]))]
    if source.random() < 0.5:
        lines = [line for line in lines if line not in DAMAGED and not line.endswith(",")] or lines
    ending = source.choice(["", "\n", "\r\n"])
    path = tmp_path / "rows.jsonl"
    path.write_bytes((ending or "\n").join(lines).encode("utf-8", "surrogatepass") + ending.encode())
    expected = formed(path, ONE_BY_ONE)
    for size in (1, 300, 1 << 20):
        monkeypatch.setattr(records, "BLOCK_BYTES", size)
        assert formed(path, ROW_FORMATS) == expected, size


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(st.characters(max_codepoint=0x2030)), st.booleans())
def test_what_is_surely_harmless_holds_nothing_harmful(text: str, as_ascii: bool) -> None:
    raw = json.dumps(text, ensure_ascii=as_ascii).encode("utf-8", "surrogatepass")
    if HARMFUL.search(text):
        assert not is_surely_harmless(raw)
