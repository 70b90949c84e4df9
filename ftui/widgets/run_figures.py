"""The words and figures of a run: its state, bar, numbers, and what went wrong."""

from __future__ import annotations

import time
from typing import Any

from textual.content import Content

from engines.running.progress import Progress
from engines.running.runs import Run, RunStatus
from ftui.clean import clean, clean_line
from ftui.format import STATE_MARKS, UNKNOWN, count, duration, number, path, rate, size

STATE_STYLES = {"done": "$text-success", "failed": "$text-error", "lost": "$text-warning", "stopped": "$text-warning"}
WORKING = "$text-accent"
PAIR_WIDTH = 23
TRAININGS = ("train", "voice")


def mark(state: str) -> Content:
    return Content.styled(STATE_MARKS.get(state, state), f"bold {STATE_STYLES.get(state, WORKING)}")


def head(run: Run, status: RunStatus, progress: Progress, width: int) -> Content:
    """Everything above the chart."""
    lines = [_title(run, status, progress), _bar(run, status, progress, width)]
    pairs = _training(status, progress) if run.kind in TRAININGS else _work(status, progress)
    lines += _pairs(pairs, width - 2)
    if progress.result.get("ended_early"):
        lines.append(Content(clean_line(f"ended early, {progress.result['ended_early']}")))
    lines += [Content.styled(clean_line(f"⚠ {text}"), "$text-warning") for text in progress.warnings[-2:]]
    return Content("\n").join(lines)


def _title(run: Run, status: RunStatus, progress: Progress) -> Content:
    attempt = f"  attempt {status.attempt}" if status.attempt > 1 else ""
    phase = f"  {clean_line(progress.phase)}" if status.active and progress.phase != "training" else ""
    kind = "" if run.kind == "train" else f"{clean_line(run.kind)} "
    return Content.assemble(
        mark(status.state), "  ", (f"{kind}{clean_line(run.name)}", "bold"), (attempt + phase, "$foreground-muted")
    )


def _bar(run: Run, status: RunStatus, progress: Progress, width: int) -> Content:
    share = 1.0 if status.state == "done" else progress.share
    if share is None:
        has_begun = progress.phase and run.kind not in TRAININGS
        text = "waiting for the device" if status.state == "queued" else "working" if has_begun else "starting"
        return Content.styled(text if status.active else "", "$foreground-muted")
    cells = max(10, min(50, width - 30))
    full = round(share * cells)
    where = f" {share:4.0%}  {_done(progress)}"
    return Content.assemble(("█" * full, "$accent"), ("░" * (cells - full), "$foreground-muted"), where)


def _done(progress: Progress) -> str:
    if progress.total_steps:
        return f"step {count(progress.step)}/{count(progress.total_steps)}"
    if progress.total is None:
        return ""
    if progress.unit == "bytes":
        return f"{size(progress.done)} of {size(progress.total)}"
    return clean_line(f"{count(progress.done)}/{count(progress.total)} {progress.unit}")


def _work(status: RunStatus, progress: Progress) -> list[tuple[str, str]]:
    left = progress.eta_seconds(time.time()) if status.active else None
    return [
        ("elapsed", duration(status.seconds(time.time()))),
        *([("ETA", duration(left))] if left is not None else []),
    ]


def _training(status: RunStatus, progress: Progress) -> list[tuple[str, str]]:
    epochs = f"/{progress.epochs:g}" if progress.epochs else ""
    speed = UNKNOWN if progress.tokens_per_second is None else f"{count(progress.tokens_per_second)} tokens/s"
    return [
        ("epoch", number(progress.epoch, 2) + epochs),
        ("loss", number(progress.loss)),
        ("eval loss", number(progress.eval_loss)),
        ("rate", rate(progress.learning_rate)),
        ("gradient", number(progress.grad_norm, 3)),
        ("speed", speed),
        ("mem, load", _machine(progress)),
        ("ETA", duration(progress.eta_seconds(time.time())) if status.active else UNKNOWN),
        ("elapsed", duration(status.seconds(time.time()))),
        *([("attempt", str(status.attempt))] if status.attempt > 1 else []),
    ]


def _machine(progress: Progress) -> str:
    """Memory of the device, how busy and how hot it is, as far as it tells."""
    parts = [size(progress.memory)]
    if progress.utilization is not None:
        parts.append(f"{progress.utilization:.0%}")
    if progress.temperature is not None:
        parts.append(f"{progress.temperature:.0f} °C")
    return ", ".join(parts)


def _pairs(pairs: list[tuple[str, str]], width: int) -> list[Content]:
    """Labels and figures in as many columns as fit."""
    columns = max(1, min(4, width // PAIR_WIDTH))
    lines = []
    for first in range(0, len(pairs), columns):
        parts: list[Any] = []
        for label, value in pairs[first : first + columns]:
            parts += [(f"{label:<9} ", "$foreground-muted"), (f"{value:<{PAIR_WIDTH - 10}}", "bold")]
        lines.append(Content.assemble(*parts).rstrip())
    return lines


def failure(run: Run, status: RunStatus) -> Content | None:
    """What a run that ended badly says: cause, next step, exit code, log, key."""
    if status.state not in ("failed", "lost", "stopped"):
        return None
    resumable = run.kind in TRAININGS
    if status.state == "stopped":
        return Content.styled("Press r to resume from its checkpoint." if resumable else "", "$foreground-muted")
    code = UNKNOWN if status.exit_code is None else str(status.exit_code)
    cause = clean(status.cause or "its process disappeared")
    lines = [
        Content.styled(f"✗ {cause}", "bold $text-error"),
        Content(f"next: {clean(status.next_step)}" if status.next_step else "next: resume it"),
        Content(f"exit code {code}   log {clean_line(path(run.log))}"),
    ]
    if resumable:
        lines.append(Content("Press r to resume, t for all runs."))
    return Content("\n").join(lines)
