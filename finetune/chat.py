"""Talk to a base model, with or without an adapter; loads once, answers many times.

    python -m finetune.chat --model FOLDER [--adapter ADAPTER/final] [--device auto]

Reads one JSON object a line on standard input, {"messages": [...], "max_new_tokens": 96,
"temperature": 0.0}, and prints events: `ready`, then for each question `token` (text)
and `answer` (text). Ends when its input ends, so it never outlives the face that asked.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from engines.events import emit
from engines.run_protocol import run_script
from finetune import base_model
from finetune.evaluate import load_adapter
from finetune.generate import stream_answer


def main() -> None:
    parser = argparse.ArgumentParser(description="Talk to a base model, with or without an adapter.")
    parser.add_argument("--model", required=True)
    parser.add_argument("--adapter", type=Path)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    device = base_model.choose_device(arguments.device)
    base_model.set_threads()
    emit("phase", name="load", text=f"loading {arguments.model} on {device}")
    tokenizer = base_model.load_tokenizer(arguments.model)
    model = base_model.load_model(arguments.model, device, base_model.choose_precision("auto", device))
    if arguments.adapter:
        model = load_adapter(model, arguments.adapter)
    model.eval()
    emit("ready")
    for line in sys.stdin:
        question = json.loads(line)
        messages = question.pop("messages")
        pieces = []
        for piece in stream_answer(model, tokenizer, messages, **question):
            if piece:
                pieces.append(piece)
                emit("token", text=piece)
        emit("answer", text="".join(pieces).strip())


if __name__ == "__main__":
    run_script(main)
