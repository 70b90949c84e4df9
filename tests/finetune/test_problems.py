"""What is said of a source: which file, which line, what was found and expected, what to do."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
from telegram_exports import OWNER, PEER, chat, dialog, message, write
from test_prepare_dataset import refused, run
from test_prepare_options import pair, prepared, write_rows

WHATSAPP = "31.12.24, 21:15 - Peer: hello\n31.12.24, 21:16 - Owner: hi\n"


def packed(tmp_path: Path, **files: str | bytes) -> Path:
    archive = tmp_path / "source.zip"
    with zipfile.ZipFile(archive, "w") as into:
        for name, content in files.items():
            into.writestr(name.replace("__", "/").replace("_dot_", "."), content)
    return archive


def unpacked(tmp_path: Path, **files: str | bytes) -> Path:
    with zipfile.ZipFile(packed(tmp_path, **files)) as archive:
        archive.extractall(tmp_path / "source")
    return tmp_path / "source"


@pytest.mark.parametrize("place", [packed, unpacked])
def test_problems_of_several_files_name_the_file(tmp_path: Path, place: Any) -> None:
    good, bad = json.dumps(pair("q", "a")), json.dumps({"instruction": 7, "output": "a"})
    talk = json.dumps(chat(*dialog(3), message(PEER, "?", at=10**7), message(OWNER, "!", at=10**7 + 1)))
    source = place(
        tmp_path,
        chats__one_dot_json=talk[:-30],
        rows__two_dot_jsonl=f"{good}\n{bad}\n{good}",
        rows__three_dot_jsonl=json.dumps({"messages": [{"role": "user", "content": "q"}] * 2}) + f"\n{good}",
        notes_dot_html="<html><title>ChatGPT Data Export</title>",
        odd_dot_json='{"a": 1}',
    )
    _, report = prepared(tmp_path, source)
    assert "rows/two.jsonl: line 2: instruction is a number, expected a text" in report["problems"]
    assert any(text.startswith("rows/three.jsonl: line 1: roles do not alternate") for text in report["problems"])
    assert any(text.startswith("chats/one.json: ") for text in report["problems"])
    assert report["files"]["skipped"] == {
        "notes.html": "notes.html is an HTML page",
        "odd.json": "odd.json is of an unknown kind: a JSON object with the keys a",
    }
    assert report["joined"] == 1


@pytest.mark.parametrize("place", [packed, unpacked])
def test_a_missing_owner_is_what_is_to_be_mended(tmp_path: Path, place: Any) -> None:
    error = refused(tmp_path, place(tmp_path, a_dot_png=b"\x89PNG\0\0", chats__talk_dot_txt=WHATSAPP))
    assert "none of the 2 files can be read; chats/talk.txt: the export does not tell whose it is" in error["cause"]
    assert "as the owner" in error["next_step"]


def test_a_member_of_an_archive_is_called_by_its_name(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow comes with the training packages")
    source = packed(tmp_path, deep__faq_dot_parquet=b"PAR1 and nothing more")
    assert refused(tmp_path, source)["cause"].startswith("faq.parquet: ")


def test_dialogs_that_had_to_be_mended_are_listed_with_their_lines(tmp_path: Path) -> None:
    row = {"messages": [{"role": "assistant", "content": "a"}, {"role": "user", "content": "q"}]}
    sound = {"messages": row["messages"][::-1]}
    _, report = prepared(tmp_path, write_rows(tmp_path / "rows", sound, row))
    assert report["problems"] == [
        "line 2: answers before the first question 1; questions at the end without an answer 1; "
        "too few turns are left, so the row was left out"
    ]
    _, events = run(write_rows(tmp_path / "rows", *[sound, row] * 30), tmp_path / "out.jsonl")
    warnings = [event["text"] for event in events if event["event"] == "warning"]
    assert len(warnings) == 21 and warnings[-1] == "and 10 more rows that are not as they should be"


def test_an_unknown_table_asks_for_its_columns(tmp_path: Path) -> None:
    source = tmp_path / "t.csv"
    source.write_text("frage,antwort\nq,a\n")
    error = refused(tmp_path, source)
    assert "line 2: found {frage, antwort}" in error["cause"] and "--columns user=…" in error["next_step"]
    assert len(prepared(tmp_path, source, columns=["user=frage", "assistant=antwort"])[0]) == 1
    error = refused(tmp_path, source, {"columns": ["user=frage", "assistant=reply"]})
    assert "expected a text in the column reply" in error["cause"] and "that the rows have" in error["next_step"]
    assert "--columns user=…" in refused(tmp_path, write(tmp_path / "t.json", [{"frage": "q"}]))["next_step"]


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    assert refused(tmp_path, tmp_path / "pipe.json")["cause"] == "pipe.json is a pipe or a device"
