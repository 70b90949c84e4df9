"""Reading the files of a source, one after the other, whatever formats they have, into one dataset."""

from __future__ import annotations

import posixpath
from collections import Counter
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from engines.config.prepare import PrepareConfig
from engines.contract.errors import UserError
from engines.contract.events import emit
from finetune.dialog_counts import GROUP_CHATS
from finetune.dialogs import DialogBuilder
from finetune.formats import ROW_FORMATS, Detected, detect
from finetune.formats.chat_export import ChatExport
from finetune.formats.column_map import own_format
from finetune.formats.owner import Owner, find_owner
from finetune.formats.records import Rows
from finetune.formats.refusal import NAME_COLUMNS
from finetune.formats.telegram import Export
from finetune.formats.trust import Unreadable, trusted
from finetune.formats.whatsapp import WhatsApp, name_of
from finetune.ready_dialogs import ReadyDialogs
from finetune.refine import Refiner
from finetune.row_file import Progress, RowFile

MAX_KEPT_PROBLEMS = 20
BATCHES_BETWEEN_LOOKS = 10  # at the clock and at a wish to stop


class Reading:
    """Hands the dialogs of each file to `refiner`. `figures` tells what was met."""

    def __init__(
        self,
        config: PrepareConfig,
        refiner: Refiner,
        progress: Progress,
        rows: RowFile | None = None,
        transcriber: Path | None = None,
    ):
        """rows: where `refiner` writes to, if several processes may; transcriber: who listens to voice notes."""
        self.config = config
        self.transcriber = transcriber
        self.progress = progress
        self.refiner = refiner
        self.rows = rows
        self.builder = DialogBuilder(config, (), refiner)
        self.ready = ReadyDialogs(config, self.builder, refiner)
        self.formats: Counter[str] = Counter()  # files of each format
        self.owner: Owner | None = None
        self.repaired = self.lost = 0
        self.records = 0  # of row formats, good and bad
        self.problems: list[str] = []
        self.skipped: dict[str, str] = {}  # files that could not be read, and why
        self.members: dict[str, Path] = {}  # of an archive: the files that its names stand for
        self._keys: set[str] = set()  # what the names of conversations begin with, by file
        self._telling: tuple[str, UserError] | None = None  # the first skipped file of a known format, and why
        self._named = ""  # opens what is said of the file, if there are several
        self._done = 0  # bytes of the files before
        self._own_format = own_format(config.columns, config.template)

    def read(
        self, file: Path, name: str, *,
        one_of_many: bool = False, found: Detected | None = None, most_bytes: int | None = None,
    ) -> None:  # fmt: skip
        """Read one file, called `name`, which opens the names of the conversations of one of many files.

        found: its format, if that is known.
        most_bytes: only the beginning is looked at; no record is read after so many bytes, and a chat may end in the
        middle.
        Raises UserError; for one of many files only if it should be strict: else the file is noted as skipped.
        """
        self.builder.file = self._own_key(name) if one_of_many else ""
        self._named = f"{name}: " if one_of_many else ""
        try:
            found = found or detect(file, any_record=self._own_format is not None, name=name)
            if found.chat is not None:
                self._read_chats(found.chat.open(file), found.name, name, is_beginning=most_bytes is not None)
            else:
                self._read_rows(file, name, found, one_of_many, most_bytes)
        except UserError as error:
            if not one_of_many or self.config.strict:
                raise
            self.builder.end_session()
            self.skipped[name] = error.cause
            if found is not None:
                self._telling = self._telling or (name, error)
        except Unreadable as error:
            self.skipped[name] = str(error)
            self.records += error.records
            self.lost += error.records
            self._note(f"{name} was left out: {error}")
        self._done += file.stat().st_size
        self.progress(self._done)

    def _own_key(self, name: str) -> str:
        """The name of a file as conversations begin with it; of several files of one name, each gets its own."""
        escaped = name.replace("%", "%25").replace(":", "%3A")
        keys = (f"{escaped}{f'%{number}' if number else ''}:" for number in count())
        key = next(key for key in keys if key not in self._keys)
        self._keys.add(key)
        return key

    def _read_chats(self, export: ChatExport, format: str, name: str, *, is_beginning: bool) -> None:
        if isinstance(export, WhatsApp):
            export.name = name_of(name)
        emit("phase", name="owner", text="Looking for the owner of the export")
        owner = find_owner(export, self.config.owner_name, lambda done: self.progress(self._done + done))
        self.owner, self.builder.owner_ids = owner, owner.ids
        if self.config.transcribe_voice and isinstance(export, Export):
            self.builder.heard = self._heard(export, name)
        if isinstance(export, Export):
            export.brief = self.builder.takes_brief_messages
        emit("phase", name="read", text=f"Reading the chats of {owner.name or owner.id}")
        if self.rows is None or not isinstance(export, Export) or not self._read_together(export, self.rows):
            for batch in export.batches(self.builder.uses):
                self.builder.add(*batch)
                self.progress(self._done + export.bytes_read)
                self._check_whole(export, name)
            self.builder.end_session()
        self._check_whole(export, name)
        self.builder.end_file()
        self.formats[format] += 1
        self.repaired += export.repaired
        self.lost += export.lost
        if export.repaired:
            emit("warning", text=f"{export.repaired:,} messages were not valid JSON and were repaired")
        if export.lost:
            self._problem(f"{export.lost:,} messages could not be read and were left out")
        if export.truncated and not is_beginning:
            self._problem("the export ends in the middle; what was there is used")

    def _check_whole(self, export: ChatExport, name: str) -> None:
        """Raises UserError if it must be, and is not."""
        if self.config.strict and (export.lost or export.truncated):
            raise UserError(
                "bad_input",
                f"a message of {name} cannot be read" if export.lost else f"{name} ends in the middle",
                "Export the chat again; or leave out strict, so that what cannot be read is counted.",
            )

    def _heard(self, export: Export, name: str) -> dict[str | None, str]:
        from finetune.heard_notes import heard_notes
        from finetune.voice_notes import unpacked_voice_file, voice_file

        find = partial(voice_file, export.path.parent)
        if name in self.members:
            find = partial(unpacked_voice_file, self.members, posixpath.dirname(name))
        return heard_notes(export, self.builder.uses, self.transcriber, find)

    def _read_together(self, export: Export, rows: RowFile) -> bool:
        """Read an export in several processes, if it is large or was asked for. False: it was not read."""
        if self.config.processes == 1:
            return False
        from finetune.reading_side_by_side import (  # takes time that small files need not pay
            Helpers,
            parts_of,
            wanted_processes,
        )

        count = wanted_processes(self.config, export, self.refiner)
        parts = parts_of(export, count, self.config, self.builder) if count > 1 else []
        if len(parts) < 2:
            return False
        export.part = parts[0]
        with Helpers(export, parts[1:], self.config, self.builder, rows) as helpers:

            def progress() -> None:
                self.progress(self._done + export.bytes_read + helpers.bytes_read)

            for batch in export.batches(self.builder.uses):
                self.builder.add(*batch)
                progress()
            self.builder.end_session()
            for counts in helpers.gather(rows, progress):
                self.builder.absorb(counts["builder"])
                self.refiner.absorb(counts["refiner"])
                export.repaired += counts["export"]["repaired"]
                export.lost += counts["export"]["lost"]
                export.truncated |= counts["export"]["truncated"]
        return True

    def _read_rows(self, file: Path, name: str, found: Detected, one_of_many: bool, most_bytes: int | None) -> None:
        emit("phase", name="read", text=f"Reading {found.name.replace('_', ' ')}")
        self.builder.begin_source(self.builder.file, name)
        self.ready.source = self.builder.file
        formats = (self._own_format,) if self._own_format else ROW_FORMATS
        rows = Rows(file, formats, found.layout, most_bytes)
        strict, key = self.config.strict, self.builder.file
        for number, batch in enumerate(trusted(rows) if one_of_many and not strict else rows.batches()):
            if strict and rows.bad:
                break
            if key:
                for dialog in batch.dialogs:
                    dialog.conversation = key + dialog.conversation
            self.ready.add(batch)
            if number % BATCHES_BETWEEN_LOOKS == 0:
                self.progress(self._done + rows.bytes_read)
        if rows.bad and (strict or not rows.good):
            what = "a record" if rows.good else f"none of the {rows.bad:,} rows"
            raise UserError(
                "bad_input",
                f"{what} of {name} can{'not' if rows.good else ''} be read; {rows.first_bad}",
                self._mend_of(rows),
            )
        self.formats.update(dict.fromkeys(rows.shapes, 1))
        self.records += rows.good + rows.bad
        self.repaired += rows.repaired
        self.lost += rows.bad
        self._tell(rows.problems, rows.described, "rows that cannot be read")
        flaws = [f"{rows.layout.unit} {place}: {flaw}" for place, flaw in self.ready.flaws]
        self._tell(flaws, self.ready.flawed, "rows that are not as they should be")
        self.ready.forget_flaws()
        if len(rows.shapes) > 1:
            shapes = ", ".join(f"{name} {number:,}" for name, number in rows.shapes.most_common())
            self._problem(f"the file mixes formats: {shapes}")

    def _mend_of(self, rows: Rows) -> str:
        """What can be done about rows that cannot be read."""
        if self._own_format is not None:
            return "Name columns that the rows have."
        if rows.layout.kind in ("csv", "parquet"):
            return NAME_COLUMNS
        return "Correct the rows as described and try again."

    def _tell(self, first: list[str], count: int, what: str) -> None:
        """The first of `count` problems, and how many more there are."""
        for problem in first:
            self._problem(problem)
        if count > len(first):
            emit("warning", text=f"{self._named}and {count - len(first):,} more {what}")

    def _problem(self, text: str) -> None:
        """One of the file that is being read."""
        self._note(self._named + text)

    def _note(self, text: str) -> None:
        emit("warning", text=text)
        if len(self.problems) < MAX_KEPT_PROBLEMS:
            self.problems.append(text)

    def check_not_empty(self, name: str, left_out: Counter[str]) -> None:
        """Raises UserError when nothing was formed that could be learned from."""
        builder = self.builder
        if builder.dialogs or builder.texts:
            return
        if self.skipped and not self.formats:
            first, cause = next(iter(self.skipped.items()))
            next_step = "Choose other files."
            if self._telling is not None:
                first, (cause, next_step) = self._telling[0], (self._telling[1].cause, self._telling[1].next_step)
            raise UserError(
                "bad_input", f"none of the {len(self.skipped):,} files can be read; {first}: {cause}", next_step
            )
        if builder.messages_read == 0 and not builder.chats_skipped:
            raise UserError("bad_input", f"{name} contains no messages", "Export a chat that has messages.")
        whose = f" of {self.owner.name or self.owner.id}" if self.owner else ""
        counts = [*builder.dropped.most_common(6), *builder.chats_skipped.most_common(6), *left_out.most_common(6)]
        counted = ", ".join(f"{reason} {count:,}" for reason, count in counts)
        next_step = "Check who is named as the owner, and the limits on dialogs."
        if any(kind in builder.chats_skipped for kind in GROUP_CHATS):
            next_step = "Include group chats, or export a personal chat."
        raise UserError(
            "bad_input",
            f"no dialog with an answer{whose} was found in {builder.messages_read:,} messages (left out: {counted})",
            next_step,
        )

    def figures(self) -> dict[str, Any]:
        """Everything counted, as plain JSON data."""
        owner = self.owner
        return {
            "format": ", ".join(name for name, _ in self.formats.most_common()),
            "files": {"read": sum(self.formats.values()), "skipped": self.skipped},
            "owner": {"name": owner.name, "id": owner.id, "found_by": owner.found_by} if owner else None,
            **self.builder.figures(),
            "records": self.records,
            "repaired": self.repaired,
            "lost": self.lost,
            "problems": self.problems,
        }
