"""What holds for every parser of a project and any file: read as it was written, counted, or refused in words."""

from __future__ import annotations

import ast
import csv
import io
import json
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_project_sources import nothing, project

from engines.config.generate import GenerateConfig
from engines.contract.errors import UserError
from finetune.project import SOURCES, code, escalation, faq, sales, tables
from finetune.project.context import Context
from finetune.project.files import ProjectFile, decoded
from finetune.project.loose_json import repaired
from finetune.project.markdown import Block, joined, parts, sections
from finetune.project.pair import ASSISTANT, USER, Pair, whole_turns
from finetune.project.selection import Selection
from finetune.project.signatures import MAX_EXPRESSION, shortened

LETTERS = st.characters(exclude_categories=["Cs", "Cc"])
lines = st.text(LETTERS, max_size=30)
words = st.from_regex(r"[a-zа-я]{2,8}( [a-zа-я]{2,8}){0,4}", fullmatch=True)
names = st.from_regex(r"[a-z]{3,8}", fullmatch=True)
quiet = settings(deadline=None)

MARKS = [
    *"#>*-_`~|[]()!<>:;,\"'\\{}=\n\t 01a?Aя",
    "\n\n",
    "```",
    "\nQ: ",
    "\nA: ",
    "\nClient: ",
    "\nManager: ",
    "def f",
]
HOSTILE = st.lists(st.sampled_from(MARKS) | LETTERS, max_size=80).map("".join)


def found_in(files: dict[str, str | bytes], **config: Any) -> tuple[list[Pair], Context, Selection]:
    """What all sources that need no network make of a project with these files."""
    with tempfile.TemporaryDirectory() as folder:
        context = Context(project(Path(folder), files), GenerateConfig(min_answer_characters=1, **config), nothing)
        selection = Selection(context.config)
        pairs = [pair for name in SOURCES if name != "github" for pair in selection.of_source(SOURCES[name](context))]
        return pairs, context, selection


