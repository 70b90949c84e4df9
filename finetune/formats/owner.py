"""Whose messages are learned: found by id in the export, or named by the user.

Names are ambiguous, ids are not, so a name is only a way to find an id.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engines.contract.errors import UserError
from finetune.formats.chat_export import ChatExport
from finetune.formats.telegram_message import Message

MAX_LISTED_NAMES = 10
MAX_KEPT_AUTHORS = 10_000  # bounds the memory of a look-up in a channel with a million writers
SEARCHED_BYTES = 1024 * 1024

_PERSONAL_INFORMATION = re.compile(rb'"personal_information"\s*:\s*\{([^{}]*)')
_USER_ID = re.compile(rb'"user_id"\s*:\s*"?(\d+)')
_ID = re.compile(r"(?:user|channel|chat)?\d+")


@dataclass(frozen=True)
class Owner:
    """id: `user<number>`; found_by: the part of the export that told, or `name`, `id` of the user."""

    id: str
    name: str
    found_by: str

    @property
    def ids(self) -> frozenset[str | int]:
        """Every form in which exports of any age write the id."""
        number = self.id.removeprefix("user")
        return frozenset({self.id, number, int(number)}) if number.isdigit() else frozenset({self.id})


@dataclass
class Author:
    name: str
    messages: int = 0


def ignore(done: int) -> None:
    """No progress is wanted."""


def find_owner(export: ChatExport, wanted: str = "", progress: Callable[[int], None] = ignore) -> Owner:
    """The owner of `export`. Raises UserError, listing names, when `wanted` is not there or nothing tells."""
    found = (owner_of_account(export.path) or owner_of_chats(export, progress)) if export.tells_owner else None
    wanted = wanted.strip()
    if found is not None and (not wanted or wanted in (found.name, found.id)):
        return found
    authors, matching = read_authors(export, wanted, progress)
    if not authors:
        what = "that can be read" if export.lost or export.truncated else ""
        raise UserError(
            "bad_input", f"{export.path.name} contains no messages {what}".rstrip(), "Export a chat that has messages."
        )
    if not wanted:
        raise UserError(
            "bad_input",
            f"the export does not tell whose it is; it has messages of {list_names(authors)}",
            "Give the name of the person whose messages are to be learned as the owner.",
        )
    if not matching:
        raise UserError(
            "bad_input",
            f"nobody in the export is called {wanted!r}; it has messages of {list_names(authors)}",
            "Give one of these names as the owner, or leave it empty.",
        )
    if len(matching) > 1:
        accounts = ", ".join(f"{id} ({author.messages:,} messages)" for id, author in list(matching.items())[:10])
        raise UserError(
            "bad_input",
            f"the name {wanted!r} belongs to more than one account: {accounts}",
            "Give the id as the owner.",
        )
    ((id, author),) = matching.items()
    return Owner(id, author.name, "name" if author.name.casefold() == wanted.casefold() else "id")


def owner_of_account(path: Path) -> Owner | None:
    """The owner that a full export names in `personal_information`, near its beginning or its end."""
    with open(path, "rb") as file:
        head = file.read(SEARCHED_BYTES)
        file.seek(max(0, path.stat().st_size - SEARCHED_BYTES))
        tail = file.read(SEARCHED_BYTES)
    for part in (head, tail):
        section = _PERSONAL_INFORMATION.search(part)
        user_id = _USER_ID.search(section[1]) if section else None
        if section and user_id:
            names = (_string_field(section[1], key) for key in ("first_name", "last_name"))
            return Owner(f"user{int(user_id[1])}", " ".join(filter(None, names)), "personal_information")
    return None


def owner_of_chats(export: ChatExport, progress: Callable[[int], None]) -> Owner | None:
    """The owner as the first telling chat shows it: a chat of two has the peer's id, saved messages the owner's."""
    for chat, batch, _ in export.batches():
        progress(export.bytes_read)
        if not chat.id or chat.kind not in ("saved_messages", "personal_chat", "bot_chat"):
            continue
        is_own = chat.kind == "saved_messages"
        for message in batch:
            if not isinstance(message, Message) or message.author_id is None:
                continue
            id = normal_id(message.author_id)
            if (id == f"user{chat.id}") == is_own:
                return Owner(id, message.author or "", chat.kind)
    return None


def read_authors(
    export: ChatExport, wanted: str, progress: Callable[[int], None]
) -> tuple[dict[str, Author], dict[str, Author]]:
    """Everybody who writes in the export, and those among them whom `wanted` means.

    An id counts before an exact name, an exact name before one in other letter case.
    """
    authors: dict[str, Author] = {}
    by_rank: list[dict[str, Author]] = [{}, {}, {}]
    wanted_id = normal_id(wanted) if _ID.fullmatch(wanted) else None
    folded = wanted.casefold()
    for _, batch, _ in export.batches():
        progress(export.bytes_read)
        for message in batch:
            if not isinstance(message, Message) or message.author_id is None:
                continue
            id = normal_id(message.author_id)
            author = authors.get(id)
            if author is None:
                author = Author((message.author or "").strip())
                if id == wanted_id:
                    by_rank[0][id] = author
                elif author.name == wanted:
                    by_rank[1][id] = author
                elif author.name.casefold() == folded:
                    by_rank[2][id] = author
                if len(authors) < MAX_KEPT_AUTHORS:
                    authors[id] = author
            author.messages += 1
    return authors, next((rank for rank in by_rank if rank), {})


def normal_id(id: str | int) -> str:
    """`user<number>` also for the bare numbers of old exports."""
    text = str(id)
    return f"user{text}" if text.isdigit() else text


def list_names(authors: dict[str, Author]) -> str:
    """The names with the most messages: `Owner, Peer and 3 more`."""
    by_messages = sorted(authors.values(), key=lambda author: -author.messages)
    names = list(dict.fromkeys(author.name for author in by_messages if author.name))
    if not names:
        return "nobody with a name"
    more = len(names) - MAX_LISTED_NAMES
    return ", ".join(names[:MAX_LISTED_NAMES]) + (f" and {more:,} more" if more > 0 else "")


def _string_field(raw: bytes, key: str) -> str:
    found = re.search(rb'"%s"\s*:\s*("(?:[^"\\]|\\.)*")' % key.encode(), raw)
    if not found:
        return ""
    try:
        return str(json.loads(found[1], strict=False))
    except ValueError:
        return ""
