"""`ftui data …` as real processes on real files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

SAMPLE = Path(__file__).resolve().parents[2] / "finetune" / "sample" / "result.json"


def ftui(home: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ftui", *map(str, words), "--home", str(home)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, "COLUMNS": "100"})


def told(home: Path, *words: str | Path) -> Any:
    done = ftui(home, *words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A workspace with the datasets one and two."""
    folder = tmp_path / "home"
    for name in ("one", "two"):
        source = tmp_path / f"{name}.jsonl"
        source.write_text(
            "".join(json.dumps({"prompt": f"{name} {n}", "completion": f"a{n}"}) + "\n" for n in range(4))
        )
        told(folder, "llm", "prepare", source, "--name", name, "--split", "1")
    return folder


def test_inspect_shows_what_would_be_made_and_writes_nothing(tmp_path: Path) -> None:
    found = told(tmp_path / "home", "data", "inspect", SAMPLE)
    assert (found["format"], found["dialogs"], found["sampled"]) == ("telegram", 166, False)
    assert sum(found["lengths"].values()) == found["rows"]["written"] == 166
    assert found["scripts"]["cyrillic"] > 10 and len(found["examples"]) == 3
    assert not list((tmp_path / "home" / "finetune" / "datasets").glob("*"))
    shown = ftui(tmp_path / "home", "data", "inspect", SAMPLE, "--mode", "instruct")
    assert "telegram" in shown.stdout and "█" in shown.stdout and "assistant:" in shown.stdout


def test_chats_that_are_left_out_are_told(tmp_path: Path) -> None:
    def some(number: int, kind: str) -> dict[str, Any]:
        said = [(f"user{number}", "q"), ("user100", "a")]
        items = [
            {"id": at, "type": "message", "date_unixtime": f"{1_700_000_000 + at}", "from_id": who, "text": text}
            for at, (who, text) in enumerate(said, 1)
        ]
        return {"name": "Peer", "type": kind, "id": number, "messages": items}

    chats = [some(200, "personal_chat"), some(201, "private_group"), some(202, "bot_chat")]
    source = tmp_path / "result.json"
    source.write_text(json.dumps({"personal_information": {"user_id": 100}, "chats": {"list": chats}}))
    shown = ftui(tmp_path / "home", "llm", "prepare", source, "--name", "chats")
    line = "chats:    1 used, left out 1 private group, 1 bot chat (1 with --include-groups)"
    assert line in shown.stdout
    assert line in ftui(tmp_path / "home", "data", "show", "chats").stdout


def test_inspect_reads_the_beginning_of_a_large_file(tmp_path: Path) -> None:
    source = tmp_path / "large.jsonl"
    row = json.dumps({"instruction": "q" * 200, "output": "a" * 800}) + "\n"
    with open(source, "w") as file:
        file.write('{"instruction": 5, "output": "x"}\n')
        for _ in range(300):
            file.write(row * 1000)
    began = time.monotonic()
    found = told(tmp_path / "home", "data", "inspect", source)
    assert time.monotonic() - began < 10  # of which most is the start of two processes
    assert found["sampled"] and 0 < found["share"] < 0.05 and found["bytes"] == source.stat().st_size
    assert found["problems"] == ["line 1: instruction is a number, expected a text"]


def large_chat(path: Path, indent: int | None, damaged: bool = False) -> Path:
    """A Telegram chat of 8 MB."""
    messages = [
        {"id": n, "type": "message", "date_unixtime": str(1_700_000_000 + n * 50), "from_id": f"user{1 + n % 2}",
         "text": f"{n} {{\"a\": [" + "word " * 60}
        for n in range(20_000)
    ]  # fmt: skip
    text = json.dumps({"name": "Ann", "type": "personal_chat", "id": 1, "messages": messages}, indent=indent)
    path.write_text(text.replace('"from_id": "user1"', '"from_id": "user1', 1) if damaged else text)
    return path


