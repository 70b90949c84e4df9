"""Conversations keep their names, and so their side of a split, whatever is exported beside them and however."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from telegram_exports import OWNER, START, account, chat, message, write
from test_chat_exports import IOS, discord
from test_prepare_options import pair, prepared, write_rows

from finetune.count_tokens import source_of
from finetune.split_files import part_paths

DAY = 86_400


def talk(number: int, name: str | None = "Peer", days: int = 6, **more: Any) -> dict[str, Any]:
    """A chat of as many conversations as days; what is said tells which one."""
    items = []
    for day in range(days):
        items.append(message(f"user{number}", f"{number} asks {day}", day * DAY))
        items.append(message(OWNER, f"answer to {number} on {day}", day * DAY + 60))
    return chat(*items, id=number, name=name, **more)


def named(rows: list[dict[str, Any]]) -> dict[str, str]:
    """The conversation of each first question."""
    return {row["messages"][0]["content"]: row["conversation"] for row in rows}


def held_out(tmp_path: Path) -> set[str]:
    rows = [json.loads(line) for line in part_paths(tmp_path / "out.jsonl")[1].read_text().splitlines()]
    return {row["messages"][0]["content"] for row in rows}


def test_a_new_export_with_other_chats_changes_no_name_and_no_side(tmp_path: Path) -> None:
    chats = [talk(number) for number in (200, 300, 400, 500)]
    folder = tmp_path / "ChatExport_2024-01-01"
    folder.mkdir()
    first, _ = prepared(tmp_path, write(folder / "result.json", account(*chats)), split=5)
    sides = held_out(tmp_path)
    assert len(sides) == 5 and named(first)["300 asks 0"] == f"300/{START}"

    moved = account(chats[3], talk(777, kind="private_group"), chats[0], chats[2], left=(chats[1],))
    again, _ = prepared(tmp_path, write(tmp_path / "later.json", moved, "minified"), split=5)
    assert named(again) == named(first) and held_out(tmp_path) == sides

    source = tmp_path / "both"
    source.mkdir()
    write(source / "b.json", account(chats[1], chats[0]))
    write(source / "a.json", account(chats[2], chats[3]))
    folded, report = prepared(tmp_path, source, split=5)
    assert named(folded) == named(first) and held_out(tmp_path) == sides
    assert report["conversations"] == 24


def test_two_chats_of_one_id_in_one_file_stay_apart(tmp_path: Path) -> None:
    twins = account(talk(200, "Ann"), talk(300, "Bob"), talk(200, "Ann"))
    rows, report = prepared(tmp_path, write(tmp_path / "result.json", twins))
    names = [row["conversation"] for row in rows]
    assert len(set(names)) == len(names) == report["conversations"] == 18
    assert {name.split("/")[0] for name in names} == {"200", "300", "200.2"}
    assert report["source_names"] == {"200/": "Ann (200)", "300/": "Bob", "200.2/": "Ann (200.2)"}


@pytest.mark.parametrize("processes", [1, 3])
def test_twins_are_told_apart_by_several_processes(tmp_path: Path, processes: int) -> None:
    twins = account(*(talk(200 + number % 3, days=40) for number in range(7)))
    source = write(tmp_path / "result.json", twins)
    rows, report = prepared(tmp_path, source, processes=processes)
    assert len({row["conversation"] for row in rows}) == len(rows) == 280
    assert set(report["sources"].values()) == {40} and len(report["sources"]) == 7


def test_chats_of_one_name_are_sources_of_their_own(tmp_path: Path) -> None:
    chats = [talk(200, "Ann"), talk(300, "Ann", 4), talk(400, None, 3), talk(500, None, 2), talk(600, "Bob", 1)]
    export = account(*chats, chat(message(OWNER, "note"), kind="saved_messages", id=100))
    _, report = prepared(tmp_path, write(tmp_path / "result.json", export))
    assert report["sources"] == {
        "Ann (200)": 6, "Ann (300)": 4, "Deleted account (400)": 3, "Deleted account (500)": 2, "Bob": 1,
    }  # fmt: skip
    assert set(report["source_names"].values()) == set(report["sources"])
    assert source_of(f"300/{START}", report["source_names"]) == "Ann (300)"


def test_files_of_a_folder_are_named_by_their_names(tmp_path: Path) -> None:
    folder = tmp_path / "exports"
    (folder / "deep").mkdir(parents=True)
    write_rows(folder / "b.jsonl", pair("q1", "a1"))
    write_rows(folder / "deep" / "odd: name%.jsonl", pair("q2", "a2"), pair("q3", "a3"))
    (folder / "WhatsApp Chat - Ann").mkdir()
    (folder / "WhatsApp Chat - Ann" / "_chat.txt").write_text(IOS, encoding="utf-8")
    (folder / "dm.json").write_text(json.dumps(discord()))
    before, report = prepared(tmp_path, folder, owner_name="Owner")
    names = report["source_names"]
    assert set(names.values()) == {"b.jsonl", "deep/odd: name%.jsonl", "WhatsApp Chat - Ann", "Peer"}
    assert all(source_of(row["conversation"], names) in report["sources"] for row in before)
    assert named(before)["q1"] == "b.jsonl:0/1"
    assert named(before)["q"].startswith("1/")  # the channel's id

    write_rows(folder / "a new one.jsonl", pair("q0", "a0"))
    after, _ = prepared(tmp_path, folder, owner_name="Owner")
    assert named(before).items() <= named(after).items() and len(after) == len(before) + 1


def test_members_of_one_name_stay_apart(tmp_path: Path) -> None:
    archive = tmp_path / "twice.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("rows.jsonl", json.dumps(pair("q1", "a1")))
        with pytest.warns(UserWarning, match="Duplicate name"):
            packed.writestr("rows.jsonl", json.dumps(pair("q2", "a2")))
    rows, report = prepared(tmp_path, archive)
    assert [row["conversation"] for row in rows] == ["rows.jsonl:0/1", "rows.jsonl%1:0/1"]
    assert report["sources"] == {"rows.jsonl (rows.jsonl)": 1, "rows.jsonl (rows.jsonl%1)": 1}
