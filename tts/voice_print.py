"""Whose voice it is: embeddings of the GE2E speaker encoder that the package resemblyzer ships (5 MB, any language).

Two pieces of one speaker are alike (cosine) by 0.75 and more, of two speakers mostly by less than 0.65.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import soxr

from tts.audio import SAMPLE_RATE, Samples

RATE = 16_000
WINDOW = int(1.6 * RATE)  # what the encoder was trained on
MOST_WINDOWS = 4


def within_and_whole(audio: Samples) -> tuple[float | None, np.ndarray]:
    """(how alike the least alike parts of a piece are, its embedding). Windows are spread over the piece."""
    low = soxr.resample(audio, SAMPLE_RATE, RATE)
    if len(low) < WINDOW:
        low = np.pad(low, (0, WINDOW - len(low)), mode="wrap")
    count = min(MOST_WINDOWS, -(-len(low) // WINDOW))
    starts = np.linspace(0, len(low) - WINDOW, count).astype(int)
    parts = _embed(np.stack([low[start : start + WINDOW] for start in starts]))
    whole = parts.mean(axis=0)
    alike = float((parts @ parts.T).min()) if count > 1 else None
    return alike, whole / np.linalg.norm(whole)


@lru_cache(maxsize=1)
def _encoder() -> Any:
    import torch
    from resemblyzer import VoiceEncoder

    torch.set_num_threads(1)
    return VoiceEncoder("cpu", verbose=False)


def _embed(windows: np.ndarray) -> np.ndarray:
    """(n, 25600) at 16 kHz to (n, 256), each of length 1."""
    import torch
    from resemblyzer.audio import normalize_volume, wav_to_mel_spectrogram

    mels = np.stack([wav_to_mel_spectrogram(normalize_volume(window, -30, increase_only=True)) for window in windows])
    with torch.inference_mode():
        return _encoder()(torch.from_numpy(mels)).numpy()
