"""Where somebody speaks, and how a long recording is cut there.

Voice activity is found by the Silero model that faster-whisper ships: 27 s in 60 ms.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import soxr

from tts.audio import SAMPLE_RATE, Block, Samples

VAD_RATE = 16_000
STRETCH_SECONDS = 120  # of a recording in memory at once
SHORTEST_PAUSE_MS = 200
PADDING_SECONDS = 0.15  # kept around speech, so that no breath or final consonant is cut off
SENTENCE_PAUSE_SECONDS = 0.5
FRAMES_PER_SECOND = 100

Span = tuple[float, float]  # seconds


def find(audio: Samples) -> list[Span]:
    """Where somebody speaks, in seconds."""
    from faster_whisper.vad import VadOptions, get_speech_timestamps

    if len(audio) < SAMPLE_RATE // 20:
        return []
    low = soxr.resample(audio, SAMPLE_RATE, VAD_RATE)
    options = VadOptions(min_silence_duration_ms=SHORTEST_PAUSE_MS, speech_pad_ms=0, min_speech_duration_ms=100)
    return [(span["start"] / VAD_RATE, span["end"] / VAD_RATE) for span in get_speech_timestamps(low, options)]


@dataclass
class Piece:
    """A part of a recording with speech. start: seconds from the recording's beginning; speech: spans within it."""

    start: float
    audio: Samples
    speech: list[Span]
    clipped: int  # samples of the source at full scale

    @property
    def seconds(self) -> float:
        return len(self.audio) / SAMPLE_RATE

    def spoken(self) -> Samples:
        """The speech alone, without the pauses."""
        parts = [self.audio[int(begin * SAMPLE_RATE) : int(end * SAMPLE_RATE)] for begin, end in self.speech]
        return np.concatenate(parts) if parts else self.audio


@dataclass(frozen=True)
class Lengths:
    """Seconds. A recording up to `whole` stays in one piece."""

    whole: float
    shortest: float
    longest: float


def pieces(blocks: Iterator[Block], lengths: Lengths) -> Iterator[Piece]:
    """The parts of a recording in which somebody speaks, in order, in bounded memory."""
    audio: Samples = np.zeros(0, np.float32)
    clipped: np.ndarray = np.zeros(0, np.int32)
    start = 0.0
    cutting = False
    for block in blocks:
        audio, clipped = np.concatenate([audio, block.audio]), np.concatenate([clipped, block.clipped])
        if len(audio) < STRETCH_SECONDS * SAMPLE_RATE:
            continue
        cutting = True
        speech = find(audio)
        groups = group(audio, speech, lengths)
        kept = _open_end(groups, len(audio) / SAMPLE_RATE)
        yield from _cut(audio, clipped, start, speech, [span for span in groups if span[0] < kept])
        at = int(kept * FRAMES_PER_SECOND)  # whole frames, so that the count of clipped samples stays beside the sound
        audio, clipped = audio[at * SAMPLE_RATE // FRAMES_PER_SECOND :], clipped[at:]
        start += at / FRAMES_PER_SECOND
    speech = find(audio)
    if speech and not cutting and len(audio) / SAMPLE_RATE <= lengths.whole:
        groups = [(speech[0][0], speech[-1][1])]
    else:
        groups = group(audio, speech, lengths)
    yield from _cut(audio, clipped, start, speech, groups)


def group(audio: Samples, speech: list[Span], lengths: Lengths) -> list[Span]:
    """Spans of speech joined into pieces: apart at a pause that ends a sentence, or before a piece gets too long."""
    room = lengths.longest - 2 * PADDING_SECONDS
    groups: list[Span] = []
    for span in speech:
        for begin, end in split_at_quiet(audio, span, room):
            first, last = groups[-1] if groups else (begin, begin)
            too_short = min(last - first, end - begin) < lengths.shortest
            if groups and end - first <= room and (too_short or begin - last < SENTENCE_PAUSE_SECONDS):
                groups[-1] = (first, end)
            else:
                groups.append((begin, end))
    return groups


def split_at_quiet(audio: Samples, span: Span, longest: float) -> list[Span]:
    """A span without pauses cut at its quietest moments, so that no part is longer than `longest` seconds."""
    begin, end = span
    if end - begin <= longest:
        return [span]
    first, last = begin + longest / 2, begin + longest
    step = SAMPLE_RATE // 50
    window = audio[int(first * SAMPLE_RATE) : int(last * SAMPLE_RATE)]
    window = window[: len(window) // step * step].reshape(-1, step)
    quiet = first + (int(np.argmin((window**2).mean(axis=1))) + 0.5) / 50
    return [(begin, quiet), *split_at_quiet(audio, (quiet, end), longest)]


def _open_end(groups: list[Span], end: float) -> float:
    """Where what is not decided yet begins: the last piece may go on in the next stretch."""
    if not groups or end - groups[-1][1] > 2.0:
        return max(groups[-1][1] + 1.0 if groups else 0.0, end - 1.0)
    return max(0.0, groups[-1][0] - PADDING_SECONDS)


def _cut(audio: Samples, clipped: np.ndarray, start: float, speech: list[Span], groups: list[Span]) -> Iterator[Piece]:
    """The groups with a little of the silence around them, never more than half of a pause."""
    end_of_all = len(audio) / SAMPLE_RATE
    for number, (begin, end) in enumerate(groups):
        before = groups[number - 1][1] if number else 0.0
        after = groups[number + 1][0] if number + 1 < len(groups) else end_of_all
        first = max(begin - PADDING_SECONDS, (before + begin) / 2 if number else 0.0, 0.0)
        last = min(end + PADDING_SECONDS, (end + after) / 2 if number + 1 < len(groups) else end_of_all)
        inside = [(max(a, first) - first, min(b, last) - first) for a, b in speech if a < last and b > first]
        at_full = clipped[int(first * FRAMES_PER_SECOND) : int(last * FRAMES_PER_SECOND) + 1]
        cut = audio[int(first * SAMPLE_RATE) : int(last * SAMPLE_RATE)]
        yield Piece(start + first, cut.copy(), inside, int(at_full.sum()))
