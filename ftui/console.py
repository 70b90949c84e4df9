"""How the command line speaks: tables, JSON, errors, and a run followed to its end.

Answers go to standard output, progress and errors to standard error, so that output
can be piped. Foreign text is cleaned on the way out.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from engines.contract.errors import EXIT_CODES, EXIT_INTERRUPTED, EXIT_OK, UserError
from engines.llm import LLMEngine
from engines.running.follow import LogFile
from engines.running.progress import Progress
from engines.running.runs import Run, Runs, RunStatus
from engines.workspace import Workspace
from ftui import format
from ftui.clean import clean, clean_line

if TYPE_CHECKING:
    from engines.tts import TTSEngine

FOLLOW_SECONDS = 0.2
NARROWEST = 8  # column of a table that is cut
PLAIN_SECONDS = 5.0  # between progress lines where the output is no terminal


@Parameter(name="*")
@dataclass(frozen=True)
class Common:
    """The options that every command has."""

    home: Annotated[
        Path | None, Parameter(help="The workspace folder (default: FTUI_HOME, else the user's data folder)")
    ] = None
    json: Annotated[bool, Parameter(help="Print one JSON document for programs", negative="")] = False

    def engine(self) -> LLMEngine:
        """The engine on the chosen workspace; runs whose supervisor died get a new one."""
        engine = LLMEngine(Workspace(self.home))
        engine.runs.reconcile()
        return engine

    def tts_engine(self) -> TTSEngine:
        """The same for voices."""
        from engines.tts import TTSEngine

        engine = TTSEngine(Workspace(self.home))
        engine.runs.reconcile()
        return engine


def say(text: str = "") -> None:
    print(clean(text))


def say_json(value: Any) -> None:
    """One JSON document. Its strings are as they are: JSON escapes what a terminal would obey."""
    print(json.dumps(value, ensure_ascii=True, indent=2, default=str))


def note(text: str) -> None:
    """A line for the person watching, not part of the answer."""
    print(clean(text), file=sys.stderr, flush=True)


def show_error(error: UserError, as_json: bool) -> int:
    if as_json:
        say_json(error.as_dict())
    else:
        note(f"✗ {error.cause}")
        if error.next_step:
            note(f"  {error.next_step}")
    return error.exit_code


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], empty: str) -> None:
    """Columns as wide as their widest cell; on a terminal the widest ones are cut, so that a row is one line."""
    if not rows:
        say(empty)
        return
    cells = [[clean_line(cell) for cell in row] for row in [headings, *rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headings))]
    if sys.stdout.isatty():
        widths = fitted(widths, _width() + 1)
    for row in cells:
        cut = (cell if len(cell) <= width else f"{cell[: width - 1]}…" for cell, width in zip(row, widths, strict=True))
        say("  ".join(cell.ljust(width) for cell, width in zip(cut, widths, strict=True)).rstrip())


def fitted(widths: list[int], columns: int) -> list[int]:
    """The widths of columns, two apart, the widest ones narrowed until all fit, or none is wider than NARROWEST."""
    widths = list(widths)
    while sum(widths) + 2 * (len(widths) - 1) > columns and max(widths) > NARROWEST:
        widths[widths.index(max(widths))] -= 1
    return widths


def show_rows(rows: Sequence[dict[str, Any]], first: int = 0) -> None:
    """Rows as they will be trained, numbered from `first`: «so» stands what is learned."""
    for number, row in enumerate(rows, first):
        cut = ", cut" if row["shortened"] else ", left out" if row["dropped"] else ""
        say(f"— row {number}: {row['tokens']} tokens, {row['learned']} learned{cut} —")
        say("".join(f"«{run['text']}»" if run["learned"] else run["text"] for run in row["runs"]))


def progress_line(run: Run, status: RunStatus, progress: Progress) -> str:
    """One line that says how far a run is."""
    parts = [format.STATE_MARKS.get(status.state, status.state)]
    if progress.total_steps:
        parts.append(f"step {progress.step}/{progress.total_steps}")
        if progress.loss is not None:
            parts.append(f"loss {progress.loss:.3f}")
        if progress.eval_loss is not None:
            parts.append(f"eval loss {progress.eval_loss:.3f}")
        if status.active:
            parts.append(f"rate {format.rate(progress.learning_rate)}")
            parts.append(f"{format.number(progress.tokens_per_second, 0)} tokens/s")
            parts.append(f"ETA {format.duration(progress.eta_seconds())}")
    elif progress.total and (status.active or status.state == "done"):
        share = progress.share or 0
        amount = progress.unit if progress.unit != "bytes" else ""
        done, total = (format.size if progress.unit == "bytes" else format.count)(progress.done), progress.total
        parts.append(f"{share:4.0%} {done} of {(format.size if not amount else format.count)(total)} {amount}".rstrip())
        left = progress.eta_seconds() if status.active else None
        parts += [f"ETA {format.duration(left)}"] if left is not None else []
    if progress.phase and progress.phase != "training" and not (status.ended and progress.total_steps):
        parts.append(progress.phase)
    if status.state == "queued":
        parts.append("waits for the device")
    return "  ".join(parts)


def counting(*, quiet: bool = False) -> Callable[[int, int], None]:
    """What shows how far a question to a script is: called with (done, total) in bytes."""
    terminal = sys.stderr.isatty()
    shown_at = time.monotonic()

    def show(done: int, total: int) -> None:
        nonlocal shown_at
        if quiet:
            return
        line = f"{done / max(1, total):4.0%} {format.size(done)} of {format.size(total)}"
        if terminal:
            sys.stderr.write("\r\x1b[K" + ("" if done >= total else line))
            sys.stderr.flush()
        elif time.monotonic() - shown_at >= PLAIN_SECONDS:
            shown_at = time.monotonic()
            note(line)

    return show


def follow(
    engine: LLMEngine | TTSEngine, run: Run, *, quiet: bool = False, stop_on_interrupt: bool = False
) -> tuple[RunStatus, Progress]:
    """Show a run's progress until it ends. Ctrl+C leaves it running, or with `stop_on_interrupt` stops it."""
    log, progress = LogFile(run.log), Progress()
    terminal = sys.stderr.isatty() and not quiet
    shown_at = 0.0
    warned = 0
    try:
        while True:
            status = run.status()
            if status.state == "orphan":
                engine.runs.adopt(run)
            for event in log.poll_all():
                progress.apply(event)
            if not quiet and len(progress.warnings) > warned:
                _clear(terminal)
                for warning in progress.warnings[warned:]:
                    note(f"! {warning}")
            warned = len(progress.warnings)
            line = progress_line(run, status, progress)
            if status.ended:
                _clear(terminal)
                if not quiet:
                    note(line)
                return status, progress
            now = time.monotonic()
            if terminal:
                sys.stderr.write("\r\x1b[K" + clean_line(line)[: _width()])
                sys.stderr.flush()
            elif not quiet and now - shown_at >= PLAIN_SECONDS:
                shown_at = now
                note(line)
            time.sleep(FOLLOW_SECONDS)
    except KeyboardInterrupt:
        _clear(terminal)
        if stop_on_interrupt:
            engine.runs.request_stop(run, grace_seconds=5)
            engine.runs.wait(run, timeout=20)
            raise UserError("stopped", f"{run.kind} was stopped", "The same command does it again.") from None
        note(f"{run.name} goes on without this terminal.")
        note(f"  ftui runs log -f {run.id}    to watch it again")
        note(f"  ftui runs stop {run.id}      to save and stop it")
        sys.exit(EXIT_INTERRUPTED)


