"""Who answers in a conversation: a server that runs already, or a process of our own.

Both hold one base model and answer with or without an adapter, streamed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from engines.config.chat import ChatConfig
from engines.contract.errors import UserError
from engines.running import devices
from engines.servers.local_model import REPETITION_PENALTY, TOP_P, LocalModel, Message
from engines.servers.server import Server, ServerState
from engines.servers.server_clients import Refused
from engines.servers.server_fit import check_served, same_base
from engines.servers.serving import Serving
from engines.weights import adapter_versions, chat_template
from engines.weights.adapters import Adapter

if TYPE_CHECKING:
    from engines.llm import LLMEngine


class Model(Protocol):
    """A loaded base model. where: what answers, in words. `close` may come from another thread than `ask`."""

    where: str
    base_model: str

    def wait_until_ready(self) -> None: ...

    def ask(
        self, adapter: Adapter | None, messages: Sequence[Message], config: ChatConfig
    ) -> Generator[str, None, None]: ...

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
    asked_as = _template_for_base(engine, adapters, model)
    if not local and asked_as is None:
        server = _fitting_server(engine.serving, model, chosen)
        if server is not None:
            return ServerModel(engine.serving, server, model)
    return LocalModel(engine, model, device, asked_as)


def _template_for_base(engine: LLMEngine, adapters: Sequence[Adapter | None], model: str) -> Path | None:
    """The folder of the adapter in whose template a base model without one is asked, beside it."""
    if None not in adapters or engine.serving.template_of(model) != "":
        return None
    folders = (adapter.final for adapter in adapters if adapter is not None)
    return next((folder for folder in folders if chat_template.of_folder(folder) is not None), None)


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

    def __init__(self, serving: Serving, server: Server, base_model: str):
        self.where = f"server {server.name}"
        self.base_model = base_model
        self._serving = serving
        self._client = server.client
        self._ours: set[str] = set()
        self._closed = False

    def wait_until_ready(self) -> None:
        self._base = self._client.base_name()

    def ask(
        self, adapter: Adapter | None, messages: Sequence[Message], config: ChatConfig
    ) -> Generator[str, None, None]:
        """Yield the answer to a dialog, piece by piece as it is generated. Closed before its end it is broken off."""
        request = {
            "max_tokens": config.max_new_tokens, "temperature": config.temperature, "seed": config.seed,
            "repetition_penalty": REPETITION_PENALTY, "top_p": TOP_P,
        }  # fmt: skip
        try:
            yield from self._client.chat(self._name(adapter), list(messages), **request)
        except Refused as refused:
            if refused.status != 404:
                raise
            yield from self._client.chat(self._name(adapter), list(messages), **request)  # an activation let go of it

    def _name(self, adapter: Adapter | None) -> str:
        if self._closed:
            raise UserError("stopped", "the conversation is closed")
        if adapter is None:
            return self._base
        version = adapter_versions.path_of(self._serving.workspace, adapter)
        found = next((name for name, path in self._client.adapters().items() if path == str(version)), None)
        if found is None:
            found = self._serving.new_name(adapter)
            self._ours.add(found)  # before it is there: who asked may be interrupted
            self._client.load(found, version)
            if self._closed:  # meanwhile
                self._let_go()
        return found

    def close(self) -> None:
        """Hang up on an answer that is coming, and let go of what was loaded for this conversation."""
        self._closed = True
        self._client.hang_up()
        self._let_go()

    def _let_go(self) -> None:
        with contextlib.suppress(UserError):
            active = self._serving.adapters.active()
            for name in list(self._ours):
                if name.rpartition("@")[0] != active:
                    self._client.unload(name)
