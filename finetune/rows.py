"""Dataset rows as a model sees them: read, split by conversation, rendered, masked, never cut in silence."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engines.errors import UserError

IGNORED = -100  # the label of a token that is not learned
Message = dict[str, str]


@dataclass
class Dialog:
    """One row of a dataset file; rows of one conversation stay on one side of the split."""

    messages: list[Message]
    conversation: str


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
    dialogs = []
    try:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    dialogs.append(_read_dialog(line, path.name, number))
    except OSError as error:
        raise UserError("not_found", f"{path} cannot be read: {error.strerror}", "Prepare the dataset again.") from None
    except UnicodeDecodeError:
        raise UserError("bad_input", f"{path.name} is not UTF-8 text", "Prepare it with `ftui llm prepare`.") from None
    if not any(turn["role"] == "assistant" for dialog in dialogs for turn in dialog.messages):
        raise UserError(
            "bad_input",
            f"{path.name} has {len(dialogs)} dialogs but no assistant turn, so there is nothing to learn",
            "Prepare it again and check the owner's name.",
        )
    return dialogs


def _read_dialog(line: str, name: str, number: int) -> Dialog:
    expected = 'Expected {"messages": [{"role": "user", "content": "…"}, …]}; run `ftui llm prepare` on the file.'
    try:
        row = json.loads(line)
        messages = [{"role": str(turn["role"]), "content": str(turn["content"])} for turn in row["messages"]]
    except (ValueError, RecursionError) as error:
        raise UserError("bad_input", f"{name} line {number} is not JSON: {str(error)[:80]}", expected) from None
    except (KeyError, TypeError) as error:
        raise UserError("bad_input", f"{name} line {number}: no {error} where it was expected", expected) from None
    return Dialog(messages, str(row.get("conversation", number)))


def split(dialogs: list[Dialog], eval_share: float) -> tuple[list[Dialog], list[Dialog]]:
    """(training, held out), by whole conversations.

    The conversations are ordered by a hash of their name alone: the same ones are held out
    in every run, whatever its seed, a smaller share is a part of a larger one, and figures
    of different runs can be compared.
    """
    names = sorted({dialog.conversation for dialog in dialogs}, key=_place)
    held_out = set(names[: round(len(names) * eval_share)])
    if eval_share > 0 and not held_out and len(names) > 1:
        held_out = {names[0]}
    train = [dialog for dialog in dialogs if dialog.conversation not in held_out]
    return train, [dialog for dialog in dialogs if dialog.conversation in held_out]


def _place(conversation: str) -> bytes:
    return hashlib.blake2b(conversation.encode(), digest_size=8).digest()


def encode(dialogs: Iterable[Dialog], tokenizer: Any, max_length: int) -> Encoded:
    """Render and tokenize. Only assistant turns, each with its end-of-turn token, get labels.

    A dialog longer than `max_length` tokens loses whole turns from its end (counted as
    shortened); one of which not even the first answer fits is dropped (counted).
    """
    encoded = Encoded()
    for dialog in dialogs:
        messages = dialog.messages
        row = None
        while messages:
            row = _encode_dialog(messages, tokenizer)
            if len(row[0]) <= max_length:
                break
            messages = _without_last_answer(messages)
        if not messages or row is None or all(label == IGNORED for label in row[1]):
            encoded.dropped += 1
            continue
        encoded.shortened += len(messages) < len(dialog.messages)
        encoded.input_ids.append(row[0])
        encoded.labels.append(row[1])
    return encoded


def _without_last_answer(messages: list[Message]) -> list[Message]:
    """The dialog up to the answer before the last one; empty if there is none."""
    answers = [index for index, turn in enumerate(messages[:-1]) if turn["role"] == "assistant"]
    return messages[: answers[-1] + 1] if answers else []


def _encode_dialog(messages: list[Message], tokenizer: Any) -> tuple[list[int], list[int]]:
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    spans = answer_spans(messages, tokenizer, text)
    coding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    labels = [
        token if any(start >= low and end <= high for low, high in spans) else IGNORED
        for token, (start, end) in zip(coding["input_ids"], coding["offset_mapping"], strict=True)
    ]
    return coding["input_ids"], labels


def answer_spans(messages: list[Message], tokenizer: Any, text: str) -> list[tuple[int, int]]:
    """Where in the rendered `text` the assistant speaks: [start, end) in characters.

    Found by rendering the dialog up to each answer, so it works for every chat template
    whose rendering of a dialog begins with the rendering of its beginning. A span runs from
    the end of the generation prompt to the end-of-turn token, which is learned too;
    white space after it is not.
    """
    spans = []
    for index, turn in enumerate(messages):
        if turn["role"] != "assistant":
            continue
        before = tokenizer.apply_chat_template(messages[:index], tokenize=False, add_generation_prompt=True)
        through = tokenizer.apply_chat_template(messages[: index + 1], tokenize=False)
        if not through.startswith(before) or not text.startswith(through):
            raise UserError(
                "bad_input",
                "this model's chat template changes earlier turns, so the learned part cannot be told apart",
                "Choose another base model.",
            )
        spans.append((len(before), len(through.rstrip())))
    return spans


def fingerprint(path: Path) -> str:
    """BLAKE2b of a file's bytes, 16 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=8)
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
