"""What an evaluation found, in colours."""

from __future__ import annotations

from textual.content import Content

from engines.quality.figures import Report
from ftui.evaluation_lines import lines

STYLES = {
    "heading": "bold $text-accent",
    "figure": "bold",
    "better": "$text-success",
    "worse": "$text-error",
    "unclear": "",
    "muted": "$foreground-muted",
    "plain": "",
}


def draw(report: Report) -> Content:
    """The report as a text to read."""
    return Content("\n").join(Content.styled(text, STYLES[kind]) for kind, text in lines(report))
