"""Word error rate: the share of words that have to be changed, added or taken away."""

from __future__ import annotations

import re


def word_error_rate(reference: str, hypothesis: str) -> float:
    wanted, found = (re.sub(r"[^\w\s]", "", text.lower()).split() for text in (reference, hypothesis))
    row = list(range(len(found) + 1))
    for number, word in enumerate(wanted, 1):
        before, row[0] = row[0], number
        for place, other in enumerate(found, 1):
            before, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, before + (word != other))
    return row[-1] / max(1, len(wanted))
