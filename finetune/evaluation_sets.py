"""What is evaluated on: the held-out part of a dataset, the general set shipped here, other files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from engines.contract.errors import UserError
from engines.contract.events import emit
from engines.quality.figures import GENERAL, HELD_OUT
from finetune import rows
from finetune.rows import Dialog, Message

GENERAL_FILE = Path(__file__).with_name("general") / "questions.jsonl"
MOST_LABELS = 100
Item = TypeVar("Item")


@dataclass
class EvaluationSet:
    """Some dialogs that fit the model. labels: of a classification, empty for dialogs and texts."""

    name: str
    dialogs: list[Dialog]
    rows_in_all: int
    labels: list[str] = field(default_factory=list)

    @property
    def conversations(self) -> list[str]:
        return [dialog.conversation for dialog in self.dialogs]

    def questions(self, most: int) -> list[tuple[int, list[Message], str]]:
        """(row, dialog up to its last answer, that answer), at most so many, spread evenly."""
        answered = []
        for number, dialog in enumerate(self.dialogs):
            places = [
                place
                for place, turn in enumerate(dialog.messages)
                if turn["role"] == "assistant" and place not in dialog.unlearned and place > 0
            ]
            if places:
                answered.append((number, dialog.messages[: places[-1]], dialog.messages[places[-1]]["content"]))
        return spread(answered, most)


def spread(items: Sequence[Item], most: int) -> list[Item]:
    """At most `most` of the items, at even distances; the same ones each time."""
    if len(items) <= most:
        return list(items)
    return [items[number * len(items) // most] for number in range(most)]


def held_out(dataset: Path, eval_share: float, tokenizer: Any, max_length: int, most: int) -> EvaluationSet:
    """The part of a dataset that training does not see. Raises UserError if there is none."""
    train, part = rows.read_parts(dataset, eval_share)
    if not part:
        raise UserError(
            "bad_input", "the dataset has no held-out part", "Train with eval_share above 0, or name a set with --also."
        )
    return _fitting(HELD_OUT, part, [*train, *part], tokenizer, max_length, most)


def whole(name: str, file: Path, tokenizer: Any, max_length: int, most: int) -> EvaluationSet:
    """All rows of a file; of a dataset that was split, its held-out part alone."""
    evaluation = rows.part_paths(file)[1]
    dialogs = rows.read_dialogs(file)
    return _fitting(
        name, rows.read_dialogs(evaluation) if evaluation.is_file() else dialogs, dialogs, tokenizer, max_length, most
    )


def general(tokenizer: Any, max_length: int, most: int = 0) -> EvaluationSet:
    """Short questions about common facts, sums and instructions, English and Russian; at most `most`, 0: all."""
    dialogs = rows.read_dialogs(GENERAL_FILE)
    return _fitting(GENERAL, dialogs, dialogs, tokenizer, max_length, most)


def _fitting(
    name: str, wanted: list[Dialog], known: list[Dialog], tokenizer: Any, max_length: int, most: int
) -> EvaluationSet:
    """The rows of `wanted` that fit into `max_length` tokens; labels are those of all `known` rows."""
    chosen = spread(wanted, most or len(wanted))
    dialogs = [dialog for dialog in chosen if dialog.text or _fits(dialog, tokenizer, max_length)]
    if not dialogs:
        raise UserError("bad_input", f"no row of {name} fits into {max_length} tokens", "Choose another set.")
    if len(dialogs) < len(chosen):
        left = len(chosen) - len(dialogs)
        emit("warning", text=f"{name}: {left} of {len(chosen)} rows are longer than {max_length} tokens and left out")
    labels = sorted({dialog.label for dialog in known}) if all(dialog.label for dialog in dialogs) else []
    if len(labels) > MOST_LABELS:
        emit("warning", text=f"{name}: {len(labels)} different labels are too many to weigh; taken as dialogs")
        labels = []
    return EvaluationSet(name, dialogs, len(wanted), [label for label in labels if label])


def _fits(dialog: Dialog, tokenizer: Any, max_length: int) -> bool:
    encoded = rows.encode([dialog], tokenizer, max_length)
    return bool(encoded.input_ids) and not encoded.shortened
