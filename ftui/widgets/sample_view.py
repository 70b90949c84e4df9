"""One sample to look at: its wave, its figures, what is wrong with it, what is said in it."""

from __future__ import annotations

import re
from typing import Any

from textual.content import Content

from engines.voice.samples import Sample
from ftui.clean import clean, clean_line
from ftui.format import UNKNOWN, seconds

BARS = " ▁▂▃▄▅▆▇█"
ROWS = 2
FULL = 0.9  # this amplitude fills the picture


def draw(sample: Sample, wave: list[float]) -> Content:
    """Wave, text, reasons, figures."""
    lines = [*_wave(wave), spoken(sample)]
    lines += [Content.styled(f"⚠ {clean_line(reason)}", "$text-warning") for reason in sample.reasons]
    lines.append(_figures(sample))
    return Content("\n").join(lines)


def _wave(wave: list[float]) -> list[Content]:
    """Rows of blocks, the highest first."""
    rows = []
    for row in reversed(range(ROWS if wave else 0)):
        heights = (min(1.0, peak / FULL) * ROWS - row for peak in wave)
        cells = "".join(BARS[round(max(0.0, min(1.0, height)) * (len(BARS) - 1))] for height in heights)
        rows.append(Content.styled(cells, "$accent"))
    return rows


def _figures(sample: Sample) -> Content:
    score = UNKNOWN if sample.score is None else f"{sample.score}"
    sure = "" if sample.confidence is None or sample.transcript_edited else f"   {sample.confidence:.0%} sure"
    hand = "   ✎ edited" if sample.transcript_edited else ""
    parts: list[Any] = [
        ("score ", "$foreground-muted"),
        (score, "bold"),
        f"   {seconds(sample.duration_sec)}{sure}{hand}",
    ]
    if "snr_db" in sample.checks:
        parts.append(f"   {sample.checks['snr_db']:.0f} dB over noise   {sample.checks.get('source_lufs', 0):.0f} LUFS")
    source = sample.source.get("name")
    if source:
        parts.append((f"   from {clean_line(str(source))}", "$foreground-muted"))
    return Content.assemble(*parts)


def spoken(sample: Sample) -> Content:
    """What is said, the words that Whisper was not sure of underlined and marked with ?."""
    if not sample.transcript:
        return Content.styled("Nothing written down yet: s lets Whisper do it, e is by hand.", "$foreground-muted")
    text = clean(sample.transcript)
    unsure = {clean(word).lower() for word in sample.uncertain_words if word.strip()}
    if not unsure or sample.transcript_edited:
        return Content(text)
    parts = [
        Content.styled(f"{piece}?", "underline $text-warning") if piece.lower() in unsure else Content(piece)
        for piece in re.split(r"([\w'’-]+)", text)
    ]
    return Content("").join(parts)
