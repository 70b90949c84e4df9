"""What happens to a dialog on its way into the file: redacted, filtered, windowed, and all of it counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any
from zlib import crc32

from engines.config.prepare import PrepareConfig
from finetune.filters import Filters
from finetune.formats.dialog import Dialog
from finetune.modes import rows_of
from finetune.tokens import estimate_trained_tokens

SAMPLED = 400  # rows from which the number of tokens is estimated


class Refiner:
    """Takes rows as they are formed and hands those that stay to `write`.

    formed + windowed = written + left out: `figures` proves it.
    """

    def __init__(self, config: PrepareConfig, write: Callable[[list[Dialog]], object]):
        self.config = config
        self.write = write
        self.formed = self.windowed = self.written = 0
        self._sample: list[tuple[int, Dialog]] = []  # by the rank of their conversation, which is as good as chance
        self._highest_rank = 1 << 32
        self.redactor: Any = None
        if config.redact:
            from finetune.redaction import Redactor

            self.redactor = Redactor()
        self.filters = Filters(
            drop_duplicates=config.drop_duplicates,
            near_duplicates=config.near_duplicates,
            languages=config.languages,
            min_tokens=config.min_tokens,
            max_tokens=config.max_tokens,
            blocked_words=config.blocked_words,
            drop_one_word_answers=config.drop_one_word_answers,
            whole_dialogs=config.mode == "conversational",
        )
        self.left_out = self.filters.counts

    def __call__(self, rows: list[Dialog]) -> None:
        self.formed += len(rows)
        if self.redactor is not None:
            for row in rows:
                self._redact(row)
        if self.config.mode != "dialog":
            rows = [window for row in rows for window in self._windows_of(row)]
        elif self.filters:
            rows = self.filters.kept(rows)
        self._look_at(rows)
        self.written += len(rows)
        self.write(rows)

    def _windows_of(self, row: Dialog) -> list[Dialog]:
        """Those that stay."""
        windows = list(rows_of(row, self.config.mode, self.config.window_turns))
        self.windowed += len(windows) - 1
        return self.filters.kept(windows, row)

    def _redact(self, row: Dialog) -> None:
        if self.redactor.finds_nothing([row.text, *[turn.content for turn in row.turns]]):
            return
        row.text = self.redactor.redact(row.text)
        for turn in row.turns:
            turn.content = self.redactor.redact(turn.content)

    def _look_at(self, rows: list[Dialog]) -> None:
        highest = self._highest_rank
        for row in rows:
            if (rank := crc32(row.conversation.encode())) < highest:
                self._sample.append((rank, row))
                if len(self._sample) == 2 * SAMPLED:
                    self._choose_sample()
                    highest = self._highest_rank

    def _choose_sample(self) -> None:
        """Keep those of the lowest ranks: the same ones in whatever parts the rows were met."""
        self._sample.sort(key=lambda item: item[0])
        del self._sample[SAMPLED:]
        if len(self._sample) == SAMPLED:
            self._highest_rank = self._sample[-1][0]

    def estimated_tokens(self) -> int:
        """Tokens of all rows, by the estimate of a sample of them."""
        self._choose_sample()
        tokens = sum(estimate_trained_tokens(row) for _, row in self._sample)
        return round(tokens / max(1, len(self._sample)) * self.written)

    def counts(self) -> dict[str, Any]:
        """What `absorb` takes."""
        redacted = self.redactor.counts if self.redactor is not None else Counter()
        return {
            "formed": self.formed, "windowed": self.windowed, "written": self.written,
            "left_out": self.left_out, "redacted": redacted, "sample": self._sample,
        }  # fmt: skip

    def absorb(self, counts: dict[str, Any]) -> None:
        """Add what another refiner has counted in a later part of the same file."""
        self.formed += counts["formed"]
        self.windowed += counts["windowed"]
        self.written += counts["written"]
        self.left_out.update(counts["left_out"])
        if self.redactor is not None:
            self.redactor.counts.update(counts["redacted"])
        self._sample += counts["sample"]

    @property
    def compares_rows(self) -> bool:
        """Does what happens to a row depend on the rows before it?"""
        return self.config.drop_duplicates or self.config.near_duplicates > 0

    def figures(self) -> dict[str, Any]:
        """Everything counted, as plain JSON data."""
        return {
            "rows": {
                "formed": self.formed,
                "by_windows": self.windowed,
                "left_out": dict(self.left_out.most_common()),
                "written": self.written,
            },
            "estimated_tokens": self.estimated_tokens(),
            "redacted": dict(self.redactor.counts.most_common()) if self.redactor is not None else {},
        }
