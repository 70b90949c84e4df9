"""One conversation of a chat while it is being said: its turns, and the turn that grows."""

from __future__ import annotations

from finetune.formats.dialog import Turn

Writer = str | int | None


class Conversation:
    """Messages of one session or thread, in order. `turns` is empty or begins with a question.

    began: Unix seconds, 0 if not known. messages: those in `turns`. parts: those of the turn that is being said.
    closed_turns: how often a turn was closed. said: (id, author) of each of the parts, where replies count.
    """

    __slots__ = (
        "began", "closed_turns", "ended", "is_answer", "last_question", "messages", "parts", "said", "turns", "wrote",
    )  # fmt: skip

    def __init__(self, began: int = 0):
        self.began = began
        self.turns: list[Turn] = []
        self.messages = 0
        self.parts: list[str] = []
        self.is_answer = False  # who says the parts
        self.last_question = (0, 0)  # turns and messages before it
        self.closed_turns = 0
        self.said: list[tuple[int, Writer]] = []
        self.wrote = False  # a dialog of it
        self.ended = False

    def close_turn(self, joined: bool) -> None:
        """What is being said becomes one turn, or a turn of each of its messages."""
        parts, turns, count = self.parts, self.turns, len(self.parts)
        role = "assistant"
        if not self.is_answer:
            role = "user"
            self.last_question = (len(turns), self.messages)
        if count == 1:
            turns.append(Turn(role, parts[0]))
        elif joined:
            turns.append(Turn(role, "\n".join(parts)))
        else:
            turns += [Turn(role, text) for text in parts]
        self.messages += count
        self.closed_turns += 1
        self.parts = []
        if self.said:
            self.said = []

    def trim_turn(self, most: int) -> int:
        """Of an endless turn keep what touches the other side: the end of a question, the start of an answer.

        Returns how many messages that leaves out.
        """
        over = len(self.parts) - most
        kept = slice(None, most) if self.is_answer else slice(over, None)
        self.parts, self.said = self.parts[kept], self.said[kept]
        return over

    def take_turns(self, up_to_last_question: bool = False) -> tuple[list[Turn], int]:
        """(turns, their messages), which are no longer here: all, or those before the last question."""
        turns, messages = self.last_question if up_to_last_question else (len(self.turns), self.messages)
        taken, self.turns = self.turns[:turns], self.turns[turns:]
        self.messages -= messages
        self.last_question = (0, 0)
        return taken, messages

    def take_out(self, author: Writer) -> Conversation:
        """What `author` says in the turn that is being said, as a conversation of its own."""
        taken = Conversation(self.began)
        both = list(zip(self.parts, self.said, strict=True))
        for target, is_theirs in ((taken, True), (self, False)):
            kept = [pair for pair in both if (pair[1][1] == author) is is_theirs]
            target.parts, target.said = [text for text, _ in kept], [said for _, said in kept]
        return taken
