"""Talk to a base model and its adapters; loads once, switches adapters in place.

    python -m finetune.chat --model FOLDER [--device auto]

Reads one JSON object a line on standard input, {"messages": [...], "adapter": {"name": …,
"path": …} or null, "max_new_tokens": 200, "temperature": 0.0, "seed": 1}, and prints events:
`ready`, then for each question `token` (text) and `answer` (text). Ends when its input
ends, so it never outlives the face that asked.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from engines.contract.events import emit
from engines.contract.run_protocol import run_script
from finetune import base_model
from finetune.model_host import Answer, Loaded, ModelHost


def main() -> None:
    parser = argparse.ArgumentParser(description="Talk to a base model and its adapters.")
    parser.add_argument("--model", required=True)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    device = base_model.choose_device(arguments.device)
    base_model.set_threads()
    emit("phase", name="load", text=f"loading {arguments.model} on {device}")
    tokenizer = base_model.load_tokenizer(arguments.model)
    model = base_model.load_model(arguments.model, device, base_model.choose_precision("auto", device))
    host = ModelHost(model, tokenizer)
    loaded: dict[str, Loaded] = {}
    emit("ready")
    for line in sys.stdin:
        question = json.loads(line)
        wanted = question.pop("adapter", None)
        if wanted is not None and wanted["path"] not in loaded:
            loaded[wanted["path"]] = host.load(wanted["name"], Path(wanted["path"])).result()
        answer = Answer(
            adapter=loaded[wanted["path"]] if wanted is not None else None,
            on_text=lambda text: emit("token", text=text),
            **question,
        )
        emit("answer", text=host.answer(answer).result().strip())


if __name__ == "__main__":
    run_script(main)
