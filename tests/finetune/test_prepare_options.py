"""Modes, splits, filters, folders and archives, as runs of the real script. The counts always add up."""

from __future__ import annotations

import json
import os
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from telegram_exports import account, chat, write
from telegram_exports import dialog as talk
from test_chat_exports import discord
from test_prepare_dataset import refused, run

from engines.config.prepare import PrepareConfig
from engines.contract.dataset_files import part_paths
from finetune.formats.dialog import Dialog, Turn
from finetune.modes import rows_of
from finetune.split_files import held_out

SAMPLE = Path(__file__).resolve().parents[2] / "finetune" / "sample" / "result.json"


def write_rows(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def pair(question: str, answer: str, **more: Any) -> dict[str, Any]:
    return {"instruction": question, "output": answer, **more}


def prepared(tmp_path: Path, source: Path, **config: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """(rows, report) of a run that must succeed; checks that the counts add up."""
    output = tmp_path / "out.jsonl"
    code, events = run(source, output, config)
    assert code == 0, events[-1]
    rows = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    report = json.loads((tmp_path / "out.report.json").read_text())
    assert report["messages_read"] == report["messages_used"] + sum(report["dropped"].values())
    counts = report["rows"]
    assert counts["formed"] + counts["by_windows"] == counts["written"] + sum(counts["left_out"].values())
    assert counts["written"] == len(rows)
    return rows, report


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"mode": "instruct"},
        {"mode": "conversational", "window_turns": 4},
        {"drop_duplicates": True, "min_tokens": 30},
        {"redact": True, "split": 0.2},
    ],
)
def test_counts_add_up_on_the_sample(tmp_path: Path, config: dict[str, Any]) -> None:
    rows, report = prepared(tmp_path, SAMPLE, **config)
    assert len(rows) > 50
    assert 0.5 < report["estimated_tokens"] / 7600 < 4
    assert sum(report["months"].values()) == sum(report["sources"].values()) == report["dialogs"] == 166
    assert list(report["months"]) == sorted(report["months"]) and len(report["months"]) > 6


def dialog(*turns: str) -> Dialog:
    return Dialog([Turn("user" if number % 2 == 0 else "assistant", text) for number, text in enumerate(turns)], "k")


def test_modes() -> None:
    def made(mode: str, window: int = 6) -> list[list[tuple[str, int]]]:
        row = dialog("u1", "a1", "u2", "a2", "u3", "a3")
        row.turns.insert(0, Turn("system", "s"))
        return [[(turn.content, turn.weight) for turn in part.turns] for part in rows_of(row, mode, window)]

    assert len(made("dialog")) == 1
    assert made("instruct") == [[("s", 1), (f"u{n}", 1), (f"a{n}", 1)] for n in (1, 2, 3)]
    assert made("conversational", 4) == [
        [("s", 1), ("u1", 1), ("a1", 1)],
        [("s", 1), ("u1", 1), ("a1", 0), ("u2", 1), ("a2", 1)],
        [("s", 1), ("u2", 1), ("a2", 0), ("u3", 1), ("a3", 1)],
    ]
    half = Dialog([Turn("user", "u"), Turn("assistant", "no", 0), Turn("assistant", "yes")], "k")
    for mode in ("instruct", "conversational"):
        assert [part.turns for part in rows_of(half, mode, 2)] == [half.turns]


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3)), min_size=1, max_size=9), st.integers(2, 9))
def test_every_answer_is_learned_once(runs: list[tuple[int, int]], window: int) -> None:
    roles = [role for asked, said in runs for role in ["user"] * asked + ["assistant"] * said]
    row = Dialog([Turn(role, f"a{number}") for number, role in enumerate(roles)], "k")
    answers = [f"a{number}" for number, role in enumerate(roles) if role == "assistant"]
    for mode in ("instruct", "conversational"):
        learned = [
            turn.content
            for part in rows_of(row, mode, window)
            if part.turns[0].role == "user" and part.turns[-1].role == "assistant"
            for turn in part.turns
            if turn.role == "assistant" and turn.weight
        ]
        assert learned == answers


