"""What it costs to redact personal data and to find duplicates.

    python -m benchmarks.cleaning [--texts 100000] [--runs 3]

Synthetic chat messages, one in fifty with personal data. Redaction with and without the
prefilter must give the same texts. All figures are medians of CPU time, in one process,
the measured things in turn. Ends with 1 if near duplicates of 100,000 texts take over
3 seconds of CPU.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable

from benchmarks.telegram import CYRILLIC, LATIN, MARKS
from finetune.filters import Filters
from finetune.formats.dialog import Dialog, Turn
from finetune.redaction import Redactor

MOST_SECONDS = 3.0  # for so many texts:
TEXTS = 100_000
PERSONAL = ["kim@example.org", "+7 900 000-00-00", "@sample_user", "4111 1111 1111 1111", "ул. Ленина, д. 5"]
HARMLESS = ["в 12:30", "12.10.2024", "1 500 руб", "https://example.org/a", "order 123456"]


def chat_messages(count: int, seed: int = 7) -> list[str]:
    """Short messages in two languages, of few words, one in fifty with personal data."""
    random_ = random.Random(seed)
    made = []
    for number in range(count):
        words = random_.choices((CYRILLIC if number % 2 else LATIN).split(), k=random_.randint(4, 24))
        if random_.random() < 0.02:
            words.insert(random_.randrange(len(words)), random_.choice(PERSONAL))
        if random_.random() < 0.2:
            words.append(random_.choice(HARMLESS))
        made.append(" ".join(words) + random_.choice(MARKS))
    return made


def with_copies(messages: list[str], seed: int = 8) -> list[Dialog]:
    """Dialogs of one question and answer; a tenth are copies of others, half of these with a word added."""
    random_ = random.Random(seed)
    rows = []
    for number, message in enumerate(messages):
        if number and number % 10 == 0:
            message = messages[random_.randrange(number)] + ("" if number % 20 else " 🙂 ok")
        rows.append(Dialog([Turn("user", "?"), Turn("assistant", message)], str(number)))
    return rows


def redact_all(messages: list[str], redactor: Redactor) -> list[str]:
    return [redactor.redact(message) for message in messages]


def filter_all(rows: list[Dialog], filters: Filters) -> int:
    return len(rows) - len(filters.kept(rows))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=TEXTS)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    messages = chat_messages(arguments.texts)
    rows = with_copies(messages)
    megabytes = sum(len(message.encode()) for message in messages) / 1e6
    print(f"{len(messages):,} texts, {megabytes:.1f} MB, {arguments.runs} runs each\n")

    if redact_all(messages, Redactor()) != redact_all(messages, Redactor(prefilter=False)):
        raise SystemExit("the prefilter changes the result")
    measured: dict[str, Callable[[], object]] = {
        "redaction": lambda: redact_all(messages, Redactor()),
        "redaction, no prefilter": lambda: redact_all(messages, Redactor(prefilter=False)),
        "exact duplicates": lambda: filter_all(rows, Filters(drop_duplicates=True)),
        "near duplicates": lambda: filter_all(rows, Filters(near_duplicates=0.85)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in measured}
    for _ in range(arguments.runs):
        for name, run in measured.items():
            start = time.process_time()
            run()
            seconds[name].append(time.process_time() - start)

    print(f"{'':26}{'CPU s':>8}{'MB/s':>8}{'texts/s':>12}")
    for name, values in seconds.items():
        taken = statistics.median(values)
        print(f"{name:26}{taken:8.2f}{megabytes / taken:8.1f}{len(messages) / taken:12,.0f}")
    redactor = Redactor()
    redact_all(messages, redactor)
    print(f"\nredacted: {', '.join(f'{kind} {count:,}' for kind, count in redactor.counts.most_common())}")
    print(f"left out: {filter_all(rows, Filters(drop_duplicates=True)):,} exact duplicates, ", end="")
    print(f"{filter_all(rows, Filters(near_duplicates=0.85)):,} near duplicates")
    taken = statistics.median(seconds["near duplicates"]) * TEXTS / len(messages)
    is_met = taken <= MOST_SECONDS
    goal = f"near duplicates of {TEXTS:,} texts within {MOST_SECONDS:.0f} s of CPU"
    print(f"goal: {goal}: {taken:.2f} s, {'met' if is_met else 'MISSED'}")
    return 0 if is_met else 1


if __name__ == "__main__":
    raise SystemExit(main())