def test_where_a_look_ends_is_no_damage_of_the_file(tmp_path: Path) -> None:
    """Of an array, of an array in an object, of objects one after the other, of chats in two layouts."""
    claude = {"uuid": "u", "name": "n", "chat_messages": [
        {"sender": "human", "text": "q {[ " * 40, "content": []}, {"sender": "assistant", "text": "a", "content": []},
    ]}  # fmt: skip
    rows = [{"instruction": f"{n}", "output": 'a "]} ' * 40} for n in range(30_000)]
    files = [tmp_path / name for name in ("array", "member", "values")]
    files[0].write_text(json.dumps([claude] * 30_000))
    files[1].write_text(json.dumps({"about": {"n": [1]}, "data": rows}, indent=1))
    files[2].write_text("\n".join(json.dumps(row, indent=2) for row in rows))
    files += [large_chat(tmp_path / "plain", None), large_chat(tmp_path / "pretty", 1)]
    for file in files:
        found = told(tmp_path / "home", "data", "inspect", file)
        assert found["sampled"] and found["dialogs"] > 100, file
        assert (found["lost"], found["repaired"], found["problems"]) == (0, 0, []), file
    found = told(tmp_path / "home", "data", "inspect", large_chat(tmp_path / "damaged", 1, damaged=True))
    assert found["sampled"] and found["lost"] == 1 and len(found["problems"]) == 1  # which is damage


def test_of_a_preference_the_other_answer_is_shown_and_not_written(tmp_path: Path) -> None:
    source = tmp_path / "pairs.jsonl"
    asked, better = [{"role": "user", "content": "q"}], [{"role": "assistant", "content": " a "}]
    other = [{"role": "assistant", "content": "write to me@example.org"}]
    records = [
        {"prompt": "q", "chosen": "a", "rejected": "b"},
        {"input": {"messages": asked}, "preferred_output": better, "non_preferred_output": other},
        {"prompt": "q", "chosen": "a", "rejected": None},
    ]
    source.write_text("".join(json.dumps(record) + "\n" for record in records))
    examples = told(tmp_path / "home", "data", "inspect", source)["examples"]
    assert [example.get("rejected") for example in examples] == ["b", "write to me@example.org", None]
    shown = ftui(tmp_path / "home", "data", "inspect", source, "--redact").stdout
    assert "rejected: b" in shown and "rejected: write to [email]" in shown
    told(tmp_path / "home", "llm", "prepare", source, "--name", "pairs")
    assert all(row.keys() == {"messages", "conversation"} for row in lines(tmp_path / "home", "pairs"))


def test_show_tells_which_answers_are_only_context(home: Path) -> None:
    told(home, "llm", "prepare", SAMPLE, "--name", "windows", "--mode", "conversational")
    number = next(n for n, row in enumerate(lines(home, "windows")) if len(row["messages"]) == 4)
    first = ["--first", str(number), "--count", "1"]
    (dialog,) = told(home, "data", "show", "windows", *first)["preview"]
    assert [turn.get("weight") for turn in dialog] == [None, 0, None, None]
    shown = ftui(home, "data", "show", "windows", *first).stdout
    assert f"  context: {dialog[1]['content'][:20]}" in shown and f"assistant: {dialog[3]['content'][:20]}" in shown
    assert "context:" not in ftui(home, "data", "show", "one").stdout


def test_show_lists_what_could_not_be_read(tmp_path: Path) -> None:
    source, home = tmp_path / "rows.jsonl", tmp_path / "home"
    row = json.dumps({"instruction": "q", "output": "a"}) + "\n"
    source.write_text(row * 3 + '{"role": "assistant": "a"}\n' + '{"instruction": 5, "output": "a"}\n')
    told(home, "llm", "prepare", source, "--name", "rows")
    shown = ftui(home, "data", "show", "rows").stdout
    assert "problem:  line 5: instruction is a number" in shown and "problem:  line 4: not JSON" in shown


def test_inspect_says_what_is_wrong_also_if_it_should_be_strict(tmp_path: Path) -> None:
    source = tmp_path / "result.json"
    source.write_text(SAMPLE.read_text(encoding="utf-8")[:-500], encoding="utf-8")
    found = told(tmp_path / "home", "data", "inspect", source, "--strict")
    assert found["dialogs"] > 100 and "ends in the middle" in found["problems"][-1]


