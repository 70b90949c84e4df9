"""The registry of runs: found by id or prefix, deleted to the trash, and nothing secret on disk."""

from __future__ import annotations

import errno
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from engines.contract import statefiles
from engines.contract.errors import UserError
from engines.running.runs import Run, Runs
from engines.workspace import Workspace

CANARY = "hf_canary_5f2e81"


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(Workspace(tmp_path / "home"))


def create(runs: Runs, kind: str = "train", code: str = "", **details: Any) -> Run:
    return runs.create(kind, "a run", [sys.executable, "-c", code], **details)


def done(runs: Runs, run: Run) -> Run:
    runs.start(run)
    assert runs.wait(run, timeout=60).state == "done"
    return run


def test_the_newest_is_first(runs: Runs) -> None:
    first, second, other = create(runs), create(runs), create(runs, kind="prepare")
    assert [run.id for run in runs.list()] == [other.id, second.id, first.id]
    assert [run.id for run in runs.list("train")] == [second.id, first.id]
    newest = runs.newest("train")
    assert newest is not None and newest.id == second.id
    assert runs.newest("train", active=True) is None and runs.newest("evaluate") is None


def test_the_time_of_all_attempts_is_counted(runs: Runs) -> None:
    run = create(runs, code="import time; time.sleep(0.6); exit(1)")
    assert run.status().seconds() is None
    for attempts in (1, 2):
        runs.start(run)
        assert runs.wait(run, timeout=60).attempt == attempts
    status = run.status()
    last = (status.ended_at or 0) - (status.started_at or 0)
    assert status.earlier_seconds >= 0.6 and last >= 0.6
    assert status.seconds() == pytest.approx(status.earlier_seconds + last)


