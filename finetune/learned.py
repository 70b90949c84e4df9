"""Which tokens of a dialog are learned: the assistant's turns, each with the token that ends it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from itertools import pairwise
from operator import itemgetter
from typing import Any

from engines.contract.errors import UserError

IGNORED = -100  # the label of a token that is not learned
CODING = {"add_special_tokens": False, "return_offsets_mapping": True, "return_attention_mask": False}
Message = dict[str, str]
Row = tuple[list[int], list[int]]  # token ids, labels
Span = tuple[int, int]  # [start, end) in characters
_START, _END = itemgetter(0), itemgetter(1)


class Coder:
    """From dialogs to token ids and labels, many at a time: a tokenizer is fastest with many texts."""

    def __init__(self, tokenizer: Any, template: str | None):
        self.tokenizer, self.template = tokenizer, template

    def code(self, dialogs: list[tuple[list[Message], frozenset[int]]]) -> Iterator[Row]:
        """The row of each dialog, however long it is. dialogs: messages, and the numbers of answers that are context.

        Raises UserError for a dialog that the template refuses or changes as it grows.
        """
        if not dialogs:
            return
        texts, spans = zip(*(self._render(*dialog) for dialog in dialogs), strict=True)
        coding = self.tokenizer(list(texts), **CODING)
        for text, spoken, ids, offsets in zip(texts, spans, coding["input_ids"], coding["offset_mapping"], strict=True):
            if _crosses(offsets, spoken):
                ids, offsets = self._in_pieces(text, spoken)
            yield ids, _labels(ids, offsets, spoken)

    def _render(self, messages: list[Message], unlearned: frozenset[int]) -> tuple[str, list[Span]]:
        def render(turns: list[Message], **options: Any) -> str:
            return rendered(turns, self.tokenizer, chat_template=self.template, **options)

        text = render(messages) if messages else ""
        return text, answer_spans(messages, render, text, unlearned, self.tokenizer.eos_token or "")

    def _in_pieces(self, text: str, spans: list[Span]) -> tuple[list[int], list[Span]]:
        """Token ids and offsets where no token is both the end of a prompt and the beginning of its answer.

        As in generation, which begins with the tokens of the prompt alone.
        """
        ids: list[int] = []
        offsets: list[Span] = []
        for start, end in pairwise([0, *(low for low, _ in spans), len(text)]):
            piece = self.tokenizer(text[start:end], **CODING)
            ids += piece["input_ids"]
            offsets += [(start + first, start + last) for first, last in piece["offset_mapping"]]
        return ids, offsets


def _crosses(offsets: list[Span], spans: list[Span]) -> bool:
    """Does a token begin before one of the `spans` and end within it?"""
    firsts = ((bisect_left(offsets, low, key=_START), low) for low, _ in spans)
    return any(first and offsets[first - 1][1] > low for first, low in firsts)


def _labels(ids: list[int], offsets: list[Span], spans: list[Span]) -> list[int]:
    """The ids of the tokens within `spans`, IGNORED elsewhere. offsets: of the tokens, in order."""
    labels = [IGNORED] * len(ids)
    for low, high in spans:
        first = bisect_left(offsets, low, key=_START)
        last = bisect_right(offsets, high, lo=first, key=_END)
        labels[first:last] = ids[first:last]
    return labels


def rendered(messages: list[Message], tokenizer: Any, **options: Any) -> str:
    """Raises UserError where the template refuses: some want a question and an answer by turns, or no system turn."""
    from jinja2 import TemplateError

    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, **options))
    except TemplateError as error:
        raise UserError(
            "bad_input",
            f"this model's chat template refuses a dialog: {str(error)[:200]}",
            "Prepare the dataset with joined messages and without a system prompt, or set text_template.",
        ) from None


def answer_spans(
    messages: list[Message], render: Callable[..., str], text: str, unlearned: frozenset[int], end_of_text: str
) -> list[Span]:
    """Where in the rendered `text`, which is that of all `messages`, the assistant speaks.

    Found by rendering the dialog up to each answer, so it works for every chat template
    whose rendering of a dialog begins with the rendering of its beginning. A span runs from
    the end of the generation prompt to the end-of-turn token, which is learned too;
    white space after it is not. What some templates write at the very end of a text, `end_of_text`, does not count.
    """
    spans = []
    for index, turn in enumerate(messages):
        if turn["role"] != "assistant" or index in unlearned:
            continue
        before = render(messages[:index], add_generation_prompt=True)
        through = text if index + 1 == len(messages) else render(messages[: index + 1])
        if not text.startswith(through):
            through = through.removesuffix(end_of_text)
        if not through.startswith(before) or not text.startswith(through):
            raise UserError(
                "bad_input",
                "this model's chat template changes earlier turns, so the learned part cannot be told apart",
                "Choose another base model.",
            )
        spans.append((len(before), len(through.rstrip())))
    return spans