def test_inspect_unpacks_and_decodes_only_a_sample(tmp_path: Path) -> None:
    row = {"instruction": "q" * 200, "output": "a" * 800}
    archive = tmp_path / "large.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as packed:
        for name in ("one.jsonl", "two.jsonl"):
            packed.writestr(name, (json.dumps(row) + "\n") * 30_000)
    found = told(tmp_path / "home", "data", "inspect", archive)
    assert found["sampled"] and 0.05 < found["share"] < 0.15 and found["bytes"] > 60_000_000
    assert found["problems"] == [] and found["files"]["read"] == 2

    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow comes with the training packages")
    from pyarrow import parquet

    table = pyarrow.table({"instruction": [f"{n} {'q' * 200}" for n in range(30_000)], "output": ["a" * 800] * 30_000})
    parquet.write_table(
        table, tmp_path / "large.parquet", compression="none", use_dictionary=False, row_group_size=1000
    )
    found = told(tmp_path / "home", "data", "inspect", tmp_path / "large.parquet")
    assert found["sampled"] and 0.1 < found["share"] < 0.4 and found["dialogs"] == round(found["share"] * 30_000)


def test_inspect_refuses_in_words(tmp_path: Path) -> None:
    source = tmp_path / "page.json"
    source.write_text("<html></html>")
    done = ftui(tmp_path / "home", "data", "inspect", source)
    assert done.returncode == 3 and "HTML" in done.stderr and "Traceback" not in done.stderr


def test_merge_keeps_conversations_apart(home: Path) -> None:
    report = told(home, "data", "merge", "one", "two", "--name", "all")
    assert report["by_source"] == {"one": 4, "two": 4} and report["rows"]["written"] == report["dialogs"] == 8
    assert report["split"] == {"train": 6, "eval": 2, "conversations_held_out": 2, "kept": True}
    rows = [json.loads(line) for line in (home / "finetune/datasets/all_dataset.jsonl").read_text().splitlines()]
    assert len({row["conversation"] for row in rows}) == 8
    assert ftui(home, "data", "merge", "one", "two", "--name", "all").returncode != 0
    assert ftui(home, "data", "merge", "one", "one", "--name", "same").returncode == 2
    assert "all" in ftui(home, "data", "list").stdout


@pytest.mark.parametrize("form", ["messages", "sharegpt", "alpaca", "prompt-completion", "vertex", "csv"])
def test_what_is_exported_is_read_again_as_the_same_dialogs(home: Path, tmp_path: Path, form: str) -> None:
    output = tmp_path / "out"
    counts = told(home, "data", "export", "one", "--format", form, "--output", output)
    assert counts["read"] == counts["written"] == 4 and counts["left_out"] == counts["not_held"] == {}
    told(home, "llm", "prepare", output, "--name", "again")
    before, after = ([row["messages"] for row in lines(home, name)] for name in ("one", "again"))
    assert before == after
    assert ftui(home, "data", "export", "one", "--format", form, "--output", output).returncode != 0


@pytest.mark.parametrize("form", ["messages", "sharegpt", "prompt-completion"])
def test_windows_are_exported_and_read_again_with_what_is_only_context(home: Path, tmp_path: Path, form: str) -> None:
    told(home, "llm", "prepare", SAMPLE, "--name", "windows", "--mode", "conversational")
    output = tmp_path / "out"
    assert told(home, "data", "export", "windows", "--format", form, "--output", output)["not_held"] == {}
    told(home, "llm", "prepare", output, "--name", "again")
    before, after = ([row["messages"] for row in lines(home, name)] for name in ("windows", "again"))
    assert before == after and any(turn.get("weight") == 0 for row in after for turn in row)


def test_an_export_says_what_it_cannot_hold_and_refuses_what_it_cannot_hold_at_all(home: Path, tmp_path: Path) -> None:
    source = tmp_path / "labels.jsonl"
    source.write_text("".join(json.dumps({"text": f"t{n}", "label": "good"}) + "\n" for n in range(3)))
    told(home, "llm", "prepare", source, "--name", "labels")
    done = ftui(home, "data", "export", "labels", "--format", "csv", "--output", tmp_path / "labels.csv")
    assert "3 records of 3 rows" in done.stdout and "! 3 labels are plain answers there" in done.stderr
    told(home, "data", "export", "labels", "--format", "classification", "--output", tmp_path / "again")
    assert (tmp_path / "again").read_text() == source.read_text().replace(": ", ":").replace(", ", ",")
    done = ftui(home, "data", "export", "labels", "--format", "text", "--output", tmp_path / "t")
    assert done.returncode == 3 and "3 dialogs" in done.stderr and "classification" in done.stderr
    assert not (tmp_path / "t").exists()


