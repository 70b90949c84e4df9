"""Some rows of a dataset as a model will be trained on them: token by token, what is learned and what is not.

    python -m finetune.show_tokens --dataset D_dataset.jsonl --model FOLDER --max-length 768 [--first 0] [--count 3]

Loads the model's tokenizer alone. Lengths are counted exactly, over at most `COUNTED` rows.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from engines.contract.events import emit
from engines.contract.run_protocol import run_script, write_result
from finetune import base_model, rows

COUNTED = 2000  # rows whose lengths are measured
BUCKETS = 12


def show(dataset: Path, model: str, max_length: int, first: int, count: int, text_template: str = "") -> dict[str, Any]:
    """Raises UserError for a dataset or a model that cannot be read."""
    tokenizer = base_model.load_tokenizer(model, text_template)
    emit("phase", name="count", text="Counting tokens")
    counted = islice(rows.stream_dialogs(dataset), COUNTED)
    lengths = [length for dialog in counted if (length := full_length(dialog, tokenizer))]
    shown = islice(rows.stream_dialogs(dataset), first, first + count)
    with open(dataset, "rb") as file:
        total = sum(1 for line in file if line.strip())
    return {
        "rows": [row_of(dialog, tokenizer, max_length) for dialog in shown],
        "first": first,
        "total": total,
        "counted": len(lengths),
        "tokens": sum(lengths),
        "longest": max(lengths, default=0),
        "too_long": sum(length > max_length for length in lengths),
        "max_length": max_length,
        "lengths": histogram(lengths),
    }


def full_length(dialog: rows.Dialog, tokenizer: Any) -> int:
    """Tokens of the whole row, before anything is cut."""
    return sum(map(len, rows.encode([dialog], tokenizer, 1 << 30).input_ids))


def row_of(dialog: rows.Dialog, tokenizer: Any, max_length: int) -> dict[str, Any]:
    """Runs of text with `learned` true or false, as they stand after cutting; what was cut and dropped."""
    encoded = rows.encode([dialog], tokenizer, max_length)
    runs = []
    for ids, labels in zip(encoded.input_ids, encoded.labels, strict=True):
        pairs = zip(ids, labels, strict=True)
        for learned, group in groupby(pairs, key=lambda pair: pair[1] != rows.IGNORED):
            tokens = [token for token, _ in group]
            runs.append({"text": tokenizer.decode(tokens), "learned": learned, "tokens": len(tokens)})
    return {
        "runs": runs,
        "tokens": encoded.tokens,
        "learned": encoded.learned_tokens,
        "shortened": bool(encoded.shortened),
        "dropped": bool(encoded.dropped),
    }


def histogram(lengths: Sequence[int]) -> list[tuple[int, int]]:
    """(upper bound in tokens, rows), in steps of equal width."""
    if not lengths:
        return []
    width = max(1, -(-max(lengths) // BUCKETS))
    counts = [0] * -(-max(lengths) // width)
    for length in lengths:
        counts[(length - 1) // width] += 1
    return [((number + 1) * width, count) for number, count in enumerate(counts)]


def what_is_asked(description: str | None) -> argparse.ArgumentParser:
    """The arguments of a question about a dataset's tokens."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--max-length", type=int, required=True)
    parser.add_argument("--text-template", default="")
    return parser


def main() -> None:
    parser = what_is_asked(__doc__)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=3)
    asked = parser.parse_args()
    write_result(
        "done", **show(asked.dataset, asked.model, asked.max_length, asked.first, asked.count, asked.text_template)
    )


if __name__ == "__main__":
    run_script(main)
