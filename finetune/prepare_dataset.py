"""Turn a chat export into a dataset of dialogs: one JSON object per line.

    python -m finetune.prepare_dataset INPUT OUTPUT.jsonl [--config CONFIG.json]

INPUT is Telegram Desktop's `result.json` or a file of ready-made dialogs. Each line of
OUTPUT is `{"messages": [{"role", "content"}, …], "conversation": "<chat>/<session>"}`;
what was read, used and left out stands beside it in `OUTPUT.report.json`. A run that
fails or is stopped leaves neither. CONFIG holds the parameters of `PrepareConfig`.
"""

from __future__ import annotations

import argparse
import errno
import gc
import hashlib
import os
import signal
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from engines import statefiles
from engines.config import PrepareConfig, build
from engines.errors import UserError
from engines.events import emit
from engines.run_protocol import run_script, stop_requested, write_result
from finetune.dialogs import DialogBuilder, Row
from finetune.formats import detect
from finetune.formats.messages import Rows
from finetune.formats.telegram import Export
from finetune.formats.telegram_owner import Owner, find_owner

SECONDS_BETWEEN_EVENTS = 0.2
WRITTEN_BYTES = 1024 * 1024

Report = dict[str, Any]


class Stopped(Exception):
    """Somebody asked this run to stop."""


class RowFile:
    """A dataset in the making: a private temporary file that becomes `path` by `finish`, or is gone."""

    def __init__(self, path: Path):
        self.path = path
        self.temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        self.fd = os.open(self.temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, statefiles.PRIVATE_FILE)
        self.sha256 = hashlib.sha256()
        self._waiting = bytearray()
        self._encode = msgspec.json.Encoder().encode_into

    def write(self, row: Row) -> None:
        waiting = self._waiting
        self._encode(row, waiting, len(waiting))
        waiting += b"\n"
        if len(waiting) > WRITTEN_BYTES:
            self.flush()

    def flush(self) -> None:
        self.sha256.update(self._waiting)
        view = memoryview(self._waiting)
        while view:
            view = view[os.write(self.fd, view) :]
        self._waiting = bytearray()

    def make_durable(self) -> None:
        self.flush()
        os.fsync(self.fd)

    def finish(self) -> None:
        os.rename(self.temporary, self.path)
        statefiles.sync_dir(self.path.parent)

    def __enter__(self) -> RowFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.fd)
        self.temporary.unlink(missing_ok=True)


class Progress:
    """Progress events, and the look at the stop request, both a few times a second."""

    def __init__(self, total: int):
        self.total = total
        self._next = 0.0

    def __call__(self, done: int) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + SECONDS_BETWEEN_EVENTS
        if stop_requested():
            raise Stopped
        emit("progress", done=min(done, self.total), total=self.total, unit="bytes")


def prepare(source: Path, output: Path, config: PrepareConfig) -> Report:
    """Write `output` and its report; returns the report. Raises UserError, OSError, Stopped."""
    check_output(source, output)
    kind = detect(source)
    progress = Progress(source.stat().st_size)
    with RowFile(output) as rows:
        owner: Owner | None = None
        if kind == "telegram":
            emit("phase", name="owner", text="Looking for the owner of the export")
            export = Export(source)
            owner = find_owner(export, config.owner_name, progress)
            emit("phase", name="read", text=f"Reading the chats of {owner.name or owner.id}")
            builder = DialogBuilder(config, owner.ids, rows.write)
            repaired, lost = read_export(export, builder, progress)
        else:
            emit("phase", name="read", text="Reading ready-made dialogs")
            builder = DialogBuilder(config, (), rows.write)
            repaired, lost = 0, read_rows(Rows(source), builder, progress)
        emit("progress", done=progress.total, total=progress.total, unit="bytes")
        check_not_empty(builder, owner, source.name)
        rows.make_durable()
        report = {
            "source": source.name,
            "bytes": progress.total,
            "format": kind,
            "owner": {"name": owner.name, "id": owner.id, "found_by": owner.found_by} if owner else None,
            **builder.figures(),
            "repaired": repaired,
            "lost": lost,
            "config": config.model_dump(),
            "output_sha256": rows.sha256.hexdigest(),
        }
        statefiles.write_json(report_path(output), report)
        rows.finish()
    return report


def check_output(source: Path, output: Path) -> None:
    """Raises UserError where the dataset cannot go, or would replace what it is made from."""
    if not output.parent.is_dir():
        raise UserError("not_found", f"the folder {output.parent} does not exist", "Make it, or name another one.")
    if not os.access(output.parent, os.W_OK):
        raise UserError("bad_input", f"the folder {output.parent} may not be written to", "Name another one.")
    for path in (output, report_path(output)):
        if path.is_dir():
            raise UserError("usage", f"{path} is a folder", "Name a file for the dataset.")
        if path.exists() and source.exists() and path.samefile(source):
            raise UserError("usage", f"{path.name} is the file to be read", "Give the dataset another name.")