def test_ids_of_the_same_second_differ(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if the random part is the same: the folder is made by one of them alone."""
    parts = iter(["aaaa", "00" * 8, "aaaa", "aaaa", "bbbb", "00" * 8])
    monkeypatch.setattr("engines.running.runs.secrets.token_hex", lambda _: next(parts))
    monkeypatch.setattr("engines.running.runs.time.strftime", lambda _: "20260101-000000")
    assert create(runs).id == "20260101-000000-train-aaaa"
    assert create(runs).id == "20260101-000000-train-bbbb"


def test_found_by_id_or_by_its_beginning(runs: Runs) -> None:
    run = create(runs)
    assert runs.get(run.id).id == run.id
    assert runs.get(run.id[:-1]).id == run.id
    create(runs)
    with pytest.raises(UserError, match="2 runs begin with 2"):
        runs.get("2")
    with pytest.raises(UserError, match="there is no run x"):
        runs.get("x")


def test_found_by_its_name(runs: Runs) -> None:
    named = runs.create("train", "me-v2", [sys.executable, "-c", ""])
    assert runs.get("me-v2").id == named.id
    runs.create("evaluate", "me-v2", [sys.executable, "-c", ""])
    assert runs.get("me-v2", "train").id == named.id
    again = runs.create("train", "me-v2", [sys.executable, "-c", ""])
    with pytest.raises(UserError, match="2 runs are called me-v2") as caught:
        runs.get("me-v2", "train")
    assert named.id in caught.value.next_step and again.id in caught.value.next_step


def test_a_whole_id_wins_over_a_longer_one(runs: Runs) -> None:
    run = create(runs)
    longer = run.folder.with_name(f"{run.id}0")
    longer.mkdir()
    statefiles.write_json(longer / "spec.json", run.spec)
    assert runs.get(run.id).id == run.id


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "/etc", "a/b", "a\0b", "~", "*", ".locks", "a\nb", "x" * 101])
def test_a_wrong_name_never_leaves_the_folder(runs: Runs, name: str) -> None:
    create(runs)
    with pytest.raises(UserError):
        runs.get(name)


def test_what_is_no_run_is_passed_over(runs: Runs, tmp_path: Path) -> None:
    run = create(runs)
    folder = runs.workspace.runs
    (folder / "empty").mkdir()
    (folder / "file").write_text("x")
    (folder / "broken").mkdir()
    (folder / "broken" / "spec.json").write_text('{"kind": ')
    (folder / "list").mkdir()
    (folder / "list" / "spec.json").write_text("[]")
    (tmp_path / "elsewhere").mkdir()
    statefiles.write_json(tmp_path / "elsewhere" / "spec.json", run.spec)
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    assert [found.id for found in runs.list()] == [run.id]
    assert len(runs.reconcile()) == 1


def test_the_status_of_a_folder_that_is_half_made(tmp_path: Path) -> None:
    for content in (None, "", "{", "[]", "3", '{"state": null}', '{"attempt": 1}'):
        (tmp_path / "half").mkdir(exist_ok=True)
        if content is not None:
            (tmp_path / "half" / "status.json").write_text(content)
        run = Run(tmp_path / "half")
        assert run.status().state == "new" and not run.status().active and not run.status().ended
        assert (run.kind, run.name, run.result()) == ("?", "half", {})
        assert run.as_dict()["state"] == "new"


def test_a_run_of_its_own_folder(runs: Runs) -> None:
    code = "import os, sys; print(os.getcwd()); print(sys.argv[1]); print(os.environ['FTUI_RUN_DIR'])"
    run = runs.create("train", "a run", [sys.executable, "-c", code, "{run}/config.json"], config={"rank": 8})
    done(runs, run)
    folder = str(run.folder)
    assert run.log.read_text().splitlines()[1:] == [folder, f"{folder}/config.json", folder]
    assert statefiles.load_json(run.folder / "config.json") == {"rank": 8}


def test_the_trash_and_back(runs: Runs) -> None:
    run = done(runs, create(runs, code="print('hello')"))
    before = run.status()
    trashed = runs.delete(run)
    assert runs.list() == [] and trashed.parent == runs.workspace.home / "trash"
    with pytest.raises(UserError):
        runs.delete(run)
    again = runs.restore(trashed)
    assert (again.id, again.status(), "hello" in again.log.read_text()) == (run.id, before, True)
    with pytest.raises(UserError):
        runs.restore(trashed)


def test_a_deleted_run_cannot_be_started(runs: Runs) -> None:
    run = create(runs)
    runs.delete(run)
    with pytest.raises((UserError, OSError)):
        runs.start(run)
    assert not run.folder.exists()


def test_what_is_on_disk_is_private_and_holds_no_token(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", CANARY)
    code = (
        f"import os, sys; assert os.environ['HF_TOKEN'] == {CANARY[:9]!r} + {CANARY[9:]!r}; sys.exit(len(sys.argv) - 1)"
    )
    run = create(runs, code=code, config={"rank": 8}, device="cpu")
    done(runs, run)
    failed = runs.create("train", "a run", [sys.executable, "-c", code, "argument"])
    runs.start(failed)
    assert runs.wait(failed, timeout=60).state == "failed"
    for path in runs.workspace.home.rglob("*"):
        mode = path.stat().st_mode & 0o777
        assert mode == (0o700 if path.is_dir() else 0o600), path
        assert path.is_dir() or CANARY.encode() not in path.read_bytes(), path


def test_privacy_of_children(runs: Runs) -> None:
    names = ["HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK", "WANDB_MODE"]
    run = done(runs, create(runs, code=f"import os; print(*(os.environ[name] for name in {names!r}))"))
    assert run.log.read_text().splitlines()[1] == "1 1 disabled"


def test_a_command_with_a_name_that_is_no_utf8(runs: Runs) -> None:
    name = os.fsdecode(b"caf\xe9")
    run = runs.create(
        "train", "a run", [sys.executable, "-c", "import os, sys; os.write(1, os.fsencode(sys.argv[1]))", name]
    )
    done(runs, run)
    assert run.log.read_bytes().endswith(b"caf\xe9")


def test_a_missing_start_directory_is_told(runs: Runs) -> None:
    run = create(runs, cwd="/no/such/folder")
    runs.start(run)
    assert runs.wait(run, timeout=60).cause == "cannot start: No such file or directory: /no/such/folder"


def test_waiting_gives_up_in_time(runs: Runs) -> None:
    run = create(runs, code="import time; time.sleep(600)")
    runs.start(run)
    began = time.monotonic()
    assert runs.wait(run, timeout=0.2).state == "running"
    assert time.monotonic() - began < 30
    runs.request_stop(run, grace_seconds=0)
    assert runs.wait(run, timeout=60).state == "stopped"


def test_a_disk_that_will_not_be_written_is_told(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("engines.running.runs.statefiles.write_json", refuse)
    with pytest.raises(UserError, match="cannot be written: Read-only file system") as refused:
        create(runs)
    assert refused.value.code == "not_ready"
    assert runs.list() == [] and [entry.name for entry in runs.workspace.runs.iterdir()] in ([], [".locks"])
