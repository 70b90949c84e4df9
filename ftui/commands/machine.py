"""`ftui doctor` and `ftui setup`: what is there, what is missing, and how to mend it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from engines.errors import EXIT_NOT_READY, UserError
from ftui import format
from ftui.console import Common, finish, follow, note, say, say_json


def doctor(*, common: Common | None = None) -> int:
    """Say what this machine and workspace have, what is missing, and the command that mends it."""
    common = common or Common()
    facts = common.engine().doctor()
    environment = facts["environment"]
    if common.json:
        say_json(facts)
        return 0 if environment["ready"] else EXIT_NOT_READY
    for gpu in facts["gpus"]:
        free = f"{format.size(gpu['free_bytes'])} of {format.size(gpu['total_bytes'])} free"
        say(f"✓ GPU {gpu['index']}: {gpu['name']}, {free}")
    if not facts["gpus"]:
        say("· no GPU that nvidia-smi shows: training runs on the CPU, good for the embedded model")
    say(f"✓ {facts['cores']} cores, {format.size(facts['free_memory'])} of memory free")
    mark = "✓" if facts["free_disk"] > 2e9 else "✗"
    say(f"{mark} {format.size(facts['free_disk'])} of disk free for {facts['home']}")
    if environment["ready"]:
        versions = environment["packages"]
        shown = ", ".join(
            f"{name} {versions[name]}" for name in ("torch", "transformers", "trl", "peft") if name in versions
        )
        say(f"✓ training environment {environment['python']}: {shown}")
    else:
        problem = environment["problem"] or "missing: " + ", ".join(environment["missing"])
        say(f"✗ training environment {environment['python']}: {problem}\n    mend: ftui setup llm")
    if facts["embedded_model"]:
        say("✓ embedded base model SmolLM2-135M-Instruct")
    else:
        say("· the embedded base model is not converted yet (it happens at first use)\n    now: ftui setup")
    active = facts["active_adapter"] or "none"
    say(f"· {facts['datasets']} datasets, {facts['adapters']} adapters (active: {active}), {facts['runs']} runs")
    say("· voices: not here yet, only language models can be trained")
    return 0 if environment["ready"] else EXIT_NOT_READY


def setup(
    what: Annotated[Literal["llm", "tts"], Parameter(help="Which environment")] = "llm",
    /,
    *,
    python: Annotated[Path | None, Parameter(help="Use this interpreter instead of making an environment")] = None,
    common: Common | None = None,
) -> int:
    """Make the training environment and the embedded base model ready.

    Installs with the pip of this Python. Which torch comes, for CPU or CUDA, is decided by
    the package index that pip uses (PIP_INDEX_URL, PIP_EXTRA_INDEX_URL).

    For example:

      ftui setup
      ftui setup llm --python ~/envs/train/bin/python
    """
    common = common or Common()
    if what == "tts":
        raise UserError("not_ready", "voices cannot be trained yet", "Only `ftui setup llm` is there.")
    engine = common.engine()
    if python is not None:
        engine.environments.choose(what, python)
    for make in (engine.make_environment, engine.make_base_model):
        run = make()
        if run is None:
            continue
        if not common.json:
            note(f"{run.kind}: log in {run.log}")
        status, progress = follow(engine, run, quiet=common.json, stop_on_interrupt=True)
        if status.state != "done":
            return finish(run, status, progress, as_json=common.json, report=lambda _: None)
    report = engine.environments.report(what)
    if common.json:
        say_json({**report.as_dict(), "embedded_model": str(engine.models.embedded)})
    else:
        say(f"✓ training environment: {report.python}")
        say(f"✓ embedded base model: {engine.models.embedded}")
    return 0
