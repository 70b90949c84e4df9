"""Take recordings in as voice samples: decoded, cut at pauses, measured, even in loudness, 24 kHz mono.

    python -m tts.import_samples HOME --files LIST.json [--config CONFIG.json]

HOME is a workspace's `qwen3-tts` folder; LIST.json the paths of recordings, folders and zip
archives (or what of them: see `Wanted`); CONFIG holds the parameters of `SampleConfig`. The
originals are only read. Each recording is on the list of samples with all its pieces or not at all, whenever this ends;
one that is there already (by content) is passed over, so an interrupted import is just
started again. Decoding is left to processes of their own: a damaged file may crash a decoder.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from engines.config.job import load
from engines.config.samples import SampleConfig
from engines.contract import statefiles
from engines.contract.errors import UserError
from engines.contract.events import emit
from engines.contract.run_protocol import run_script, stop_requested, write_result
from engines.voice.sample_registry import Entry, SampleRegistry
from tts.one_recording import Taken, begin_worker, sha256_of, take
from tts.recordings import Source, Wanted, sources

INCOMING = ".incoming"
MOST_WORKERS = 8
WORKERS = {
    "OMP_NUM_THREADS": "1",  # they work side by side
    # large blocks go back to the system: without this an hour of sound costs 150 MB more than a minute
    "MALLOC_MMAP_THRESHOLD_": "262144", "MALLOC_TRIM_THRESHOLD_": "131072", "MALLOC_ARENA_MAX": "2",
}  # fmt: skip
KEEP_SECONDS = 2.0  # between writings of the list, which takes 0.1 s for a thousand samples
WAITING = 4  # recordings handed to each worker at once: bounded memory, however many there are
EMIT_SECONDS = 0.5
SHOWN_PROBLEMS = 50


class Import:
    """One import into one list of samples."""

    def __init__(self, registry: SampleRegistry, config: SampleConfig):
        self.registry = registry
        self.config = config
        self.incoming = statefiles.make_private_dir(registry.home / INCOMING)
        self.known = {
            entry["source"]["sha256"] for entry in registry.entries() if isinstance(entry.get("source"), dict)
        }
        self.added = self.done = 0
        self.read_seconds = self.kept_seconds = self.short_seconds = 0.0
        self.skipped: dict[str, str] = {}
        self.left_out: Counter[str] = Counter()

    def recover(self) -> None:
        """Files of an import that was killed: those that are on the list already go to their place, others go."""
        listed = {entry["filename"] for entry in statefiles.read_json(self.registry.file, []) or []}
        for file in self.incoming.iterdir():
            if file.name in listed and not (self.registry.folder / file.name).exists():
                file.rename(self.registry.folder / file.name)
            else:
                shutil.rmtree(file) if file.is_dir() else file.unlink()

    def run(self, found: list[Source]) -> None:
        """Take all of them in, in order; stops at a recording's end when asked to."""
        wanted = list(self._new(found))
        emit("phase", name="import", text=f"Taking in {len(wanted)} recordings")
        waiting: list[Taken] = []
        kept_at = time.monotonic()
        for source, taken in results(wanted, self.incoming, self.config):
            if taken.skipped:
                self.skipped[source.name] = taken.skipped
                emit("warning", text=f"{source.name}: {taken.skipped}")
            self.left_out += taken.left_out
            self.read_seconds += taken.seconds
            self.short_seconds += taken.short_seconds
            if taken.entries:
                waiting.append(taken)
            if time.monotonic() - kept_at > KEEP_SECONDS:
                self.keep(waiting)
                kept_at, waiting = time.monotonic(), []
            self.done += 1
        self.keep(waiting)

    def _new(self, found: list[Source]) -> Iterator[Source]:
        """Those whose content is not there yet."""
        for source in found:
            try:
                content = sha256_of(source.file)
            except OSError as error:
                self.skipped[source.name] = f"cannot be read: {error.strerror}"
                continue
            if content in self.known:
                self.skipped[source.name] = "is there already"
            else:
                self.known.add(content)
                yield source

    def keep(self, recordings: list[Taken]) -> None:
        """Name the pieces and put them on the list, then their files beside the others: whole at any crash."""
        moves: list[tuple[Path, Path]] = []

        def change(entries: list[Entry]) -> None:
            names = self.registry.taken_names() | {entry["filename"] for entry in entries}
            for taken in recordings:
                stem, many = stem_of(taken.source), len(taken.entries) > 1
                for number, entry in enumerate(taken.entries, 1):
                    written = self.incoming / entry["filename"]
                    entry["filename"] = free_name(f"{stem}-{number:03d}" if many else stem, names)
                    names.add(entry["filename"])
                    named = written.rename(self.incoming / entry["filename"])
                    moves.append((named, self.registry.folder / entry["filename"]))
                    entries.append(entry)

        if recordings:
            self.registry.update(change)
        for named, place in moves:
            named.rename(place)
        self.added += len(moves)
        self.kept_seconds += sum(entry["duration_sec"] for taken in recordings for entry in taken.entries)


class Bytes:
    """How much of all recordings was read, by all workers together: a single one may take minutes."""

    def __init__(self, wanted: list[Source], context: Any):
        self.total = sum(source.file.stat().st_size for source in wanted)
        self.finished = 0
        self.read = context.Value("d", 0.0)  # by the workers
        self.emit()

    def emit(self) -> None:
        done = min(self.total, max(self.finished, int(self.read.value)))
        emit("progress", done=done, total=self.total, unit="bytes")

    def finish(self, source: Source) -> None:
        self.finished += source.file.stat().st_size
        self.emit()

    def wait(self, future: Future[Taken]) -> Taken:
        """The result of a worker; meanwhile it is told how far all of them are."""
        while True:
            try:
                return future.result(EMIT_SECONDS)
            except TimeoutError:
                self.emit()


