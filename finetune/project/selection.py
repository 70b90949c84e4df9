"""Which of the found pairs are written: unique questions, long enough answers, so many of each kind.

Every pair that is found is written or counted by the reason why not.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from engines.config.generate import GenerateConfig
from finetune.plain_text import harmless
from finetune.project.pair import ASSISTANT, USER, Pair
from finetune.project.questions import number_for

MAX_ANSWER_CHARACTERS = 20_000

_NO_WORD = re.compile(r"[\W_]+")


class Selection:
    """Takes the pairs of one source after the other."""

    def __init__(self, config: GenerateConfig):
        self.config = config
        self.found: Counter[str] = Counter()
        self.written: Counter[str] = Counter()
        self.dropped: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._questions: set[str] = set()
        self._dialogs: set[bytes] = set()

    def of_source(self, pairs: Iterable[Pair]) -> list[Pair]:
        """What is written of one kind of source, in the seed's order, `max_per_source` at most."""
        kept: list[Pair] = []
        for pair in self.ordered(pairs):
            if len(kept) < self.config.max_per_source:
                kept += self.take(pair)
            else:
                self.found[pair.kind] += 1
                self.drop(pair.kind, "over_limit")
        return kept

    def ordered(self, pairs: Iterable[Pair]) -> list[Pair]:
        """By a hash of the place; the pairs of one section stay together, in their order."""
        return sorted(pairs, key=lambda pair: number_for(self.config.seed, pair.conversation))

    def take(self, pair: Pair) -> Iterator[Pair]:
        """The pair as it is written, or nothing."""
        self.found[pair.kind] += 1
        turns = [(role, harmless(text).strip()) for role, text in pair.turns]
        pair = replace(pair, turns=turns, source=harmless(pair.source), section=harmless(pair.section))
        reason = self._reason(pair)
        unique = None if reason else self._with_own_question(pair)
        if unique is None:
            self.drop(pair.kind, reason or "repeated_question")
            return
        self.written[pair.kind] += 1
        yield unique

    def drop(self, kind: str, reason: str, count: int = 1) -> None:
        self.dropped[kind][reason] += count

    def _reason(self, pair: Pair) -> str:
        roles = [role for role, _ in pair.turns]
        if not roles or roles != [USER, ASSISTANT] * (len(roles) // 2):
            return "no_answer"
        if not all(text for _, text in pair.turns):
            return "empty"
        if pair.answer_characters < self.config.min_answer_characters:
            return "short_answer"
        if pair.answer_characters > MAX_ANSWER_CHARACTERS:
            return "long_answer"
        said = "\0".join(" ".join(text.split()) for _, text in pair.turns)
        dialog = hashlib.sha256(said.encode("utf-8", "replace")).digest()
        if dialog in self._dialogs:
            return "duplicate"
        self._dialogs.add(dialog)
        return ""

    def _with_own_question(self, pair: Pair) -> Pair | None:
        """A question that was asked before is asked with its file, or its file and section; else not again."""
        places = ("", f" ({pair.source})", f" ({pair.source}, {pair.section})")
        for place in places:
            asked = f"{pair.question}{place}"
            if key(asked) not in self._questions:
                self._questions.add(key(asked))
                return replace(pair, turns=[(USER, asked), *pair.turns[1:]]) if place else pair
        return None

    def figures(self) -> dict[str, Any]:
        """Everything counted, as plain JSON data: found = written + what `dropped` adds up to."""
        total = sum(self.dropped.values(), Counter[str]())
        return {
            "found": self.found.total(),
            "written": self.written.total(),
            "dropped": dict(total.most_common()),
            "kinds": {
                kind: {"found": count, "written": self.written[kind], "dropped": dict(self.dropped[kind])}
                for kind, count in sorted(self.found.items())
            },
        }


def key(text: str) -> str:
    """What makes two questions the same: their letters and digits."""
    return _NO_WORD.sub(" ", text.casefold()).strip() or text
