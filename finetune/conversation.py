"""One conversation of a chat while it is being said."""

from __future__ import annotations

from datetime import UTC, datetime

from finetune.formats.dialog import Turn

Writer = str | int | None


class Conversation:
    """Messages of one session or thread, in order.

    began: Unix seconds, 0 if not known. turns: the texts of each, which are question, answer, question and so on; the
    last one is being said. is_answer: is that an answer? taken: turns that are no longer here. said: (id, author) of
    each text of the last turn, where replies count. wrote: a dialog of it.
    """

    __slots__ = ("began", "ended", "is_answer", "said", "taken", "turns", "wrote")

    def __init__(self, began: int = 0):
        self.began = began
        self.turns: list[list[str]] = []
        self.is_answer = False
        self.taken = 0
        self.said: list[tuple[int, Writer]] = []
        self.wrote = False
        self.ended = False

    def last_turn(self) -> tuple[list[list[str]], list[str], bool | None]:
        """(all turns, what is said in the last one, whose it is as `is_answer` tells); ([], [], None): nothing yet."""
        return (self.turns, self.turns[-1], self.is_answer) if self.turns else (self.turns, [], None)

    @property
    def turn(self) -> int:
        """The number of the last turn."""
        return self.taken + len(self.turns)

    @property
    def messages(self) -> int:
        return sum(map(len, self.turns))

    def trim_turn(self, most: int) -> int:
        """Of an endless turn keep what touches the other side: the end of a question, the start of an answer.

        Returns how many messages that leaves out.
        """
        over = len(self.turns[-1]) - most
        kept = slice(None, most) if self.is_answer else slice(over, None)
        self.turns[-1], self.said = self.turns[-1][kept], self.said[kept]
        return over

    def take_turns(self, kept: int = 0) -> list[list[str]]:
        """All turns but the last `kept`; they are no longer here."""
        count = len(self.turns) - kept
        taken, self.turns = self.turns[:count], self.turns[count:]
        self.taken += count
        return taken

    def take_out(self, author: Writer) -> Conversation:
        """What `author` says in the turn that is being said, as a conversation of its own."""
        taken = Conversation(self.began)
        both = list(zip(self.turns.pop(), self.said, strict=True))
        for target, is_theirs in ((taken, True), (self, False)):
            kept = [pair for pair in both if (pair[1][1] == author) is is_theirs]
            target.said = [said for _, said in kept]
            if kept:
                target.turns.append([text for text, _ in kept])
        self.is_answer = len(self.turns) % 2 == 0
        return taken


def opening(prompt: str, contact: str, began: int) -> list[Turn]:
    """The system turn, if one was asked for, with {contact} and {date} filled in. began: Unix seconds; 0: not known."""
    if not prompt:
        return []
    date = datetime.fromtimestamp(began, UTC).date().isoformat() if began else ""
    return [Turn("system", prompt.replace("{contact}", contact).replace("{date}", date))]