def lines(home: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (home / f"finetune/datasets/{name}_dataset.jsonl").read_text().splitlines()]


def test_rename_delete_and_restore_take_everything_along(home: Path) -> None:
    folder = home / "finetune" / "datasets"
    before = {path.name: path.read_bytes() for path in folder.glob("one*")}
    assert len(before) == 4  # rows, report, two parts
    told(home, "data", "rename", "one", "first")
    assert {path.name.replace("first", "one"): path.read_bytes() for path in folder.glob("first*")} == before
    assert ftui(home, "data", "rename", "first", "two").returncode != 0
    assert ftui(home, "data", "rename", "first", "../evil").returncode == 2
    told(home, "data", "delete", "first")
    assert not list(folder.glob("first*"))
    told(home, "data", "restore", "first")
    assert {path.name.replace("first", "one"): path.read_bytes() for path in folder.glob("first*")} == before


@pytest.mark.parametrize("words", [["delete"], ["rename", "mine"]])
def test_a_file_of_ones_own_is_neither_deleted_nor_moved(home: Path, tmp_path: Path, words: list[str]) -> None:
    own = tmp_path / "own.jsonl"
    own.write_text(json.dumps(lines(home, "one")[0]) + "\n")
    done = ftui(home, "data", words[0], own, *words[1:])
    assert done.returncode == 2 and "is a file, not the name of a dataset" in done.stderr
    assert own.exists() and not list(home.glob("trash/*own*"))
    assert ftui(home, "data", "show", own).returncode == 0  # it may be looked at


@pytest.mark.parametrize("words", [["show", "one"], ["tokens", "one"]])
@pytest.mark.parametrize("option", ["--first", "--count"])
def test_numbers_below_0_are_wrong_usage(home: Path, words: list[str], option: str) -> None:
    done = ftui(home, "data", *words, option, "-1")
    assert done.returncode == 2 and option in done.stderr and "Traceback" not in done.stderr


def test_a_name_that_is_taken_is_said_and_swapped(home: Path, tmp_path: Path) -> None:
    before = lines(home, "one")
    other = tmp_path / "other.jsonl"
    other.write_text('{"prompt": "q", "completion": "a"}\n')
    said = ftui(home, "llm", "prepare", other, "--name", "one").stdout
    assert "the one that was there is in the trash; bring it back: ftui data restore one" in said
    assert len(lines(home, "one")) == 1
    assert "one is back; the one that was there is in the trash" in ftui(home, "data", "restore", "one").stdout
    assert lines(home, "one") == before
    told(home, "data", "restore", "one")
    assert len(lines(home, "one")) == 1


def test_datasets_of_different_sources_get_names_of_their_own(home: Path, tmp_path: Path) -> None:
    for folder in ("june", "july"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "talk.jsonl").write_text(json.dumps({"prompt": folder, "completion": "a"}) + "\n")
    sources = [tmp_path / folder / "talk.jsonl" for folder in ("june", "july", "june")]
    made = [told(home, "llm", "prepare", source)["name"] for source in sources]
    assert made == ["talk", "talk-2", "talk"]
    assert (
        told(home, "llm", "generate", "--from-project", SAMPLE.parents[2] / "docs", "--name", "talk")["name"] == "talk"
    )
    assert told(home, "llm", "prepare", sources[0])["name"] == "talk-3"


