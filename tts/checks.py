"""What is measured of a piece before it becomes a sample, and how it is made even in loudness.

engines/voice/sample_scores.py makes reasons of these figures.
"""

from __future__ import annotations

import base64
import warnings
from itertools import pairwise
from typing import Any

import numpy as np
import pyloudnorm

from tts.audio import SAMPLE_RATE, Samples
from tts.speech import Piece

FRAME = SAMPLE_RATE // 50
PEAK = 10 ** (-1 / 20)  # -1 dBFS
PRINT_TIMES, PRINT_BANDS = 24, 8
SAME_SOUND = 0.98  # cosine of two sound prints; a copy in another format has 0.99, another sentence under 0.8
SAME_LENGTH = 0.04


def measure(piece: Piece) -> dict[str, Any]:
    """Figures of a piece as it was recorded."""
    level = 10 * np.log10(_energies(piece.audio) + 1e-10)
    noise, speech = np.percentile(level, (10, 90))
    spoken = sum(end - begin for begin, end in piece.speech)
    return {
        "clipped_share": round(piece.clipped / max(1, len(piece.audio)), 6),
        "snr_db": round(float(speech - noise), 1),
        "silent_share": round(max(0.0, 1 - spoken / piece.seconds), 3),
        "source_lufs": round(loudness(piece.audio), 1),
        "source_peak": round(float(np.abs(piece.audio).max()), 3),
    }


def loudness(audio: Samples) -> float:
    """Integrated loudness in LUFS (ITU-R BS.1770-4); -70 for silence."""
    shortest = SAMPLE_RATE // 2  # BS.1770 measures in blocks of 0.4 s
    if len(audio) < shortest:
        audio = np.pad(audio, (0, shortest - len(audio)), mode="wrap") if len(audio) else np.zeros(shortest)
    return max(-70.0, float(pyloudnorm.Meter(SAMPLE_RATE).integrated_loudness(audio)))


def normalized(audio: Samples, lufs: float) -> Samples:
    """Brought to `lufs`, or as near as the peaks allow."""
    measured = loudness(audio)
    if measured <= -70.0:
        return audio
    gain = 10 ** ((lufs - measured) / 20)
    peak = float(np.abs(audio).max())
    return (audio * min(gain, PEAK / peak)).astype(np.float32)


def denoised(audio: Samples) -> Samples:
    """Steady noise taken out by spectral gating (noisereduce)."""
    import noisereduce

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return noisereduce.reduce_noise(y=audio, sr=SAMPLE_RATE, stationary=True).astype(np.float32)


def sound_print(audio: Samples) -> str:
    """What a piece sounds like in 192 bytes: energy in bands over time, the same at any loudness and in any format."""
    step = len(audio) // PRINT_TIMES
    if step < 64:
        return ""
    parts = audio[: step * PRINT_TIMES].reshape(PRINT_TIMES, step) * np.hanning(step)
    power = np.abs(np.fft.rfft(parts, axis=1)) ** 2
    edges = np.geomspace(100, 6000, PRINT_BANDS + 1) / (SAMPLE_RATE / 2) * (power.shape[1] - 1)
    bands = np.stack([power[:, int(a) : max(int(a) + 1, int(b))].mean(axis=1) for a, b in pairwise(edges)])
    level = np.log10(bands + 1e-9)
    level -= level.mean()
    return encoded(level.ravel())


def encoded(vector: np.ndarray) -> str:
    """A vector of any length in bytes of -127 to 127, as text."""
    scaled = np.round(vector / max(1e-9, float(np.abs(vector).max())) * 127).astype(np.int8)
    return base64.b64encode(scaled.tobytes()).decode()


def decoded(text: str) -> np.ndarray:
    """The same, of length 1."""
    vector = np.frombuffer(base64.b64decode(text), np.int8).astype(np.float32)
    return vector / max(1e-9, float(np.linalg.norm(vector)))


def _energies(audio: Samples) -> np.ndarray:
    count = max(1, len(audio) // FRAME)
    padded = np.pad(audio, (0, max(0, FRAME - len(audio))))
    return (padded[: count * FRAME].reshape(count, FRAME) ** 2).mean(axis=1)


def compare(entries: list[dict[str, Any]]) -> None:
    """Look at all samples together, in place: which sounds like an earlier one, which voice is unlike the others."""
    _find_duplicates([entry for entry in entries if entry.get("prints", {}).get("sound")])
    _find_strangers([entry for entry in entries if entry.get("prints", {}).get("voice")])


def _find_duplicates(entries: list[dict[str, Any]]) -> None:
    if not entries:
        return
    prints = np.stack([decoded(entry["prints"]["sound"]) for entry in entries])
    lengths = np.array([entry["duration_sec"] for entry in entries])
    for number, entry in enumerate(entries):
        alike = prints[:number] @ prints[number] > SAME_SOUND
        alike &= np.abs(lengths[:number] - lengths[number]) < SAME_LENGTH * lengths[number]
        twin = int(np.argmax(alike)) if alike.any() else None
        entry["checks"]["duplicate_of"] = None if twin is None else entries[twin]["filename"]


def _find_strangers(entries: list[dict[str, Any]]) -> None:
    if len(entries) < 3:
        return
    prints = np.stack([decoded(entry["prints"]["voice"]) for entry in entries])
    typical = np.median(prints, axis=0)
    typical /= max(1e-9, float(np.linalg.norm(typical)))
    for entry, similarity in zip(entries, prints @ typical, strict=True):
        entry["checks"]["speaker_similarity"] = round(float(similarity), 3)
