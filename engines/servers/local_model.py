"""A base model in a process of our own, which answers with or without adapters; see finetune/chat.py."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engines.config.chat import ChatConfig
from engines.contract import events
from engines.contract.errors import UserError
from engines.running.runs import PRIVACY
from engines.weights.adapters import Adapter

if TYPE_CHECKING:
    from engines.llm import LLMEngine

Message = dict[str, str]
REPETITION_PENALTY = 1.1  # small models repeat themselves without
TOP_P = 0.95


class LocalModel:
    """Loads a model in a child process, which ends with `close` or with the face. Its own messages go to `log`."""

    def __init__(self, engine: LLMEngine, model: str, device: str, template_of: Path | None = None):
        """template_of: the folder of an adapter whose chat template a base model gets that has none."""
        self.where = "a process of its own"
        self.base_model = model
        argv = [str(engine.environments.require("llm")), "-m", "finetune.chat", "--model", model, "--device", device]
        argv += ["--template-of", str(template_of)] if template_of else []
        self.log = engine.workspace.folder("runs") / ".chat.log"
        self._log = open(self.log, "wb")
        self._number = 0  # of the question
        self._child = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, start_new_session=True,
            env={**os.environ, **PRIVACY, **engine.environments.variables("llm")},
        )  # fmt: skip

    def wait_until_ready(self) -> None:
        """Block until the model is loaded. Raises UserError if it cannot be."""
        for event in self._events():
            if event["event"] == "ready":
                return

    def ask(
        self, adapter: Adapter | None, messages: Sequence[Message], config: ChatConfig
    ) -> Generator[str, None, None]:
        """Yield the answer to a dialog, piece by piece as it is generated. Closed before its end it is broken off."""
        self._number += 1
        number = self._number
        wanted = {"name": adapter.name, "path": str(adapter.final)} if adapter else None
        drawn = config.model_dump(exclude={"system"})
        question = {"number": number, "messages": list(messages), "adapter": wanted, **drawn}
        self._write({**question, "repetition_penalty": REPETITION_PENALTY, "top_p": TOP_P})
        whole = False
        try:
            for event in self._events(number):
                if event["event"] == "token":
                    yield str(event["text"])
                elif event["event"] == "answer":
                    whole = True
                    return
        finally:
            if not whole:
                self._write({"stop": True})

    def close(self) -> None:
        """End the child; what it was saying is lost."""
        self._child.kill()
        self._child.wait()
        for stream in (self._child.stdin, self._child.stdout, self._log):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()

    def _write(self, line: dict[str, Any]) -> None:
        assert self._child.stdin is not None
        with contextlib.suppress(BrokenPipeError, ValueError):  # it has ended, or is closed: its output says why
            self._child.stdin.write(json.dumps(line).encode() + b"\n")
            self._child.stdin.flush()

    def _events(self, number: int | None = None) -> Iterator[events.Event]:
        """Those of the question `number`, or of none; what still comes of one that was broken off is left out."""
        assert self._child.stdout is not None
        while line := self._child.stdout.readline():
            event = events.parse(line)
            if event is None or event.get("number", number) != number:
                continue
            if event["event"] == "error":
                raise UserError(event.get("code", "failed"), event["cause"], event.get("next_step", ""))
            yield event
        raise UserError("failed", f"the model's process ended (exit code {self._child.wait()})", f"Read {self.log}.")
