"""Datasets in the formats of other programs: no text is lost unsaid, and nothing is learned that was context."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sample_rows import write_dataset

from engines.contract.errors import UserError
from engines.data import exports
from engines.data.datasets import Dataset

Row = dict[str, Any]
OF_DIALOGS = [form for form in exports.FORMATS if form not in ("classification", "text")]


def turn(role: str, content: str, **more: Any) -> Row:
    return {"role": role, "content": content, **more}


def written(tmp_path: Path, rows: list[Row], form: str) -> tuple[list[Any], dict[str, Any]]:
    """(records, counts) of an export."""
    output = tmp_path / f"out-{form}"
    output.unlink(missing_ok=True)
    counts = exports.export(dataset_of(tmp_path, rows), form, output)
    if form == "csv":
        with open(output, newline="") as file:
            return list(csv.reader(file))[1:], counts
    return [json.loads(line) for line in output.read_text().split("\n")[:-1]], counts


def dataset_of(tmp_path: Path, rows: list[Row]) -> Dataset:
    return Dataset("rows", write_dataset(tmp_path / "rows.jsonl", rows), 0, 0, {})


SINGLE_MESSAGES = {
    "messages": [
        turn("system", "S"), turn("user", "q1"), turn("user", "q2"), turn("assistant", "a1"), turn("assistant", "a2"),
        turn("user", "q3"), turn("assistant", "a3"),
    ]
}  # fmt: skip


def test_messages_that_stand_alone_keep_all_their_text(tmp_path: Path) -> None:
    records, counts = written(tmp_path, [SINGLE_MESSAGES], "csv")
    assert records == [["q1\nq2", "a1\na2"], ["q3", "a3"]]
    assert counts["not_held"] == {"joined": 2, "earlier": 1, "systems": 1}
    (record,), counts = written(tmp_path, [SINGLE_MESSAGES], "alpaca")
    assert record == {
        "instruction": "q3", "input": "", "output": "a3", "system": "S", "history": [["q1\nq2", "a1\na2"]],
    }  # fmt: skip
    assert counts["not_held"] == {"joined": 2}
    (record,), _ = written(tmp_path, [SINGLE_MESSAGES], "vertex")
    assert [content["role"] for content in record["contents"]] == ["user", "model", "user", "model"]
    (record,), _ = written(tmp_path, [SINGLE_MESSAGES], "sharegpt")
    assert [said["from"] for said in record["conversations"]] == ["system", "human", "gpt", "human", "gpt"]


def test_each_answer_of_a_dialog_is_a_completion_once(tmp_path: Path) -> None:
    first, second = written(tmp_path, [SINGLE_MESSAGES], "prompt-completion")[0]
    assert [said["content"] for said in first["completion"]] == ["a1", "a2"]
    assert [said["content"] for said in first["prompt"]] == ["S", "q1", "q2"]
    assert second["completion"] == [turn("assistant", "a3")] and len(second["prompt"]) == 6


WINDOW = {
    "messages": [turn("user", "q1"), turn("assistant", "a1", weight=0), turn("user", "q2"), turn("assistant", "a2")]
}


def test_what_is_context_is_not_learned_again_or_it_is_said(tmp_path: Path) -> None:
    assert written(tmp_path, [WINDOW], "csv")[0] == [["q2", "a2"]]
    (record,), counts = written(tmp_path, [WINDOW], "prompt-completion")
    assert record["completion"] == [turn("assistant", "a2")] and counts["not_held"] == {}
    assert record["prompt"] == [turn("user", "q1"), turn("assistant", "a1"), turn("user", "q2")]
    (record,), counts = written(tmp_path, [WINDOW], "sharegpt")
    assert [said.get("weight", 1) for said in record["conversations"]] == [1, 0, 1, 1] and counts["not_held"] == {}
    for form in ("alpaca", "vertex"):
        counts = written(tmp_path, [WINDOW], form)[1]
        assert counts["not_held"] == {"context": 1} and "learned again" in exports.notes(counts)[0]
    unlearned_end = {"messages": [*WINDOW["messages"], turn("user", "q3"), turn("assistant", "a3", weight=0)]}
    assert written(tmp_path, [unlearned_end], "csv")[0] == [["q2", "a2"]]
    assert written(tmp_path, [unlearned_end], "alpaca")[0][0]["output"] == "a2"
    assert written(tmp_path, [unlearned_end], "vertex")[0][0]["contents"][-1]["parts"] == [{"text": "a2"}]


LABELLED = {"messages": [turn("user", "t"), turn("assistant", "good")], "label": "good"}


def test_labels_are_written_as_such_or_said_to_be_lost(tmp_path: Path) -> None:
    assert written(tmp_path, [LABELLED], "classification") == (
        [{"text": "t", "label": "good"}],
        {"read": 1, "written": 1, "left_out": {}, "not_held": {}},
    )
    for form in OF_DIALOGS:
        counts = written(tmp_path, [LABELLED], form)[1]
        assert counts["not_held"]["labels"] == 1 and "labels" in exports.notes(counts)[-1]


def test_texts_are_texts_and_are_counted_where_they_are_not_written(tmp_path: Path) -> None:
    rows = [{"text": "Low tide."}, WINDOW, {"text": "High tide."}]
    records, counts = written(tmp_path, rows, "text")
    assert records == [{"text": "Low tide."}, {"text": "High tide."}] and counts["left_out"] == {"dialogs": 1}
    counts = written(tmp_path, rows, "csv")[1]
    assert counts["left_out"] == {"texts": 2} and exports.notes(counts)[0] == "2 texts are not in it"


@pytest.mark.parametrize("form", [*OF_DIALOGS, "classification"])
def test_what_cannot_be_held_at_all_is_refused_with_what_can(tmp_path: Path, form: str) -> None:
    with pytest.raises(UserError) as raised:
        written(tmp_path, [{"text": "Low tide."}], form)
    assert raised.value.code == "bad_input" and "1 texts" in raised.value.cause
    assert raised.value.next_step == "Choose text."
    assert {path.name for path in tmp_path.iterdir()} == {"rows.jsonl"}


def test_rows_that_are_none_are_refused_with_their_line(tmp_path: Path) -> None:
    for bad, found in (
        ({"instruction": "q", "output": "a"}, "{instruction, output}"),
        ({"messages": [{"from": "user", "value": "q"}]}, "message 1 is {from, value}"),
        ({"messages": [turn("user", "q"), {"role": "assistant", "content": None}]}, "message 2"),
        ({"messages": [turn("tool", "12C")]}, "of the role 'tool'"),
        ({"messages": []}, "a list of messages"),
        ([1], "no object"),
    ):
        with pytest.raises(UserError) as raised:
            written(tmp_path, [WINDOW, bad], "csv")  # type: ignore[list-item]
        assert "rows.jsonl line 2" in raised.value.cause and found in raised.value.cause, raised.value.cause
        assert "ftui llm prepare" in raised.value.next_step


texts = st.text(st.characters(codec="utf-8", exclude_characters="\r"), min_size=1, max_size=5)
dialogs = st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), texts, st.integers(0, 1)), max_size=9)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(st.lists(dialogs, min_size=1, max_size=3))
def test_every_learned_answer_is_learned_once(tmp_path: Path, made: list[list[tuple[str, str, int]]]) -> None:
    """What answers something and is learned is, whatever the format, the answer of one record, and nothing else is."""
    begin = {"messages": [turn("user", "first"), turn("assistant", "reply")]}
    rows = [
        {"messages": [turn(role, text, weight=weight if role == "assistant" else 1) for role, text, weight in said]}
        for said in made
        if said
    ]
    wanted: Counter[str] = Counter()
    for row in [begin, *rows]:
        messages = row["messages"]
        for place, said in enumerate(messages):
            if (
                said["role"] == "assistant"
                and said.get("weight", 1)
                and any(m["role"] == "user" for m in messages[:place])
            ):
                wanted[said["content"]] += 1
    records, counts = written(tmp_path, [begin, *rows], "prompt-completion")
    assert Counter(said["content"] for record in records for said in record["completion"]) == wanted
    assert counts["read"] == len(rows) + 1
    records, _ = written(tmp_path, [begin, *rows], "csv")
    assert sorted("\n".join(answer for _, answer in records)) == sorted("\n".join(wanted.elements()))
