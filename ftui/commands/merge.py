"""`ftui llm merge` and `combine`: adapters become models, or one adapter."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter

from engines.config.combine import CombineConfig
from engines.config.merge import MergeConfig
from engines.weights.merging import combine as start_combine
from engines.weights.merging import merge as start_merge
from ftui import export_lines, format
from ftui.commands.chat import llm
from ftui.commands.llm import ConfigFile, chosen_adapter, merged
from ftui.console import Common, finish, follow, say, started


@llm.command
def merge(
    adapter: Annotated[str | None, Parameter(help="Default: the active one, else the newest")] = None,
    /,
    *,
    output: Annotated[
        str | None, Parameter(help="A name among the workspace's models, or a folder; default: ADAPTER-merged")
    ] = None,
    base_model: Annotated[str | None, Parameter(help="Default: the one it was trained on")] = None,
    config_file: ConfigFile = None,
    detach: Annotated[bool, Parameter(help="Return at once; the run goes on by itself", negative="")] = False,
    flags: Annotated[MergeConfig | None, Parameter(name="*")] = None,
    common: Common | None = None,
) -> int:
    """Add an adapter's weights to its base model: one model that needs no adapter, and can be trained further.

    Takes less than a GB of memory for a model of any size. Ctrl+C only stops watching. A merge that was stopped or
    killed goes on after its last finished file when the same command is given again.

    For example:

      ftui llm merge me-v2
      ftui llm merge me-v2 --output /mnt/big/me-v2-merged --no-check
      ftui llm merge me-v2 --base-model Qwen/Qwen2.5-7B-Instruct
    """
    common = common or Common()
    engine = common.engine()
    config = merged(MergeConfig(), config_file, flags)
    run = start_merge(engine, chosen_adapter(engine, adapter), config, output=output, base_model=base_model)
    if detach:
        return started(run, f"ftui runs log -f {run.id}", as_json=common.json)
    status, progress = follow(engine, run, quiet=common.json)
    return finish(run, status, progress, as_json=common.json, report=report_merge)


def report_merge(result: dict[str, Any]) -> None:
    """What was made and how far it is from base and adapter, for people."""
    say(f"model:      {result['model']}, {format.size(result['bytes'])} in {format.path(result['folder'])}")
    say(f"time:       {format.duration(result['seconds'])}")
    for line in export_lines.difference(result):
        say(line)
    say(f"use it:     ftui llm chat --base --base-model {format.path(result['folder'])}")


@llm.command
def combine(
    adapters: Annotated[list[str], Parameter(help="Two or more, of the same base model")],
    /,
    *,
    name: Annotated[str, Parameter(help="What the new adapter is called")],
    config_file: ConfigFile = None,
    flags: Annotated[CombineConfig | None, Parameter(name="*")] = None,
    common: Common | None = None,
) -> int:
    """Make one adapter of several, by the weights you give.

    For example:

      ftui llm combine faq sales --name both
      ftui llm combine faq sales --name both --weights 0.7 --weights 0.3 --method ties --density 0.3
    """
    common = common or Common()
    engine = common.engine()
    config = merged(CombineConfig(), config_file, flags)
    run = start_combine(engine, [engine.adapters.get(adapter) for adapter in adapters], name, config)
    status, progress = follow(engine, run, quiet=common.json, stop_on_interrupt=True)

    def report(result: dict[str, Any]) -> None:
        say(f"adapter:  {result['adapter']}, rank {result['rank']}")
        say(f"activate: ftui adapters activate {result['adapter']}")

    return finish(run, status, progress, as_json=common.json, report=report)
