"""Turn a project folder into a dataset of questions and answers: one JSON object per line.

    python -m finetune.generate_dataset PROJECT_DIR OUTPUT.jsonl [--config CONFIG.json] [--memory DIR] [--home FOLDER]
                                        [--preview]

Each line of OUTPUT is `{"messages": [{"role", "content"}, …], "conversation": "<source>#<section>",
"source": "<file>", "section": "<headings or name>", "kind": "docs|faq|code|sales|escalation|github"}`;
what was found, written and left out stands beside it in `OUTPUT.report.json`. The same
folder, parameters and seed give the same bytes. A run that fails or is stopped leaves
neither. CONFIG holds the parameters of `GenerateConfig`. An endpoint is asked for variants
only if CONFIG names one; its answers are kept in DIR (default: `.generated` beside OUTPUT),
so that a run that was stopped does not pay twice. FOLDER: see prepare_dataset. --preview says what it would be asked,
and ends; nothing is sent and nothing written.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from engines.config.generate import GenerateConfig
from engines.config.job import load
from engines.contract.errors import UserError
from engines.contract.events import emit
from engines.contract.run_protocol import run_script
from finetune.formats.dialog import Dialog, Turn
from finetune.leftovers import remove_leftovers
from finetune.plain_text import harmless
from finetune.prepare_dataset import check_output, run_job, source_path
from finetune.project import SOURCES
from finetune.project.context import Context
from finetune.project.pair import Pair
from finetune.project.questions import language_of
from finetune.project.selection import Selection
from finetune.project.variants import Writer, can_be_extended
from finetune.publish import publish
from finetune.row_file import Progress, RowFile

MEMORY = ".generated"
PHASES = {
    "sales": "Reading sales scripts and briefs",
    "faq": "Looking for questions with answers",
    "docs": "Reading documents",
    "code": "Reading code",
    "escalation": "Adding dialogs that hand over to a person",
    "github": "Cloning and reading the repository",
}
LANGUAGE_SOURCES = ("sales", "faq", "docs")  # which tell what the project speaks

Report = dict[str, Any]


class ProjectRow(Dialog, kw_only=True, rename={"turns": "messages"}):
    """One line of the dataset, with the place that it comes from."""

    source: str
    section: str
    kind: str


class Ticker:
    """Progress for those who do not know how far the work is: `done` does."""

    def __init__(self) -> None:
        self.done = 0
        self._progress = Progress(0)

    def begin(self, total: int, unit: str) -> None:
        self.done = 0
        self._progress.total, self._progress.unit = total, unit

    def __call__(self) -> None:
        self._progress(self.done)


class Generation:
    """One run on one project: the pairs that its sources give, and the figures of the report."""

    def __init__(self, project: Path, config: GenerateConfig, memory: Path):
        self.project = project
        self.config = config
        self.memory = memory
        self.ticker = Ticker()
        self.selection = Selection(config)
        self.dialogs = self.turns = 0
        self.characters: Counter[str] = Counter()
        self.conversations: set[str] = set()
        self.context: Context | None = None

    def pairs(self) -> list[Pair]:
        """What the sources give and the limits leave, in the seed's order."""
        names = [name for name in SOURCES if getattr(self.config, f"use_{name}")]
        self.ticker.begin(len(names), "sources")
        emit("phase", name="files", text=f"Looking through {self.project.name}")
        self.context = context = Context(self.project, self.config, self.ticker)
        kept: list[Pair] = []
        for name in names:
            if name == "github" and not self.config.github_url:
                continue
            emit("phase", name=name, text=PHASES[name])
            found = self.selection.of_source(SOURCES[name](context))
            if name in LANGUAGE_SOURCES:
                context.languages |= {language_of(pair.turns[-1][1]) for pair in found}
            kept += found
            self.ticker.done += 1
        emit("progress", done=self.ticker.done, total=self.ticker.done, unit="sources")
        for item in context.unread:
            emit("warning", text=f"{item['file']} was left out: {item['reason']}")
        if not kept:
            raise nothing_found(self.project, self.selection, context)
        return self.selection.ordered(kept)

    def writer(self) -> Writer:
        writer = Writer(self.config, self.memory, self.ticker, self.selection)
        if writer.endpoint.shows_key:
            emit("warning", text=f"the key goes to {self.config.endpoint} without encryption")
        return writer

    def write(self, rows: RowFile, pairs: list[Pair], writer: Writer | None) -> None:
        if writer is not None:
            emit("phase", name="variants", text=f"Asking {self.config.endpoint} for variants")
        self.ticker.begin(len(pairs), "dialogs")
        for pair in pairs:
            self.ticker()
            self._write(rows, pair)
            if writer is not None and can_be_extended(pair):
                was_spent = writer.is_spent
                for variant in writer.variants(pair):
                    self._write(rows, variant)
                if writer.is_spent and not was_spent:
                    emit(
                        "warning",
                        text=f"all {self.config.max_requests:,} requests are spent; the rest is from templates",
                    )
            self.ticker.done += 1
        emit("progress", done=len(pairs), total=len(pairs), unit="dialogs")

    def _write(self, rows: RowFile, pair: Pair) -> None:
        messages = [Turn(role, text) for role, text in pair.turns]
        row = ProjectRow(messages, pair.conversation, source=pair.source, section=pair.section, kind=pair.kind)
        rows.write([row])
        self.conversations.add(pair.conversation)
        self.dialogs += 1
        self.turns += len(messages)
        for role, text in pair.turns:
            self.characters[role] += len(text)

    def figures(self) -> Report:
        """What the report counts. found = written + dropped, all in dialogs."""
        assert self.context is not None
        return {
            "source": harmless(self.project.name),
            "source_path": source_path(str(self.project)),
            "format": "project",
            "dialogs": self.dialogs,
            "turns": self.turns,
            "conversations": len(self.conversations),
            "characters": dict(self.characters),
            **self.selection.figures(),
            "dropped_turns": dict(self.context.dropped_turns),
            "files": {
                **self.context.files.figures(),
                "not_parsed": self.context.unread_count,
                "problems": self.context.unread,
            },
            "repository": self.context.repository or None,
        }


