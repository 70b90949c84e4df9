"""What is wrong with a sample, from the figures that its checks measured: reasons in words, and a score.

The figures are on the list of samples; reasons and score are made of them whenever they
are asked for, so an edited text or a deleted twin counts at once. Standard library only.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

CLIPPED_SHARE = 0.0005  # of the source's samples at full scale: one audible click in two seconds
NOISY_DB = 15.0  # speech over noise; a quiet room with a headset has 40
SILENT_SHARE = 0.5
QUIET_LUFS = -40.0
SHORT_SECONDS, LONG_SECONDS = 2.0, 20.0
OWN_SIMILARITY = 0.75  # of a voice to all others; own ones have 0.9 and more, strangers 0.7 and less
WITHIN_SIMILARITY = 0.6
SLOW_CHARACTERS, FAST_CHARACTERS = 4.0, 25.0  # a second; speech in en, ru, de has 10 to 18
SURE = 0.6  # confidence of a transcript


def judge(entry: dict[str, Any], present: Collection[str]) -> tuple[int | None, list[str]]:
    """(score from 0 to 100, reasons) of one entry of the list; (None, []) where nothing was measured.

    present: the file names of all samples.
    """
    checks = entry.get("checks") or {}
    found = [*_sound(checks, entry.get("duration_sec") or 0.0), *_others(checks, present), *_text(entry)]
    if not checks:
        return None, [reason for _, reason in found]
    return max(0, 100 - sum(cost for cost, _ in found)), [reason for _, reason in found]


def _sound(checks: dict[str, Any], seconds: float) -> list[tuple[int, str]]:
    found = []
    if checks.get("clipped_share", 0) > CLIPPED_SHARE:
        found.append((30, f"clipped: {checks['clipped_share']:.2%} of it at full scale"))
    if checks.get("snr_db", NOISY_DB) < NOISY_DB:
        found.append((30, f"noisy: speech only {checks['snr_db']:.0f} dB over the noise"))
    if checks.get("silent_share", 0) > SILENT_SHARE:
        found.append((15, f"{checks['silent_share']:.0%} of it is silence"))
    if checks.get("source_lufs", 0) < QUIET_LUFS:
        found.append((10, f"recorded very quietly ({checks['source_lufs']:.0f} LUFS)"))
    if seconds and not SHORT_SECONDS <= seconds <= LONG_SECONDS:
        found.append((5, f"{'short' if seconds < SHORT_SECONDS else 'long'}: {seconds:.1f} s"))
    if checks.get("damage"):
        found.append((10, f"the recording {checks['damage']}"))
    return found


def _others(checks: dict[str, Any], present: Collection[str]) -> list[tuple[int, str]]:
    found = []
    twin = checks.get("duplicate_of")
    if twin in present:
        found.append((60, f"sounds like {twin} again"))
    if checks.get("speaker_similarity", 1) < OWN_SIMILARITY:
        found.append((40, f"another speaker? Similarity to the other samples {checks['speaker_similarity']:.2f}"))
    if checks.get("speaker_within", 1) < WITHIN_SIMILARITY:
        found.append((40, f"more than one speaker? Its parts are only {checks['speaker_within']:.2f} alike"))
    return found


def _text(entry: dict[str, Any]) -> list[tuple[int, str]]:
    text, seconds = entry.get("transcript") or "", entry.get("duration_sec") or 0.0
    if not text or not seconds:
        return []
    found = []
    rate = sum(letter.isalnum() for letter in text) / seconds
    if rate > FAST_CHARACTERS:
        found.append((40, f"text too long for the sound: {rate:.0f} characters a second"))
    elif rate < SLOW_CHARACTERS:
        found.append((20, f"text too short for the sound: {rate:.1f} characters a second"))
    confidence = entry.get("confidence")
    if confidence is not None and confidence < SURE and not entry.get("transcript_edited"):
        found.append((15, f"unsure transcript ({confidence:.0%})"))
    return found
