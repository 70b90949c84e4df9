"""Talking to a running model server, one class for each kind. Loopback alone, standard library alone.

light           finetune/serve.py
vllm            vLLM's OpenAI server, started with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1
llama-server    llama.cpp's, see llama_client.py

Every method raises UserError with the server's own words, ServerGone (a UserError) where nobody answers.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from engines.contract.errors import UserError

SECONDS = 20.0  # a server under load answers late; loading a large adapter takes a while
CONNECT_SECONDS = 2.0
LOOPBACK = re.compile(r"127(\.\d{1,3}){3}|localhost|::1")
MOST_ANSWER_BYTES = 16 << 20
BASE_NAME = "base"  # what requests call the base model


class ServerGone(UserError):
    """Nobody answers at that address."""


class Refused(UserError):
    """The server said no. `status` is HTTP's."""

    def __init__(self, status: int, text: str):
        super().__init__("conflict", text or f"the server answered {status}")
        self.status = status


def check_url(url: str) -> str:
    """`http://127.0.0.1:8000` of what was given. Raises UserError for an address that is not on this machine."""
    parts = urlsplit(url if "//" in url else f"http://{url}")
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme != "http" or not LOOPBACK.fullmatch(parts.hostname or "") or not port or parts.username:
        raise UserError(
            "usage",
            f"{url[:120]!r} is no address of this machine",
            "Name it as http://127.0.0.1:PORT; bring a distant one here with ssh -L.",
        )
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"http://{host}:{port}"


