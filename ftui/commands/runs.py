"""`ftui runs …`: every job that ever ran."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from ftui import format
from ftui.console import Common, say, say_json, show_log, stop_and_wait, table

# Of a run's spec, for those who want to do it again.
MADE_OF = (
    "source", "output", "dataset", "dataset_path", "data_fingerprint", "base_model", "adapter", "adapters", "after",
    "part_of", "code", "packages",
)  # fmt: skip

runs = App(name="runs", help="Every job that ever ran here.", help_format="plaintext")


@runs.command(name="list")
def list_runs(
    *,
    kind: Annotated[str | None, Parameter(help="prepare, generate, train, sweep, evaluate, model or setup")] = None,
    common: Common | None = None,
) -> int:
    """All runs, newest first."""
    common = common or Common()
    found = common.engine().runs.list(kind)
    if common.json:
        say_json([run.as_dict() for run in found])
        return 0
    rows = []
    for run in found:
        status = run.status()
        rows.append(
            [run.id, format.STATE_MARKS[status.state], run.name, format.duration(status.seconds()), status.cause[:60]],
        )
    table(["run", "state", "name", "time", "cause"], rows, "nothing has run yet")
    return 0


@runs.command
def show(run: str, /, *, common: Common | None = None) -> int:
    """One run: state, what it was made of (data, base model, code, versions), parameters, figures, where its log is."""
    common = common or Common()
    chosen = common.engine().runs.get(run)
    details = {**chosen.as_dict(), "config": chosen.spec.get("config", {}), "result": chosen.result()}
    details |= {name: chosen.spec[name] for name in MADE_OF if chosen.spec.get(name) is not None}
    if common.json:
        say_json(details)
        return 0
    for key, value in details.items():
        if isinstance(value, dict):
            for name, entry in value.items():
                say(f"{key}.{name}: {entry}")
        elif value not in (None, ""):
            say(f"{key}: {format.date(value) if key.endswith('_at') else value}")
    return 0


@runs.command
def log(
    run: str,
    /,
    *,
    follow: Annotated[bool, Parameter(name=["--follow", "-f"], help="Go on until the run ends", negative="")] = False,
    common: Common | None = None,
) -> int:
    """Print the log of any run."""
    common = common or Common()
    show_log(common.engine().runs.get(run), following=follow, as_json=common.json)
    return 0


@runs.command
def stop(run: str, /, *, grace: float = 60.0, common: Common | None = None) -> int:
    """Ask any run to end; take a queued one out of the queue."""
    common = common or Common()
    engine = common.engine()
    chosen = engine.runs.get(run)
    return stop_and_wait(engine.runs, chosen, grace, as_json=common.json)


@runs.command
def delete(run: str, /, *, common: Common | None = None) -> int:
    """Move an ended run, with its log and checkpoints, to the trash."""
    common = common or Common()
    registry = common.engine().runs
    where = registry.delete(registry.get(run))
    say_json({"trash": str(where)}) if common.json else say(f"in the trash: {where}")
    return 0
