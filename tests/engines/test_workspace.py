"""Names never lead out of their folder, the trash gives back, folders are private."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.contract.errors import UserError
from engines.workspace import Workspace, check_name, name_from

TEXT = st.text(st.characters(), max_size=150) | st.text(st.sampled_from("./\\~\0 \n-+_a%:*?é中"), max_size=12)


@given(TEXT)
def test_a_name_that_is_let_through_is_an_entry_of_its_folder(tmp_path: Path, name: str) -> None:
    try:
        check_name(name, "a thing")
    except UserError as refused:
        assert refused.code == "usage" and refused.next_step
        return
    assert 1 <= len(name) <= 100
    assert not set(name) & set("/\\\0\n~ ") and not name.startswith((".", "-"))
    path = tmp_path / name
    assert path.parent == tmp_path and path.name == name
    assert Path(str(path)).resolve().parent == tmp_path.resolve()


@given(TEXT)
def test_any_text_makes_a_name(text: str) -> None:
    name = name_from(text)
    assert check_name(name, "a thing") == name
    assert name_from(name) == name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("My chat (1)", "My_chat_1"), ("../../etc/passwd", "etc_passwd"), ("", "unnamed"), ("...", "unnamed"),
        ("Аня", "Аня"), ("--help", "help"), ("a" * 200, "a" * 80), ("\x1b]52;c;x\x07", "52_c_x"),
    ],
)  # fmt: skip
def test_names_made_from_texts(text: str, name: str) -> None:
    assert name_from(text) == name


def test_the_trash_gives_back(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "home")
    file = workspace.datasets / "talk_dataset.jsonl"
    file.write_text("first")
    first = workspace.move_to_trash(file, "dataset")
    assert not file.exists()
    file.write_text("second")
    second = workspace.move_to_trash(file, "dataset")
    assert first != second
    workspace.restore(first)
    assert file.read_text() == "first"
    with pytest.raises(UserError, match="exists again"):
        workspace.restore(second)
    file.unlink()
    workspace.restore(second)
    assert file.read_text() == "second"
    with pytest.raises(UserError, match="not in the trash any more"):
        workspace.restore(second)


def test_folders_are_private_and_made_when_they_are_needed(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "home")
    assert list(workspace.home.iterdir()) == []
    folders = [workspace.runs, workspace.datasets, workspace.adapters, workspace.models]
    assert {folder.stat().st_mode & 0o777 for folder in [*folders, workspace.home]} == {0o700}


def test_a_home_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for home in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError):
            Workspace(home)


def test_each_device_has_its_lock(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "home")
    locks = {workspace.device_lock(device) for device in ("cpu", "cuda:0", "cuda:1", "mps")}
    assert len(locks) == 4 and {lock.parent.name for lock in locks} == {".locks"}
