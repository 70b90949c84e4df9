"""What a training will see of a dataset: rows, tokens, what is cut, what is learned. Of a large one from a sample."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.config.train import TrainConfig
from engines.contract.estimate import check_steps, optimizer_steps
from finetune import rows, show_tokens
from finetune.prepared import refuse_nothing

SHOWN_ROWS = 3
CHECKED_ENDS = 200  # rows whose end of turn is looked at
MOST_DIALOGS = 5000  # of a part that are tokenized, in a second or two
LONGEST = 200  # dialogs of the most characters, which are tokenized too: they decide the memory


@dataclass(frozen=True)
class Part:
    """Rows to train on, or those held out, of which `tokenized` of all `dialogs` were looked at."""

    encoded: rows.Encoded
    tokenized: int
    dialogs: int

    @property
    def is_whole(self) -> bool:
        return self.tokenized == self.dialogs

    def all(self, figure: int) -> int:
        """What `figure`, counted in the tokenized dialogs, is for all."""
        return round(figure * self.dialogs / max(1, self.tokenized))


def part_of(dialogs: list[rows.Dialog], tokenizer: Any, config: TrainConfig) -> Part:
    """Tokenized dialogs from all over the part."""
    some = dialogs[:: max(1, math.ceil(len(dialogs) / MOST_DIALOGS))]
    return Part(rows.encode(some, tokenizer, config.max_seq_length), len(some), len(dialogs))


def longest_rows(dialogs: list[rows.Dialog], part: Part, tokenizer: Any, config: TrainConfig) -> list[int]:
    """Lengths in tokens, the longest among them, whether they were in the sample or not."""
    lengths = [len(ids) for ids in part.encoded.input_ids]
    if part.is_whole:
        return lengths
    most = sorted(dialogs, key=_characters, reverse=True)[:LONGEST]
    return lengths + [len(ids) for ids in rows.encode(most, tokenizer, config.max_seq_length).input_ids]


def _characters(dialog: rows.Dialog) -> int:
    return len(dialog.text) + sum(len(turn["content"]) for turn in dialog.messages)


def describe_data(dataset: Path, tokenizer: Any, config: TrainConfig) -> tuple[dict[str, Any], list[int]]:
    """The figures, and lengths of training rows in tokens. Raises UserError as a training would.

    sampled: how many dialogs the figures were taken from, 0: from all of them.
    """
    train, held_out = rows.read_parts(dataset, config.eval_share)
    parts = [part_of(dialogs, tokenizer, config) for dialogs in (train, held_out)]
    training, encoded = parts[0], parts[0].encoded
    refuse_nothing(encoded)
    lengths, count = longest_rows(train, training, tokenizer, config), training.all(len(encoded.input_ids))
    steps = optimizer_steps(count, config)
    figures = {
        "rows": count,
        "eval_rows": parts[1].all(len(parts[1].encoded.input_ids)),
        "eval_tokens": parts[1].all(parts[1].encoded.tokens),
        "tokens_per_epoch": training.all(encoded.tokens),
        "learned_tokens_per_epoch": training.all(encoded.learned_tokens),
        "longest": max(lengths),
        "steps": steps,
        "steps_per_epoch": optimizer_steps(count, config.model_copy(update={"num_epochs": 1, "max_steps": 0})),
        "tokens": round(training.all(encoded.tokens) * steps * config.rows_per_step / count),
        "shortened": sum(part.all(part.encoded.shortened) for part in parts),
        "dropped": sum(part.all(part.encoded.dropped) for part in parts),
        "dialogs": len(train) + len(held_out),
        "sampled": 0 if all(part.is_whole for part in parts) else sum(part.tokenized for part in parts),
        "mask": [show_tokens.row_of(dialog, tokenizer, config.max_seq_length) for dialog in train[:SHOWN_ROWS]],
        "end_of_turn": end_of_turn(encoded, tokenizer),
    }
    return figures, lengths


def end_of_turn(encoded: rows.Encoded, tokenizer: Any) -> dict[str, Any]:
    """The token that ends an answer and in how many of the rows looked at it is learned: it must be all of them."""
    special = set(tokenizer.all_special_ids)
    found = [
        next((label for label in reversed(labels) if label != rows.IGNORED), None)
        for labels in encoded.labels[:CHECKED_ENDS]
    ]
    ends = [token for token in found if token in special]
    return {
        "token": tokenizer.decode([ends[0]]) if ends else None,
        "learned": len(ends),
        "rows": len(found),
    }


def warnings_of(figures: dict[str, Any], config: TrainConfig) -> list[str]:
    found = []
    few = check_steps(figures["rows"], config)
    if few:
        found.append(few)
    lost = figures["shortened"] + figures["dropped"]
    if lost:
        share = lost / figures["dialogs"]
        found.append(
            f"{share:.0%} of the dialogs are longer than {config.max_seq_length} tokens: {figures['shortened']} lose "
            f"turns, {figures['dropped']} are left out"
        )
    end = figures["end_of_turn"]
    if end["learned"] < end["rows"]:
        found.append(
            f"in {end['rows'] - end['learned']} of {end['rows']} rows no end of turn is learned: the model may not "
            "stop talking"
        )
    return found
