"""The arrows between the rooms: what each package may import, seen in a fresh interpreter."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"torch", "transformers", "peft", "trl", "datasets", "numpy"}


def imported_by(*modules: str, flags: tuple[str, ...] = ()) -> set[str]:
    code = f"import sys; import {', '.join(modules)}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    return set(subprocess.check_output([sys.executable, *flags, "-c", code], text=True, timeout=60).split())


def test_the_faces_import_neither_torch_nor_the_scripts() -> None:
    loaded = imported_by(
        "ftui.__main__", "ftui.cli", "ftui.app", "ftui.commands.llm", "ftui.commands.demo", "ftui.commands.machine"
    )
    assert not loaded & (HEAVY | {"finetune", "tts"})


def test_the_command_line_does_not_import_textual() -> None:
    assert "textual" not in imported_by("ftui.cli", "ftui.commands.llm")


def test_the_engines_import_nothing_of_ours_but_themselves() -> None:
    loaded = imported_by(
        "engines.llm",
        "engines.tuning.sweeps",
        "engines.quality.evaluation",
        "engines.setup.setup_environment",
        "engines.running.follow",
        "engines.running.progress",
    )
    assert not loaded & (HEAVY | {"ftui", "finetune", "tts", "textual"})


def test_the_supervisor_needs_no_site_packages() -> None:
    loaded = imported_by("engines.running.supervisor", flags=("-S",))
    assert not loaded & {"pydantic", "platformdirs", "msgspec"}


@pytest.mark.parametrize("module", ["finetune.prepare_dataset", "finetune.train", "finetune.evaluate", "finetune.chat"])
def test_a_script_imports_torch_only_when_it_runs(module: str) -> None:
    loaded = imported_by(module)
    assert not loaded & (HEAVY - {"numpy"} | {"ftui", "tts", "textual"})
