"""The registry of adapters: `.active` is whole or absent and names a complete adapter or nothing."""

from __future__ import annotations

import json
import os
import shutil
import stat
from pathlib import Path

import pytest

from engines.contract.errors import UserError
from engines.llm import LLMEngine
from engines.weights.adapter_versions import path_of, prune
from engines.weights.adapters import FILES, Adapters


@pytest.fixture
def adapters(engine: LLMEngine) -> Adapters:
    return engine.adapters


def make(adapters: Adapters, name: str, *, complete: bool = True, loss: float = 1.5, created_at: float = 1.0) -> Path:
    final = adapters.folder / name / "final"
    final.mkdir(parents=True)
    (final / FILES[0]).write_text(json.dumps({"r": 8, "base_model_name_or_path": "some/base"}))
    if complete:
        (final / FILES[1]).write_bytes(b"weights")
    card = {
        "base_model": "/models/base",
        "dataset": {"name": "d_dataset.jsonl"},
        "figures": {"loss": loss},
        "created_at": created_at,
    }
    (adapters.folder / name / "card.json").write_text(json.dumps(card))
    return adapters.folder / name


def test_list_is_newest_first_and_shows_the_card(adapters: Adapters) -> None:
    make(adapters, "old", created_at=1.0)
    make(adapters, "new", created_at=2.0, loss=0.5)
    found = adapters.list()
    assert [adapter.name for adapter in found] == ["new", "old"]
    assert (found[0].loss, found[0].rank, found[0].base_model, found[0].dataset) == (
        0.5,
        8,
        "/models/base",
        "d_dataset.jsonl",
    )
    assert found[0].size > 0


def test_an_adapter_of_the_original_system_needs_no_card(adapters: Adapters) -> None:
    (make(adapters, "plain") / "card.json").unlink()
    assert adapters.get("plain").base_model == "some/base"


def test_activate_writes_the_bare_name_for_the_owner_alone(adapters: Adapters) -> None:
    make(adapters, "one")
    assert adapters.activate("one").active
    file = adapters.folder / ".active"
    assert file.read_bytes() == b"one"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert adapters.active() == "one"


def test_deactivate_removes_the_file(adapters: Adapters) -> None:
    make(adapters, "one")
    adapters.activate("one")
    assert adapters.deactivate() == "one"
    assert not (adapters.folder / ".active").exists()
    assert adapters.deactivate() is None


def test_an_incomplete_adapter_is_shown_and_refused(adapters: Adapters) -> None:
    make(adapters, "half", complete=False)
    assert not adapters.get("half").complete
    with pytest.raises(UserError, match="incomplete"):
        adapters.activate("half")
    assert adapters.active() is None


@pytest.mark.parametrize("name", ["../evil", "..", ".hidden", "a/b", "/etc", "", "a\nb", "x" * 101, "-rf", "a\0b"])
def test_a_name_cannot_leave_its_folder(adapters: Adapters, name: str) -> None:
    outside = adapters.workspace.home / "finetune" / "evil" / "final"
    outside.mkdir(parents=True)
    for file in FILES:
        (outside / file).write_text("{}")
    for act in (adapters.activate, adapters.delete, adapters.get):
        with pytest.raises(UserError):
            act(name)
    (adapters.folder / ".active").write_text(name.replace("\0", ""))
    assert adapters.active() is None
    assert outside.exists()


def test_a_link_is_not_an_adapter(adapters: Adapters, tmp_path: Path) -> None:
    target = make(adapters, "real")
    os.rename(target, tmp_path / "elsewhere")
    (adapters.folder / "link").symlink_to(tmp_path / "elsewhere")
    assert adapters.list() == []
    with pytest.raises(UserError, match="no adapter"):
        adapters.activate("link")


def test_deleting_the_active_adapter_asks_and_clears(adapters: Adapters) -> None:
    make(adapters, "one")
    adapters.activate("one")
    with pytest.raises(UserError, match="active"):
        adapters.delete("one")
    assert adapters.active() == "one"
    trashed = adapters.delete("one", even_if_active=True)
    assert adapters.list() == [] and not (adapters.folder / ".active").exists()
    assert adapters.restore(trashed).complete
    assert adapters.active() is None