def test_a_split_keeps_conversations_and_labels(tmp_path: Path) -> None:
    rows = [{"text": f"text {number}", "label": "rare" if number % 10 == 0 else "common"} for number in range(100)]
    source = write_rows(tmp_path / "labels", *rows)
    _, report = prepared(tmp_path, source, split=0.2)
    train, evaluation = (
        [json.loads(line) for line in path.read_text().splitlines()] for path in part_paths(tmp_path / "out.jsonl")
    )
    assert (len(train), len(evaluation)) == (80, 20) == (report["split"]["train"], report["split"]["eval"])
    assert Counter(row["label"] for row in evaluation) == {"rare": 2, "common": 18}
    assert not {row["conversation"] for row in train} & {row["conversation"] for row in evaluation}
    prepared(tmp_path, source)
    assert not any(path.exists() for path in part_paths(tmp_path / "out.jsonl"))  # of a split that is gone


@given(st.sets(st.text(max_size=6), min_size=3), st.floats(0.01, 0.5), st.integers(0, 5))
def test_held_out_parts_are_stable(names: set[str], share: float, seed: int) -> None:
    held = held_out(names, share, seed)
    assert 1 <= len(held) < len(names) and held <= names
    assert held <= held_out(names, min(0.9, share * 1.5), seed)
    assert len(held_out(names, 2, seed)) == 2


def test_filters_and_redaction(tmp_path: Path) -> None:
    source = write_rows(
        tmp_path / "rows",
        pair("Where do you live?", "Write to owner@example.org or call +7 900 000-00-00."),
        pair("Where do you live?", "Write to owner@example.org or call +7 900 000-00-00."),
        pair("Do you like it?", "Yes"),
        pair("What is forbidden?", "A secret word is never said here, not even once."),
    )
    rows, report = prepared(
        tmp_path, source, redact=True, drop_duplicates=True, drop_one_word_answers=True, blocked_words=["secret"]
    )
    assert [turn["content"] for turn in rows[0]["messages"]][1] == "Write to [email] or call [phone]."
    assert len(rows) == 1
    assert sorted(report["rows"]["left_out"].values()) == [1, 1, 1]
    assert report["redacted"] == {"email": 2, "phone": 2}
    assert "leave out all 4 rows" in refused(tmp_path, source, {"min_tokens": 5000})["cause"]


@pytest.mark.parametrize("mode", ["dialog", "conversational", "instruct"])
def test_filters_are_for_what_is_written(tmp_path: Path, mode: str) -> None:
    long = "word " * 60
    turns = [
        ("user", "Where?"), ("assistant", "Here"), ("user", long), ("assistant", f"It is {long}"),
        ("user", "Where?"), ("assistant", "Here"), ("user", "Not a secret?"), ("assistant", "It is one."),
    ]  # fmt: skip
    row = {"messages": [{"role": role, "content": content.strip()} for role, content in turns]}
    source = write_rows(tmp_path / "rows", row, row)

    def written(**config: Any) -> list[list[str]]:
        rows, _ = prepared(tmp_path, source, mode=mode, window_turns=2, **config)
        return [[turn["content"][:6] for turn in row["messages"] if turn["role"] == "assistant"] for row in rows]

    windows = [["Here"], ["It is "], ["Here"], ["It is "]]
    rows = [[answer for window in windows for answer in window]] if mode == "dialog" else windows
    assert written() == rows * 2
    assert written(drop_duplicates=True) == (rows if mode == "dialog" else [["Here"], ["It is "], ["It is "]])
    assert written(near_duplicates=0.95) == (rows if mode == "conversational" else written(drop_duplicates=True))
    if mode != "dialog":
        assert written(drop_one_word_answers=True) == [["It is "], ["It is "]] * 2
        assert written(max_tokens=30) == [["Here"], ["Here"], ["It is "]] * 2
        assert written(blocked_words=["secret"]) == windows[:3] * 2


