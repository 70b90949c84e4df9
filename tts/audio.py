"""Reading audio of any kind as it will be trained: mono, 24 kHz, in pieces that fit into memory.

What a file is, is decided by its content. libsndfile reads WAV, MP3, OGG (Vorbis, Opus),
FLAC and AIFF; m4a, aac and webm go through PyAV, with the container named by us, so that
no playlist can make it open anything else. Durations are decoded, never believed: an MP3
without a Xing header may say nine times its length.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile
import soxr

from engines.contract.errors import UserError

SAMPLE_RATE = 24_000
BLOCK_SECONDS = 10
CLIPPED_AT = 0.99  # of full scale; 127/128 of 8-bit audio is above it
FORMATS = "WAV, MP3, OGG, FLAC, AIFF, M4A, AAC or WebM"

Samples = np.ndarray  # float32, mono


@dataclass
class Block:
    """A part of a recording. clipped: how many of the source's samples were at full scale, every 10 ms."""

    audio: Samples
    clipped: np.ndarray


class Recording:
    """One file. `blocks` reads it once; afterwards `seconds` is its true length, `damage` what was wrong with it.

    position: bytes of the file that were read so far.
    """

    def __init__(self, path: Path):
        self.path = path
        self.seconds = 0.0
        self.position = 0
        self.rate = self.channels = 0
        self.damage = ""

    def blocks(self) -> Iterator[Block]:
        """Mono at 24 kHz. Raises UserError for what is empty or no audio; a file that breaks off gives what it has."""
        with open(self.path, "rb") as file:
            head = file.read(64)
            file.seek(0)
            if not head:
                raise UserError("bad_input", f"{self.path.name} is empty", "Copy the recording again.")
            self.damage = _cut_off(head, self.path.stat().st_size)
            container = _container(head)
            for block in self._resampled(self._read_with_av(file, container) if container else self._read(file)):
                self.position = file.tell()
                yield block
        if not self.seconds:
            raise UserError("bad_input", f"{self.path.name} holds no sound", "Copy the recording again.")

    def _read(self, file: BinaryIO) -> Iterator[np.ndarray]:
        """(frames, channels) through libsndfile."""
        try:
            sound = soundfile.SoundFile(file)
        except (soundfile.LibsndfileError, RuntimeError, TypeError):
            raise self._unreadable() from None
        with sound:
            self.rate, self.channels = sound.samplerate, sound.channels
            while True:
                try:
                    part = sound.read(self.rate * BLOCK_SECONDS, dtype="float32", always_2d=True)
                except (soundfile.LibsndfileError, RuntimeError) as error:
                    self._breaks_off(error)
                    return
                if not len(part):
                    return
                yield part

    def _read_with_av(self, file: BinaryIO, container: str) -> Iterator[np.ndarray]:
        import av

        try:
            opened = av.open(file, format=container)
            stream = opened.streams.audio[0]
        except (av.FFmpegError, IndexError, ValueError):
            raise self._unreadable() from None
        with opened:
            self.rate, self.channels = stream.codec_context.sample_rate, stream.codec_context.channels
            resampler = av.AudioResampler(format="fltp", rate=self.rate)
            waiting: list[np.ndarray] = []
            try:
                for frame in opened.decode(stream):
                    waiting += [part.to_ndarray().T for part in resampler.resample(frame)]
                    if sum(map(len, waiting)) >= self.rate * BLOCK_SECONDS:
                        yield np.concatenate(waiting)
                        waiting = []
            except (av.FFmpegError, ValueError) as error:
                self._breaks_off(error)
            if waiting:
                yield np.concatenate(waiting)

    def _resampled(self, parts: Iterator[np.ndarray]) -> Iterator[Block]:
        stream: Any = None
        frames = 0
        for part in parts:
            if stream is None:
                stream = soxr.ResampleStream(self.rate, SAMPLE_RATE, 1, dtype="float32")
            part = np.nan_to_num(part, nan=0.0, posinf=0.0, neginf=0.0)
            frames += len(part)
            self.seconds = frames / self.rate
            yield Block(stream.resample_chunk(part.mean(axis=1)), self._clipped(part))
        if stream is not None:
            yield Block(stream.resample_chunk(np.zeros(0, np.float32), last=True), np.zeros(0, np.int32))

    def _clipped(self, part: np.ndarray) -> np.ndarray:
        full = np.abs(part).max(axis=1) >= CLIPPED_AT
        step = max(1, self.rate // 100)
        return np.add.reduceat(full.astype(np.int32), np.arange(0, len(full), step))

    def _unreadable(self) -> UserError:
        cause = f"{self.path.name} holds no audio that can be read"
        return UserError("bad_input", cause, f"Its content is not {FORMATS}; convert it to one of them.")

    def _breaks_off(self, error: Exception) -> None:
        if not self.seconds:
            raise self._unreadable() from None
        self.damage = f"breaks off after {self.seconds:.1f} s ({str(error).strip()[:80]})"


def _container(head: bytes) -> str:
    """The container that PyAV has to read, by its first bytes; empty: libsndfile knows it, or nobody."""
    if head[4:8] == b"ftyp":
        return "mp4"
    if head.startswith(b"\x1aE\xdf\xa3"):
        return "matroska"
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:  # ADTS, layer 0; an MP3 has another layer
        return "aac"
    return ""


def _cut_off(head: bytes, size: int) -> str:
    """What is wrong with a WAV file that should be longer than it is; libsndfile reads it without a word."""
    said = int.from_bytes(head[4:8], "little")
    is_cut = head.startswith(b"RIFF") and said < 0xFFFFFF00 and said + 8 > size
    return f"breaks off: {size * 100 // (said + 8)} % of the file is there" if is_cut else ""


def read(path: Path) -> Samples:
    """A whole recording. Raises UserError for what is not there, empty or no audio."""
    try:
        return np.concatenate([block.audio for block in Recording(path).blocks()])
    except OSError as error:
        raise UserError("not_found", f"{path.name} cannot be opened: {error.strerror}", "Import it again.") from None


def write(path: Path, audio: Samples) -> None:
    """A new WAV file of 16 bit that only its owner may read."""
    path.touch(0o600)
    soundfile.write(path, np.clip(audio, -1.0, 1.0), SAMPLE_RATE, subtype="PCM_16", format="WAV")
