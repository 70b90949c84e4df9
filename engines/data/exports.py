"""A dataset written in the format of another program, and what of it that format cannot hold.

messages            {"messages": [{"role", "content", "weight"}, …]}          OpenAI, TRL
sharegpt            {"conversations": [{"from", "value", "weight"}, …]}
alpaca              {"instruction", "input", "output", "system", "history"}
prompt-completion   {"prompt": [messages], "completion": [messages]}          a record for each answer
vertex              {"systemInstruction", "contents": [{"role", "parts"}]}
csv                 question, answer                                          a line for each answer
classification      {"text", "label"}
text                {"text"}

An answer of weight 0 is context. Where a record is an answer, none is made of it; where a
format has no mark for it, that is said. Messages of one side that follow each other are
joined for programs that insist on a question and an answer by turns.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from engines.contract import statefiles
from engines.contract.dataset_rows import Row, read_rows
from engines.contract.errors import UserError
from engines.data.datasets import Dataset

SHAREGPT_ROLES = {"user": "human", "assistant": "gpt", "system": "system"}
LOSSES = {  # what a format may be unable to hold
    "context": "answers are learned again there, which are only context in this dataset",
    "earlier": "answers stand there without what was said before their question",
    "systems": "system prompts are not in it",
    "labels": "labels are plain answers there",
    "joined": "messages were joined with the one before them",
}


@dataclass(frozen=True)
class Format:
    """lines: what becomes of a row; nothing, if it cannot be held. words: who reads it. loses: keys of LOSSES.

    ending: of a file's name.
    """

    lines: Callable[[Row], Iterator[str]]
    words: str
    loses: tuple[str, ...] = ()
    ending: str = "jsonl"


class Exchange(NamedTuple):
    """A question with its answer: of its messages those that are learned, or all if none is. unlearned: the others."""

    question: str
    answer: str
    is_learned: bool
    unlearned: int


def export(dataset: Dataset, form: str, target: Path) -> dict[str, Any]:
    """Write `dataset` in another format. Returns the numbers of rows read and records written, the rows left out by
    kind, and what the format could not hold by the keys of LOSSES.

    Raises UserError for a format that is not known or can hold nothing of the dataset, and for a target that exists.
    """
    if form not in FORMATS:
        raise UserError("usage", f"there is no format {form}", f"Choose one of {', '.join(FORMATS)}.")
    if target.exists():
        raise UserError("conflict", f"{target} exists", "Name a file that does not.")
    if not target.parent.is_dir():
        raise UserError("not_found", f"there is no folder {target.parent}", "Make it first.")
    counts = {"read": 0, "written": 0}
    left_out: Counter[str] = Counter()
    lost: Counter[str] = Counter()

    def lines() -> Iterator[str]:
        if form == "csv":
            yield _csv_line(["question", "answer"])
        for row in read_rows(dataset.path):
            counts["read"] += 1
            made = list(FORMATS[form].lines(row))
            yield from made
            counts["written"] += len(made)
            if made:
                lost.update({key: number for key, number in _traits(row).items() if key in FORMATS[form].loses})
            else:
                left_out["dialogs" if "messages" in row else "texts"] += 1
        if not counts["written"]:
            raise _cannot_hold(dataset, form, left_out)

    _write(target, lines())
    return {**counts, "left_out": dict(left_out), "not_held": dict(+lost)}


def notes(counts: dict[str, Any]) -> list[str]:
    """What `export` left out, and what it could not write, in words."""
    left_out = [f"{number:,} {kind} are not in it" for kind, number in counts["left_out"].items()]
    return left_out + [f"{number:,} {LOSSES[key]}" for key, number in counts["not_held"].items()]


def _cannot_hold(dataset: Dataset, form: str, left_out: Counter[str]) -> UserError:
    if not left_out:
        return UserError("bad_input", f"{dataset.name} has no rows", "Prepare it again.")
    what = " and ".join(f"{number:,} {kind}" for kind, number in left_out.items())
    able = [name for name, other in FORMATS.items() if any(any(other.lines(row)) for row in read_rows(dataset.path))]
    return UserError(
        "bad_input",
        f"{form} can hold nothing of {dataset.name}, which has {what}",
        f"Choose {' or '.join([', '.join(able[:-1]), able[-1]] if able[1:] else able)}."
        if able
        else "Nothing of it is learned: prepare it again.",
    )


def _as_messages(row: Row) -> Iterator[str]:
    if "messages" in row:
        yield _line({"messages": row["messages"]})


def _as_sharegpt(row: Row) -> Iterator[str]:
    turns = [
        {"from": SHAREGPT_ROLES[turn["role"]], "value": turn["content"], **({} if _is_learned(turn) else {"weight": 0})}
        for turn in _joined(_messages(row))
    ]
    if turns:
        yield _line({"conversations": turns})


def _as_alpaca(row: Row) -> Iterator[str]:
    """One record a dialog: the last learned answer with its question, those before as history."""
    exchanges = _up_to_last_learned(_exchanges(row))
    if not exchanges:
        return
    *history, last = exchanges
    record: Row = {"instruction": last.question, "input": "", "output": last.answer}
    if system := _system(row):
        record["system"] = system
    if history:
        record["history"] = [[exchange.question, exchange.answer] for exchange in history]
    yield _line(record)


def _as_prompt_completion(row: Row) -> Iterator[str]:
    """A record for each stretch of learned answers: all before it is the prompt, of which nothing is learned."""
    messages = _messages(row)
    plain = [{"role": turn["role"], "content": turn["content"]} for turn in messages]
    start = None
    for place in range(len(messages) + 1):
        is_answer = place < len(messages) and messages[place]["role"] == "assistant" and _is_learned(messages[place])
        if is_answer and start is None:
            start = place
        elif not is_answer and start is not None:
            if any(turn["role"] == "user" for turn in plain[:start]):
                yield _line({"prompt": plain[:start], "completion": plain[start:place]})
            start = None


def _as_vertex(row: Row) -> Iterator[str]:
    turns = [turn for turn in _joined(_messages(row)) if turn["role"] != "system"]
    while turns and not (turns[-1]["role"] == "assistant" and _is_learned(turns[-1])):
        turns.pop()
    if not turns:
        return
    contents = [
        {"role": "model" if turn["role"] == "assistant" else "user", "parts": [{"text": turn["content"]}]}
        for turn in turns
    ]
    head = {"systemInstruction": {"parts": [{"text": system}]}} if (system := _system(row)) else {}
    yield _line({**head, "contents": contents})


def _as_csv(row: Row) -> Iterator[str]:
    for exchange in _exchanges(row):
        if exchange.is_learned:
            yield _csv_line([exchange.question, exchange.answer])


def _as_classification(row: Row) -> Iterator[str]:
    exchanges = _exchanges(row)
    if "label" in row and len(exchanges) == 1:
        yield _line({"text": exchanges[0].question, "label": row["label"]})


def _as_text(row: Row) -> Iterator[str]:
    if "messages" not in row:
        yield _line({"text": row["text"]})


FORMATS = {
    "messages": Format(_as_messages, "OpenAI, TRL, and this program", ("labels",)),
    "sharegpt": Format(_as_sharegpt, "Axolotl, LLaMA-Factory: from and value", ("labels", "joined")),
    "alpaca": Format(_as_alpaca, "instruction, output, history", ("context", "labels", "joined")),
    "prompt-completion": Format(_as_prompt_completion, "TRL: each answer, all before it", ("labels",)),
    "vertex": Format(_as_vertex, "Gemini: contents with parts", ("context", "labels", "joined")),
    "csv": Format(
        _as_csv, "a table of questions and answers", ("earlier", "systems", "labels", "joined"), ending="csv"
    ),
    "classification": Format(_as_classification, "a text and its label", ("systems", "joined")),
    "text": Format(_as_text, "continued text"),
}


def _traits(row: Row) -> Counter[str]:
    """What a row has of that which some formats cannot hold."""
    messages = _messages(row)
    exchanges = _up_to_last_learned(_exchanges(row))
    return Counter(
        context=sum(exchange.unlearned for exchange in exchanges),
        earlier=sum(exchange.is_learned for exchange in exchanges[1:]),
        systems=bool(_system(row)),
        labels="label" in row,
        joined=len(messages) - len(_joined(messages)),
    )


def _messages(row: Row) -> list[Row]:
    """None of a text."""
    return row.get("messages") or []


def _system(row: Row) -> str:
    return "\n".join(turn["content"] for turn in _messages(row) if turn["role"] == "system")


def _is_learned(turn: Row) -> bool:
    return turn.get("weight") != 0


def _joined(messages: list[Row]) -> list[Row]:
    """With messages of one role and one weight that follow each other made one."""
    turns: list[Row] = []
    for turn in messages:
        if turns and turns[-1]["role"] == turn["role"] and _is_learned(turns[-1]) == _is_learned(turn):
            turns[-1] = {**turns[-1], "content": f"{turns[-1]['content']}\n{turn['content']}"}
        else:
            turns.append(turn)
    return turns


def _exchanges(row: Row) -> list[Exchange]:
    """Each question of a dialog with its answer; an answer to nothing is none."""
    found: list[Exchange] = []
    asked = ""
    turns = [turn for turn in _messages(row) if turn["role"] != "system"]
    for role, run in groupby(turns, lambda turn: turn["role"]):
        said = list(run)
        if role == "user":
            asked = "\n".join(turn["content"] for turn in said)
        elif asked:
            learned = [turn["content"] for turn in said if _is_learned(turn)]
            answer = "\n".join(learned or [turn["content"] for turn in said])
            found.append(Exchange(asked, answer, bool(learned), len(said) - len(learned)))
    return found


def _up_to_last_learned(exchanges: list[Exchange]) -> list[Exchange]:
    learned = [place for place, exchange in enumerate(exchanges, 1) if exchange.is_learned]
    return exchanges[: learned[-1]] if learned else []


def _line(row: Row) -> str:
    return json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n"


def _csv_line(cells: Iterable[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def _write(target: Path, lines: Iterator[str]) -> None:
    """Whole or not at all."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with statefiles.open_private(temporary) as file:
            for line in lines:
                file.write(line.encode("utf-8", "replace"))
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, target)
        statefiles.sync_dir(target.parent)
    finally:
        temporary.unlink(missing_ok=True)
