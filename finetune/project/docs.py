"""Markdown and text documents: one question for each section, its text the answer, long ones in parts."""

from __future__ import annotations

import re
from collections.abc import Iterator

from finetune.project.context import Context
from finetune.project.files import ProjectFile
from finetune.project.markdown import Block, Section, parts, sections
from finetune.project.pair import Pair, question

MARKDOWN = (".md", ".markdown", ".mdown", ".mkd")
TEXT = (".txt",)
NO_DOCUMENTS = ("requirements", "constraints", "robots", "cmakelists", "license", "licence", "copying")


def documents(context: Context, named: re.Pattern[str] | None = None) -> Iterator[tuple[ProjectFile, list[Section]]]:
    """The documents that no earlier source has taken whole, with their sections; only those whose path is `named`."""
    for file in context.files.having(*MARKDOWN, *TEXT):
        if file.path in context.taken or (named and not named.search(file.path)):
            continue
        if file.suffix in TEXT and file.stem.casefold().startswith(NO_DOCUMENTS):
            context.files.skip(file.path, "no_document")
            continue
        text = context.files.text(file)
        if text is not None:
            yield file, sections(text, file.stem)


def section_questions(
    context: Context, kind: str, template: str, file: ProjectFile, section: Section, blocks: list[Block]
) -> Iterator[Pair]:
    """`blocks` of a section as the answers to questions about it."""
    answers = parts(blocks)
    about = f"{section.path} {section.text}"
    for number, answer in enumerate(answers, 1):
        place = f"{file.path}#{section.path}"
        values = {"heading": section.path, "part": number, "parts": len(answers)}
        name = template if len(answers) == 1 else f"{template}_part"
        yield question(kind, file.path, section.path, context.questions.ask(name, about, place, **values), answer)


def find(context: Context) -> Iterator[Pair]:
    for file, found in documents(context):
        for section in found:
            if f"{file.path}#{section.path}" not in context.taken:
                yield from section_questions(context, "docs", "section", file, section, section.blocks)
