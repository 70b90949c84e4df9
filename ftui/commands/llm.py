"""`ftui llm …`: prepare a dataset, train, follow, stop, resume, evaluate, talk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, TypeVar

from cyclopts import App, Parameter

from engines.config.evaluate import EvaluateConfig
from engines.config.job import JobConfig, build
from engines.config.prepare import PrepareConfig
from engines.contract.errors import EXIT_FAILED, EXIT_OK, UserError
from engines.llm import LLMEngine
from engines.quality import evaluation
from engines.running.runs import Run
from ftui import evaluation_lines, format
from ftui.console import Common, finish, follow, say, say_json

SHOWN_FILES = 10  # of those that were skipped

llm = App(name="llm", help="Language-model adapters: from an export to an answer.", help_format="plaintext")

Config = TypeVar("Config", bound=JobConfig)
RunName = Annotated[
    str | None,
    Parameter(help="A run's id, its beginning, or its name; default: the training that runs, else the newest"),
]
ConfigFile = Annotated[Path | None, Parameter(name="--config", help="Parameters from a JSON file; flags win over it")]


def merged(base: Config, file: Path | None, flags: Config | None) -> Config:
    """`base`, then what the JSON file says, then the flags that were given."""
    values: dict[str, Any] = base.model_dump()
    if file is not None:
        try:
            loaded = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError("usage", f"{file} cannot be read as JSON: {error}", 'Write {"field": value, …}.') from None
        if not isinstance(loaded, dict):
            raise UserError("usage", f"{file} holds no JSON object", 'Write {"field": value, …}.')
        values |= loaded
    if flags is not None:
        values |= {name: getattr(flags, name) for name in flags.model_fields_set}
    return build(type(base), values)


@llm.command
def prepare(
    source: Annotated[str, Parameter(help="A file, a folder, a zip archive, or owner/name on the hub")],
    /,
    *,
    output: Annotated[Path | None, Parameter(help="Write exactly this file instead of one in the workspace")] = None,
    name: Annotated[str | None, Parameter(help="The dataset's name in the workspace")] = None,
    config_file: ConfigFile = None,
    flags: Annotated[PrepareConfig | None, Parameter(name="*")] = None,
    common: Common | None = None,
) -> int:
    """Turn chats, instructions, texts or tables into a dataset, whatever format they have.

    For example:

      ftui llm prepare ~/Downloads/Telegram/result.json --name chats --split 0.1
      ftui llm prepare result.json --output chats.jsonl --owner-name "My Name" --redact
      ftui llm prepare faq.csv --columns user=question --columns assistant=answer
      ftui llm prepare exports/ --drop-duplicates --languages ru --languages en
    """
    common = common or Common()
    engine = common.engine()
    run = engine.prepare(source, merged(PrepareConfig(), config_file, flags), name=name, output=output)
    status, progress = follow(engine, run, quiet=common.json, stop_on_interrupt=True)

    def report(result: dict[str, Any]) -> None:
        report_dataset(result)
        report_place(run, result)

    return finish(run, status, progress, as_json=common.json, report=report)


def report_place(run: Run, result: dict[str, Any]) -> None:
    """Where a new dataset is, and the one that it replaces."""
    say(f"written:  {run.spec['output']}")
    if result.get("replaced"):
        say(f"replaced: the {run.name} that was there is in the trash; bring it back: ftui data restore {run.name}")


def report_dataset(report: dict[str, Any]) -> None:
    """What a preparation counted, for people."""
    owner = report.get("owner") or {}
    if owner.get("name"):
        say(f"owner:    {owner['name']} (found by {owner.get('found_by', '?').replace('_', ' ')})")
    say(f"format:   {report.get('format')}")
    if report.get("dialogs") != 0:  # texts are rows alone
        say(f"dialogs:  {format.count(report.get('dialogs'))} with {format.count(report.get('turns'))} turns")
    chats = report.get("chats") or {}
    if chats.get("skipped"):
        say(f"chats:    {format.chats(chats, lambda name: '--' + name.replace('_', '-'))}")
    months = report.get("months") or {}
    if len(months) > 1:
        busiest = max(months, key=lambda month: months[month])
        say(f"time:     {min(months)} to {max(months)}, most in {busiest} ({months[busiest]} dialogs)")
    sources = report.get("sources") or {}
    if len(sources) > 1:
        say("from:     " + ", ".join(f"{name} {number}" for name, number in list(sources.items())[:8]))
    dropped = {reason: number for reason, number in (report.get("dropped") or {}).items() if number}
    if dropped:
        say("left out: " + ", ".join(f"{number} {reason.replace('_', ' ')}" for reason, number in dropped.items()))
    rows = report.get("rows") or {}
    for reason, number in (rows.get("left_out") or {}).items():
        say(f"filtered: {number} {reason.replace('_', ' ')}")
    if report.get("redacted"):
        say(
            "redacted: "
            + ", ".join(f"{number} {kind.replace('_', ' ')}" for kind, number in report["redacted"].items())
        )
    if rows:
        tokens = format.count(report.get("estimated_tokens"))
        say(f"rows:     {format.count(rows.get('written'))}, about {tokens} tokens")
    if report.get("split"):
        say(f"split:    {report['split']['train']} to train on, {report['split']['eval']} held out")
    skipped = (report.get("files") or {}).get("skipped") or {}
    for name, cause in list(skipped.items())[:SHOWN_FILES]:
        say(f"skipped:  {name}: {cause}")
    if len(skipped) > SHOWN_FILES:
        say(f"skipped:  and {len(skipped) - SHOWN_FILES} more files")
    if mended := mended_in_words(report):
        say(f"mended:   {mended}")


def mended_in_words(report: dict[str, Any]) -> str:
    """What was not as it should be; empty: nothing. Rows are what files of rows have, messages what chats have."""
    rows = report.get("records") or 0
    what = "messages" if not rows else "rows" if not report.get("owner") else "messages and rows"
    counts = {
        f"{what} repaired": report.get("repaired"),
        f"{what} lost": report.get("lost"),
        "messages shortened": report.get("shortened"),
        "messages joined to the turn before": report.get("joined"),
    }
    return ", ".join(f"{number:,} {words}" for words, number in counts.items() if number)


def chosen_dataset(engine: LLMEngine, name: str | None) -> Any:
    if name:
        return engine.datasets.get(name)
    datasets = engine.datasets.list()
    if not datasets:
        raise UserError("not_found", "there is no dataset yet", "Make one: ftui llm prepare FILE.")
    return datasets[0]


@llm.command
def evaluate(
    adapter: Annotated[str | None, Parameter(help="Default: the active one, else the newest")] = None,
    /,
    *,
    dataset: Annotated[str | None, Parameter(help="Default: the one it was trained on")] = None,
    base_model: Annotated[str | None, Parameter(help="Default: the one it was trained on")] = None,
    output: Annotated[Path | None, Parameter(help="Write the report there too: FILE.md or FILE.json")] = None,
    config_file: ConfigFile = None,
    flags: Annotated[EvaluateConfig | None, Parameter(name="*")] = None,
    common: Common | None = None,
) -> int:
    """Compare the base model with one or more adapters: held-out part, generated answers, what was forgotten.

    For example:

      ftui llm evaluate me-v2 --prompt "Any plans for the weekend?"
      ftui llm evaluate me-v2 --against me-v1 --also faq --output report.md
      ftui llm evaluate me-v2 --answers 0 --fail-if "perplexity > 12" --fail-if "general.change.loss > 0.1"
    """
    common = common or Common()
    engine = common.engine()
    if output is not None:
        evaluation.check_output(output)
    data = engine.datasets.get(dataset) if dataset else None
    config = merged(EvaluateConfig(), config_file, flags)
    chosen = chosen_adapter(engine, adapter)
    run = evaluation.evaluate(engine, chosen, config, dataset=data, base_model=base_model)
    status, progress = follow(engine, run, quiet=common.json, stop_on_interrupt=True)
    if status.state != "done":
        return finish(run, status, progress, as_json=common.json, report=report_evaluation)
    report = evaluation.report(run)
    if common.json:
        say_json({**run.as_dict(), "result": report})
    else:
        report_evaluation(report)
    if output is not None:
        written = evaluation.export(run, output)
        if not common.json:
            say(f"written: {written}")
    return EXIT_FAILED if report["gate"]["failures"] else EXIT_OK


def chosen_adapter(engine: LLMEngine, name: str | None) -> Any:
    name = name or engine.adapters.active()
    if name:
        return engine.adapters.get(name)
    adapters = [adapter for adapter in engine.adapters.list() if adapter.complete]
    if not adapters:
        raise UserError("not_found", "there is no adapter yet", "Train one: ftui llm train.")
    return adapters[0]


def report_evaluation(report: dict[str, Any]) -> None:
    """Figures, examples and the gate, for people."""
    for _, line in evaluation_lines.lines(report):
        say(line)
