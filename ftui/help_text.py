"""How `--help` lays out its words: paragraphs fill the terminal's width, commands stay lines that can be copied."""

from __future__ import annotations

from typing import Any

from cyclopts.help import DefaultFormatter


class HelpText(DefaultFormatter):
    def render_description(self, console: Any, options: Any, description: Any) -> None:
        from rich.text import Text

        for paragraph in str(description.primary_renderable).strip("\n").split("\n\n"):
            is_laid_out = any(line.startswith(" ") for line in paragraph.split("\n"))
            text = paragraph if is_laid_out else " ".join(paragraph.split("\n"))
            console.print(Text(f"{text}\n"), soft_wrap=is_laid_out)