@quiet
@given(st.dictionaries(st.sampled_from(["a.md", "sales/b.txt", "c.csv", "d.json", "e.jsonl", "f.py"]), HOSTILE))
def test_any_text_becomes_dialogs_or_is_counted(files: dict[str, str]) -> None:
    pairs, context, selection = found_in(dict(files))
    for pair in pairs:
        assert [role for role, _ in pair.turns] == [USER, ASSISTANT] * (len(pair.turns) // 2)
        assert all(text.strip() for _, text in pair.turns) and pair.source and pair.section
    figures = selection.figures()
    assert figures["found"] == figures["written"] + sum(figures["dropped"].values()) and figures["written"] == len(
        pairs
    )
    assert {item["file"] for item in context.unread} <= set(files)
    again, _, _ = found_in(dict(files))
    assert again == pairs


@quiet
@given(st.binary(max_size=200), st.sampled_from([".md", ".csv", ".json", ".jsonl", ".py", ".db"]))
def test_any_bytes_are_read_or_counted(content: bytes, suffix: str) -> None:
    _, context, _ = found_in({f"x{suffix}": content, "sales/x.txt": content})
    for path in (f"x{suffix}", "sales/x.txt"):
        assert (path in context.files.read) is not (path in context.files.skipped)


@given(st.text(LETTERS | st.just("\n")))
def test_text_is_decoded_as_it_was_encoded(text: str) -> None:
    assert decoded(text.encode()) == decoded(text.encode("utf-8-sig")) == text
    assert decoded(text.encode("utf-16")) == text


@given(st.binary())
def test_any_bytes_are_text_or_none(data: bytes) -> None:
    text = decoded(data)
    assert text is None or "\0" not in text


# --- documents ---

paragraphs = st.lists(words, min_size=1, max_size=3).map("\n".join)
fences = st.lists(lines.filter(lambda line: "```" not in line), max_size=4).map(
    lambda body: "\n".join(["```", *body, "```"])
)


@quiet
@given(st.lists(st.tuples(st.integers(1, 4), words, st.lists(paragraphs | fences, max_size=4)), max_size=6))
def test_every_paragraph_stands_in_the_section_of_its_heading(document: list[tuple[int, str, list[str]]]) -> None:
    text = "".join(
        f"{'#' * depth} {title}\n\n" + "".join(f"{block}\n\n" for block in blocks) for depth, title, blocks in document
    )
    expected = [(title, [block.rstrip() for block in blocks]) for _, title, blocks in document if blocks]
    found = sections(text, "name")
    assert [(section.title, [block.text for block in section.blocks]) for section in found] == expected
    assert len({section.path for section in found}) == len(found)


@given(HOSTILE, st.integers(5, 60))
def test_parts_leave_nothing_out(text: str, limit: int) -> None:
    for section in sections(text, "name"):
        cut = parts(section.blocks, limit)
        assert "".join("".join(cut).split()) == "".join(section.text.split())
    (piece,) = parts([Block(text, is_whole=True)], limit) or [""]
    assert piece == text


@given(st.lists(st.tuples(st.booleans(), words), max_size=9))
def test_marked_questions_are_found_with_their_answers(spoken: list[tuple[bool, str]]) -> None:
    blocks = [Block(f"{'Q' if asks else 'A'}: {text}") for asks, text in spoken]
    found = list(faq.marked(blocks))
    expected: list[tuple[str, list[str]]] = []
    for asks, text in spoken:
        if asks:
            expected.append((text, []))
        elif expected:
            expected[-1][1].append(text)
    assert found == [(asked, joined(map(Block, answers))) for asked, answers in expected if answers]


@given(st.lists(st.tuples(st.sampled_from(["Client", "Manager", "Клиент", "Менеджер"]), words), min_size=1, max_size=9))
def test_every_line_that_is_spoken_is_in_a_dialog_or_counted(spoken: list[tuple[str, str]]) -> None:
    block = Block("\n".join(f"{who}: {text}" for who, text in spoken))
    (dialog,), rest = sales.spoken([block])
    assert not rest and [text for _, text in dialog] == [text for _, text in spoken]
    turns, dropped = whole_turns(dialog)
    assert [role for role, _ in turns] == [USER, ASSISTANT] * (len(turns) // 2)
    kept = [text for _, said in turns for text in said.split("\n")]
    start = dropped["before_question"]
    assert kept == [text for _, text in spoken][start : start + len(kept)]


# --- tables of questions ---

cells = st.text(LETTERS, max_size=12)
rows = st.lists(st.tuples(cells, cells), max_size=6)


@given(rows, st.sampled_from(",;\t|"), st.booleans())
def test_csv_is_read_as_it_was_written(pairs: list[tuple[str, str]], delimiter: str, is_russian: bool) -> None:
    text = io.StringIO(newline="")
    header = ("Вопрос", "n", "Ответ") if is_russian else ("Question", "n", "Answer")
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerows([header, *((asked, "1", answer) for asked, answer in pairs)])
    assert [(asked, answer) for _, asked, answer in tables.from_csv(text.getvalue())] == pairs


@given(rows, st.lists(names | st.integers(0, 2), max_size=4))
def test_json_is_searched_at_any_depth(pairs: list[tuple[str, str]], way: list[str | int]) -> None:
    value: Any = [{"question": asked, "other": None, "answer": answer} for asked, answer in pairs]
    for step in way:
        value = {step: value, "more": 1} if isinstance(step, str) else [None] * step + [value]
    assert [(asked, answer) for _, asked, answer in tables.from_json(json.dumps(value))] == pairs
    as_lines = "".join(json.dumps({"q": asked, "a": answer}) + "\n\n" for asked, answer in pairs)
    assert [(asked, answer) for _, asked, answer in tables.from_json_lines(as_lines)] == pairs


@quiet
@given(rows, names)
def test_a_database_is_read_as_it_was_written(pairs: list[tuple[str, str]], table: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "f.db"
        database = sqlite3.connect(place)
        database.execute(f'CREATE TABLE "{table}" (id INTEGER PRIMARY KEY, question TEXT, answer TEXT)')
        database.executemany(f'INSERT INTO "{table}" (question, answer) VALUES (?, ?)', pairs)
        database.commit()
        database.close()
        file = ProjectFile("f.db", place)
        assert [(asked, answer) for _, asked, answer in tables.from_sqlite(file)] == pairs
        content = bytearray(place.read_bytes())
        content[100:110] = b"\xff" * 10
        place.write_bytes(content)
        with pytest.raises(tables.Unreadable):
            list(tables.from_sqlite(file))


@given(HOSTILE, st.sampled_from([tables.from_csv, tables.from_json, tables.from_json_lines]))
def test_any_table_is_read_or_refused_in_words(text: str, read: Any) -> None:
    try:
        assert all(len(row) == 3 for row in read(text))
    except tables.Unreadable as error:
        assert str(error).startswith("not ") or "are not JSON" in str(error)


# --- what models write, and templates ---

json_objects = st.dictionaries(
    st.text(max_size=5),
    st.recursive(st.none() | st.integers() | st.text(max_size=6), lambda inner: st.lists(inner, max_size=3)),
)


@given(json_objects, st.sampled_from([None, 2]), st.sampled_from(["", "```json\n", "Here it is: ", "<think>{</think>"]))
def test_an_object_with_words_around_it_is_found(value: dict[str, Any], indent: int | None, before: str) -> None:
    text = json.dumps(value, indent=indent)
    assert repaired(f"{before}{text}\n```") == value
    if value:
        assert repaired(f"{before}{text[:-1].rstrip()},}}") == value


@given(HOSTILE)
def test_any_answer_of_a_model_is_an_object_or_none(text: str) -> None:
    assert isinstance(repaired(text), dict | None)


json_values = st.recursive(
    st.none() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["dialogs", "section", "messages", "openings", "role", "content", "values"]), inner
        )
    ),
    max_leaves=12,
)


