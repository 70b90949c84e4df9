"""A conversation with a model that a child process holds in memory."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

from engines import events
from engines.errors import UserError


class ChatSession:
    """Loads a model in a child process; `ask` streams its answers. Ends with `close` or with the face.

    The child's own messages go to `log`. Use as a context manager.
    """

    def __init__(self, argv: list[str], env: dict[str, str], log: Path):
        self._log = open(log, "wb")
        self._child = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, env=env, start_new_session=True
        )
        self.log = log

    def __enter__(self) -> ChatSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def wait_until_ready(self) -> None:
        """Block until the model is loaded. Raises UserError if it cannot be."""
        for event in self._events():
            if event["event"] == "ready":
                return

    def ask(self, messages: list[dict[str, str]], max_new_tokens: int = 200, temperature: float = 0.0) -> Iterator[str]:
        """Yield the answer to a dialog, piece by piece as it is generated."""
        question = {"messages": messages, "max_new_tokens": max_new_tokens, "temperature": temperature}
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(json.dumps(question).encode() + b"\n")
            self._child.stdin.flush()
        except BrokenPipeError:
            pass  # the reason is in its output
        for event in self._events():
            if event["event"] == "token":
                yield str(event["text"])
            elif event["event"] == "answer":
                return

    def close(self) -> None:
        """End the child; what it was saying is lost."""
        self._child.kill()
        self._child.wait()
        for stream in (self._child.stdin, self._child.stdout, self._log):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:
                    pass

    def _events(self) -> Iterator[events.Event]:
        assert self._child.stdout is not None
        while line := self._child.stdout.readline():
            event = events.parse(line)
            if event is None:
                continue
            if event["event"] == "error":
                raise UserError(event.get("code", "failed"), event["cause"], event.get("next_step", ""))
            yield event
        raise UserError("failed", f"the model's process ended (exit code {self._child.wait()})", f"Read {self.log}.")