def _clear(terminal: bool) -> None:
    if terminal:
        sys.stderr.write("\r\x1b[K")


def _width() -> int:
    import shutil

    return max(20, shutil.get_terminal_size().columns - 1)


def finish(
    run: Run, status: RunStatus, progress: Progress, *, as_json: bool, report: Callable[[dict[str, Any]], None]
) -> int:
    """Print how a followed run ended; returns the exit code."""
    result = run.result() if status.state == "done" else {}
    error = error_code(status, progress)
    if as_json:
        figures = {key: value for key, value in result.items() if key != "attempt"}
        say_json({**({"error": error} if error else {}), **run.as_dict(), "result": figures})
    elif status.state == "done":
        report(result)
    else:
        note(f"  {status.cause}" if status.cause else "")
        note(f"  {status.next_step}" if status.next_step else f"  log: {run.log}")
    return EXIT_CODES[error] if error else EXIT_OK


def error_code(status: RunStatus, progress: Progress) -> str:
    """A key of EXIT_CODES for how a run ended; empty: it is done."""
    if status.state == "done":
        return ""
    if status.state == "stopped":
        return "stopped"
    return progress.error_code if progress.error_code in EXIT_CODES else "failed"


def show_status(run: Run, *, as_json: bool) -> None:
    """How a training stands, in one line or as JSON."""
    progress = Progress.of(LogFile(run.log).poll_all())
    now = run.status()
    if as_json:
        figures = {key: value for key, value in vars(progress).items() if not key.startswith("_")}
        eta = progress.eta_seconds() if now.active else None
        say_json({**run.as_dict(), "progress": {**figures, "eta_seconds": eta}})
        return
    say(f"{run.id}  {run.name}")
    say(progress_line(run, now, progress))
    if now.cause:
        say(f"{now.cause}. {now.next_step}".strip())


def started(run: Run, follow_with: str, *, as_json: bool) -> int:
    """What is said of a run that goes on by itself. follow_with: the command that watches it."""
    what = "waits for its device" if run.status().state == "queued" else "started"
    say_json(run.as_dict()) if as_json else say(f"{what}: {run.name}, run {run.id}; watch it: {follow_with}")
    return EXIT_OK


def stop_and_wait(runs: Runs, run: Run, grace: float, *, as_json: bool) -> int:
    """Ask a run to end, and say how it did."""
    runs.request_stop(run, grace)
    status = runs.wait(run, timeout=grace + 30)
    say_json(run.as_dict()) if as_json else say(f"{format.STATE_MARKS[status.state]}  {run.name}")
    return EXIT_OK


def show_log(run: Run, *, following: bool, as_json: bool) -> None:
    """Print a run's log, and with `following` what comes, until the run ends."""
    log = LogFile(run.log)
    shown = 0
    while True:
        ended = run.status().ended
        events = log.poll_all()
        if as_json:
            for event in events:
                print(json.dumps(event), flush=True)
        else:
            while shown < len(log):
                say(log.text(shown))
                shown += 1
            sys.stdout.flush()
        if ended or not following:
            return
        time.sleep(FOLLOW_SECONDS)
