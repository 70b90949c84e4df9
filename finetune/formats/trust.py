"""Whether one file of many holds what was meant: most of its records can be read, or none of them is taken."""

from __future__ import annotations

from collections.abc import Iterator

from finetune.formats.records import RecordBatch, Rows

JUDGED_RECORDS = 1000


class Unreadable(Exception):
    """Most of a file's records cannot be read, so the others are hardly what was meant. records: looked at."""

    def __init__(self, what: str, records: int):
        super().__init__(what)
        self.records = records


def trusted(rows: Rows) -> Iterator[RecordBatch]:
    """The dialogs of one file of many. Raises Unreadable, before the first of them."""
    batches = rows.batches()
    waiting = []
    for batch in batches:
        waiting.append(batch)
        if rows.good + rows.bad >= JUDGED_RECORDS:
            break
    if rows.bad > rows.good:
        looked_at = rows.good + rows.bad
        raise Unreadable(f"{rows.bad:,} of its {looked_at:,} records cannot be read; {rows.first_bad}", looked_at)
    yield from waiting
    yield from batches