def test_a_folder_and_an_archive(tmp_path: Path) -> None:
    folder = tmp_path / "exports"
    (folder / "deep" / ".hidden").mkdir(parents=True)
    write_rows(folder / "a.jsonl", pair("q1", "a1"))
    write_rows(folder / "deep" / "b.txt", {"prompt": "q2", "completion": "a2"})
    write_rows(folder / "deep" / ".hidden" / "c.jsonl", pair("q3", "a3"))
    (folder / "photo.png").write_bytes(b"\x89PNG\0\0\0")
    os.symlink("/etc/passwd", folder / "link.jsonl")
    rows, report = prepared(tmp_path, folder)
    assert [row["messages"][0]["content"] for row in rows] == ["q1", "q2"]
    assert len({row["conversation"] for row in rows}) == 2
    assert list(report["files"]["skipped"]) == ["photo.png"]
    archive = tmp_path / "exports.bin"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("../../escape.jsonl", json.dumps(pair("q1", "a1")))
        packed.write(folder / "deep" / "b.txt", "b.txt")
    rows, _ = prepared(tmp_path, archive)
    assert [row["messages"][0]["content"] for row in rows] == ["q1", "q2"]
    assert not list(tmp_path.parent.glob("escape*")) and not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_that_is_mostly_unreadable_does_not_poison_the_others(tmp_path: Path, packed: bool) -> None:
    folder = tmp_path / "exports"
    folder.mkdir()
    bad = {"instruction": 7, "output": "a"}
    write_rows(folder / "good.jsonl", pair("q1", "a1"), bad, pair("q2", "a2"))
    write_rows(folder / "log.jsonl", bad, pair("not meant", "as a dialog"), bad, {"level": "info"})
    source = folder
    if packed:
        source = tmp_path / "exports.zip"
        with zipfile.ZipFile(source, "w") as archive:
            for file in folder.iterdir():
                archive.write(file, file.name)
    rows, report = prepared(tmp_path, source)
    assert [row["messages"][0]["content"] for row in rows] == ["q1", "q2"]
    cause = "3 of its 4 records cannot be read; line 1: instruction is a number, expected a text"
    assert report["files"] == {"read": 1, "skipped": {"log.jsonl": cause}}
    assert f"log.jsonl was left out: {cause}" in report["problems"]
    assert "good.jsonl: line 2: instruction is a number, expected a text" in report["problems"]
    assert (report["records"], report["lost"]) == (3 + 4, 1 + 4)
    assert "line 2: instruction is a number" in refused(tmp_path, source, {"strict": True})["cause"]
    (folder / "log.jsonl").replace(folder / "good.jsonl")
    write_rows(folder / "more.jsonl", bad)
    assert "none of the 2 files can be read; good.jsonl: 3 of its 4" in refused(tmp_path, folder)["cause"]


