"""Who answers in a conversation: a server that runs already, or a process of our own.

Both hold one base model and answer with or without an adapter, streamed.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from engines.contract import events
from engines.contract.errors import UserError
from engines.running import devices
from engines.running.runs import PRIVACY
from engines.servers.server_clients import Refused
from engines.servers.server_fit import check_served, same_base
from engines.servers.serving import Server, ServerState, Serving
from engines.weights import adapter_versions
from engines.weights.adapters import Adapter

if TYPE_CHECKING:
    from engines.llm import LLMEngine

Message = dict[str, str]
REPETITION_PENALTY = 1.1  # small models repeat themselves without


@dataclass(frozen=True)
class ChatOptions:
    """How answers are drawn. temperature 0: the likeliest words each time; the same seed draws the same words."""

    max_new_tokens: int = 200
    temperature: float = 0.0
    seed: int = 1


class Model(Protocol):
    """A loaded base model. where: what answers, in words."""

    where: str

    def wait_until_ready(self) -> None: ...

    def ask(self, adapter: Adapter | None, messages: Sequence[Message], options: ChatOptions) -> Iterator[str]: ...

    def close(self) -> None: ...


def open_model(
    engine: LLMEngine, adapters: Sequence[Adapter | None], base_model: str = "auto", *, local: bool = False
) -> Model:
    """A model that can answer for all of `adapters` (None: the base). A server's if one fits, unless `local`.

    Raises UserError if they have not one base model in common.
    """
    chosen = [adapter for adapter in adapters if adapter is not None]
    for adapter in chosen:
        engine.adapters.check_complete(adapter)
    if chosen:
        model, device = engine.base_of(chosen[0], None if base_model == "auto" else base_model)
    else:
        device = devices.resolve("auto")
        model = engine.models.resolve(base_model, device)
    for adapter in chosen:
        if not same_base(adapter, model):
            raise UserError(
                "conflict",
                f"{adapter.name} was trained on {adapter.base_model}, not on {model}",
                "Talk to adapters of one base model at a time.",
            )
    if not local:
        server = _fitting_server(engine.serving, model, chosen)
        if server is not None:
            return ServerModel(engine.serving, server)
    return LocalModel(engine, model, device)


def _fitting_server(serving: Serving, model: str, adapters: Sequence[Adapter]) -> Server | None:
    for server in serving.servers():
        state = serving.state(server)
        if state.state != "ready" or not _is_base(model, state.base_model):
            continue
        with contextlib.suppress(UserError):
            for adapter in adapters:
                check_served(adapter, state)
            if server.client.loads_while_it_runs or _all_loaded(serving, state, adapters):
                return server
    return None


def _all_loaded(serving: Serving, state: ServerState, adapters: Sequence[Adapter]) -> bool:
    loaded = {path for _, path in state.adapters}
    return all(str(adapter_versions.path_of(serving.workspace, adapter)) in loaded for adapter in adapters)


def _is_base(model: str, served: str) -> bool:
    return model == served or (Path(model).exists() and Path(served).exists() and Path(model).samefile(served))


class ServerModel:
    """Answers through a running server. Adapters that it has not loaded are loaded, and let go of at the end."""

    def __init__(self, serving: Serving, server: Server):
        self.where = f"server {server.name}"
        self._serving = serving
        self._client = server.client
        self._ours: set[str] = set()

    def wait_until_ready(self) -> None:
        self._base = self._client.base_name()

    def ask(self, adapter: Adapter | None, messages: Sequence[Message], options: ChatOptions) -> Iterator[str]:
        """Yield the answer to a dialog, piece by piece as it is generated."""
        request = {
            "max_tokens": options.max_new_tokens, "temperature": options.temperature, "seed": options.seed,
            "repetition_penalty": REPETITION_PENALTY,
        }  # fmt: skip
        try:
            yield from self._client.chat(self._name(adapter), list(messages), **request)
        except Refused as refused:
            if refused.status != 404:
                raise
            yield from self._client.chat(self._name(adapter), list(messages), **request)  # an activation let go of it

    def _name(self, adapter: Adapter | None) -> str:
        if adapter is None:
            return self._base
        version = adapter_versions.path_of(self._serving.workspace, adapter)
        found = next((name for name, path in self._client.adapters().items() if path == str(version)), None)
        if found is None:
            found = self._serving.new_name(adapter)
            self._client.load(found, version)
            self._ours.add(found)
        return found

    def close(self) -> None:
        with contextlib.suppress(UserError):
            active = self._serving.adapters.active()
            for name in self._ours:
                if name.rpartition("@")[0] != active:
                    self._client.unload(name)


class LocalModel:
    """Loads a model in a child process, which ends with `close` or with the face. Its own messages go to `log`."""

    def __init__(self, engine: LLMEngine, model: str, device: str):
        self.where = "a process of its own"
        argv = [str(engine.environments.require("llm")), "-m", "finetune.chat", "--model", model, "--device", device]
        self.log = engine.workspace.folder("runs") / ".chat.log"
        self._log = open(self.log, "wb")
        self._child = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, start_new_session=True,
            env={**os.environ, **PRIVACY, **engine.environments.variables("llm")},
        )  # fmt: skip

    def wait_until_ready(self) -> None:
        """Block until the model is loaded. Raises UserError if it cannot be."""
        for event in self._events():
            if event["event"] == "ready":
                return

    def ask(self, adapter: Adapter | None, messages: Sequence[Message], options: ChatOptions) -> Iterator[str]:
        """Yield the answer to a dialog, piece by piece as it is generated."""
        wanted = {"name": adapter.name, "path": str(adapter.final)} if adapter else None
        question = {
            "messages": list(messages), "adapter": wanted, "repetition_penalty": REPETITION_PENALTY, **asdict(options)
        }  # fmt: skip
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
