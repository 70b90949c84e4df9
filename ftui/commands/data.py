"""`ftui data …`: the datasets of the workspace."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter, validators

from engines.config.prepare import PrepareConfig
from engines.config.train import TrainConfig, preset
from engines.data import exports, looks
from engines.data.merging import merge as merge_datasets
from ftui import format, problem_lines
from ftui.commands.llm import ConfigFile, chosen_dataset, merged, report_dataset
from ftui.console import Common, counting, note, say, say_json, show_rows, table

data = App(name="data", help="The datasets of the workspace.", help_format="plaintext")
CONTEXT = "context"  # the role of an answer that is shown to the model and not learned
FROM_0 = validators.Number(gte=0)


@data.command(name="list")
def list_datasets(*, common: Common | None = None) -> int:
    """All datasets, newest first."""
    common = common or Common()
    found = common.engine().datasets.list()
    if common.json:
        say_json([dataset.as_dict() for dataset in found])
        return 0
    rows = [
        [item.name, format.count(item.dialogs), format.size(item.size), format.date(item.modified_at)] for item in found
    ]
    table(["name", "dialogs", "size", "date"], rows, "no dataset yet; make one: ftui llm prepare FILE")
    return 0


@data.command
def inspect(
    source: Annotated[str, Parameter(help="A file, a folder, a zip archive, or owner/name on the hub")],
    /,
    *,
    config_file: ConfigFile = None,
    flags: Annotated[PrepareConfig | None, Parameter(name="*")] = None,
    common: Common | None = None,
) -> int:
    """What a file holds, its problems, and what `ftui llm prepare` would make of it. Nothing is written.

    For example:

      ftui data inspect conversations.json
      ftui data inspect result.json --include-groups --redact
    """
    common = common or Common()
    found = looks.inspect(source, merged(PrepareConfig(), config_file, flags))
    if common.json:
        say_json(found)
        return 0
    of = f", of which the first {found['share']:.1%} was looked at" if found["sampled"] else ""
    say(f"size:     {format.size(found['bytes'])}{of}")
    report_dataset(found)
    for text in found["notes"]:
        say(f"note:     {text}")
    for problem in found["problems"]:
        say(f"problem:  {problem}")
    say("letters:  " + ", ".join(f"{script} {count}" for script, count in found["scripts"].items()))
    show_lengths(found["lengths"])
    for example in found["examples"]:
        say("")
        show_turns(example["messages"], longest=400)
        if "rejected" in example:
            say(f"{'rejected':>9}: {example['rejected'][:400]}")
    return 0


def show_turns(turns: Sequence[dict[str, Any]], longest: int | None = None) -> None:
    """A dialog. longest: characters of a turn that are shown."""
    for turn in turns:
        role = turn["role"] if turn.get("weight", 1) else CONTEXT
        say(f"{role:>9}: {turn['content'][:longest]}")


def show_lengths(lengths: dict[str, int]) -> None:
    """A histogram of rows by their length in tokens."""
    most = max(lengths.values(), default=0)
    for number, (name, count) in enumerate(lengths.items()):
        say(f"{'tokens:' if not number else '':10}{name:>9}  {format.bar(count, most)} {count}")


@data.command
def tokens(
    name: Annotated[str | None, Parameter(help="A dataset's name or file; default: the newest")] = None,
    /,
    *,
    first: Annotated[int, Parameter(help="Number of the first row shown, from 0", validator=FROM_0)] = 0,
    count: Annotated[int, Parameter(help="How many rows", validator=FROM_0)] = 3,
    whole: Annotated[
        bool, Parameter(name="--all", negative="", help="Count every row exactly, by source, and show none")
    ] = False,
    flags: Annotated[TrainConfig | None, Parameter(name="*")] = None,
    common: Common | None = None,
) -> int:
    """Rows as they will be trained: «so» stands what is learned, the rest is context. And the lengths of 2,000 rows.

    For example:

      ftui data tokens chats --base-model embedded --max-seq-length 512
      ftui data tokens chats --all --json
    """
    common = common or Common()
    engine = common.engine()
    dataset, config = chosen_dataset(engine, name), merged(preset("standard"), None, flags)
    if whole:
        found = looks.count_tokens(engine, dataset, config, counting(quiet=common.json))
        say_json(found) if common.json else show_statistics(found)
        return 0
    found = looks.show_tokens(engine, dataset, config, first, count)
    if common.json:
        say_json(found)
        return 0
    show_rows(found["rows"], first)
    share = found["too_long"] / max(1, found["counted"])
    say(f"{found['counted']} rows with {found['tokens']} tokens; longest {found['longest']}; "
        f"{share:.1%} longer than {found['max_length']}")  # fmt: skip
    show_lengths({f"to {bound}": rows for bound, rows in found["lengths"]})
    return 0


def show_statistics(found: dict[str, Any]) -> None:
    """All that was counted of a dataset."""
    holds = [f"{found[what]:,} {what}" for what in ("rows", "conversations", "messages")]
    say(f"holds:    {', '.join(holds)}, {format.size(found['bytes'])}")
    share = found["too_long"] / max(1, found["rows"])
    say(f"tokens:   {found['tokens']:,} exactly; longest {found['longest']:,}; "
        f"{share:.1%} longer than {found['max_length']}")  # fmt: skip
    for name, figures in found["by_source"].items():
        say(f"{'':10}{figures['tokens']:>12,}  of {figures['rows']:,} rows from {name}")
    say("language: " + ", ".join(f"{code} {count:,}" for code, count in found["languages"].items()))
    say(f"repeated: {found['duplicates']:,} rows (--drop-duplicates leaves them out)")
    most = max(found["months"].values(), default=0)
    for number, (month, count) in enumerate(found["months"].items()):
        say(f"{'months:' if not number else '':10}{month:>9}  {format.bar(count, most)} {count}")
    show_lengths({f"to {bound}": rows for bound, rows in found["lengths"]})


@data.command
def merge(
    names: Annotated[list[str], Parameter(help="Datasets of the workspace, or dataset files")],
    /,
    *,
    name: Annotated[str, Parameter(help="What the merged dataset is called")],
    common: Common | None = None,
) -> int:
    """Make one dataset of several. For example: ftui data merge chats faq --name all"""
    common = common or Common()
    report = merge_datasets(common.engine().datasets, names, name, counting(quiet=common.json))
    if common.json:
        say_json(report)
        return 0
    say(f"{name}: {format.count(report['rows']['written'])} rows of {report['source']}")
    report_dataset(report)
    return 0


@data.command
def export(
    name: str,
    /,
    *,
    form: Annotated[str, Parameter(name="--format", help=", ".join(exports.FORMATS))],
    output: Annotated[Path, Parameter(help="The file to write")],
    common: Common | None = None,
) -> int:
    """Write a dataset in the format of another program, and say what of it that format cannot hold.

    For example:

      ftui data export chats --format sharegpt --output chats.jsonl
      ftui data export labels --format classification --output labels.jsonl
    """
    common = common or Common()
    counts = exports.export(common.engine().datasets.get(name), form, output)
    if common.json:
        say_json({**counts, "output": str(output)})
        return 0
    say(f"{format.count(counts['written'])} records of {format.count(counts['read'])} rows: {output}")
    for text in exports.notes(counts):
        note(f"! {text}")
    return 0


@data.command
def rename(name: str, new_name: str, /, *, common: Common | None = None) -> int:
    """Give a dataset another name."""
    common = common or Common()
    dataset = common.engine().datasets.rename(name, new_name)
    _told(common, dataset.as_dict(), f"{name} is now {dataset.name}")
    return 0


@data.command
def restore(name: str, /, *, common: Common | None = None) -> int:
    """Bring the last deleted or replaced dataset of that name back. One that has the name now goes to the trash."""
    common = common or Common()
    engine = common.engine()
    place = engine.datasets.path(name)
    was_taken = place.exists()
    dataset = engine.datasets.restore(engine.workspace.newest_trashed("dataset", place.name))
    swapped = f"; the {name} that was there is in the trash: the same command swaps them again" if was_taken else ""
    _told(common, dataset.as_dict(), f"{dataset.name} is back{swapped}")
    return 0


def _told(common: Common, value: dict[str, Any], text: str) -> None:
    say_json(value) if common.json else say(text)


@data.command
def show(
    name: str,
    /,
    *,
    first: Annotated[int, Parameter(help="Number of the first dialog shown, from 0", validator=FROM_0)] = 0,
    count: Annotated[int, Parameter(help="How many dialogs", validator=FROM_0)] = 3,
    common: Common | None = None,
) -> int:
    """What a dataset holds: its report and some of its dialogs."""
    common = common or Common()
    datasets = common.engine().datasets
    dataset = datasets.get(name)
    dialogs = datasets.preview(dataset, first, count)
    if common.json:
        say_json({**dataset.as_dict(), "preview": dialogs})
        return 0
    if dataset.report:
        report_dataset(dataset.report)
    report = dataset.report
    for text in problem_lines.lines(report):
        say(f"problem:  {text}")
    if "messages_read" in report:
        sessions, read = (format.count(report.get(key)) for key in ("conversations", "messages_read"))
        say(f"sessions: {sessions} of {read} messages")
    say(f"size:     {format.size(dataset.size)}; tokens exactly: ftui data tokens {dataset.name} --all")
    for number, messages in enumerate(dialogs, first):
        say(f"\n— dialog {number} —")
        show_turns(messages)
    if any(not turn.get("weight", 1) for messages in dialogs for turn in messages):
        say(f"\n{CONTEXT}: an answer that is not learned in that row")
    return 0


@data.command
def delete(name: str, /, *, common: Common | None = None) -> int:
    """Move a dataset to the trash."""
    common = common or Common()
    where = common.engine().datasets.delete(name)
    _told(common, {"trash": str(where)}, f"{name} is in the trash; bring it back: ftui data restore {name}")
    return 0
