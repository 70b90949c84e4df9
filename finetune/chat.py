"""Talk to a base model and its adapters; loads once, switches adapters in place.

    python -m finetune.chat --model FOLDER [--device auto] [--template-of FOLDER]

Reads one JSON object a line on standard input, {"number": 1, "messages": [...], "adapter": {"name": …,
"path": …} or null, "max_new_tokens": 200, "temperature": 0.0, "top_p": 0.95, "seed": 1}, and prints events that
carry the number: `token` (text), then `answer` (text) or `error`; before all of them `ready`. {"stop": true}
ends the answer that is being given. Ends when its input ends, so it never outlives the face that asked.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
from pathlib import Path
from typing import Any

from engines.contract.errors import UserError
from engines.contract.events import emit
from engines.contract.run_protocol import run_script
from engines.weights import chat_template
from finetune import base_model
from finetune.model_host import Answer, Loaded, ModelHost


class Talk:
    """The questions of one face, one at a time."""

    def __init__(self, host: ModelHost):
        self.host = host
        self.loaded: dict[str, Loaded] = {}
        self.answering: Answer | None = None
        self._saying = threading.Lock()  # answers come from the model's thread

    def take(self, line: dict[str, Any]) -> None:
        """One line of the input."""
        if line.get("stop"):
            if self.answering is not None:
                self.answering.cancelled = True
            return
        number, wanted = line.pop("number"), line.pop("adapter", None)
        try:
            self._ask(number, self._adapter(wanted) if wanted is not None else None, line)
        except UserError as error:
            self._failed(number, error)

    def _ask(self, number: int, adapter: Loaded | None, question: dict[str, Any]) -> None:
        room = self.host.room_after(question["messages"], adapter)
        question["max_new_tokens"] = min(question["max_new_tokens"], room)
        answer = Answer(adapter=adapter, on_text=lambda text: self._say("token", number, text=text), **question)
        self.answering = answer

        def given(_: object) -> None:
            error = answer.done.exception()
            if error is None:
                self._say("answer", number, text=answer.done.result().strip())
            else:
                self._failed(number, UserError("failed", f"{type(error).__name__}: {error}"))

        self.host.answer(answer).add_done_callback(given)

    def _adapter(self, wanted: dict[str, str]) -> Loaded:
        if wanted["path"] not in self.loaded:
            self.loaded[wanted["path"]] = self.host.load(wanted["name"], Path(wanted["path"])).result()
        return self.loaded[wanted["path"]]

    def _failed(self, number: int, error: UserError) -> None:
        self._say("error", number, code=error.code, cause=error.cause, next_step=error.next_step)

    def _say(self, event: str, number: int, **fields: Any) -> None:
        with self._saying:
            emit(event, number=number, **fields)


def main() -> None:
    parser = argparse.ArgumentParser(description="Talk to a base model and its adapters.")
    parser.add_argument("--model", required=True)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--template-of", type=Path, help="an adapter whose chat template the base gets if it has none")
    arguments = parser.parse_args()
    device = base_model.choose_device(arguments.device)
    base_model.set_threads()
    emit("phase", name="load", text=f"loading {arguments.model} on {device}")
    tokenizer = base_model.load_tokenizer(arguments.model, template_needed=False)
    if tokenizer.chat_template is None and arguments.template_of is not None:
        tokenizer.chat_template = chat_template.of_folder(arguments.template_of)
    model = base_model.load_model(arguments.model, device, base_model.choose_precision("auto", device))
    talk = Talk(ModelHost(model, tokenizer))
    emit("ready")
    for line in sys.stdin:
        talk.take(json.loads(line))


if __name__ == "__main__":
    run_script(main)
