"""Ready-made dialogs in files, and how a format is recognised."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from telegram_exports import LAYOUTS, account, chat, dialog, write

from engines.contract.errors import UserError
from finetune.formats import ROW_FORMATS, detect
from finetune.formats.dialog import Dialog
from finetune.formats.layout import Layout
from finetune.formats.records import Rows

GOOD = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
TURNS = [("user", "q"), ("assistant", "a")]


def said(dialog: Dialog) -> list[tuple[str, str]]:
    return [(turn.role, turn.content) for turn in dialog.turns]


def rows_in(path: Path) -> Rows:
    return Rows(path, ROW_FORMATS, detect(path).layout)


def lines(path: Path, *rows: object, start: bytes = b"") -> Path:
    texts = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_bytes(start + "\n".join(texts).encode("utf-8", "surrogatepass"))
    return path


@pytest.mark.parametrize(
    "row",
    [
        GOOD,
        {"messages": [{"from": "user", "value": "q"}, {"from": "assistant", "value": "a"}]},
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
        {"id": "x", "type": "chat", **GOOD},
    ],
)
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf", b"\n \n"])
def test_shapes(tmp_path: Path, row: dict[str, object], start: bytes) -> None:
    path = lines(tmp_path / "data.txt", row, "", row, start=start)
    name = "sharegpt" if "conversations" in row else "messages"
    assert detect(path).name == name
    assert [said(dialog_) for dialog_ in rows_in(path).dialogs()] == [TURNS, TURNS]
    array = lines(tmp_path / "data.jsonl", [row, row], start=start)
    assert detect(array).name == name
    assert [(said(item), item.conversation) for item in rows_in(array).dialogs()] == [(TURNS, "0/1"), (TURNS, "0/2")]
    pretty = tmp_path / "pretty.json"
    pretty.write_text(json.dumps([row] * 3, indent=2))
    assert detect(pretty).name == name
    assert len(list(rows_in(pretty).dialogs())) == 3


def test_a_conversation_key_is_kept(tmp_path: Path) -> None:
    path = lines(tmp_path / "d", {**GOOD, "conversation": "7/3"}, {**GOOD, "conversation": 5})
    assert [item.conversation for item in rows_in(path).dialogs()] == ["7/3", "0/2"]


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        ("{", "not JSON: Expecting property name"),
        ('{"messages": [{"role": "user", "content": "q"},]}', "not JSON"),
        ([GOOD, GOOD], "found a list, expected an object"),
        ("17", "found a number"),
        ({"prompt": "q"}, "found {prompt}, expected messages"),
        ({"messages": [{"assistant": "a"}]}, 'message 1 has no role, found {assistant}, expected {"role": "user"'),
        ({"messages": [{"role": "narrator", "content": "a"}]}, "message 1 has the role 'narrator', expected system"),
        ({"messages": [{"role": ["x"], "content": "a"}]}, "has the role"),
        ({"messages": [{"role": "user", "content": None}]}, "message 1 has no text"),
        ({"messages": ["a"]}, "message 1 is a text"),
        ("[" * 100_000, "nested too deeply"),
        ('{"messages": ' + "9" * 5000 + "}", "a number too long"),
    ],
    ids=range(12),
)
def test_bad_lines_are_described_and_left_out(tmp_path: Path, bad: object, problem: str) -> None:
    path = lines(tmp_path / "d", GOOD, bad, GOOD)
    assert detect(path).name == "messages"
    rows = rows_in(path)
    assert len(list(rows.dialogs())) == rows.good == 2
    assert rows.bad == 1
    assert rows.problems[0].startswith("line 2: ") and problem in rows.problems[0]


def test_other_encodings_are_described(tmp_path: Path) -> None:
    path = tmp_path / "d"
    path.write_bytes(json.dumps(GOOD).encode() + b"\n" + '{"messages": "привет"}'.encode("cp1251"))
    rows = rows_in(path)
    assert len(list(rows.dialogs())) == 1
    assert rows.problems == ["line 2: not UTF-8; save the file as UTF-8"]


def test_a_damaged_array_keeps_what_stands_before(tmp_path: Path) -> None:
    path = tmp_path / "d"
    path.write_text(json.dumps([GOOD, {"messages": 1}, GOOD, GOOD])[:-30])
    rows = rows_in(path)
    assert len(list(rows.dialogs())) == 2
    assert rows.bad == 2
    assert rows.problems[0].startswith("item 2: ") and rows.problems[1].startswith("item 4: not JSON")
    assert "nothing behind it was read" in rows.problems[1]


def test_only_the_first_problems_are_kept(tmp_path: Path) -> None:
    rows = Rows(lines(tmp_path / "d", *(["{"] * 100)), ROW_FORMATS, Layout("lines"))
    assert list(rows.dialogs()) == []
    assert (rows.bad, len(rows.problems)) == (100, 20)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("value", [chat(*dialog(50)), account(chat(*dialog(50))), chat(), account()])
def test_telegram_is_recognised(tmp_path: Path, layout: str, value: object) -> None:
    assert detect(write(tmp_path / "anything.jsonl", value, layout)).name == "telegram"


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "f is empty"),
        (b"\xef\xbb\xbf \n", "f is empty"),
        (b"<!DOCTYPE html><html><title>Exported Data</title>", "f is an HTML page; Telegram was exported as HTML"),
        (b"\n <html>", "f is an HTML page"),
        (b"<html><title>ChatGPT Data Export</title>", "f is an HTML page"),
        (b"hello\nworld", "f is plain text, neither a chat nor a table"),
        ("# Заметки\n\nОдна, две, три.\nИ всё\n".encode(), "f is plain text"),
        (b"question,answer\n", "f is a table without rows, with the columns question, answer"),
        ("\ufeffВопрос;Ответ".encode(), "f is a table without rows, with the columns вопрос, ответ"),
        (b"42\n", "f is JSON without any messages: it begins with a number, expected an object"),
        (b"null\nnull\n", "f is JSON without any messages: it begins with null"),
        (b"{hello}", "f is not JSON"),
        (b"\x89PNG\0\0", "f is not a text file"),
        ('{"messages": []}'.encode("utf-16"), "f is written as UTF-16"),
        ('{"instruction": "a", "output": "b"}\n'.encode("utf-16") * 2, "f is written as UTF-16"),
        ('[{"instruction": "a, b", "output": "b"}]'.encode("utf-16-be"), "f is written as UTF-16"),
        (b"[]", "f is JSON without any messages"),
        (b"{}", "f is JSON without any messages"),
        (b'[{"uuid": 1, "name": []}]', "f is of an unknown kind: a JSON array of objects with the keys uuid, name"),
        (b'{"guild": {}, "x": [1, 2', "f is of an unknown kind: a JSON object with the keys guild, x"),
        (b'{"instruction": "a", "outcome": "b"}\n' * 3, "a JSON object with the keys instruction, outcome"),
    ],
    ids=range(21),
)
def test_what_is_neither_is_refused_in_words(tmp_path: Path, content: bytes, cause: str) -> None:
    path = tmp_path / "f"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        detect(path)
    assert cause in caught.value.cause
    assert not caught.value.cause.endswith(".")
    assert caught.value.next_step.endswith(".")
    assert caught.value.exit_code == 3
