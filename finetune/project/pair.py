"""What every source of a project yields: a dialog, and the place that it comes from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

USER, ASSISTANT = "user", "assistant"


@dataclass
class Pair:
    """One dialog: a question with its answer, or several turns.

    turns: (role, text), from a question to an answer.
    source, section: the file, and the heading or name in it; a split keeps them together.
    text: the section's own words, of which an endpoint may make variants; empty: none are made.
    """

    kind: str
    source: str
    section: str
    turns: list[tuple[str, str]]
    text: str = ""

    @property
    def conversation(self) -> str:
        return f"{self.source}#{self.section}"

    @property
    def question(self) -> str:
        return self.turns[0][1]

    @property
    def answer_characters(self) -> int:
        return sum(len(text) for role, text in self.turns if role == ASSISTANT)


def question(kind: str, source: str, section: str, asked: str, answer: str) -> Pair:
    """A single question with its answer, which is the section's text."""
    return Pair(kind, source, section, [(USER, asked), (ASSISTANT, answer)], answer)


def whole_turns(spoken: Iterable[tuple[str, str]]) -> tuple[list[tuple[str, str]], Counter[str]]:
    """Turns that take turns, from the first question to the last answer; what was left out, by reason."""
    turns: list[tuple[str, str]] = []
    dropped: Counter[str] = Counter()
    for role, text in spoken:
        if role == ASSISTANT and not turns:
            dropped["before_question"] += 1
        elif turns and turns[-1][0] == role:
            turns[-1] = (role, f"{turns[-1][1]}\n{text}")
        else:
            turns.append((role, text))
    if turns and turns[-1][0] == USER:
        turns.pop()
        dropped["unanswered"] += 1
    return turns, dropped
