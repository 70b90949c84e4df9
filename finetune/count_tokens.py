"""What a dataset holds, exactly: every row counted with the tokenizer of a model, by source, language and month.

    python -m finetune.count_tokens --dataset D_dataset.jsonl --model FOLDER --max-length 768

The rows are read as a stream, so that the memory does not grow with the file. Every row is
rendered by the model's chat template; the end of a continued text counts as a token.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from engines.contract import statefiles
from engines.contract.dataset_files import report_path
from engines.contract.events import emit
from engines.contract.run_protocol import run_script, write_result
from finetune import base_model, chat_templates, rows
from finetune.filters import Duplicates, Languages
from finetune.formats.dialog import Dialog, Turn
from finetune.learned import rendered
from finetune.row_file import Progress
from finetune.show_tokens import histogram, what_is_asked
from finetune.split_files import place

BATCH = 256  # rows that are tokenized together
ELSEWHERE = "other"
UNTOLD = "too short to tell"  # of a language


def count(dataset: Path, model: str, max_length: int, text_template: str = "") -> dict[str, Any]:
    """Raises UserError for a dataset or a model that cannot be read."""
    emit("phase", name="load", text="Reading the tokenizer")
    tokenizer = base_model.load_tokenizer(model, text_template)
    report = statefiles.read_json(report_path(dataset), {})
    names = report.get("source_names", {})
    progress = Progress(dataset.stat().st_size)
    emit("phase", name="count", text="Counting tokens")
    lengths = array("L")
    conversations: set[int] = set()
    by_source: dict[str, dict[str, int]] = defaultdict(lambda: {"rows": 0, "tokens": 0})
    languages: Counter[str] = Counter()
    messages = repeated = 0
    identifier, repetitions = Languages(), Duplicates()
    dialogs = rows.stream_dialogs(dataset, progress)
    while batch := list(islice(dialogs, BATCH)):
        for dialog, length in zip(batch, exact_lengths(batch, tokenizer), strict=True):
            lengths.append(length)
            messages += len(dialog.messages)
            conversations.add(place(dialog.conversation))
            source = by_source[source_of(dialog.conversation, names) or dialog.kind or ELSEWHERE]
            source["rows"] += 1
            source["tokens"] += length
            row = as_filtered(dialog)
            repeated += not repetitions.keep(row)
            languages[next((code for code, _ in identifier.of(row)), UNTOLD)] += 1
    emit("progress", done=progress.total, total=progress.total, unit="bytes")
    return {
        "rows": len(lengths),
        "conversations": len(conversations),
        "messages": messages,
        "bytes": progress.total,
        "tokens": sum(lengths),
        "longest": max(lengths, default=0),
        "too_long": sum(length > max_length for length in lengths),
        "max_length": max_length,
        "lengths": histogram(lengths),
        "duplicates": repeated,
        "languages": dict(languages.most_common()),
        "months": report.get("months", {}),
        "by_source": dict(sorted(by_source.items(), key=lambda item: -item[1]["tokens"])),
    }


def exact_lengths(dialogs: list[rows.Dialog], tokenizer: Any) -> Iterator[int]:
    """Tokens of each row, before anything is cut."""
    template = chat_templates.for_training(tokenizer)
    texts = [dialog.text or rendered(dialog.messages, tokenizer, chat_template=template) for dialog in dialogs]
    coded = tokenizer(texts, add_special_tokens=False, return_attention_mask=False)["input_ids"]
    for dialog, ids in zip(dialogs, coded, strict=True):
        yield len(ids) + bool(dialog.text)


def as_filtered(dialog: rows.Dialog) -> Dialog:
    """A row of a dataset as the filters know it."""
    turns = [Turn(message["role"], message["content"]) for message in dialog.messages]
    return Dialog(turns, dialog.conversation, dialog.text, dialog.label)


def source_of(conversation: str, names: dict[str, str]) -> str:
    """The chat or the file that a conversation is of; `names` has them by how conversations of them begin.

    Empty: it is not known.
    """
    chat, file = conversation[: conversation.rfind("/") + 1], conversation[: conversation.find(":") + 1]
    return names.get(chat) or names.get(file) or names.get("", "")


def main() -> None:
    asked = what_is_asked(__doc__).parse_args()
    write_result("done", **count(asked.dataset, asked.model, asked.max_length, asked.text_template))


if __name__ == "__main__":
    run_script(main)
