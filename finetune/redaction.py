"""Personal data out of a text: each span of it becomes a mark such as [email], the rest stays.

Redactor().redact("write to kim@example.org")  ->  "write to [email]"
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from finetune.personal_data import KINDS, RULES

__all__ = ["KINDS", "Redactor"]

_MARK = re.compile(rf"\[(?:{'|'.join(KINDS)})\]")
_MEMORY = 64 * 1024 * 1024  # an upper bound for RE2; a few hundred kB are used


class _Rule(NamedTuple):
    kind: str
    pattern: re.Pattern[str]
    group: int
    check: Callable[[str], bool] | None


class Redactor:
    """Replaces personal data of the given kinds, and counts it.

    Most texts have none. So all of a text is first looked at once, by an RE2 set of the
    rules' gates, and only rules whose gate was found are tried.
    """

    def __init__(self, kinds: Iterable[str] = KINDS, *, prefilter: bool = True):
        wanted = set(kinds)
        if unknown := wanted - set(KINDS):
            raise ValueError(f"no such kind of personal data: {', '.join(sorted(unknown))}")
        rules = [rule for rule in RULES if rule.kind in wanted]
        self.counts: Counter[str] = Counter()
        self._rules = []
        for rule in rules:
            pattern = re.compile(rule.pattern)
            self._rules.append(_Rule(rule.kind, pattern, pattern.groupindex.get("value", 0), rule.check))
        self._all = range(len(rules))
        self._rules_of_gate: list[list[int]] = []
        self._gates = self._compile_gates([rule.gate for rule in rules]) if prefilter and rules else None

    def redact(self, text: str) -> str:
        """`text` with marks. What was redacted once is not changed by doing it again."""
        while spans := self._new_spans(text):
            parts, end = [], 0
            for start, stop, kind in spans:
                parts += [text[end:start], f"[{kind}]"]
                self.counts[kind] += 1
                end = stop
            text = "".join(parts) + text[end:]  # a mark may set free what its neighbour hid, so look again
        return text

    def finds_nothing(self, texts: list[str]) -> bool:
        """Is there surely nothing in any of the texts? One look at all of them; False means only perhaps.

        No gate asks for more than stands in one text, so joining them hides nothing.
        """
        return self._gates is not None and not self._gates.Match("\n".join(texts).encode("utf-8", "replace"))

    def _compile_gates(self, gates: list[str]) -> Any:
        import re2

        options = re2.Options()
        options.max_mem = _MEMORY
        found = re2.Set.SearchSet(options)
        for gate in dict.fromkeys(gates):
            found.Add(gate)
            self._rules_of_gate.append([number for number, other in enumerate(gates) if other == gate])
        found.Compile()
        return found

    def _rules_to_try(self, text: str) -> Iterable[int]:
        if self._gates is None:
            return self._all
        found = self._gates.Match(text.encode("utf-8", "replace"))
        return [number for gate in found for number in self._rules_of_gate[gate]] if found else ()

    def _new_spans(self, text: str) -> list[tuple[int, int, str]]:
        """What is to be replaced, in order: of spans that overlap the first one, of those the longest."""
        spans = [span for number in self._rules_to_try(text) for span in _spans(self._rules[number], text)]
        if not spans:
            return spans
        marks = [found.span() for found in _MARK.finditer(text)]
        chosen: list[tuple[int, int, str]] = []
        for start, stop, kind in sorted(spans, key=lambda span: (span[0], -span[1], span[2])):
            if (not chosen or start >= chosen[-1][1]) and _leaves_marks_whole(start, stop, marks):
                chosen.append((start, stop, kind))
        return chosen


def _spans(rule: _Rule, text: str) -> Iterable[tuple[int, int, str]]:
    place = 0
    while found := rule.pattern.search(text, place):
        start, stop = found.span(rule.group)
        place = stop
        if rule.check is None or rule.check(text[start:stop]):
            yield start, stop, rule.kind
        elif not rule.group:
            place = start + 1  # the right one may begin inside the wrong one, which is short


def _leaves_marks_whole(start: int, stop: int, marks: list[tuple[int, int]]) -> bool:
    """A span may swallow marks and something new with them; that way every round leaves less to replace."""
    new = stop - start
    for low, high in marks:
        if low < stop and start < high:
            if low < start or high > stop:
                return False
            new -= high - low
    return new > 0
