"""The model servers: those started here, each a supervised run, and those adopted by their address.

Adopted ones are kept in the settings under "servers", the command that is run after each
activation under "on_activate". A server has no lock of the device: it lives beside trainings.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.config.serve import ServeConfig
from engines.contract import fingerprints, statefiles
from engines.contract.errors import UserError
from engines.running import devices
from engines.running.runs import Run, Runs
from engines.servers import server_start
from engines.servers.server_clients import KINDS, Client, ServerGone, detect
from engines.servers.server_start import HOST
from engines.setup.environments import Environments
from engines.weights import adapter_check, adapter_versions
from engines.weights.adapters import Adapter, Adapters
from engines.weights.models import Models
from engines.workspace import Workspace

LONGEST_START = 900.0  # seconds; a large model from a slow disk
STOP_GRACE = {"light": 35.0, "vllm": 0.0}  # vLLM does not know of our stop file, it is signalled at once


@dataclass(frozen=True)
class Server:
    """One server. run: the run that it is, None for one that somebody else started."""

    name: str
    kind: str
    url: str
    run: Run | None = None

    @property
    def client(self) -> Client:
        return KINDS[self.kind](self.url)

    @property
    def highest_rank(self) -> int | None:
        """Of adapters that it takes; None: not known, or without a limit."""
        return self.run.spec.get("max_lora_rank") if self.run else None


@dataclass(frozen=True)
class ServerState:
    """How a server stands. state: starting, ready, gone; adapters: name → path."""

    server: Server
    state: str
    base_model: str = ""
    adapters: tuple[tuple[str, str], ...] = ()
    active: str | None = None
    problem: str = ""

    def as_dict(self) -> dict[str, Any]:
        server = self.server
        return {
            "name": server.name, "kind": server.kind, "url": server.url, "run": server.run.id if server.run else None,
            "state": self.state, "base_model": self.base_model, "adapters": dict(self.adapters),
            "active": self.active, "problem": self.problem,
        }  # fmt: skip


class Serving:
    """The servers of a workspace."""

    def __init__(self, workspace: Workspace):
        self.workspace = workspace
        self.runs = Runs(workspace)
        self.adapters = Adapters(workspace)
        self.models = Models(workspace)
        self.environments = Environments(workspace)

    # --- which there are ---

    def servers(self) -> list[Server]:
        """Those started here that are alive, newest first, then the adopted ones."""
        alive = [run for run in self.runs.list("serve") if run.status().active]
        own = [Server(run.name, run.spec["server"], run.spec["url"], run) for run in alive]
        taken = {server.url for server in own}
        return own + [server for server in self._adopted() if server.url not in taken]

    def _adopted(self) -> list[Server]:
        saved = statefiles.read_object(self.workspace.settings).get("servers")
        entries = [item for item in saved if isinstance(item, dict)] if isinstance(saved, list) else []
        return [
            Server(str(item.get("name", item["url"])), item["kind"], item["url"])
            for item in entries
            if item.get("kind") in KINDS and isinstance(item.get("url"), str)
        ]

    def get(self, name: str | None) -> Server:
        """By name or address; None: the only one. Raises UserError."""
        servers = self.servers()
        found = [item for item in servers if name in (None, item.name, item.url)]
        if len(found) == 1:
            return found[0]
        if not servers:
            raise UserError("not_found", "no server runs", "Start one: ftui serve-llm start.")
        names = ", ".join(server.name for server in servers)
        cause = f"there is no server {name}" if name and not found else "there are several servers"
        raise UserError("not_found", cause, f"Name one: {names}.")

    def state(self, server: Server) -> ServerState:
        """Ask a server how it stands. Takes milliseconds, seconds where nobody answers."""
        try:
            client = server.client
            base, adapters = client.base(), client.adapters()
            active = client.active(self._active_version())
            return ServerState(server, "ready", str(base.get("root") or base["id"]), tuple(adapters.items()), active)
        except ServerGone as error:
            if server.run is not None and not server.run.status().ended:
                return ServerState(server, "starting", server.run.spec.get("base_model", ""))
            return ServerState(server, "gone", problem=error.cause)
        except UserError as error:
            return ServerState(server, "gone", problem=error.cause)

    def _active_version(self) -> Path | None:
        """Where servers have loaded the active adapter from."""
        active = self.adapters.active()
        return adapter_versions.path_of(self.workspace, self.adapters.get(active)) if active else None

    def new_name(self, adapter: Adapter) -> str:
        """What a server calls an adapter that it is about to load: a name that no server has ever had from here.

        vLLM takes two of the same name for the same adapter, also one that is unloaded but still answers.
        """
        counter = adapter_versions.folder(self.workspace) / ".count"
        lock = statefiles.lock(counter.with_name(".count.lock"), wait_seconds=10)
        try:
            number = statefiles.read_json(counter, 0) + 1
            statefiles.write_json(counter, number)
        finally:
            if lock is not None:
                os.close(lock)
        return f"{adapter.name}@{number}"

    # --- adopting ---

    def adopt(self, url: str, name: str | None = None) -> Server:
        """Take a server that runs already into the list. Raises UserError for what is none."""
        client = detect(url)
        server = Server(name or f"{client.kind}-{client.url.rpartition(':')[2]}", client.kind, client.url)
        others = [item for item in self._adopted() if item.url != server.url]
        if any(item.name == server.name for item in [*others, *self.servers()] if item.url != server.url):
            raise UserError("conflict", f"there is a server {server.name} already", "Give it another --name.")
        self._save([*others, server])
        return server

    def forget(self, server: Server) -> None:
        """Take an adopted server out of the list; it runs on."""
        self._save([item for item in self._adopted() if item.url != server.url])

    def _save(self, servers: list[Server]) -> None:
        settings = statefiles.read_object(self.workspace.settings)
        settings["servers"] = [{"name": item.name, "kind": item.kind, "url": item.url} for item in servers]
        statefiles.write_json(self.workspace.settings, settings)

    # --- starting and stopping ---

    def start(self, config: ServeConfig) -> Run:
        """Start a server with the active adapter, if that fits. Returns at once; see `wait_until_ready`."""
        python = self.environments.require("llm" if config.kind == "light" else config.kind)
        device = devices.resolve(config.device)
        model = self._base(config, device)
        port = server_start.free_port(config.port, [server.url for server in self.servers()])
        rank = config.max_lora_rank or self._highest_rank(model)
        wish = server_start.Wish(config, python, model, device, port, rank, self._fitting(model))
        argv, env = server_start.command(wish)
        ours = self.environments.variables("llm") if config.kind == "light" else {}
        run = self.runs.create(
            "serve", f"{config.kind}-{port}", argv, config={**config.model_dump(), "port": port},
            env={**ours, **env}, server=config.kind, url=f"http://{HOST}:{port}",
            base_model=model, max_lora_rank=None if config.kind == "light" else rank,
        )  # fmt: skip
        self.runs.start(run)
        return run

    def running(self, config: ServeConfig) -> ServerState | None:
        """A server that is what `config` asks for already, so that none needs to be started."""
        model = self._base(config, devices.resolve(config.device))
        for server in self.servers():
            state = self.state(server)
            if state.state == "ready" and server.kind == config.kind and state.base_model == model and not config.port:
                return state
        return None

    def wait_until_ready(
        self, run: Run, seconds: float = LONGEST_START, tick: Callable[[], None] | None = None
    ) -> None:
        """Block until the server answers. Raises UserError with the cause if it ends before."""
        client = KINDS[run.spec["server"]](run.spec["url"])
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            status = run.status()
            if status.ended:
                cause = status.cause or f"it ended ({status.state})"
                raise UserError("failed", f"the server did not start: {cause}", status.next_step or f"Read {run.log}.")
            with contextlib.suppress(UserError):
                client.base()
                return
            if tick is not None:
                tick()
            time.sleep(0.2)
        raise UserError("failed", f"the server was not ready after {seconds:.0f} s", f"Read {run.log}.")

    def stop(self, server: Server) -> None:
        """Let a server that was started here answer what it is asked already, and end."""
        if server.run is None:
            raise UserError("conflict", f"{server.name} was not started here", "Stop it where it was started.")
        self.runs.request_stop(server.run, STOP_GRACE[server.kind])

    def _base(self, config: ServeConfig, device: str) -> str:
        active = self.adapters.active()
        if config.base_model == "auto" and active is not None:
            return self.adapters.get(active).base_model
        return self.models.resolve(config.base_model, device)

    def _fitting(self, model: str) -> tuple[str, Path] | None:
        """The active adapter's name and path at a server, if it is one for this base model."""
        active = self.adapters.active()
        adapter = self.adapters.get(active) if active else None
        if adapter is None or not same_base(adapter, model):
            return None
        return self.new_name(adapter), adapter_versions.path_of(self.workspace, adapter)

    def _highest_rank(self, model: str) -> int:
        ranks = [item.rank or 0 for item in self.adapters.list() if item.complete and same_base(item, model)]
        needed = max([server_start.LEAST_RANK, *ranks])
        return next((rank for rank in server_start.RANKS if rank >= needed), server_start.RANKS[-1])

    # --- a command of the user's ---

    def on_activate(self) -> list[str]:
        """What is run after each activation; empty: nothing."""
        saved = statefiles.read_object(self.workspace.settings).get("on_activate")
        return [str(word) for word in saved] if isinstance(saved, list) else []

    def set_on_activate(self, argv: list[str]) -> None:
        settings = statefiles.read_object(self.workspace.settings)
        settings["on_activate"] = argv
        statefiles.write_json(self.workspace.settings, settings)