def test_files_and_dialogs_that_are_not_as_they_should_be_are_counted(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(13):
        (folder / f"photo{number}.png").write_bytes(b"\x89PNG\0")
    row = {"messages": [{"role": role, "content": "text"} for role in ("user", "user", "assistant")]}
    (folder / "rows.jsonl").write_text(json.dumps(row) + ",\n{\n")
    said = ftui(home, "llm", "prepare", folder, "--name", "many").stdout
    assert said.count("skipped:") == 11 and "skipped:  and 3 more files" in said
    assert "mended:   1 rows repaired, 1 rows lost, 1 messages joined to the turn before" in said
    said = ftui(home, "llm", "prepare", SAMPLE, "--name", "short", "--max-message-length", "60").stdout
    assert "mended:" in said and "messages shortened" in said


def test_tokens_shows_what_is_learned(home: Path, embedded_model: Path) -> None:
    model = ["--base-model", str(embedded_model)]
    found = told(home, "data", "tokens", "one", "--count", "2", "--max-seq-length", "32", *model)
    assert found["total"] == found["counted"] == 4 and found["too_long"] in (0, 4)
    assert sum(rows for _, rows in found["lengths"]) == 4
    shown = ftui(home, "data", "tokens", "one", "--count", "1", *model).stdout
    assert "«a0<|im_end|>»" in shown and "<|im_start|>user\none 0<|im_end|>" in shown
    assert ftui(home, "data", "tokens", "one", "--base-model", str(home)).returncode == 3


def test_all_tokens_are_counted_exactly_and_by_source(home: Path, embedded_model: Path) -> None:
    told(home, "llm", "prepare", SAMPLE, "--name", "chats")
    model = ["--base-model", str(embedded_model)]
    found = told(home, "data", "tokens", "chats", "--all", *model)
    shown = told(home, "data", "tokens", "chats", "--count", "0", *model)  # has fewer rows than it counts
    assert (found["tokens"], found["longest"], found["rows"]) == (shown["tokens"], shown["longest"], 166)
    report = told(home, "data", "show", "chats")["report"]
    assert {name: part["rows"] for name, part in found["by_source"].items()} == report["sources"]
    assert found["conversations"] == report["conversations"] and found["messages"] == report["turns"]
    assert sum(part["tokens"] for part in found["by_source"].values()) == found["tokens"]
    assert found["months"] == report["months"] and sum(found["languages"].values()) == 166
    assert found["languages"]["en"] > 140 and found["languages"]["ru"] >= 20 and found["duplicates"] == 0
    assert abs(report["estimated_tokens"] / found["tokens"] - 1) < 0.1

    told(home, "data", "merge", "chats", "one", "--name", "all")
    merged = ftui(home, "data", "tokens", "all", "--all", *model)
    assert "170 rows" in merged.stdout and "from chats" in merged.stdout and "of 4 rows from one" in merged.stdout
    told(home, "data", "merge", "one", "all", "--name", "twice")
    assert told(home, "data", "tokens", "twice", "--all", *model)["duplicates"] == 4
    assert "sessions: " in ftui(home, "data", "show", "chats").stdout


def test_tokens_are_estimated_as_a_template_writes_them(home: Path, tmp_path: Path, embedded_model: Path) -> None:
    labels = tmp_path / "labels.jsonl"
    rows = [{"text": f"Number {n} is fine", "label": ("even", "odd")[n % 2]} for n in range(40)]
    labels.write_text("".join(json.dumps(row) + "\n" for row in rows))
    told(home, "llm", "prepare", labels, "--name", "labels")
    told(home, "llm", "prepare", SAMPLE, "--name", "pairs", "--mode", "instruct")
    told(home, "llm", "prepare", SAMPLE, "--name", "prompted", "--system-prompt", "You are brief.")
    for name in ("labels", "pairs", "prompted"):
        exact = told(home, "data", "tokens", name, "--all", "--base-model", str(embedded_model))["tokens"]
        assert abs(told(home, "data", "show", name)["report"]["estimated_tokens"] / exact - 1) < 0.1


def test_a_dataset_that_is_damaged_is_not_counted_in_silence(home: Path, embedded_model: Path) -> None:
    path = home / "finetune/datasets/one_dataset.jsonl"
    path.write_text(path.read_text() + "{\n")
    done = ftui(home, "data", "tokens", "one", "--all", "--base-model", str(embedded_model))
    assert done.returncode == 3 and "line 5 is not JSON" in done.stderr
