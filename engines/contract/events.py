"""The contract between a script and an engine: lines on the script's standard output.

A line that is a JSON object with the key "event" is an event; every other line is for
people. A stream is all that every launcher gives (a file, a pipe, ssh, a cluster job),
so there is no other channel. Events and their fields:

    attempt     attempt, time                           written by the supervisor
    phase       name, text                              what the script does now
    progress    done, total, unit                       work that is not training steps
    train       total_steps, first_step, epochs, rows, eval_rows, tokens_per_epoch, ...
                epoch_end_seconds                       expected of each epoch_end, where there will be some
    probe       tokens, seconds, memory                 the longest batch, tried first
    metrics     step, epoch, loss, learning_rate, grad_norm, tokens_per_second, eval_loss,
                memory, utilization, temperature        bytes, 0 to 1, °C; of the device
    epoch_end   epoch, step, seconds                    what follows an epoch's last step is done (a voice has spoken)
    sample      step, prompt, answer                    what the model says at an evaluation
    checkpoint  step, path                              complete and durable on disk
    warning     text
    error       code, cause, next_step                  the script is about to end because of it
    result      any figures; the script's last word

`time` (Unix seconds) is added to each. Standard library only.
"""

from __future__ import annotations

import ast
import json
import math
import os
import re
import sys
import time
from collections import deque
from collections.abc import Iterable
from typing import Any, TextIO

Event = dict[str, Any]

KEPT_WHILE_DISK_FULL = 100_000


class Emitter:
    """Writes event lines to a descriptor, each with one O_APPEND write.

    A full disk must never fail a training run: lines that cannot be written wait in
    memory and go out, in order, with the next one that can. An event always begins a
    line of its own, also after a progress bar or a line that a crash has torn.
    """

    def __init__(self, fd: int = 1):
        self.fd = fd
        self.waiting: deque[bytes] = deque(maxlen=KEPT_WHILE_DISK_FULL)
        self._torn = False

    def emit(self, event: str, **fields: Any) -> None:
        record = {"event": event, **fields, "time": round(time.time(), 3)}
        self.waiting.append(json.dumps(record, ensure_ascii=False, default=str).encode("utf-8", "replace") + b"\n")
        self.flush()

    def flush(self) -> bool:
        """Try to write what waits. True when nothing waits any more."""
        while self.waiting:
            line = b"\n" * self._is_mid_line() + self.waiting[0]
            try:
                written = os.write(self.fd, line)
            except OSError:
                return False
            self._torn = written != len(line)
            if self._torn:
                return False
            self.waiting.popleft()
        return True

    def _is_mid_line(self) -> bool:
        try:
            size = os.fstat(self.fd).st_size
            return os.pread(self.fd, 1, size - 1) != b"\n" if size else self._torn
        except OSError:  # not a file, or one that may not be read
            return self._torn


_emitter = Emitter()


def emit(event: str, **fields: Any) -> None:
    """Print one event to standard output; never raises on a full disk."""
    try:
        sys.stdout.flush()
    except OSError:
        pass
    _emitter.emit(event, **fields)


class UnfailingStream:
    """A text stream whose writes are dropped, not raised, when the disk is full."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            pass

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def protect_output() -> None:
    """Let neither print() nor a progress bar end this program when the disk is full."""
    sys.stdout = UnfailingStream(sys.stdout)
    sys.stderr = UnfailingStream(sys.stderr)


_TQDM = re.compile(
    r"(?P<percent>\d{1,3})%\|[^|]*\| *(?P<done>[\d.]+[kMG]?)/(?P<total>[\d.]+[kMG]?) \[(?P<clock>[\d:]+)<"
)
_BARE_FLOAT = re.compile(r"(?<=: )-?(?:nan|inf)(?=[,}])")  # as Python prints it, but does not read it
_SCALE = {"k": 1e3, "M": 1e6, "G": 1e9}
_TRAINER_KEYS = {"loss", "eval_loss", "train_loss", "grad_norm", "learning_rate", "epoch"}


def parse(line: bytes) -> Event | None:
    """The event in a line, or None where the line is for people.

    Understands three dialects: our own JSON; the dict lines of the Hugging Face
    Trainer, with and without quotes around numbers; tqdm's progress bars, of which
    the last one on a carriage-return line counts.
    """
    if line.startswith(b'{"event"'):
        return _parse_json(line)
    text = line.rsplit(b"\r", 1)[-1].decode("utf-8", "replace")
    if text.startswith("{'"):
        return _parse_trainer_dict(text)
    if "%|" in text:
        return _parse_tqdm(text)
    return None


def _parse_json(line: bytes) -> Event | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and isinstance(record.get("event"), str) else None


def _parse_trainer_dict(text: str) -> Event | None:
    if len(text) > 4096:
        return None
    try:
        values = ast.literal_eval(_BARE_FLOAT.sub(r"'\g<0>'", text.strip()))
        numbers = {key: float(value) for key, value in values.items()}
    except (ValueError, SyntaxError, TypeError, AttributeError, OverflowError, RecursionError, MemoryError):
        return None
    return {"event": "metrics", **numbers} if _TRAINER_KEYS & numbers.keys() else None


def _parse_tqdm(text: str) -> Event | None:
    found = _TQDM.search(text)
    if found is None:
        return None
    try:
        return {"event": "progress", "done": _count(found["done"]), "total": _count(found["total"]), "unit": "it"}
    except ValueError:
        return None


def _count(text: str) -> float:
    return float(text[:-1]) * _SCALE[text[-1]] if text[-1] in _SCALE else float(text)


def describe(event: Event) -> str | None:
    """An event as a line for people, or None where the panels show it better."""
    kind = event["event"]
    if kind == "phase":
        return f"» {_text(event, 'text')}"
    if kind == "attempt":
        number = _text(event, "attempt")
        return f"— attempt {number} —" if number != "1" else None
    if kind == "metrics":
        return _describe_metrics(event)
    if kind == "sample":
        return f"sample at step {_text(event, 'step')}: {_text(event, 'prompt')} → {_text(event, 'answer')}"
    if kind == "checkpoint":
        return f"checkpoint at step {_text(event, 'step')}: {_text(event, 'path')}"
    if kind == "warning":
        return f"warning: {_text(event, 'text')}"
    if kind == "error":
        return f"error: {_text(event, 'cause')}. {_text(event, 'next_step')}".rstrip()
    return None


def _text(event: Event, key: str) -> str:
    """A plain field as text; an event may come from any program, so it may hold anything."""
    value = event.get(key)
    return str(value) if isinstance(value, str | int | float) else ""


def number(event: Event, key: str) -> float | int | None:
    """A field that is a finite number, else None."""
    value = event.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return value if math.isfinite(value) else None
    except OverflowError:  # an int that no float can hold
        return None


def _describe_metrics(event: Event) -> str:
    parts = []
    for key, label, form in (
        ("step", "step", ".0f"),
        ("epoch", "epoch", ".2f"),
        ("loss", "loss", ".4f"),
        ("eval_loss", "eval loss", ".4f"),
        ("learning_rate", "rate", ".2e"),
        ("grad_norm", "grad norm", ".3f"),
        ("tokens_per_second", "tokens/s", ".0f"),
    ):
        value = number(event, key)
        if value is not None:
            parts.append(f"{label} {value:{form}}")
        elif isinstance(event.get(key), float):
            parts.append(f"{label} {event[key]}")  # nan or inf: it must be seen
    return "  ".join(parts)