def same_base(adapter: Adapter, model: str) -> bool:
    """Was the adapter made for this base model? By fingerprint; by path or name where there is none."""
    if adapter.base_model == model:
        return True
    return bool(adapter.base_identity) and adapter.base_identity == fingerprints.of_model(model)


def check_served(adapter: Adapter, state: ServerState) -> None:
    """Raises UserError if this server cannot serve this adapter, with what to change."""
    server, where = state.server, f"{state.server.name} at {state.server.url}"
    if not same_base(adapter, state.base_model):
        raise UserError(
            "conflict",
            f"{adapter.name} was trained on {adapter.base_model}, but {where} serves {state.base_model}",
            f"Start that server with the adapter's base model, or take it out: ftui serve-llm stop {server.name}.",
        )
    shape = adapter_check.check_folder(adapter.final)
    if server.highest_rank is not None and shape.rank > server.highest_rank:
        raise UserError(
            "conflict",
            f"{adapter.name} has rank {shape.rank}, {where} takes at most {server.highest_rank}",
            f"Start it again with --max-lora-rank {shape.rank}.",
        )
    if server.kind == "vllm" and (shape.is_dora or shape.whole_layers or shape.bias != "none"):
        what = "DoRA" if shape.is_dora else "layers trained whole" if shape.whole_layers else "biases"
        raise UserError(
            "conflict",
            f"{adapter.name} has {what}, which {where} cannot serve",
            "Merge it into its base model, or serve it with the light server: ftui serve-llm start --kind light.",
        )
