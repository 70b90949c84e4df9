"""Questions that somebody wrote down with their answers: tables, and Markdown.

In tables the columns are named question and answer, or вопрос and ответ. In Markdown a
heading is a question, or lines begin with `Q:` and `A:`, `В:` and `О:`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from finetune.project import tables
from finetune.project.context import Context
from finetune.project.docs import documents
from finetune.project.files import MAX_TABLE_BYTES, ProjectFile
from finetune.project.markdown import Block, joined
from finetune.project.pair import Pair, question

READERS = {
    ".csv": tables.from_csv,
    ".tsv": tables.from_csv,
    ".json": tables.from_json,
    ".jsonl": tables.from_json_lines,
    ".ndjson": tables.from_json_lines,
}
DATABASES = (".db", ".sqlite", ".sqlite3")

_MARKED = re.compile(
    r"[\s>*+-]{0,20}(?:\d+[.)]\s+)?[*_]{0,3}(?:(?P<question>q|question|в|вопрос)|(?:a|answer|о|ответ))"
    r"(?:\s*\d+)?[*_]*\s*:[*_]*\s+(?P<text>.*\S)\s*",
    re.IGNORECASE,
)
_HEADING = re.compile(r"(?:[\d.)]+\s+)?(?:(?:q|question|в|вопрос)\s*\d*\s*[:.]\s*)?(?P<text>.*)", re.IGNORECASE)


def find(context: Context) -> Iterator[Pair]:
    for file in context.files.having(*READERS, *DATABASES):
        try:
            for place, asked, answer in rows(context, file):
                context.tick()
                yield question("faq", file.path, place, asked, answer)
        except tables.Unreadable as error:
            context.cannot_read(file.path, str(error))
    yield from from_documents(context)


def rows(context: Context, file: ProjectFile) -> Iterator[tables.Found]:
    """Raises tables.Unreadable, after what could be read."""
    if file.suffix in DATABASES:
        mark = context.files.head(file, len(tables.SQLITE_MARK), tables.MAX_SQLITE_BYTES)
        if mark == tables.SQLITE_MARK:
            yield from tables.from_sqlite(file)
        elif mark is not None:
            raise tables.Unreadable("not a SQLite database")
        return
    text = context.files.text(file, MAX_TABLE_BYTES)
    if text is not None:
        yield from READERS[file.suffix](text)


def from_documents(context: Context) -> Iterator[Pair]:
    """Sections that are used here are taken: the documents do not ask about them again."""
    for file, found in documents(context):
        for section in found:
            pairs = list(marked(section.blocks))
            if not pairs and section.title.endswith("?") and section.text:
                heading = _HEADING.fullmatch(section.title)
                pairs = [(heading["text"] if heading else section.title, section.text)]
            for asked, answer in pairs:
                yield question("faq", file.path, section.path, asked, answer)
            if pairs:
                context.taken.add(f"{file.path}#{section.path}")


def unmarked(text: str) -> str:
    """Without the end of an emphasis that began before the text."""
    return text.removesuffix("**").rstrip() if text.count("**") % 2 else text


def marked(blocks: list[Block]) -> Iterator[tuple[str, str]]:
    """Pairs of lines marked as question and answer; an answer goes on to the next question."""
    asked = ""
    answer: list[Block] = []
    for block in blocks:
        lines = [] if block.is_whole else block.text.split("\n")
        if not any(map(_MARKED.fullmatch, lines)):
            if answer:
                answer.append(block)
            continue
        for line in lines:
            found = _MARKED.fullmatch(line)
            if found and found["question"]:
                if answer:
                    yield asked, joined(answer)
                asked, answer = unmarked(found["text"]), []
            elif found and asked:
                answer.append(Block(unmarked(found["text"])))
            elif line.strip() and answer:
                answer[-1] = Block(f"{answer[-1].text}\n{line.strip()}")
            elif line.strip() and asked:
                asked = f"{asked} {line.strip()}"
    if answer:
        yield asked, joined(answer)
