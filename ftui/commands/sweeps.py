"""`ftui llm sweep` and `ftui sweeps …`: the training repeated with other parameters, until the best are known."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from engines.config.sweep import SweepConfig
from engines.llm import LLMEngine
from engines.running.runs import Run
from engines.tuning import sweep_space
from engines.tuning import sweeps as engine_sweeps
from ftui import format, sweep_table
from ftui.commands.generate import llm
from ftui.commands.llm import chosen_dataset
from ftui.console import Common, finish, follow, note, say, say_json, started, table

sweeps = App(name="sweeps", help="Searches for good training parameters.", help_format="plaintext")
SweepName = Annotated[str | None, Parameter(help="A sweep's name or run id; default: the newest")]


@llm.command
def sweep(
    space: Annotated[Path, Parameter(help="The search space, a YAML file; `ftui sweeps example` prints one")],
    /,
    *,
    dataset: Annotated[str | None, Parameter(help="A dataset's name or file; default: the newest")] = None,
    name: Annotated[str | None, Parameter(help="The adapters are called NAME-t01, NAME-t02 …")] = None,
    preview: Annotated[bool, Parameter(help="Check the space, say what would be tried, and end", negative="")] = False,
    detach: Annotated[bool, Parameter(help="Return at once; the sweep goes on by itself", negative="")] = False,
    flags: Annotated[SweepConfig | None, Parameter(name="*")] = None,
    common: Common | None = None,
) -> int:
    """Train again and again with other parameters, and keep the best adapter. Ctrl+C only stops watching.

    For example:

      ftui sweeps example > space.yaml
      ftui llm sweep space.yaml --dataset chats --name tuned --trials 20
      ftui llm sweep space.yaml --dataset chats --sampler random --preview
    """
    common = common or Common()
    engine = common.engine()
    given = {name: getattr(flags, name) for name in flags.model_fields_set} if flags else {}
    plan = sweep_space.make_plan(sweep_space.read(space), given)
    if preview:
        return _preview(plan, common)
    data = chosen_dataset(engine, dataset)
    run = engine_sweeps.start(engine, data, plan, name=name)
    if detach:
        return started(run, f"ftui sweeps show {run.name}", as_json=common.json)
    return _watch(engine, run, common)


def _preview(plan: sweep_space.Plan, common: Common) -> int:
    if common.json:
        say_json({"trials": plan.trials, **plan.as_dict()})
        return 0
    say(f"{plan.trials} trials, {plan.config.sampler}; {plan.config.direction} {plan.config.objective}")
    if plan.trials < plan.wanted:
        say(f"  not {plan.wanted}: the search space has no more combinations")
    for line in sweep_table.ranges(plan):
        say(f"  {line}")
    return 0


def _watch(engine: LLMEngine, run: Run, common: Common) -> int:
    status, progress = follow(engine, run, quiet=common.json)

    def report(result: dict[str, Any]) -> None:
        _print(engine_sweeps.state(run))
        say(f"adapter:   {result['adapter']}")
        say(f"activate:  ftui adapters activate {result['adapter']}")

    if status.state != "done" and not common.json:
        _print(engine_sweeps.state(run))
    return finish(run, status, progress, as_json=common.json, report=report)


def _print(found: engine_sweeps.SweepState) -> None:
    say(f"{found.run.name}  {sweep_table.summary(found)}")
    table(sweep_table.headings(found), [cells for _, cells in sweep_table.rows(found)], "no trial yet")
    for trial in found.trials:
        if trial.cause and trial.state == "failed":
            note(f"! trial {trial.number}: {trial.cause}")


@sweeps.command
def example() -> int:
    """Print a search space with comments, to begin with: ftui sweeps example > space.yaml"""
    print(engine_sweeps.example(), end="")
    return 0


@sweeps.command(name="list")
def list_sweeps(*, common: Common | None = None) -> int:
    """All sweeps, newest first."""
    common = common or Common()
    found = [engine_sweeps.state(run) for run in common.engine().runs.list("sweep")]
    if common.json:
        say_json([entry.as_dict() for entry in found])
        return 0
    rows = [
        [
            entry.run.name,
            format.STATE_MARKS[entry.status.state],
            f"{entry.ended}/{entry.plan.trials}",
            format.number(entry.best.objective if entry.best else None),
            entry.best.adapter if entry.best else "",
            format.date(entry.run.spec.get("created_at")),
        ]
        for entry in found
    ]
    table(["sweep", "state", "trials", "best", "adapter", "started"], rows, "no sweep yet; see ftui llm sweep --help")
    return 0


@sweeps.command
def show(sweep: SweepName = None, /, *, common: Common | None = None) -> int:
    """One sweep: its trials, best first, with each parameter's place in its range."""
    common = common or Common()
    found = engine_sweeps.get(common.engine(), sweep)
    say_json(found.as_dict()) if common.json else _print(found)
    return 0


@sweeps.command
def stop(sweep: SweepName = None, /, *, common: Common | None = None) -> int:
    """Stop a sweep; its trial under way saves a checkpoint, and `ftui sweeps resume` goes on with it."""
    common = common or Common()
    engine = common.engine()
    run = engine_sweeps.get(engine, sweep).run
    engine_sweeps.stop(engine, run)
    status = engine.runs.wait(run, timeout=engine_sweeps.STOP_SECONDS + 30)
    say_json(run.as_dict()) if common.json else say(f"{format.STATE_MARKS[status.state]}  {run.name}")
    return 0


@sweeps.command
def resume(
    sweep: SweepName = None,
    /,
    *,
    detach: Annotated[bool, Parameter(help="Return at once", negative="")] = False,
    common: Common | None = None,
) -> int:
    """Go on with a stopped, failed or killed sweep; trials that have ended are not repeated."""
    common = common or Common()
    engine = common.engine()
    run = engine_sweeps.get(engine, sweep).run
    engine_sweeps.resume(engine, run)
    if detach:
        say_json(run.as_dict()) if common.json else say(f"resumed {run.name}")
        return 0
    return _watch(engine, run, common)
