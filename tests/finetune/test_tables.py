"""Tables: every line is a record or a problem with its line, whatever encoding, delimiter or quotation it has."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.formats import ROW_FORMATS, detect
from finetune.formats.column_map import column_format
from finetune.formats.dialog import Dialog
from finetune.formats.format import RowFormat
from finetune.formats.records import Rows
from finetune.formats.table import BLOCK

QUESTIONS = "".join(f"вопрос {number},ответ {number}\n" for number in range(20))


def read(path: Path, *formats: RowFormat) -> tuple[list[Dialog], Rows]:
    rows = Rows(path, formats or ROW_FORMATS, detect(path, any_record=bool(formats)).layout)
    return list(rows.dialogs()), rows


def table(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def pairs(dialogs: list[Dialog]) -> list[tuple[str, str]]:
    return [(dialog.turns[0].content, dialog.turns[1].content) for dialog in dialogs]


def test_a_wrong_byte_costs_one_character_and_is_told(tmp_path: Path) -> None:
    wrong = b"question,answer\n" + QUESTIONS.encode() + b"still \xff here,yes\n" + QUESTIONS.encode()
    found, rows = read(table(tmp_path / "t", wrong))
    assert pairs(found)[:2] == [("вопрос 0", "ответ 0"), ("вопрос 1", "ответ 1")]
    assert pairs(found)[20] == ("still \ufffd here", "yes")
    assert (rows.good, rows.bad, rows.repaired) == (41, 0, 1)
    assert rows.problems == ["line 22: characters that are not of the encoding and became \ufffd: 1"]
    found, rows = read(table(tmp_path / "t", "question,answer\nreally \ufffd,yes\n"))
    assert pairs(found) == [("really \ufffd", "yes")] and (rows.repaired, rows.problems) == (0, [])


@pytest.mark.parametrize(
    ("encoding", "question"), [("cp1251", "Когда вы открыты"), ("cp1252", "Wann öffnet das große Café"), ("utf-8", "é")]
)
def test_the_encoding_is_found_in_all_of_the_file(tmp_path: Path, encoding: str, question: str) -> None:
    plain = "plain,text\n" * (BLOCK // 11 + 1)
    found, rows = read(table(tmp_path / "t", f"question,answer\n{plain}{question},so\n".encode(encoding)))
    assert pairs(found)[-1] == (question, "so") and rows.repaired == 0


def test_a_line_with_too_many_cells_is_bad_and_named(tmp_path: Path) -> None:
    text = 'question,answer\n"two\nlines",a\nwhen,at nine, or at ten\nq,a,,\nq,\n'
    found, rows = read(table(tmp_path / "t", text))
    assert pairs(found) == [("two\nlines", "a"), ("q", "a"), ("q", "")]
    assert rows.problems == [
        "line 4: found 3 cells, expected 2 (question, answer); a text with a , in it belongs between quotation marks"
    ]
    found, rows = read(table(tmp_path / "t", "question,answer\nwhen,at nine, or at ten\n" + QUESTIONS))
    assert (rows.good, rows.bad) == (20, 1) and rows.problems[0].startswith("line 2: found 3 cells")


@pytest.mark.parametrize("delimiter", ",;\t|")
def test_the_first_line_may_have_line_breaks(tmp_path: Path, delimiter: str) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter).writerows([["question", "answer"], ["multi\n\nline, or; so", "a\nb"]])
    found, _ = read(table(tmp_path / "t", text.getvalue()))
    assert pairs(found) == [("multi\n\nline, or; so", "a\nb")]


def test_a_quotation_mark_that_is_not_closed_costs_one_line(tmp_path: Path) -> None:
    text = f'question,answer\nq,a\nq,"open\n{QUESTIONS}last,one\n'
    found, rows = read(table(tmp_path / "t", text))
    assert pairs(found)[-1] == ("last", "one") and (rows.good, rows.bad) == (22, 1)
    assert rows.problems == ["line 3: a quotation mark is opened and not closed"]
    found, rows = read(table(tmp_path / "t", f'question,answer\nq,"open\nq,"closed"\n{QUESTIONS}'))
    assert (rows.good, rows.bad) == (21, 1)


cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=12)
mapped = column_format(["user=first", "assistant=second"])


@settings(deadline=None)
@given(
    rows=st.lists(st.tuples(cells, cells), min_size=1, max_size=8),
    delimiter=st.sampled_from(",;\t|"),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    ending=st.sampled_from(["\n", "\r\n"]),
)
def test_what_is_written_as_csv_is_read_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], delimiter: str, encoding: str, **style: Any
) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, quoting=style["quoting"], lineterminator=style["ending"])
    rows = [("not", "empty"), *rows]
    writer.writerows([("first", "second"), *rows])
    path = table(tmp_path_factory.mktemp("t") / "t", text.getvalue().encode(encoding))
    found, read_rows = read(path, mapped)
    assert pairs(found) == rows and (read_rows.bad, read_rows.repaired) == (0, 0)


@settings(deadline=None)
@given(st.binary(max_size=80))
def test_any_bytes_below_a_header_are_records_or_problems(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = table(tmp_path_factory.mktemp("t") / "t", b"first,second\n" + b"q,a\n" * 30 + content + b"\n" + b"q,a\n" * 3)
    found, rows = read(path, mapped)
    lines = len(path.read_bytes().splitlines())
    assert rows.good == len(found) >= 30 and rows.good + rows.bad <= lines
    assert len(rows.problems) >= min(20, rows.bad)


values = st.none() | st.text(max_size=9) | st.integers(-9, 9)


@settings(deadline=None)
@given(st.lists(st.fixed_dictionaries({"Question": values, "Answer": values}), min_size=1, max_size=9))
def test_parquet_is_read_as_it_was_or_refused_row_by_row(
    tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, Any]]
) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow comes with the training packages")
    from pyarrow import parquet

    texts = [{name: None if value is None else str(value) for name, value in record.items()} for record in records]
    path = tmp_path_factory.mktemp("t") / "t"
    parquet.write_table(pyarrow.Table.from_pylist(texts), path)
    found, rows = read(path)
    whole = [(record["Question"], record["Answer"]) for record in texts if None not in record.values()]
    assert pairs(found) == whole and rows.bad == len(records) - len(whole)
    assert len(rows.problems) == rows.bad


@settings(deadline=None)
@given(st.data())
def test_a_damaged_parquet_file_is_refused_in_words(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow comes with the training packages")
    from pyarrow import parquet

    from engines.contract.errors import UserError

    path = tmp_path_factory.mktemp("t") / "t"
    parquet.write_table(pyarrow.table({"question": ["q"] * 20, "answer": [f"a{n}" for n in range(20)]}), path)
    whole = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(4, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(whole[: data.draw(st.integers(5, len(whole)))])
    try:
        read(path)
    except UserError as error:
        assert error.code == "bad_input" and error.cause.startswith("t: ")
