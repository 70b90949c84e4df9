"""What chats, their conversations and those who speak in them are called."""

from __future__ import annotations

from finetune.formats.telegram_message import Chat
from finetune.plain_text import harmless

NAMELESS = "Deleted account"


def name_of_conversations(chat: Chat, file: str) -> str:
    """What the names of a chat's conversations begin with: the same in every export, where the chat has an id.

    file: what stands for the file of a chat that has none.
    """
    if not chat.id:
        return f"{file}{chat.position}/"
    return f"{chat.id}.{chat.twin + 1}/" if chat.twin else f"{chat.id}/"


def speaker_name(name: str | None) -> str:
    """A name on one line."""
    return " ".join(harmless(name or "").split()) or NAMELESS
