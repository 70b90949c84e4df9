"""What is counted while dialogs are formed."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

DAY = 24 * 60 * 60  # seconds
MAX_LISTED_SOURCES = 50
GROUP_CHATS = frozenset({"private_group", "private_supergroup", "public_supergroup"})


class DialogCounts:
    """The counters of a `DialogBuilder`: messages read are those used plus those dropped, by reason."""

    def __init__(self) -> None:
        self.messages_read = self.messages_used = self.shortened = 0
        self.dialogs = self.turns = self.conversations = 0
        self.texts = 0  # rows of text to be continued
        self.joined = 0  # messages of ready-made dialogs that became one with the turn before
        self.characters: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.days: Counter[int] = Counter()  # dialogs by the day on which their session began, since 1970
        self.sources: Counter[str] = Counter()  # dialogs by chat or file, as their conversations' names begin
        self.source_names: dict[str, str] = {}  # what such a chat or file is called
        self.chats_used = 0
        self.chats_skipped: Counter[str] = Counter()

    def counts(self) -> dict[str, Any]:
        """What `absorb` takes."""
        return {name: getattr(self, name) for name in vars(DialogCounts())}

    def absorb(self, counts: dict[str, Any]) -> None:
        """Add what was counted in a later part of the same file."""
        for name, value in counts.items():
            if isinstance(value, dict):
                getattr(self, name).update(value)
            else:
                setattr(self, name, getattr(self, name) + value)

    def figures(self) -> dict[str, Any]:
        """Everything counted, as plain JSON data."""
        names = self.listed_sources()
        return {
            "chats": self.chat_figures(),
            "conversations": self.conversations,
            "messages_read": self.messages_read,
            "messages_used": self.messages_used,
            "dialogs": self.dialogs,
            "texts": self.texts,
            "turns": self.turns,
            "characters": dict(self.characters),
            "shortened": self.shortened,
            "joined": self.joined,
            "dropped": dict(self.dropped.most_common()),
            "months": self.months(),
            "sources": {name: self.sources[key] for key, name in names.items()},
            "source_names": names,
        }

    def chat_figures(self) -> dict[str, Any]:
        """by_option: how many of the skipped chats would come in, by the parameter that lets them in."""
        groups = sum(self.chats_skipped[kind] for kind in GROUP_CHATS)
        by_option = {"include_groups": groups} if groups else {}
        return {"used": self.chats_used, "skipped": dict(self.chats_skipped.most_common()), "by_option": by_option}

    def listed_sources(self) -> dict[str, str]:
        """The sources with the most dialogs, by how names of conversations begin; no two of the same name."""
        listed = [key for key, _ in self.sources.most_common(MAX_LISTED_SOURCES)]
        uses = Counter(self.source_names[key] for key in self.sources)
        return {
            key: name if uses[name := self.source_names[key]] == 1 else f"{name} ({key.rstrip('/:')})" for key in listed
        }

    def months(self) -> dict[str, int]:
        """Dialogs by month, in order; those without a date are not counted."""
        months: Counter[str] = Counter()
        for day, count in self.days.items():
            if day > 0:
                months[datetime.fromtimestamp(day * DAY, UTC).strftime("%Y-%m")] += count
        return dict(sorted(months.items()))
