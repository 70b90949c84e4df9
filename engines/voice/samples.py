"""Voice samples: recordings of one speaker with what is said in them, and what can be done with them.

`qwen3-tts/voice_samples/` holds the files, `samples_metadata.json` what is known of each
(see sample_registry.py). Audio is read by scripts alone; here are names, numbers and texts.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engines.contract import statefiles
from engines.contract.errors import UserError
from engines.voice.sample_registry import Entry, SampleRegistry
from engines.voice.sample_scores import judge
from engines.workspace import Workspace, check_name

RECOMMENDED_SECONDS = 30 * 60.0


@dataclass(frozen=True)
class Sample:
    """One recording. Numbers are None until they are measured; `transcript` is empty until there is one."""

    filename: str
    path: Path
    duration_sec: float | None
    transcript: str
    transcript_edited: bool
    size_kb: float | None
    language: str = ""
    confidence: float | None = None  # of the transcript, 0 to 1
    uncertain_words: list[str] = field(default_factory=list)
    score: int | None = None  # 0 to 100, of the checks
    reasons: list[str] = field(default_factory=list)  # why it is not 100
    checks: dict[str, Any] = field(default_factory=dict)
    source: dict[str, Any] = field(default_factory=dict)  # name, sha256, start_sec: where it was cut from

    def waits(self, *, again: bool = False) -> bool:
        """Would a transcription write it down?"""
        return not self.transcript_edited and (again or not self.transcript)

    def as_dict(self) -> dict[str, Any]:
        return {**self.__dict__, "path": str(self.path)}


@dataclass(frozen=True)
class Totals:
    """What all samples come to."""

    count: int
    seconds: float
    transcribed: int
    doubtful: int  # samples with a reason

    def as_dict(self) -> dict[str, Any]:
        return {**self.__dict__, "recommended_seconds": RECOMMENDED_SECONDS}


class Samples:
    """The samples of a workspace. Nothing is cached: another face or a script may have changed them."""

    def __init__(self, workspace: Workspace):
        self.workspace = workspace
        self.registry = SampleRegistry(workspace.voice)

    @property
    def folder(self) -> Path:
        return statefiles.make_private_dir(self.registry.folder)

    def list(self) -> list[Sample]:
        """In the order in which they were added."""
        entries = self.registry.entries()
        present = {entry["filename"] for entry in entries}
        return [self._sample(entry, present) for entry in entries]

    def get(self, name: str) -> Sample:
        """The sample of that file name, with or without its suffix. Raises UserError if there is none."""
        check_name(name, "a sample")
        found = [sample for sample in self.list() if name in (sample.filename, Path(sample.filename).stem)]
        if not found:
            raise UserError("not_found", f"there is no sample {name}", "See `ftui tts samples list`.")
        return found[0]

    def totals(self, samples: Iterable[Sample] | None = None) -> Totals:
        found = list(self.list() if samples is None else samples)
        return Totals(
            count=len(found),
            seconds=sum(sample.duration_sec or 0.0 for sample in found),
            transcribed=sum(bool(sample.transcript) for sample in found),
            doubtful=sum(bool(sample.reasons) for sample in found),
        )

    # --- texts ---

    def set_transcript(self, name: str, text: str) -> Sample:
        """Write down what is said, by hand: no transcription ever replaces it. Returns the sample as it was."""
        sample = self.get(name)
        self.registry.put(sample.filename, transcript=" ".join(text.split()), transcript_edited=True)
        return sample

    def put_back(self, samples: Sequence[Sample]) -> None:
        """The transcripts as they were in `samples`: the undo of an edit."""
        before = {sample.filename: sample for sample in samples}

        def change(entries: list[Entry]) -> None:
            for entry in entries:
                if old := before.get(entry["filename"]):
                    entry["transcript"], entry["transcript_edited"] = old.transcript, old.transcript_edited

        self.registry.update(change)

    def set_transcripts(self, texts: dict[str, str]) -> tuple[Sequence[Sample], Sequence[str]]:
        """Texts by name: of a sample, or of the recording it was made of.

        Returns (the samples that it changed, as they were; names that are of no sample).
        """
        samples = self.list()
        by_name: dict[str, Sample] = {}
        for sample in samples:
            by_name.setdefault(Path(str(sample.source.get("name", ""))).stem, sample)
        by_name |= {Path(sample.filename).stem: sample for sample in samples}
        found = {by_name[stem].filename: text for name, text in texts.items() if (stem := Path(name).stem) in by_name}
        unknown = [name for name in texts if Path(name).stem not in by_name]
        return self._write_texts(samples, found), unknown

    def replace(self, find: str, by: str, *, match_case: bool = False) -> Sequence[Sample]:
        """Put `by` for whole words `find` in all transcripts. Returns the samples that it changed, as they were."""
        if not find.strip():
            raise UserError("usage", "nothing to find was given", "Give a word or a phrase.")
        pattern = re.compile(rf"(?<!\w){re.escape(find)}(?!\w)", 0 if match_case else re.IGNORECASE)
        samples = self.list()
        changed = {sample.filename: pattern.sub(lambda _: by, sample.transcript) for sample in samples}
        return self._write_texts(samples, changed)

    def _write_texts(self, samples: Sequence[Sample], texts: dict[str, str]) -> Sequence[Sample]:
        """Write texts that differ, as edited ones. Returns those samples as they were."""
        texts = {name: " ".join(text.split()) for name, text in texts.items()}
        before = [sample for sample in samples if texts.get(sample.filename, sample.transcript) != sample.transcript]

        def change(entries: list[Entry]) -> None:
            for entry in entries:
                if entry["filename"] in texts and entry.get("transcript", "") != texts[entry["filename"]]:
                    entry.update(transcript=texts[entry["filename"]], transcript_edited=True)

        if before:
            self.registry.update(change)
        return before

    # --- files ---

    def delete(self, name: str) -> Path:
        """Move a sample to the trash; its transcript stays with it. Returns where it went, for `restore`."""
        sample = self.get(name)
        self.registry.put(sample.filename)  # so that its transcript is on the list, also of a file just found
        return self.workspace.move_to_trash(sample.path, "sample")

    def restore(self, trashed: Path) -> Sample:
        """Bring a deleted sample back, with its transcript."""
        return self.get(self.workspace.restore(trashed).name)

    def rename(self, name: str, new: str) -> Sample:
        """Give a sample another name; its suffix stays. A crash in between leaves it under one of the two."""
        sample = self.get(name)
        target = (
            check_name(Path(new).stem if new.endswith(sample.path.suffix) else new, "a sample") + sample.path.suffix
        )
        if target == sample.filename:
            return sample
        if target in self.registry.taken_names():
            raise UserError("conflict", f"there is a sample {target} already", "Choose another name.")

        def copy(entries: list[Entry]) -> None:
            old = next(entry for entry in entries if entry["filename"] == sample.filename)
            entries.insert(entries.index(old), {**old, "filename": target})

        def drop(entries: list[Entry]) -> None:
            entries[:] = [entry for entry in entries if entry["filename"] != sample.filename]

        self.registry.update(copy)
        sample.path.rename(self.registry.folder / target)
        self.registry.update(drop)
        return self.get(target)

    def export(self, target: Path) -> Path:
        """Copy all samples into a new folder in the layout of LJSpeech: wavs/ and metadata.csv."""
        if target.exists():
            raise UserError("conflict", f"{target} exists already", "Name a folder that is not there.")
        samples = self.list()
        if not samples:
            raise UserError("not_found", "there is no sample yet", "Add some: ftui tts samples add FILES.")
        statefiles.make_private_dir(target / "wavs")
        lines = []
        for sample in samples:
            shutil.copyfile(sample.path, target / "wavs" / sample.filename)
            text = sample.transcript.replace("|", " ")
            lines.append(f"{sample.path.stem}|{text}|{text}\n")
        statefiles.write_bytes(target / "metadata.csv", "".join(lines).encode())
        return target

    def _sample(self, entry: Entry, present: set[str]) -> Sample:
        known = {name: entry[name] for name in Sample.__dataclass_fields__ if entry.get(name) is not None}
        defaults = {"duration_sec": None, "transcript": "", "transcript_edited": False, "size_kb": None}
        score, reasons = judge(entry, present)
        made = {"path": self.registry.folder / entry["filename"], "score": score, "reasons": reasons}
        return Sample(**{**defaults, **known, **made})