@quiet
@given(json_values)
def test_own_templates_are_used_or_refused_in_words(value: Any) -> None:
    files = {".ftui/escalation.json": json.dumps(value)}
    with tempfile.TemporaryDirectory() as folder:
        context = Context(project(Path(folder), dict(files)), GenerateConfig(), nothing)
        try:
            pairs = list(escalation.find(context))
        except UserError as error:
            assert error.cause.startswith(".ftui/escalation.json cannot be used: ")
        else:
            assert all(pair.turns[0][0] == USER and pair.turns[-1][0] == ASSISTANT for pair in pairs)


# --- code ---


@quiet
@given(st.dictionaries(names, words, min_size=1, max_size=5), st.booleans())
def test_everything_with_a_docstring_is_asked_about(functions: dict[str, str], in_class: bool) -> None:
    indent = "    " if in_class else ""
    body = "".join(
        f'{indent}def f_{name}(x: int = 1) -> int:\n{indent}    """{text}."""\n' for name, text in functions.items()
    )
    source = f'class C:\n    """Words."""\n{body}' if in_class else body
    with tempfile.TemporaryDirectory() as folder:
        context = Context(project(Path(folder), {"m.py": source}), GenerateConfig(), nothing)
        pairs = {pair.section: pair.turns[-1][1] for pair in code.find(context)}
    for name, text in functions.items():
        answer = pairs[f"m.{'C.' if in_class else ''}f_{name}"]
        assert answer.startswith(f"{text}.") and f"def f_{name}(x: int=1) -> int" in answer


@given(st.lists(names, min_size=1, max_size=60).map(" + ".join))
def test_expressions_are_shown_on_one_line_of_bounded_length(expression: str) -> None:
    shown = shortened(ast.parse(expression, mode="eval").body)
    assert len(shown) <= MAX_EXPRESSION and "\n" not in shown
    assert shown == expression or (shown.endswith("…") and expression.startswith(shown[:-1]))


def test_documents_of_no_source_are_left_to_the_documents() -> None:
    """So that the tests above have something to find."""
    pairs, _, _ = found_in(
        {
            "a.md": "# Tea\n\nHot.\n",
            "c.csv": "question,answer\nWhy?,So.\n",
            "sales/b.txt": "Client: Hi?\nManager: Yes.\n",
        }
    )
    assert {pair.kind for pair in pairs} == {"docs", "faq", "sales", "escalation"}
