"""Dataset rows as a model sees them: read, split by conversation, rendered, masked, never cut in silence."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from engines.contract import statefiles
from engines.contract.dataset_files import part_paths, report_path
from engines.contract.errors import UserError
from finetune import chat_templates
from finetune.learned import IGNORED, Coder, Message, Row
from finetune.split_files import held_out_of

BATCH = 256  # dialogs that are tokenized together


@dataclass
class Dialog:
    """One row of a dataset file; rows of one conversation stay on one side of the split.

    text: to be continued, instead of messages. unlearned: numbers of the answers with weight 0.
    label: of a classification; the last answer is the label. kind: what of a project it was made of.
    """

    messages: list[Message]
    conversation: str
    text: str = ""
    unlearned: frozenset[int] = frozenset()
    label: str = ""
    kind: str = ""


@dataclass
class Encoded:
    """What training sees of the dialogs: token ids, labels (IGNORED where not learned), and what was lost."""

    input_ids: list[list[int]] = field(default_factory=list)
    labels: list[list[int]] = field(default_factory=list)
    shortened: int = 0
    dropped: int = 0

    @property
    def tokens(self) -> int:
        return sum(map(len, self.input_ids))

    @property
    def learned_tokens(self) -> int:
        return sum(label != IGNORED for row in self.labels for label in row)


def read_dialogs(path: Path) -> list[Dialog]:
    """The dialogs of a JSONL file. Raises UserError naming file and line of what is wrong."""
    dialogs = list(stream_dialogs(path))
    if not dialogs:
        raise UserError("bad_input", f"{path.name} is empty", "Prepare the dataset again.")
    if not any(dialog.text or any(turn["role"] == "assistant" for turn in dialog.messages) for dialog in dialogs):
        raise UserError(
            "bad_input",
            f"{path.name} has {len(dialogs)} dialogs but no assistant turn, so there is nothing to learn",
            "Prepare it again and check the owner's name.",
        )
    return dialogs


def stream_dialogs(path: Path, progress: Callable[[int], None] = lambda done: None) -> Iterator[Dialog]:
    """The same, one after the other. progress: is told the bytes that were read."""
    done = 0
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                done += len(line)
                if line.strip():
                    yield _read_dialog(line, path.name, number)
                progress(done)
    except OSError as error:
        raise UserError("not_found", f"{path} cannot be read: {error.strerror}", "Prepare the dataset again.") from None


def _read_dialog(line: bytes, name: str, number: int) -> Dialog:
    expected = 'Expected {"messages": [{"role": "user", "content": "…"}, …]}; run `ftui llm prepare` on the file.'
    try:
        row = json.loads(line)
        conversation, given = str(row.get("conversation", number)), row.get("label")
        label = "" if given is None else str(given)
        if row.get("text") and label:
            asked, answered = {"role": "user", "content": str(row["text"])}, {"role": "assistant", "content": label}
            return Dialog([asked, answered], conversation, label=label)
        if row.get("text"):
            return Dialog([], conversation, text=str(row["text"]))
        messages = [{"role": str(turn["role"]), "content": str(turn["content"])} for turn in row["messages"]]
        unlearned = frozenset(place for place, turn in enumerate(row["messages"]) if turn.get("weight") == 0)
    except UnicodeDecodeError:
        raise UserError("bad_input", f"{name} is not UTF-8 text", "Prepare it with `ftui llm prepare`.") from None
    except (ValueError, RecursionError) as error:
        raise UserError("bad_input", f"{name} line {number} is not JSON: {str(error)[:80]}", expected) from None
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError("bad_input", f"{name} line {number}: no {error} where it was expected", expected) from None
    return Dialog(messages, conversation, unlearned=unlearned, label=label, kind=str(row.get("kind", "")))


def read_parts(path: Path, eval_share: float) -> tuple[list[Dialog], list[Dialog]]:
    """(training, held out) of a dataset: the split beside it that somebody asked for, else one made by `split`.

    Without evaluation (eval_share 0) the second is empty; a dataset's own held-out part is not trained either way.
    """
    evaluation = chosen_part(path)
    if evaluation is None:
        return split(read_dialogs(path), eval_share)
    if _keeps_sides(statefiles.read_object(report_path(path))):
        held = {dialog.conversation for dialog in stream_dialogs(evaluation)}
        train, held_out = _sides(read_dialogs(path), held)
        return train, held_out if eval_share else []
    return read_dialogs(part_paths(path)[0]), read_dialogs(evaluation) if eval_share else []


def chosen_part(path: Path) -> Path | None:
    """The held-out part beside a dataset that trainings use; None: they split it by themselves."""
    train, evaluation = part_paths(path)
    return evaluation if train.is_file() and evaluation.is_file() and is_split_by_hand(path) else None


def is_split_by_hand(dataset: Path) -> bool:
    """Did somebody ask for the parts beside it, or were they merged? If not a training makes its own, and edits count.

    Of a dataset without a report whatever lies beside it is its parts; with one they may be somebody's own files.
    """
    report = statefiles.read_object(report_path(dataset))
    has_parts = bool(report.get("split"))
    return not report or (has_parts and (bool(report.get("config", {}).get("split")) or _keeps_sides(report)))


def _keeps_sides(report: dict[str, Any]) -> bool:
    """Was it merged, so that each conversation is on the side that it had? Edits count there, too."""
    return bool((report.get("split") or {}).get("kept"))


def split(dialogs: list[Dialog], eval_share: float) -> tuple[list[Dialog], list[Dialog]]:
    """(training, held out), by whole conversations, of every label its share.

    The conversations are ordered by a hash of their name alone: the same ones are held out
    in every run, whatever its seed, a smaller share is a part of a larger one, and figures
    of different runs can be compared.
    """
    held = held_out_of(((dialog.conversation, dialog.label) for dialog in dialogs), eval_share)
    return _sides(dialogs, held)


def _sides(dialogs: list[Dialog], held: set[str]) -> tuple[list[Dialog], list[Dialog]]:
    train = [dialog for dialog in dialogs if dialog.conversation not in held]
    return train, [dialog for dialog in dialogs if dialog.conversation in held]


def encode(
    dialogs: Iterable[Dialog], tokenizer: Any, max_length: int, progress: Callable[[int], None] = lambda done: None
) -> Encoded:
    """Render and tokenize. Only assistant turns, each with its end-of-turn token, get labels.

    A dialog longer than `max_length` tokens loses whole turns from its end (counted as
    shortened); one of which not even the first answer fits is dropped (counted). progress: is
    told how many dialogs are done.
    """
    encoded = Encoded()
    coder = Coder(tokenizer, chat_templates.for_training(tokenizer))
    remaining, done = iter(dialogs), 0
    while batch := list(islice(remaining, BATCH)):
        coded = coder.code([(dialog.messages, dialog.unlearned) for dialog in batch if not dialog.text])
        for dialog in batch:
            if dialog.text:
                _encode_text(dialog.text, tokenizer, max_length, encoded)
            else:
                _add(dialog, next(coded), coder, max_length, encoded)
        done += len(batch)
        progress(done)
    return encoded


def _add(dialog: Dialog, row: Row, coder: Coder, max_length: int, encoded: Encoded) -> None:
    """Put a dialog's `row` to the others, with fewer turns if it is too long, or count it as dropped."""
    messages = dialog.messages
    while messages and len(row[0]) > max_length:
        messages = _without_last_answer(messages)
        if messages:
            row = next(coder.code([(messages, dialog.unlearned)]))
    if not messages or all(label == IGNORED for label in row[1]):
        encoded.dropped += 1
        return
    encoded.shortened += len(messages) < len(dialog.messages)
    encoded.input_ids.append(row[0])
    encoded.labels.append(row[1])


def _encode_text(text: str, tokenizer: Any, max_length: int, encoded: Encoded) -> None:
    """All tokens are learned, and the end after the last one. A longer text is cut into rows, and none is lost."""
    ids = tokenizer(text, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
    for start in range(0, len(ids), max_length):
        piece = ids[start : start + max_length]
        if len(piece) > 1:  # a single token has no next one
            encoded.input_ids.append(piece)
            encoded.labels.append(list(piece))


def _without_last_answer(messages: list[Message]) -> list[Message]:
    """The dialog up to the answer before the last one; empty if there is none."""
    answers = [index for index, turn in enumerate(messages[:-1]) if turn["role"] == "assistant"]
    return messages[: answers[-1] + 1] if answers else []