def read_export(export: Export, builder: DialogBuilder, progress: Progress) -> tuple[int, int]:
    """Returns how many messages were repaired and lost."""
    for chat, batch in export.batches(builder.uses):
        builder.add(chat, batch)
        progress(export.bytes_read)
    builder.end_session()
    if export.repaired:
        emit("warning", text=f"{export.repaired:,} messages were not valid JSON and were repaired")
    if export.lost:
        emit("warning", text=f"{export.lost:,} messages could not be read and were left out")
    if export.truncated:
        emit("warning", text="the export ends in the middle; what was there is used")
    return export.repaired, export.lost


def read_rows(rows: Rows, builder: DialogBuilder, progress: Progress) -> int:
    """Returns how many rows were left out because they could not be read. Raises UserError if all were."""
    for dialog in rows.dialogs():
        builder.add_dialog(dialog.turns, dialog.conversation)
        progress(rows.bytes_read)
    if rows.bad and not rows.good:
        raise UserError(
            "bad_input",
            f"none of the {rows.bad:,} rows of {rows.path.name} can be read; {rows.problems[0]}",
            "Correct the rows as described and try again.",
        )
    for problem in rows.problems:
        emit("warning", text=problem)
    if rows.bad > len(rows.problems):
        emit("warning", text=f"and {rows.bad - len(rows.problems):,} more rows that cannot be read")
    return rows.bad


def check_not_empty(builder: DialogBuilder, owner: Owner | None, name: str) -> None:
    """Raises UserError when there is nothing to learn from."""
    if builder.dialogs:
        return
    if builder.messages_read == 0 and not builder.chats_skipped:
        raise UserError("bad_input", f"{name} contains no messages", "Export a chat that has messages.")
    whose = f" of {owner.name or owner.id}" if owner else ""
    counts = [*builder.dropped.most_common(6), *builder.chats_skipped.most_common(6)]
    counted = ", ".join(f"{reason} {count:,}" for reason, count in counts)
    next_step = "Check who is named as the owner, and the limits on dialogs."
    if any(kind in builder.chats_skipped for kind in ("private_group", "private_supergroup", "public_supergroup")):
        next_step = "Include group chats, or export a personal chat."
    raise UserError(
        "bad_input",
        f"no dialog with an answer{whose} was found in {builder.messages_read:,} messages (left out: {counted})",
        next_step,
    )


def report_path(output: Path) -> Path:
    return output.with_name(f"{output.stem}.report.json")


def read_config(path: Path | None) -> PrepareConfig:
    """Raises UserError for a file that is not JSON, and for parameters out of bounds."""
    if path is None:
        return PrepareConfig()
    try:
        values = msgspec.json.decode(path.read_bytes())
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise UserError("usage", f"{path.name} is not a JSON object with parameters", "Correct the file.")
    config = build(PrepareConfig, values)
    if config.min_dialog_messages > config.max_dialog_length // 2 * 2:
        raise UserError(
            "usage",
            f"no dialog can have at least {config.min_dialog_messages} and at most {config.max_dialog_length} turns",
            "Raise max_dialog_length or lower min_dialog_messages.",
        )
    return config


def explain(error: OSError) -> UserError:
    """A system error in words."""
    place = Path(os.fsdecode(error.filename)).name if error.filename else "the dataset"
    if isinstance(error, FileNotFoundError):
        return UserError("not_found", f"{place} does not exist", "Check the path.")
    if isinstance(error, IsADirectoryError):
        return UserError("bad_input", f"{place} is a folder", "Give the file in it, such as result.json.")
    if isinstance(error, PermissionError):
        return UserError("bad_input", f"{place} may not be read or written", "Check the permissions.")
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return UserError("failed", f"there is no room left for {place}", "Free some space and try again.")
    return UserError("failed", f"{place} failed: {error.strerror}", "Check the disk and try again.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--config", type=Path)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that the temporary file goes
    gc.disable()  # nothing here makes cycles; looking for them costs a tenth of the time
    gc.freeze()  # nor need they be looked for at the end
    try:
        report = prepare(arguments.input, arguments.output, read_config(arguments.config))
    except Stopped:
        write_result("stopped")
    except OSError as error:
        raise explain(error) from None
    else:
        write_result("done", output=str(arguments.output), **report)


if __name__ == "__main__":
    run_script(main)
