"""Sales scripts and technical briefs: lines of a client and a manager as dialogs, other sections as answers.

A file belongs here if it, or a folder it is in, is named tz, sales, script or the like.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from finetune.project.context import Context
from finetune.project.docs import documents, section_questions
from finetune.project.markdown import Block
from finetune.project.pair import ASSISTANT, USER, Pair, whole_turns

CLIENT = "клиент|клиентка|покупатель|заказчик|client|customer|buyer|prospect"
MANAGER = "менеджер|продавец|оператор|консультант|manager|seller|salesperson|operator|agent|consultant"

_OURS = re.compile(r"(?:^|[\W\d_])(?:tz|тз|sales?|scripts?|скрипт\w*|продаж\w*)(?=$|[\W\d_])", re.IGNORECASE)
_SPOKEN = re.compile(
    rf"[\s>*+-]{{0,20}}(?:\d+[.)]\s+)?[*_]{{0,3}}(?:(?P<client>{CLIENT})|(?:{MANAGER}))(?:\s+\d+)?(?:\s*\([^()]{{1,60}}\))?"
    r"[*_]*(?:\s*:|\s+[—–](?=\s))[*_]*\s*(?P<text>.*)",
    re.IGNORECASE,
)

Spoken = list[tuple[str, str]]


def find(context: Context) -> Iterator[Pair]:
    for file, found in documents(context, _OURS):
        context.taken.add(file.path)
        for section in found:
            dialogs, rest = spoken(section.blocks)
            for lines in dialogs:
                turns, dropped = whole_turns(lines)
                context.dropped_turns.update(dropped)
                yield Pair("sales", file.path, section.path, turns)
            yield from section_questions(context, "sales", "sales", file, section, rest)


def spoken(blocks: list[Block]) -> tuple[list[Spoken], list[Block]]:
    """The dialogs in a section, and its other blocks. A block that nobody speaks ends a dialog."""
    dialogs: list[Spoken] = []
    rest: list[Block] = []
    is_open = False
    for block in blocks:
        lines = _lines(block)
        if not any(_SPOKEN.match(line) for line in lines):
            rest.append(block)
            is_open = False
            continue
        for number, line in enumerate(lines):
            if said := _SPOKEN.match(line):
                if not is_open:
                    dialogs.append([])
                is_open = True
                dialogs[-1].append((USER if said["client"] else ASSISTANT, said["text"].strip()))
            elif line.strip() and is_open and number and lines[number - 1].strip():
                role, text = dialogs[-1][-1]
                dialogs[-1][-1] = (role, f"{text}\n{line.strip()}".strip())
            elif line.strip():
                rest.append(Block(line.strip()))
                is_open = False
    return dialogs, rest


def _lines(block: Block) -> list[str]:
    """A dialog may stand in a code fence, whose own lines say nothing."""
    lines = block.text.split("\n")
    return [line for line in lines if not line.lstrip().startswith(("```", "~~~"))] if block.is_whole else lines
