"""What all exports of chats have in common, whatever program wrote them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from finetune.formats.telegram_message import Batch, Chat


class ChatBatch(NamedTuple):
    """Messages of one chat. is_harmless: no text in them has control characters, as a look at the bytes has shown."""

    chat: Chat
    messages: Batch
    is_harmless: bool = False


class ChatExport(Protocol):
    """One export file, read anew by each call of `batches`."""

    path: Path
    bytes_read: int
    repaired: int  # messages that were not as they should be and could be mended
    lost: int  # messages that could not be read
    truncated: bool  # the file ends in the middle

    @property
    def tells_owner(self) -> bool:
        """May ids in it tell whose export it is?"""
        ...

    def batches(self, is_wanted: Callable[[Chat], bool] = ...) -> Iterator[ChatBatch]: ...
