"""Records in a damaged array: those that are whole are read, the others are counted, whatever holds them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_row_formats import tree

from finetune.formats import ROW_FORMATS, detect
from finetune.formats.json_stream import CHUNK_BYTES
from finetune.formats.layout import Layout
from finetune.formats.records import Rows

COUNT = 40


def claude(number: int) -> dict[str, Any]:
    said = [{"uuid": f"{number}-{turn}", "text": f"text, {{{turn}}}", "sender": who, "content": []}
            for turn, who in enumerate(["human", "assistant"] * 2)]  # fmt: skip
    return {"uuid": str(number), "name": "a [title]", "chat_messages": said}


def chatgpt(number: int) -> dict[str, Any]:
    return {**tree(), "conversation_id": str(number)}


def messages(number: int) -> dict[str, Any]:
    turns = [{"role": "user", "content": f"q {number}"}, {"role": "assistant", "content": 'a \\ "b" ]}'}]
    return {"messages": turns, "conversation": str(number)}


def alpaca(number: int) -> dict[str, Any]:
    return {"instruction": "q, {", "output": "a", "history": [["x", "y"]], "conversation": str(number)}


KINDS = (claude, chatgpt, messages, alpaca)


def write(path: Path, records: list[str], layout: str) -> Path:
    texts = {
        "array": f"[{','.join(records)}]",
        "lines in an array": "[\n" + ",\n".join(records) + "\n]\n",
        "member": '{"about": {"n": 1}, "data": [' + ", ".join(records) + '], "more": [1]}',
        "values": "{\n" + "\n".join(records)[1:],
    }
    path.write_text(texts[layout], encoding="utf-8")
    return path


def read(path: Path) -> tuple[list[str], Rows]:
    rows = Rows(path, ROW_FORMATS, detect(path).layout)
    return [dialog.conversation for dialog in rows.dialogs()], rows


@pytest.mark.parametrize("layout", ["array", "lines in an array", "member", "values"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bad", [{5}, {0}, {COUNT - 1}, {0, 1, 2, 20, 21, COUNT - 1}], ids=str)
@pytest.mark.parametrize("large", [False, True])
def test_records_with_a_wrong_mark_are_lost_alone(
    tmp_path: Path, kind: Callable[[int], Any], layout: str, bad: set[int], large: bool
) -> None:
    texts = [json.dumps({**kind(n), "padding": "x" * (CHUNK_BYTES // 7 if large else 0)}) for n in range(COUNT)]
    for number in bad:
        texts[number] = texts[number].replace('": ', '": : ', 3).replace('": : ', '": ', 2)  # behind the third key
    found, rows = read(write(tmp_path / "d", texts, layout))
    assert found == [str(number) for number in range(COUNT) if number not in bad]
    assert (rows.good, rows.bad, rows.repaired) == (COUNT - len(bad), len(bad), 0)
    first = f"item {min(bad) + 1}: not JSON at about byte"
    assert rows.problems[0].startswith(first) and rows.problems[0].endswith("bytes)")


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(25))
def test_any_byte_may_be_wrong(tmp_path: Path, kind: Callable[[int], Any], indent: int | None, seed: int) -> None:
    source = random.Random(seed)
    texts = [json.dumps(kind(number), indent=indent) for number in range(COUNT)]
    bad = source.randrange(COUNT)
    at = source.randrange(len(texts[bad]))
    wrong = source.choice(["", *'"{}[],:\\x'])
    texts[bad] = texts[bad][:at] + wrong + texts[bad][at + 1 :]
    found, rows = read(write(tmp_path / "d", texts, "array"))
    whole = [str(number) for number in range(COUNT) if number != bad]
    assert [name for name in found if name in whole] == whole
    assert rows.good + rows.bad in (COUNT, COUNT + 1)  # what stands behind a record that ends early is one more


@pytest.mark.parametrize("kind", KINDS)
def test_a_comma_may_be_missing(tmp_path: Path, kind: Callable[[int], Any]) -> None:
    path = tmp_path / "d"
    path.write_text("[" + " ".join(json.dumps(kind(number)) for number in range(3)) + "]")
    found, rows = read(path)
    assert (found, rows.bad, rows.repaired) == (["0", "1", "2"], 0, 2)


def test_what_is_not_read_is_told_in_bytes(tmp_path: Path) -> None:
    path = write(tmp_path / "d", [json.dumps(messages(number)) for number in range(9)], "array")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    found, rows = read(path)
    start = whole[: len(whole) // 2].rfind(b'{"messages"')
    assert found == ["0", "1", "2", "3"] and rows.bad == 1
    assert rows.problems == [
        f"item 5: not JSON at about byte {start}, which has no end; "
        f"nothing behind it was read ({len(whole) // 2 - start} bytes)"
    ]
    path.write_bytes(b'{"about": {bad}, ' + b'"data": ' + whole + b"}")
    rows = Rows(path, ROW_FORMATS, Layout("member", "data"))
    assert list(rows.dialogs()) == [] and rows.bad == 1
    assert f"nothing behind it was read ({path.stat().st_size - 11:,} bytes)" in rows.problems[0]


def test_a_colon_after_a_role_is_told_with_what_is_meant(tmp_path: Path) -> None:
    line = '{"messages": [{"role": "user", "content": "q"}, {"role": "assistant": "a"}]}'
    meant = 'found {"role": "assistant": …}, expected {"role": "assistant", "content": …}'
    for text in (f"{json.dumps(messages(1))}\n{line}\n", f"[{json.dumps(messages(1))}, {line}]"):
        path = tmp_path / "d"
        path.write_text(text)
        found, rows = read(path)
        assert found == ["1"] and rows.bad == 1 and meant in rows.problems[0]
