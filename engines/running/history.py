"""What earlier trainings tell: compared with each other, repeated, carried on for longer."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from engines.config.job import build
from engines.config.train import TrainConfig
from engines.contract import checkpoints
from engines.contract.errors import UserError
from engines.running.follow import LogFile
from engines.running.progress import Progress
from engines.running.runs import Run
from engines.setup.environments import CODE, DISTRIBUTION

FIGURES = ("steps", "taken_step", "loss", "eval_loss", "tokens_per_second", "seconds", "memory")

AFTER = re.compile(r"-(again|longer)(-\d+)?$")


def code_state() -> dict[str, Any]:
    """Which version of this program runs: its release and, where it lies in a git checkout, commit and cleanness."""
    state: dict[str, Any] = {"version": importlib.metadata.version(DISTRIBUTION)}
    if (CODE / ".git").exists():
        commit = _git("rev-parse", "HEAD")
        if commit:
            state |= {"commit": commit, "changed": bool(_git("status", "--porcelain", "--untracked-files=no"))}
    return state


def _git(*arguments: str) -> str:
    try:
        argv = ["git", "-C", str(CODE), *arguments]
        return subprocess.run(argv, capture_output=True, text=True, timeout=5, stdin=subprocess.DEVNULL).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def progress_of(run: Run) -> Progress:
    """All figures of a run, read from its log."""
    return Progress.of(LogFile(run.log).poll_all())


def config_of(run: Run) -> TrainConfig:
    """The parameters of a training. Raises UserError if the run is no training of this version."""
    if run.kind != "train":
        raise UserError("usage", f"{run.id} is no training but a {run.kind}", "See `ftui runs list --kind train`.")
    return build(TrainConfig, run.spec.get("config", {}))


def name_after(run: Run, how: str) -> str:
    """What a run is called that does `run` again or goes on with it; how: again or longer."""
    return f"{AFTER.sub('', run.name)}-{how}"


def compare(runs: list[Run]) -> dict[str, Any]:
    """Trainings side by side, in the order given.

    `parameters`: only those that differ, name → one value per run; `figures`: name → one per run; `losses` and
    `eval_losses`: one list of (step, loss) per run. Raises UserError for fewer than two, or no trainings.
    """
    if len(runs) < 2:
        raise UserError("usage", "one run cannot be compared", "Name two or more runs.")
    for run in runs:
        config_of(run)
    told = [_told(run) for run in runs]
    names = list(dict.fromkeys(name for one in told for name in one))
    rows = {name: [one.get(name) for one in told] for name in names}
    progress = [progress_of(run) for run in runs]
    results = [run.result() or _figures_so_far(run, one) for run, one in zip(runs, progress, strict=True)]
    return {
        "runs": [run.id for run in runs],
        "names": [run.name for run in runs],
        "states": [run.status().state for run in runs],
        "parameters": {name: values for name, values in rows.items() if any(value != values[0] for value in values)},
        "figures": {name: [result.get(name) for result in results] for name in FIGURES},
        "losses": [one.losses for one in progress],
        "eval_losses": [one.eval_losses for one in progress],
    }


def _figures_so_far(run: Run, progress: Progress) -> dict[str, Any]:
    """Of a training that has no result, or none yet."""
    names = ("loss", "eval_loss", "tokens_per_second", "memory")
    return {"steps": progress.step or None, "seconds": run.status().seconds()} | {
        name: getattr(progress, name) for name in names
    }


def _told(run: Run) -> dict[str, Any]:
    """Everything that was decided before the run, flat."""
    spec = run.spec
    return {
        **spec.get("config", {}),
        "dataset": spec.get("dataset"),
        "data": spec.get("data_fingerprint"),
        "base_model": spec.get("base_model"),
        **{f"code {name}": value for name, value in spec.get("code", {}).items()},
        **spec.get("packages", {}),
    }


def copy_checkpoint(source: Run, target: Run) -> None:
    """Give `target` the newest complete checkpoint of `source`, to go on from. Raises UserError if there is none."""
    newest = checkpoints.newest_complete(source.folder / "checkpoints")
    if newest is None:
        raise UserError("conflict", f"{source.name} has no checkpoint any more", "Repeat it with more epochs.")
    folder = target.folder / "checkpoints" / newest.name
    shutil.copytree(newest, folder, ignore=shutil.ignore_patterns(checkpoints.MARK))
    mark = checkpoints.read_mark(newest) or {}
    checkpoints.mark_complete(folder, **{key: value for key, value in mark.items() if key != "files"})


def longer(config: TrainConfig, epochs: float) -> TrainConfig:
    """The parameters of the same training with more epochs."""
    if config.max_steps:
        raise UserError(
            "usage",
            f"this run was limited to {config.max_steps} steps, not by its epochs",
            "Repeat it with another --max-steps.",
        )
    return config.model_copy(update={"num_epochs": config.num_epochs + epochs})


def tensorboard_folder(runs: list[Run], folder: Path) -> Path:
    """A folder with a link of each run's TensorBoard files, named after the run. Made anew each time."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for run in runs:
        if (run.folder / "tensorboard").is_dir():
            (folder / f"{run.name}-{run.id[-4:]}").symlink_to(run.folder / "tensorboard")
    return folder