def results(wanted: list[Source], folder: Path, config: SampleConfig) -> Iterator[tuple[Source, Taken]]:
    """What became of each, in order. A worker that crashes costs only the recording that crashed it."""
    workers = min(
        MOST_WORKERS, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2, len(wanted) or 1
    )
    context = multiprocessing.get_context("spawn")
    os.environ.update(WORKERS)
    bytes_read = Bytes(wanted, context)
    todo = list(reversed(wanted))
    while todo:
        waiting: list[tuple[Source, Future[Taken]]] = []
        with _pool(workers, context, bytes_read) as pool:
            while (todo or waiting) and not stop_requested():
                while todo and len(waiting) < workers * WAITING:
                    source = todo.pop()
                    waiting.append((source, pool.submit(take, source, folder, config)))
                source, future = waiting[0]
                try:
                    taken = bytes_read.wait(future)
                except BrokenProcessPool:
                    break
                waiting.pop(0)
                bytes_read.finish(source)
                if not taken.stopped:
                    yield source, taken
            pool.shutdown(wait=True, cancel_futures=True)
        if stop_requested():
            return
        for source, _ in waiting:  # those that were under way in the broken pool, each in a process of its own
            yield source, alone(source, folder, config, bytes_read, context)


def alone(source: Source, folder: Path, config: SampleConfig, bytes_read: Bytes, context: Any) -> Taken:
    with _pool(1, context, bytes_read) as pool:
        try:
            return pool.submit(take, source, folder, config).result()
        except BrokenProcessPool:
            return Taken(source.name, skipped="the decoder crashed on it; convert it to WAV with another program")
        finally:
            bytes_read.finish(source)


def _pool(workers: int, context: Any, bytes_read: Bytes) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, mp_context=context, initializer=begin_worker, initargs=(bytes_read.read,))


def stem_of(name: str) -> str:
    """A file name made from any name: letters, digits and _ . + -"""
    stem = Path(name).stem.encode("utf-8", "replace").decode()
    kept = "".join(letter if letter.isalnum() or letter in "_+-." else "_" for letter in stem)
    return kept.strip("_.+-")[:80] or "sample"


def free_name(stem: str, taken: set[str]) -> str:
    name, number = f"{stem}.wav", 1
    while name in taken:
        number += 1
        name = f"{stem}-{number}.wav"
    return name


def read_wishes(file: Path) -> list[Wanted]:
    """LIST.json: an item is a path, or an object with the fields of `Wanted`."""
    found = [item if isinstance(item, dict) else {"path": item} for item in statefiles.load_json(file)]
    return [Wanted(Path(item["path"]), tuple(item.get("skip", ())), frozenset(item.get("take", ()))) for item in found]


def check(config: SampleConfig) -> None:
    """Raises UserError for lengths that contradict each other."""
    order = (config.min_duration_sec, config.piece_min_sec, min(config.piece_max_sec, config.max_duration_sec))
    if sorted(order) != list(order) or order[1] == order[2]:
        raise UserError(
            "usage",
            "the lengths contradict each other: shortest, shortest piece, longest piece, longest must rise",
            f"Now: {', '.join(f'{value:g}' for value in (*order, config.max_duration_sec))} s.",
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path)
    parser.add_argument("--files", type=Path, required=True)
    parser.add_argument("--config", type=Path)
    arguments = parser.parse_args()
    config = load(SampleConfig, arguments.config)
    check(config)
    lock = statefiles.lock(statefiles.make_private_dir(arguments.home) / ".import.lock")
    if lock is None:
        raise UserError("conflict", "another import is running", "Wait for it, or stop it.")
    registry = SampleRegistry(arguments.home)
    statefiles.make_private_dir(registry.folder)
    work = Import(registry, config)
    work.recover()
    scratch = statefiles.make_private_dir(work.incoming / "unpacked")
    wishes = read_wishes(arguments.files)
    found = list(sources(wishes, scratch))
    if not found:
        names = ", ".join(wish.path.name for wish in wishes)
        raise UserError("bad_input", f"{names} holds no recording", "Name files, or folders or archives with some.")
    work.run(found)
    shutil.rmtree(scratch, ignore_errors=True)
    emit("phase", name="compare", text="Comparing all samples")
    from tts.checks import compare

    registry.update(compare)
    if not work.added and work.skipped and not stop_requested():
        name, why = next(iter(work.skipped.items()))
        if any(why != "is there already" for why in work.skipped.values()):
            raise UserError("bad_input", f"nothing was added; {name}: {why}", "Give other recordings.")
    write_result(
        "stopped" if stop_requested() else "done",
        added=work.added,
        recordings=work.done,
        read_seconds=round(work.read_seconds, 1),
        kept_seconds=round(work.kept_seconds, 1),
        short_seconds=round(work.short_seconds, 1),
        silent_seconds=round(max(0.0, work.read_seconds - work.kept_seconds - work.short_seconds), 1),
        left_out=dict(work.left_out),
        skipped=dict(list(work.skipped.items())[:SHOWN_PROBLEMS]),
        skipped_count=len(work.skipped),
    )


if __name__ == "__main__":
    sys.stdin.close()
    run_script(main)
