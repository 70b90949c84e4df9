"""Any OpenAI-compatible endpoint, asked for JSON, with patience, a budget and a memory.

It is contacted only if the user has set `endpoint`; without one no code here runs and
nothing leaves this machine. Answers are kept by a hash of what was asked, so that a run
that was stopped goes on without paying twice. The key is read from the environment
variable that the user names; it is sent to the endpoint alone and written nowhere.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from engines.config.generate import GenerateConfig
from engines.contract import statefiles
from engines.contract.errors import UserError
from finetune.plain_text import harmless
from finetune.project.loose_json import repaired

REQUEST_SECONDS = 120.0
PAUSES = (1.0, 3.0, 10.0)  # before a request is repeated that may succeed the next time
LONGEST_PAUSE = 60.0
LOOK_SECONDS = 0.1
MAX_ANSWER_BYTES = 4 << 20
MAX_FAILURES = 3  # exchanges that fail in a row end the run
PATH = "/chat/completions"
NOT_JSON = "That was not the JSON I asked for. Answer with the JSON object alone."

Messages = list[dict[str, str]]


class BudgetSpent(Exception):
    """`max_requests` were sent."""


class NoAnswer(Exception):
    """The endpoint did not give what was asked for, after all attempts; the text says why."""


class TryAgain(Exception):
    """Too busy, too slow, or broken just now. `pause`: what the endpoint asks for, in seconds."""

    def __init__(self, cause: str, pause: float = 0.0):
        super().__init__(cause)
        self.pause = pause


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The key goes to the endpoint that was named, nowhere else."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Endpoint:
    """`memory`: the folder of remembered answers. `tick` raises when somebody asked to stop."""

    def __init__(
        self, config: GenerateConfig, memory: Path, tick: Callable[[], None], *,
        seconds: float = REQUEST_SECONDS, pauses: tuple[float, ...] = PAUSES,
    ):  # fmt: skip
        self.url = f"{config.endpoint.rstrip('/').removesuffix(PATH)}{PATH}"
        self.model = config.endpoint_model
        self.key = api_key(config)
        self.memory = memory
        self.max_requests = config.max_requests
        self.tick = tick
        self.seconds = seconds
        self.pauses = pauses
        self.requests = self.remembered = self.repeated = self.failed = 0
        self.tokens: dict[str, int] = {"prompt": 0, "completion": 0}
        self._failures = 0
        self.is_near = urlsplit(self.url).hostname in ("127.0.0.1", "localhost", "::1")
        proxies = [urllib.request.ProxyHandler({})] if self.is_near else []
        self._opener = urllib.request.build_opener(_NoRedirect, *proxies)

    @property
    def shows_key(self) -> bool:
        """Can others on the way read the key?"""
        return bool(self.key) and not self.is_near and self.url.startswith("http:")

    def ask(self, messages: Messages, accept: Callable[[Any], Any]) -> Any:
        """What `accept` makes of the JSON that was answered; None from it means ask again.

        Raises NoAnswer, BudgetSpent, and UserError for what no repetition mends.
        """
        value = self.recall(messages, accept)
        if value is not None:
            self.remembered += 1
            return value
        try:
            answer, value = self._ask(messages, accept)
        except NoAnswer as error:
            self.failed += 1
            self._failures += 1
            if self._failures >= MAX_FAILURES:
                raise UserError(
                    "failed", f"the endpoint failed {self._failures} times in a row: {error}",
                    "Check it and start again; what was answered is remembered.",
                ) from None  # fmt: skip
            raise
        self._failures = 0
        statefiles.make_private_dir(self.memory)
        statefiles.write_json(self._place(messages), {"model": self.model, "answer": answer})
        return value

    def recall(self, messages: Messages, accept: Callable[[Any], Any]) -> Any:
        """The same from an earlier answer; None if there is none."""
        known = statefiles.read_object(self._place(messages)).get("answer")
        return accept(known) if isinstance(known, dict) else None

    def figures(self) -> dict[str, Any]:
        return {
            "url": self.url, "model": self.model, "requests": self.requests, "remembered": self.remembered,
            "repeated": self.repeated, "failed": self.failed, "tokens": dict(self.tokens),
        }  # fmt: skip

    def _place(self, messages: Messages) -> Path:
        asked = json.dumps([self.url, self.model, messages], ensure_ascii=True)
        return self.memory / f"{hashlib.sha256(asked.encode()).hexdigest()}.json"

    def _ask(self, messages: Messages, accept: Callable[[Any], Any]) -> tuple[Any, Any]:
        """Repeat until there is an acceptable answer: (as JSON, as accepted)."""
        cause = ""
        asked = messages
        for pause in (*self.pauses, None):
            try:
                answer = repaired(self._send(asked))
            except TryAgain as error:
                cause = str(error)
                self._wait(max(pause or 0.0, error.pause) if pause is not None else 0.0)
            else:
                value = accept(answer) if answer is not None else None
                if value is not None:
                    return answer, value
                cause = "its answers are not the JSON that was asked for"
                asked = [*messages, {"role": "user", "content": NOT_JSON}]
            self.repeated += pause is not None
        raise NoAnswer(cause)

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + min(seconds, LONGEST_PAUSE)
        while (left := until - time.monotonic()) > 0:
            self.tick()
            time.sleep(min(left, LOOK_SECONDS))

    def _send(self, messages: Messages) -> str:
        """One request, in a thread, so that neither a slow nor a silent server holds up a stop."""
        if self.requests >= self.max_requests:
            raise BudgetSpent
        self.requests += 1
        outcome: list[str | Exception] = []

        def exchange() -> None:
            try:
                outcome.append(self._exchange(messages))
            except Exception as error:
                outcome.append(error)

        thread = threading.Thread(target=exchange, daemon=True)
        thread.start()
        deadline = time.monotonic() + self.seconds
        while thread.is_alive() and time.monotonic() < deadline:
            self.tick()
            thread.join(LOOK_SECONDS)
        if not outcome:
            raise TryAgain(f"no answer within {self.seconds:.0f} s")
        if isinstance(outcome[0], Exception):
            raise outcome[0]
        return outcome[0]

    def _exchange(self, messages: Messages) -> str:
        body = json.dumps({"model": self.model, "messages": messages, "stream": False}).encode()
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "ftui"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        request = urllib.request.Request(self.url, body, headers, method="POST")
        try:
            with self._opener.open(request, timeout=self.seconds) as response:
                data = response.read(MAX_ANSWER_BYTES + 1)
        except urllib.error.HTTPError as error:
            raise self._of_status(error) from None
        except (OSError, http.client.HTTPException) as error:
            raise TryAgain(self._said(str(getattr(error, "reason", None) or error))) from None
        if len(data) > MAX_ANSWER_BYTES:
            raise TryAgain("its answer is too large")
        return self._content(data)

    def _content(self, data: bytes) -> str:
        try:
            answer = json.loads(data)
            text = answer["choices"][0]["message"]["content"]
            usage = answer.get("usage") or {}
            for name in self.tokens:
                count = usage.get(f"{name}_tokens")
                self.tokens[name] += count if isinstance(count, int) and count > 0 else 0
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
            raise TryAgain("its answer is not that of a chat completion") from None
        return text if isinstance(text, str) else ""

    def _of_status(self, error: urllib.error.HTTPError) -> Exception:
        try:
            said = self._said(error.read(2000).decode("utf-8", "replace"))
        except (OSError, http.client.HTTPException):
            said = ""
        cause = f"HTTP {error.code}" + (f": {said}" if said else "")
        if error.code in (408, 409, 425, 429) or error.code >= 500:
            asked = error.headers.get("Retry-After", "")
            return TryAgain(cause, float(asked) if asked.isdecimal() else 0.0)
        next_step = "Check its address and the model's name."
        if error.code in (401, 403):
            next_step = "Check the key in the environment variable that endpoint_api_key_variable names."
        return UserError("failed", f"the endpoint refused the request: {cause}", next_step)

    def _said(self, text: str) -> str:
        """A foreign message on one line, without the key that some servers repeat."""
        line = " ".join(harmless(text).split())
        return (line.replace(self.key, "[key]") if self.key else line)[:200].rstrip(". ")


def api_key(config: GenerateConfig) -> str:
    """The key, from the variable that is named. Raises UserError if it is not set or cannot be sent."""
    name = config.endpoint_api_key_variable
    key = os.environ.get(name, "").strip() if name else ""
    if name and (not key or not key.isascii() or not key.isprintable()):
        problem = "is not set" if not key else "holds no key that can be sent"
        raise UserError("not_ready", f"the environment variable {name} {problem}", "Set it to the endpoint's key.")
    return key
