"""What an evaluation found: the base model and the adapter side by side."""

from __future__ import annotations

from typing import Any

from textual.content import Content

from ftui.clean import clean
from ftui.format import count, number


def draw(result: dict[str, Any]) -> Content:
    """The figures, then the answers of both to each prompt."""
    rows = f"{count(result.get('rows'))} dialogs, {count(result.get('tokens'))} tokens"
    lines = [
        Content.styled(f"On the held-out part: {rows}", "$foreground-muted"),
        Content.styled(f"{'':<14}{'loss':>10}{'perplexity':>14}", "$foreground-muted"),
        _figures(result, "base", "base model"),
        _figures(result, "adapted", "with adapter"),
    ]
    for answer in result.get("answers") or []:
        lines += [Content(""), _said("prompt", answer.get("prompt"), "$text-primary")]
        lines.append(_said("base", answer.get("base"), "$foreground-muted"))
        lines.append(_said("adapter", answer.get("adapted"), "$text-success"))
    return Content("\n").join(lines)


def _figures(result: dict[str, Any], key: str, title: str) -> Content:
    loss, perplexity = result.get(f"{key}_loss"), result.get(f"{key}_perplexity")
    return Content.assemble((f"{title:<14}", "bold"), f"{number(loss, 3):>10}{number(perplexity, 1):>14}")


def _said(who: str, text: object, style: str) -> Content:
    return Content.assemble((f"{who:>8} ", f"bold {style}"), clean(str(text or "–")).replace("\n", "\n" + " " * 9))
