"""`ftui runs …` for trainings that ran, and those that wait: compare, repeat, extend, samples, curves, the queue."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

from cyclopts import Parameter

from engines.config.train import TrainConfig
from engines.contract.errors import EXIT_OK
from engines.running import history
from engines.running.runs import Run
from ftui import format, sample_lines
from ftui.commands.llm import RunName
from ftui.commands.runs import runs
from ftui.commands.train import watch
from ftui.console import Common, note, say, say_json, started, table

NewName = Annotated[str | None, Parameter(help="The new adapter's name")]
Detach = Annotated[bool, Parameter(help="Return at once; the run goes on by itself", negative="")]
CURVE_WIDTH = 60


@runs.command
def compare(*names: str, common: Common | None = None) -> int:
    """Trainings side by side: the parameters that differ, the final figures, the curves.

    For example:

      ftui runs compare 20260101-10 20260102-11
    """
    common = common or Common()
    registry = common.engine().runs
    found = history.compare([registry.get(name, "train") for name in names])
    if common.json:
        say_json(found)
        return EXIT_OK
    heads = ["", *found["names"]]
    table(heads, [[name, *map(_cell, values)] for name, values in found["parameters"].items()], "same parameters")
    say()
    table(heads, [["state", *found["states"]], *[_figure(name, row) for name, row in found["figures"].items()]], "")
    for title in ("losses", "eval_losses"):
        curves = found[title]
        if any(curves):
            say(f"\n{title.replace('_', ' ')}, by step")
            for name, line in zip(found["names"], format.sparklines(curves, CURVE_WIDTH), strict=True):
                say(f"{format.shortened(name, 24):<24} {line}")
    return EXIT_OK


def _cell(value: Any) -> str:
    return "–" if value is None else str(value)


def _figure(name: str, row: list[Any]) -> list[str]:
    form = {"seconds": format.duration, "memory": format.size, "loss": format.number, "eval_loss": format.number}
    return [name.replace("_", " "), *[form[name](value) if name in form else _cell(value) for value in row]]


@runs.command
def repeat(
    run: str,
    /,
    *,
    name: NewName = None,
    detach: Detach = False,
    flags: Annotated[TrainConfig | None, Parameter(name="*")] = None,
    common: Common | None = None,
) -> int:
    """Train the same again: data, parameters, seed; or with a few parameters changed.

    For example:

      ftui runs repeat 20260101-10
      ftui runs repeat 20260101-10 --learning-rate 1e-4 --name calmer
    """
    common = common or Common()
    engine = common.engine()
    changes = {field: getattr(flags, field) for field in flags.model_fields_set} if flags is not None else {}
    return _started(engine, engine.repeat(engine.runs.get(run, "train"), name=name, changes=changes), detach, common)


@runs.command
def extend(
    run: str,
    /,
    *,
    epochs: Annotated[float, Parameter(help="How many more")] = 1.0,
    name: NewName = None,
    detach: Detach = False,
    common: Common | None = None,
) -> int:
    """Go on with a finished training for more epochs, from its last checkpoint; the first result stays as it is.

    The learning rate goes on where a training of that length would be.
    """
    common = common or Common()
    engine = common.engine()
    return _started(engine, engine.extend(engine.runs.get(run, "train"), epochs, name=name), detach, common)


def _started(engine: Any, run: Run, detach: bool, common: Common) -> int:
    if not detach:
        return watch(engine, run, common)
    return started(run, f"ftui llm log -f {run.id}", as_json=common.json)


@runs.command
def samples(run: RunName = None, /, *, common: Common | None = None) -> int:
    """What the model answered to the sample prompts, evaluation by evaluation."""
    common = common or Common()
    found = history.progress_of(common.engine().training_run(run)).samples
    if common.json:
        say_json([{"step": step, "prompt": prompt, "answer": answer} for step, prompt, answer in found])
        return EXIT_OK
    for line in sample_lines.lines(found):
        say(line)
    return EXIT_OK


@runs.command
def queue(*, common: Common | None = None) -> int:
    """The runs that wait for a device, the next one first. `ftui runs stop RUN` takes one out."""
    common = common or Common()
    return _show_queue(list(common.engine().runs.queue()), common)


@runs.command
def move(run: str, place: int, /, *, common: Common | None = None) -> int:
    """Put a waiting run at a place of the queue; 1 is the next one to start.

    For example:

      ftui runs move 20260101-10 1
    """
    common = common or Common()
    registry = common.engine().runs
    return _show_queue(list(registry.move_in_queue(registry.get(run), place)), common)


def _show_queue(waiting: list[Run], common: Common) -> int:
    if common.json:
        say_json([run.as_dict() for run in waiting])
        return EXIT_OK
    rows = [[str(number), run.id, run.name, str(run.spec.get("device"))] for number, run in enumerate(waiting, 1)]
    table(["place", "run", "name", "device"], rows, "nothing waits")
    return EXIT_OK


@runs.command
def restore(run: str, /, *, common: Common | None = None) -> int:
    """Bring a deleted run back from the trash."""
    common = common or Common()
    engine = common.engine()
    back = engine.runs.restore(engine.workspace.newest_trashed("run", run))
    say_json(back.as_dict()) if common.json else say(f"back: {back.id}")
    return EXIT_OK


@runs.command
def tensorboard(
    *names: str,
    port: Annotated[int, Parameter(help="On this machine's loopback alone")] = 6006,
    common: Common | None = None,
) -> int:
    """Show the curves of trainings in TensorBoard, until ctrl+c. Without names: all trainings.

    For example:

      ftui runs tensorboard
      ftui runs tensorboard 20260101-10 --port 6007
    """
    common = common or Common()
    engine = common.engine()
    chosen = [engine.runs.get(name, "train") for name in names] or engine.runs.list("train")
    folder = history.tensorboard_folder(chosen, engine.workspace.runs / ".tensorboard")
    python = engine.environments.require("llm")
    note(f"http://127.0.0.1:{port}/  over SSH first: ssh -L {port}:127.0.0.1:{port} HOST")
    argv = [str(python), "-m", "tensorboard.main", "--logdir", str(folder), "--host", "127.0.0.1", "--port", str(port)]
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(argv[0], argv)  # so that what ends this command ends TensorBoard