def test_restore_does_not_overwrite(adapters: Adapters) -> None:
    make(adapters, "one", loss=1.0)
    trashed = adapters.delete("one")
    make(adapters, "one", loss=2.0)
    with pytest.raises(UserError, match="exists again"):
        adapters.restore(trashed)
    assert adapters.get("one").loss == 2.0


def test_the_newest_of_several_deleted_is_restored(adapters: Adapters) -> None:
    for loss in (1.0, 2.0):
        make(adapters, "a-b", loss=loss)
        adapters.delete("a-b")
    make(adapters, "x-a-b")
    adapters.delete("x-a-b")
    assert adapters.restore(adapters.workspace.newest_trashed("adapter", "a-b")).loss == 2.0


def test_active_naming_a_deleted_adapter_is_none(adapters: Adapters) -> None:
    (adapters.folder / ".active").write_text("gone")
    assert adapters.active() is None


def test_rename_keeps_the_adapter_active_and_its_weights(adapters: Adapters) -> None:
    make(adapters, "one")
    make(adapters, "other")
    adapters.activate("one")
    adapters.rename("one", "two")
    assert adapters.active() == "two" and [adapter.name for adapter in adapters.list()] == ["other", "two"]
    adapters.rename("other", "third")
    assert adapters.active() == "two" and adapters.get("third").complete
    with pytest.raises(UserError, match="already"):
        adapters.rename("third", "two")
    with pytest.raises(UserError, match="not a name"):
        adapters.rename("third", "../two")


def test_a_copy_is_another_adapter(adapters: Adapters) -> None:
    make(adapters, "one")
    adapters.activate("one")
    copied = adapters.copy("one", "two")
    assert (copied.complete, copied.active, copied.loss) == (True, False, 1.5)
    adapters.delete("two")
    assert adapters.get("one").complete


def test_notes_and_tags_stay_on_the_card(adapters: Adapters) -> None:
    make(adapters, "one")
    adapters.note("one", " too chatty\n")
    adapters.tag("one", ["faq", "good", "faq"])
    assert adapters.tag("one", ["late"], remove=["good"]).tags == ("faq", "late")
    adapter = adapters.rename("one", "two")
    assert (adapter.notes, adapter.tags, adapter.loss) == ("too chatty", ("faq", "late"), 1.5)
    for bad in (lambda: adapters.tag("two", ["a b"]), lambda: adapters.note("two", "x" * 3000)):
        with pytest.raises(UserError):
            bad()


def test_a_version_has_a_path_of_its_own_that_never_changes_its_content(adapters: Adapters) -> None:
    workspace = adapters.workspace
    make(adapters, "one")
    first = path_of(workspace, adapters.get("one"))
    adapters.rename("one", "two")
    assert path_of(workspace, adapters.get("two")) == first
    adapters.delete("two")
    weights = make(adapters, "two") / "final" / FILES[1]
    weights.write_bytes(b"others!")
    second = path_of(workspace, adapters.get("two"))
    assert second != first
    assert [(path / FILES[1]).read_bytes() for path in (first, second)] == [b"weights", b"others!"]


def test_a_version_that_somebody_wrote_into_is_made_again(adapters: Adapters) -> None:
    make(adapters, "one")
    make(adapters, "same")
    version = path_of(adapters.workspace, adapters.get("one"))
    os.chmod(version / FILES[1], 0o600)
    (version / FILES[1]).write_bytes(b"spoiled")  # and "one" with it, for they are one file
    again = path_of(adapters.workspace, adapters.get("same"))
    assert again == version and (again / FILES[1]).read_bytes() == b"weights"


def test_versions_are_kept_while_an_adapter_or_a_server_needs_them(adapters: Adapters) -> None:
    workspace = adapters.workspace
    shutil.rmtree(make(adapters, "one"))
    make(adapters, "one")
    version = path_of(workspace, adapters.get("one"))
    trashed = adapters.delete("one")
    prune(workspace, [])
    assert version.exists()  # it can be brought back from the trash
    shutil.rmtree(trashed)
    prune(workspace, [version])
    assert version.exists()
    prune(workspace, [])
    assert not version.exists()
