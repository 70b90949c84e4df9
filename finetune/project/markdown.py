"""Markdown as sections: a heading's path, and the blocks of text under it, as they are written.

Only the block structure is parsed, which takes linear time whatever a file holds, and the
text of headings. Code fences stay whole; badges, comments and front matter are left out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from markdown_it import MarkdownIt
from markdown_it.token import Token

from finetune.plain_text import first_sentences

SEPARATOR = " › "
MAX_HEADING = 200
MAX_PART = 2000  # characters of a part of a long section
WHOLE = {"fence", "code_block", "table_open"}

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n.*?\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_BADGES = re.compile(r"(?:\s|\[?!\[[^\]]*\]\([^)]*\)(?:\]\([^)]*\))?)+")
_COMMENT = re.compile(r"\s*(?:<!--(?:(?!-->).)*-->\s*)+", re.DOTALL)

_blocks = MarkdownIt("commonmark").enable("table").disable(["inline", "text_join"])
_inline = MarkdownIt("commonmark")


@dataclass
class Block:
    """is_whole: code or a table, which is never cut. is_rule: a line across, which ends what was before."""

    text: str
    is_whole: bool = False
    is_rule: bool = False


@dataclass
class Section:
    """path: the headings down to this one, unique in its file. title: its own heading; empty before the first."""

    path: str
    title: str
    blocks: list[Block] = field(default_factory=list)

    @property
    def text(self) -> str:
        return joined(self.blocks)


def joined(blocks: Iterable[Block]) -> str:
    return "\n\n".join(block.text for block in blocks if not block.is_rule)


def sections(text: str, name: str) -> list[Section]:
    """The sections of a document; what stands before the first heading is called `name`."""
    front = _FRONT_MATTER.match(text)
    text = text[front.end() :] if front else text
    lines = text.split("\n")
    headings: list[tuple[int, str]] = []
    names: Counter[str] = Counter()
    found = [Section(_unique(name, names), "")]
    tokens = _blocks.parse(text)
    for number, token in enumerate(tokens):
        if token.level or token.map is None:
            continue
        if token.type == "heading_open":
            depth, title = int(token.tag[1]), plain(tokens[number + 1].content)
            if not title:
                continue
            headings = [*(item for item in headings if item[0] < depth), (depth, title)]
            path = SEPARATOR.join(title for _, title in headings)
            found.append(Section(_unique(path, names), title))
        elif block := _block(token, lines):
            found[-1].blocks.append(block)
    return [section for section in found if any(not block.is_rule for block in section.blocks)]


def _unique(path: str, names: Counter[str]) -> str:
    names[path] += 1
    while names[path] > 1:
        numbered = f"{path} ({names[path]})"
        if numbered not in names:
            names[numbered] += 1
            return numbered
        names[path] += 1
    return path


def _block(token: Token, lines: list[str]) -> Block | None:
    first, last = token.map or [0, 0]
    text = "\n".join(lines[first:last]).strip("\n").rstrip()
    if token.type == "hr":
        return Block("", is_rule=True)
    if not text or _BADGES.fullmatch(text) or (token.type == "html_block" and _COMMENT.fullmatch(text)):
        return None
    return Block(text, is_whole=token.type in WHOLE)


def plain(heading: str) -> str:
    """A heading without its marks, on one line."""
    (token,) = _inline.parseInline(heading[: MAX_HEADING * 4]) or [Token("inline", "", 0)]
    parts = [" " if child.type == "softbreak" else child.content for child in token.children or []]
    return " ".join("".join(parts).split())[:MAX_HEADING].rstrip()


def parts(blocks: Iterable[Block], limit: int = MAX_PART) -> list[str]:
    """The text in parts of about `limit` characters, cut between blocks; within one only if it is text too long."""
    pieces = [piece for block in blocks if not block.is_rule for piece in _pieces(block, limit)]
    cut: list[str] = []
    for piece in pieces:
        if cut and len(cut[-1]) + 2 + len(piece) <= limit:
            cut[-1] += "\n\n" + piece
        else:
            cut.append(piece)
    return cut


def _pieces(block: Block, limit: int) -> list[str]:
    """A long paragraph or list at the ends of its lines or sentences; everything else whole."""
    rest = block.text
    found = []
    while len(rest) > limit and not block.is_whole:
        head = rest[:limit].rpartition("\n")[0].rstrip() or first_sentences(rest, limit)
        if not head:
            break
        found.append(head)
        rest = rest[len(head) :].lstrip()
    return [*found, rest] if rest else found