def generate(project: Path, output: Path, config: GenerateConfig, memory: Path, home: Path | None = None) -> Report:
    """Write `output` and its report. Raises UserError, OSError, Stopped. home, and what is returned: see `prepare`."""
    check_project(project)
    check_output(project, output, has_parts=False, home=home)
    remove_leftovers(output)
    generation = Generation(project.resolve(), config, memory)
    with RowFile(output) as rows:
        writer = generation.writer() if config.endpoint else None  # before the work: the key may be missing
        generation.write(rows, generation.pairs(), writer)
        rows.flush()
        report = {
            **generation.figures(),
            "endpoint": writer.figures() if writer else None,
            "config": config.model_dump(),
            "output_sha256": rows.sha256.hexdigest(),
        }
        replaced = publish(rows, report, home=home)
    return {**report, "replaced": str(replaced) if replaced else None}


def preview(project: Path, config: GenerateConfig, memory: Path) -> Report:
    """What the endpoint would be asked. Nothing is sent, and nothing written."""
    check_project(project)
    generation = Generation(project.resolve(), config, memory)
    pairs = generation.pairs()
    figures = {"sections": 0, "requests": 0, "remembered": 0, "prompt_tokens": 0, "completion_tokens": 0}
    if config.endpoint:
        figures = asdict(generation.writer().preview([pair for pair in pairs if can_be_extended(pair)]))
    print(
        f"{len(pairs):,} dialogs from templates; {figures['requests']:,} requests to the endpoint, about "
        f"{figures['prompt_tokens']:,} tokens to read and {figures['completion_tokens']:,} to write; nothing was sent",
        flush=True,
    )
    return {**generation.figures(), "dialogs": len(pairs), "preview": figures}


def check_project(project: Path) -> None:
    if not project.is_dir():
        raise UserError("not_found", f"there is no folder {project}", "Name the folder of a project.")


def nothing_found(project: Path, selection: Selection, context: Context) -> UserError:
    dropped = sum(selection.dropped.values(), Counter[str]())
    counted = ", ".join(f"{reason} {count:,}" for reason, count in dropped.most_common())
    return UserError(
        "bad_input",
        f"no question with an answer was found in the {len(context.files.all):,} files of {project.name}"
        + (f" (left out: {counted})" if counted else ""),
        "Name a folder with documents, tables of questions or Python code, and turn its sources on.",
    )


def read_config(path: Path | None) -> GenerateConfig:
    """Raises UserError for parameters that are none, out of bounds, or do not fit together."""
    config = load(GenerateConfig, path)
    if config.endpoint and not config.endpoint_model:
        raise UserError("usage", "the endpoint's model is not named", "Set endpoint_model.")
    return config


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--memory", type=Path, help="the folder of the endpoint's remembered answers")
    parser.add_argument("--home", type=Path, help="the workspace that the output is in")
    parser.add_argument("--preview", action="store_true", help="say what the endpoint would be asked, and end")
    arguments = parser.parse_args()
    memory = arguments.memory or arguments.output.parent / MEMORY

    def work() -> Report:
        config = read_config(arguments.config)
        if arguments.preview:
            return preview(arguments.project, config, memory)
        report = generate(arguments.project, arguments.output, config, memory, arguments.home)
        return {"output": str(arguments.output), **report}

    run_job(work)


if __name__ == "__main__":
    run_script(main)
