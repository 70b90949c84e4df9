"""`ftui llm …` for a training: check, train, follow, stop, resume."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from engines.config.train import TrainConfig, preset
from engines.contract.errors import EXIT_FAILED, EXIT_OK
from engines.llm import LLMEngine
from ftui import command_line, format, preflight
from ftui.commands.llm import ConfigFile, RunName, chosen_dataset, llm, merged
from ftui.console import (
    Common,
    finish,
    follow,
    note,
    say,
    say_json,
    show_log,
    show_rows,
    show_status,
    started,
    stop_and_wait,
)

DatasetName = Annotated[str | None, Parameter(help="A dataset's name or file; default: the newest")]
Preset = Annotated[str | None, Parameter(name="--preset", help="quick, standard, thorough or demo")]


@llm.command
def train(
    dataset: DatasetName = None,
    /,
    *,
    preset_name: Preset = None,
    name: Annotated[str | None, Parameter(help="The adapter's name")] = None,
    config_file: ConfigFile = None,
    detach: Annotated[bool, Parameter(help="Return at once; the run goes on by itself", negative="")] = False,
    flags: Annotated[TrainConfig | None, Parameter(name="*")] = None,
    common: Common | None = None,
) -> int:
    """Train an adapter. Ctrl+C only stops watching; the training goes on.

    For example:

      ftui llm train chats --preset quick --gradient-accumulation-steps 8
      ftui llm train chats --name me-v2 --lora-rank 16 --num-epochs 3 --detach
    """
    common = common or Common()
    engine = common.engine()
    config = chosen_config(engine, preset_name, config_file, flags, quiet=common.json)
    data = chosen_dataset(engine, dataset)
    if not common.json:
        for warning in engine.check(data, config):
            note(f"! {warning}")
    run = engine.train(data, config, name=name)
    if detach:
        return started(run, f"ftui llm log -f {run.id}", as_json=common.json)
    return watch(engine, run, common)


def chosen_config(
    engine: LLMEngine, preset_name: str | None, file: Path | None, flags: TrainConfig | None, *, quiet: bool
) -> TrainConfig:
    """The preset, then what the model's family wants otherwise, then the file, then the flags."""
    base = preset(preset_name or "standard")
    said = merged(base, file, flags)
    family = engine.family_defaults(said.base_model, said.device)
    config = merged(base.model_copy(update=family), file, flags)
    taken = {name: value for name, value in family.items() if getattr(config, name) != getattr(said, name)}
    if taken and not quiet:
        note(f"as this base model needs it: {' '.join(command_line.flags(taken))}")
    return config


def watch(engine: LLMEngine, run: Any, common: Common) -> int:
    """Follow a training to its end and say what came of it."""
    status, progress = follow(engine, run, quiet=common.json)

    def report(result: dict[str, Any]) -> None:
        model, adapter = result.get("model"), result.get("adapter")  # one of them
        say(f"model:     {model}" if model else f"adapter:   {adapter}")
        say(f"loss:      {format.number(result.get('loss'))}, held-out part {format.number(result.get('eval_loss'))}")
        say(f"time:      {format.duration(result.get('seconds'))}")
        if result.get("ended_early"):
            say(f"ended:     early, {result['ended_early']}")
        if model:
            say(f"try it:    ftui llm chat --base --base-model {model}")
        else:
            say(f"activate:  ftui adapters activate {adapter}")

    return finish(run, status, progress, as_json=common.json, report=report)


@llm.command
def check(
    dataset: DatasetName = None,
    /,
    *,
    preset_name: Preset = None,
    config_file: ConfigFile = None,
    probe: Annotated[bool, Parameter(help="Load the model and measure speed and memory", negative="")] = False,
    flags: Annotated[TrainConfig | None, Parameter(name="*")] = None,
    common: Common | None = None,
) -> int:
    """Say what a training with these parameters will be, without starting it: steps, tokens, memory, disk, time.

    And what is learned of the first rows. Exits with 1 if it does not fit into the memory or
    on the disk.

    For example:

      ftui llm check chats --preset quick
      ftui llm check chats --batch-size 8 --max-seq-length 2048 --probe
    """
    common = common or Common()
    engine = common.engine()
    config = chosen_config(engine, preset_name, config_file, flags, quiet=common.json)
    if not common.json:
        note("looking at the dataset and the model …")
    found = engine.preflight(
        chosen_dataset(engine, dataset), config, probe=probe, on_phase=None if common.json else note
    )
    code = EXIT_OK if found["fits"] and found["fits_disk"] else EXIT_FAILED
    if common.json:
        say_json(found)
        return code
    for title, text in preflight.facts(found):
        say(f"{title:<12} {text}".rstrip())
    for text in preflight.advice(found):
        say(f"{'>' if found['fits'] else '!'} {text}")
    for text in found["warnings"]:
        say(f"! {text}")
    say("\nThe first rows; «so» stands what is learned:")
    show_rows(found["mask"], first=1)
    return code


@llm.command
def stop(
    run: RunName = None,
    /,
    *,
    grace: Annotated[float, Parameter(help="Seconds to save and end by itself before it is ended")] = 60.0,
    common: Common | None = None,
) -> int:
    """Save a checkpoint and stop; `ftui llm resume` goes on from there."""
    common = common or Common()
    engine = common.engine()
    chosen = engine.training_run(run)
    return stop_and_wait(engine.runs, chosen, grace, as_json=common.json)


@llm.command
def resume(
    run: RunName = None,
    /,
    *,
    detach: Annotated[bool, Parameter(help="Return at once", negative="")] = False,
    common: Common | None = None,
) -> int:
    """Go on with a stopped, failed or lost training from its newest checkpoint."""
    common = common or Common()
    engine = common.engine()
    chosen = engine.training_run(run)
    engine.resume(chosen)
    if detach:
        say_json(chosen.as_dict()) if common.json else say(f"resumed {chosen.id}")
        return 0
    return watch(engine, chosen, common)


@llm.command
def status(run: RunName = None, /, *, common: Common | None = None) -> int:
    """How the training stands that runs, else the newest one."""
    common = common or Common()
    engine = common.engine()
    show_status(engine.training_run(run), as_json=common.json)
    return 0


@llm.command
def log(
    run: RunName = None,
    /,
    *,
    follow: Annotated[bool, Parameter(name=["--follow", "-f"], help="Go on until the run ends", negative="")] = False,
    common: Common | None = None,
) -> int:
    """Print a training's log; -f follows it. With --json: its events, one a line."""
    common = common or Common()
    engine = common.engine()
    show_log(engine.training_run(run), following=follow, as_json=common.json)
    return 0
