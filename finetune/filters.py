"""What may be left out of a dataset, row by row, each with the reason for it.

Filters that compare with what came before remember only rows that no filter before them
left out. What a filter needs is imported when it is made.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from typing import Protocol

from engines.contract.errors import UserError
from finetune.formats.dialog import Dialog
from finetune.tokens import estimate_row_tokens

LEAST_LETTERS = 20  # of a text whose language can be told
LEAST_LIKELY = 0.1  # a dialog is kept if its language is one of those wanted with this probability
LANGUAGE_CHARACTERS = 2000  # more do not make the language any clearer
SIGNATURE = 128  # numbers in the signature of a dialog
WHITE = b" \t\n\r\v\f"
SEED = 1  # so that a dataset comes out the same every time
RECALL = 0.99  # of pairs that are just similar enough

_WORDS = re.compile(r"\w+")
_NO_LANGUAGE = re.compile(r"https?://\S+|\[[a-z_]+\]|[@#]\w+|\d+")


class Filter(Protocol):
    """One reason to leave a row out."""

    reason: str

    def keep(self, row: Dialog) -> bool: ...


class Filters:
    """Those filters that are switched on, the cheap ones first. Raises UserError for a language that is not known.

    whole_dialogs: near-duplicates are looked for among dialogs, not among rows, for the windows of one are much alike.
    counts: what was left out, by reason.
    """

    def __init__(
        self,
        *,
        drop_duplicates: bool = False,
        near_duplicates: float = 0.0,
        languages: Iterable[str] = (),
        min_tokens: int = 0,
        max_tokens: int = 0,
        blocked_words: Iterable[str] = (),
        drop_one_word_answers: bool = False,
        whole_dialogs: bool = False,
    ):
        self.counts: Counter[str] = Counter()
        self._filters: list[Filter] = []
        if drop_one_word_answers:
            self._filters.append(OneWordAnswers())
        if min_tokens:
            self._filters.append(TooFewTokens(min_tokens))
        if max_tokens:
            self._filters.append(TooManyTokens(max_tokens))
        if words := [word for word in blocked_words if word.strip()]:
            self._filters.append(BlockedWords(words))
        if codes := list(languages):
            self._filters.append(OtherLanguage(codes))
        if drop_duplicates:
            self._filters.append(Duplicates())
        self._of_dialogs: Filter | None = None
        if near_duplicates:
            near = NearDuplicates(near_duplicates)
            self._filters.insert(len(self._filters) - bool(drop_duplicates and whole_dialogs), near)
            self._of_dialogs = near if whole_dialogs else None

    def __bool__(self) -> bool:
        return bool(self._filters)

    def kept(self, rows: list[Dialog], dialog: Dialog | None = None) -> list[Dialog]:
        """Those of `rows` that stay; the others are counted by their first reason. dialog: the one that all are of."""
        for filter_ in self._filters:
            if filter_ is not self._of_dialogs or dialog is None:
                stay = [row for row in rows if filter_.keep(row)]
            else:
                stay = rows if rows and filter_.keep(dialog) else []
            if len(stay) < len(rows):
                self.counts[filter_.reason] += len(rows) - len(stay)
                rows = stay
        return rows


class OneWordAnswers:
    """Leaves out a dialog of whose learned answers each is a single word."""

    reason = "one_word_answers"

    def keep(self, row: Dialog) -> bool:
        answers = [turn.content for turn in row.turns if turn.role == "assistant" and turn.weight]
        return not answers or any(len(answer.split(None, 2)) > 1 for answer in answers)


class TooFewTokens:
    """Tokens are estimated."""

    reason = "too_few_tokens"

    def __init__(self, least: int):
        self.least = least

    def keep(self, row: Dialog) -> bool:
        return estimate_row_tokens(row) >= self.least


class TooManyTokens:
    """Tokens are estimated."""

    reason = "too_many_tokens"

    def __init__(self, most: int):
        self.most = most

    def keep(self, row: Dialog) -> bool:
        return estimate_row_tokens(row) <= self.most


class BlockedWords:
    """Whole words, or several in a row; neither case nor the dots of ё matter."""

    reason = "blocked_word"

    def __init__(self, words: Iterable[str]):
        several = "|".join(sorted({re.escape(folded(word)) for word in words}))
        self._found = re.compile(rf"(?<!\w)(?:{several})(?!\w)").search

    def keep(self, row: Dialog) -> bool:
        return not any(self._found(folded(text)) for text in (row.text, *[turn.content for turn in row.turns]))


class Languages:
    """How likely a dialog is in each language, by ISO 639 codes; `zxx`: in none."""

    def __init__(self) -> None:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier

        self._rank = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True).rank
        self.known = {code for code, _ in self._rank("")}

    def of(self, row: Dialog) -> list[tuple[str, float]]:
        """The likeliest first; none for what is too short to tell."""
        text = _NO_LANGUAGE.sub(" ", said(row)[:LANGUAGE_CHARACTERS])
        return self._rank(text) if sum(map(str.isalpha, text)) >= LEAST_LETTERS else []


class OtherLanguage:
    """Leaves out a dialog that is hardly in one of the languages, which are named by their ISO 639 codes.

    What is too short to tell, and what is no language, is kept.
    """

    reason = "other_language"

    def __init__(self, codes: Iterable[str]):
        self.languages = Languages()
        self.wanted = {code.strip().lower() for code in codes}
        if unknown := sorted(self.wanted - self.languages.known):
            raise UserError("usage", f"no such language: {', '.join(unknown)}", "Use codes such as en, ru or de.")
        self.wanted.add("zxx")

    def keep(self, row: Dialog) -> bool:
        found = self.languages.of(row)
        return not found or sum(share for code, share in found if code in self.wanted) >= LEAST_LIKELY


class Duplicates:
    """Leaves out a dialog that was there before; neither case nor white space matters."""

    reason = "duplicate"

    def __init__(self) -> None:
        self._seen: set[bytes] = set()

    def keep(self, row: Dialog) -> bool:
        parts = [row.text, row.label]
        for turn in row.turns:
            parts += (turn.role, turn.content)
        text = "\0".join(parts).casefold().replace("\xa0", " ").encode("utf-8", "surrogatepass")
        key = hashlib.blake2b(text.translate(None, WHITE), digest_size=16).digest()
        is_new = key not in self._seen
        self._seen.add(key)
        return is_new


class NearDuplicates:
    """Leaves out a dialog that shares at least `threshold` of its runs of three words with one before.

    The share is that of the runs that are in both among those in either, estimated by
    MinHash with an error of about 0.03. A dialog without words is kept.
    """

    reason = "near_duplicate"

    def __init__(self, threshold: float = 0.85):
        from rensa import RMinHash, RMinHashDeduplicator

        self._signature = RMinHash
        self._seen = RMinHashDeduplicator(threshold, SIGNATURE, use_lsh=True, num_bands=bands(threshold), seed=SEED)
        self._number = 0

    def keep(self, row: Dialog) -> bool:
        words = _WORDS.findall(said(row).casefold())
        if not words:
            return True
        runs = [" ".join(run) for run in zip(words, words[1:], words[2:], strict=False)] or [" ".join(words)]
        signature = self._signature(SIGNATURE, SEED)
        signature.update(runs)
        self._number += 1
        return bool(self._seen.add(str(self._number), signature))


def bands(threshold: float) -> int:
    """Into how few parts a signature may be cut so that similar ones still share a part with probability RECALL."""
    for count in (1, 2, 4, 8, 16, 32, 64):
        if 1 - (1 - threshold ** (SIGNATURE // count)) ** count >= RECALL:
            return count
    return SIGNATURE


def said(row: Dialog) -> str:
    """All of a dialog but its system prompt, which many share."""
    return "\n".join([turn.content for turn in row.turns if turn.role != "system"]) + row.text


def folded(text: str) -> str:
    return " ".join(text.casefold().replace("ё", "е").split())