class Client:
    """What all kinds have: models, health, answers."""

    kind: ClassVar[str] = ""
    flags: ClassVar[dict[str, str]] = {}  # part of a server's refusal: what to change there
    loads_while_it_runs: ClassVar[bool] = True

    def __init__(self, url: str, run: Path | None = None):
        """run: the folder of the run that the server is, if it was started here."""
        self.url = check_url(url)
        self.run = run
        self._answering: socket.socket | None = None  # where an answer comes from
        self._hung_up = False

    # --- requests ---

    def ask(self, path: str, body: Any = None, seconds: float = SECONDS) -> Any:
        """The JSON that the server answers; text where it is none."""
        response = self._open(path, body, seconds)
        try:
            data = response.read(MOST_ANSWER_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise self._gone(error) from None
        finally:
            response.close()
        return _read(data)

    def _open(self, path: str, body: Any, seconds: float, *, answering: bool = False) -> http.client.HTTPResponse:
        parts = urlsplit(self.url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=CONNECT_SECONDS)
        try:
            connection.connect()
            connection.sock.settimeout(seconds)
            if answering:
                self._answering = connection.sock
                if self._hung_up:
                    raise ConnectionAbortedError
            data = None if body is None else json.dumps(body).encode()
            headers = {"Content-Type": "application/json", "Connection": "close"}
            connection.request("GET" if body is None else "POST", path, data, headers)
            response = connection.getresponse()
            if response.status == 200:
                return response
            text = _message(_read(response.read(MOST_ANSWER_BYTES)))
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise self._gone(error) from None
        connection.close()
        raise Refused(response.status, self._explained(text))

    def _gone(self, error: Exception) -> ServerGone:
        why = "did not answer in time" if isinstance(error, TimeoutError) else "does not answer"
        return ServerGone("not_ready", f"the server at {self.url} {why}", "See `ftui serve-llm status`.")

    def _explained(self, text: str) -> str:
        line = " ".join(text.split())[:300]
        step = next((what for part, what in self.flags.items() if part in text), "")
        return f"{line} → {step}" if step else line

    # --- what is there ---

    def models(self) -> list[dict[str, Any]]:
        """Entries with id, root (a path or a name), parent (None: the base model)."""
        answer = self.ask("/v1/models", seconds=CONNECT_SECONDS * 2)
        data = answer.get("data") if isinstance(answer, dict) else None
        return [item for item in data if isinstance(item, dict)] if isinstance(data, list) else []

    def base(self) -> dict[str, Any]:
        """The base model's entry."""
        found = next((model for model in self.models() if not model.get("parent")), None)
        if found is None:
            raise UserError("conflict", f"the server at {self.url} serves no base model", "Start it again.")
        return found

    def base_name(self) -> str:
        """What requests to the base model name."""
        return str(self.base()["id"])

    def adapters(self) -> dict[str, str]:
        """The loaded adapters: name → path."""
        return {str(model["id"]): str(model.get("root", "")) for model in self.models() if model.get("parent")}

    def active(self, wanted: Path | None) -> str | None:
        """The loaded adapter that is the active one: for servers that do not know it the one loaded from `wanted`."""
        return next((name for name, path in self.adapters().items() if path == str(wanted)), None)

    def chat_template(self) -> str | None:
        """The one that all requests get; None: it does not say, or each adapter has its own."""
        return None

    # --- adapters ---

    def load(self, name: str, path: Path) -> None:
        """Bring an adapter into the server, so that it answers."""
        self.ask("/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(path)})

    def unload(self, name: str) -> None:
        """Requests under way are still answered. An adapter that is not there is fine."""
        try:
            self.ask("/v1/unload_lora_adapter", {"lora_name": name})
        except Refused as error:
            if error.status != 404:
                raise

    def switch(self, name: str | None) -> None:
        """Make a loaded adapter the one that requests get which name none."""

    # --- answers ---

    def chat(self, model: str, messages: list[dict[str, str]], **options: Any) -> Iterator[str]:
        """The pieces of an answer as they come."""
        body = {"model": model, "messages": messages, "stream": True, **options}
        response = self._open("/v1/chat/completions", body, seconds=600, answering=True)
        whole = False
        try:
            for line in response:
                data = line.removeprefix(b"data:").strip()
                whole = whole or data == b"[DONE]"
                if not line.startswith(b"data:") or data == b"[DONE]":
                    continue
                event = _read(data)
                if isinstance(event, dict) and event.get("error"):
                    raise UserError("failed", _message(event)[:300], "Read the server's log: ftui serve-llm logs.")
                choices = event.get("choices") if isinstance(event, dict) else None
                text = choices[0].get("delta", {}).get("content") if choices else None
                if text:
                    yield str(text)
            if not whole:
                raise ConnectionResetError
        except (OSError, http.client.HTTPException) as error:
            raise self._gone(error) from None
        finally:
            response.close()

    def hang_up(self) -> None:
        """Break off the answer that another thread is getting, and whatever it asks for afterwards."""
        self._hung_up = True
        if self._answering is not None:
            with contextlib.suppress(OSError):  # it has ended already
                self._answering.shutdown(socket.SHUT_RDWR)


class LightClient(Client):
    kind = "light"

    def active(self, wanted: Path | None) -> str | None:
        return self.ask("/health", seconds=CONNECT_SECONDS).get("active")

    def switch(self, name: str | None) -> None:
        self.ask("/v1/active_lora_adapter", {"lora_name": name})


class VllmClient(Client):
    kind = "vllm"
    flags: ClassVar[dict[str, str]] = {
        "max_lora_rank": "start vLLM with a higher --max-lora-rank",
        "DoRA": "vLLM cannot serve DoRA: merge the adapter, or use the light server",
        "modules_to_save": "vLLM cannot serve modules_to_save: merge the adapter, or use the light server",
        "Not Found": "start vLLM with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1",
    }

    def base_name(self) -> str:
        """Where one stands in for the base model (see stand_in.py), that one."""
        return BASE_NAME if BASE_NAME in super().adapters() else super().base_name()

    def adapters(self) -> dict[str, str]:
        return {name: path for name, path in super().adapters().items() if name != BASE_NAME}

    def load(self, name: str, path: Path) -> None:
        super().load(name, path)
        self.ask("/v1/completions", {"model": name, "prompt": ".", "max_tokens": 1})  # it answers


def _read(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return data.decode("utf-8", "replace")


def _message(answer: Any) -> str:
    """The words in an error answer, OpenAI's or a framework's."""
    if isinstance(answer, dict):
        error = answer.get("error", answer)
        words = error.get("message") or error.get("detail") if isinstance(error, dict) else error
        return str(words or answer)
    return str(answer)