def test_an_archive_that_swells_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "bomb.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("x.jsonl", b"0" * 300_000_000)
    assert "is larger, unpacked" in refused(tmp_path, archive)["cause"]
    archive.write_bytes(archive.read_bytes()[:1000])
    assert "cannot be unpacked" in refused(tmp_path, archive)["cause"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1251"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_tables(tmp_path: Path, encoding: str, delimiter: str) -> None:
    table = tmp_path / "faq"
    cells = [["Вопрос", "Ответ"], ["Когда вы открыты?", '"С девяти\nдо пяти"'], ["Где вы?", "У реки"]]
    table.write_bytes("\n".join(delimiter.join(row) for row in cells).encode(encoding))
    rows, _ = prepared(tmp_path, table)
    assert [turn["content"] for turn in rows[0]["messages"]] == ["Когда вы открыты?", "С девяти\nдо пяти"]
    rows, _ = prepared(tmp_path, table, template="### {Вопрос}\n{ответ}")
    assert rows[1] == {"conversation": "0/2", "text": "### Где вы?\nУ реки"}
    rows, _ = prepared(tmp_path, table, columns=["user=ответ", "assistant=вопрос"])
    assert rows[1]["messages"][0] == {"role": "user", "content": "У реки"}


def test_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow comes with the training packages")
    from pyarrow import parquet

    path = tmp_path / "data"
    parquet.write_table(pyarrow.table({"instruction": ["q1", "q2"], "output": ["a1", "a2"]}), path)
    rows, _ = prepared(tmp_path, path)
    assert [row["messages"][1]["content"] for row in rows] == ["a1", "a2"]


def test_strict_fails_where_the_default_counts(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows", pair("q", "a"), {"instruction": 7, "output": "a"}, pair("q", "b"))
    _, report = prepared(tmp_path, source)
    assert report["records"] == 3 and report["lost"] == 1
    assert report["problems"] == ["line 2: instruction is a number, expected a text"]
    assert "line 2: instruction is a number" in refused(tmp_path, source, {"strict": True})["cause"]


def test_strict_fails_at_a_message_that_is_lost_or_cut_off(tmp_path: Path) -> None:
    source = write(tmp_path / "result.json", chat(*talk(3)))
    whole = source.read_bytes()
    cases = {
        "a message of result.json cannot be read": whole.replace(b'"answer 1"', b'7, "x": 1 "'),
        "result.json ends in the middle": whole[: whole.rindex(b',\n  {\n   "id"')],
    }
    for cause, damaged in cases.items():
        source.write_bytes(damaged)
        assert refused(tmp_path, source, {"strict": True})["cause"] == cause
        rows, report = prepared(tmp_path, source)
        assert rows and report["problems"]
        for path in (tmp_path / "out.jsonl", tmp_path / "out.report.json"):
            path.unlink()
    source.write_bytes(whole.replace(b'"answer 1"', rb'"answer \x0B1"'))
    rows, report = prepared(tmp_path, source, strict=True)  # what could be mended is not lost
    assert len(rows[0]["messages"]) == 6 and (report["repaired"], report["lost"]) == (1, 0)
    sorted_keys = tmp_path / "sorted.json"
    sorted_keys.write_text(json.dumps(json.loads(whole), sort_keys=True)[:-20])
    assert "ends in the middle" in refused(tmp_path, sorted_keys, {"strict": True})["cause"]
    source.write_text(json.dumps(discord())[:-400])
    assert "ends in the middle" in prepared(tmp_path, source, owner_name="Owner")[1]["problems"][0]
    for path in (tmp_path / "out.jsonl", tmp_path / "out.report.json"):
        path.unlink()
    assert "ends in the middle" in refused(tmp_path, source, {"strict": True, "owner_name": "Owner"})["cause"]


def test_a_time_that_cannot_be_does_not_end_the_conversion(tmp_path: Path) -> None:
    items = talk(3)
    items[2]["date_unixtime"], items[4]["date_unixtime"] = "99999999999999999", "253402300800"
    rows, report = prepared(tmp_path, write(tmp_path / "result.json", chat(*items)), system_prompt="On {date}.")
    assert [len(row["messages"]) for row in rows] == [7] and report["months"] == {"2023-11": 1}


def test_chats_that_are_left_out_are_told_with_the_option_that_lets_them_in(tmp_path: Path) -> None:
    kinds = ["personal_chat", "private_group", "public_supergroup", "bot_chat", "private_group"]
    chats = [chat(*talk(), kind=kind, id=200 + number) for number, kind in enumerate(kinds)]
    source = write(tmp_path / "result.json", account(*chats))
    left_out = {"private_group": 2, "public_supergroup": 1, "bot_chat": 1}
    _, report = prepared(tmp_path, source)
    assert report["chats"] == {"used": 1, "skipped": left_out, "by_option": {"include_groups": 3}}
    _, report = prepared(tmp_path, source, include_groups=True)
    assert report["chats"] == {"used": 4, "skipped": {"bot_chat": 1}, "by_option": {}}


def test_rows_with_nothing_to_learn_are_counted(tmp_path: Path) -> None:
    bad = {"prompt": "q", "completion": "no", "label": False}
    rows, report = prepared(tmp_path, write_rows(tmp_path / "rows", bad, {**bad, "label": True}, bad))
    assert len(rows) == 1 and report["dropped"] == {"nothing_to_learn": 2} and report["records"] == 3


def test_a_system_prompt_with_contact_and_date(tmp_path: Path) -> None:
    rows, _ = prepared(tmp_path, SAMPLE, system_prompt="You chat with {contact} on {date}.")
    first = rows[0]["messages"][0]
    assert first["role"] == "system" and "{" not in first["content"]
    assert first["content"].startswith("You chat with ") and " on 20" in first["content"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.text(max_size=20), st.text(max_size=20)), min_size=1, max_size=8))
def test_any_texts_are_written_as_rows_or_counted(tmp_path: Path, pairs: list[tuple[str, str]]) -> None:
    source = write_rows(tmp_path / "rows", pair("begin", "answer"), *(pair(*texts) for texts in pairs))
    rows, report = prepared(tmp_path, source)
    assert report["records"] == len(pairs) + 1 and len(rows) <= len(pairs) + 1


def test_the_defaults_leave_dialogs_as_they_are() -> None:
    config = PrepareConfig()
    assert (config.mode, config.split, config.redact, config.drop_duplicates) == ("dialog", None, False, False)
