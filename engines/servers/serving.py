"""The model servers: those started here, each a supervised run, and those adopted by their address.

Adopted ones are kept in the settings under "servers", the command that is run after each
activation under "on_activate". A server has no lock of the device: it lives beside trainings.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

from engines.config.serve import ServeConfig
from engines.contract import statefiles
from engines.contract.errors import UserError
from engines.contract.fingerprints import ADAPTER_TEMPLATE
from engines.running import devices
from engines.running.questions import ask_script
from engines.running.runs import Run, Runs
from engines.servers import on_activate, server_start, stand_in
from engines.servers.server import Server, ServerState
from engines.servers.server_clients import ServerGone
from engines.servers.server_fit import check_kind, same_base
from engines.servers.server_kinds import KINDS, detect
from engines.servers.server_start import HOST
from engines.setup import gguf_tools, llama_cpp
from engines.setup.environments import Environments
from engines.weights import adapter_check, adapter_versions, chat_template
from engines.weights.adapters import Adapter, Adapters
from engines.weights.models import Models
from engines.workspace import Workspace, check_name

LONGEST_START = 900.0  # seconds; a large model from a slow disk
STOP_GRACE = {
    "light": 35.0,
    "llama-server": 35.0,
    "vllm": 0.0,
}  # vLLM does not know of our stop file, it is signalled at once


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
            wanted = self._active_version()
            active = client.active(wanted)
            follows = (adapters.get(active) if active else None) == (str(wanted) if wanted else None)
            model = str(base.get("root") or base["id"])
            template = client.chat_template()
            if server.kind == "vllm":  # it does not say
                given = server.run.spec.get("chat_template") if server.run else None
                template = given or self.template_of(model)
            return ServerState(server, "ready", model, tuple(adapters.items()), active, "", template, follows)
        except ServerGone as error:
            if server.run is not None and not server.run.status().ended:
                return ServerState(server, "starting", server.run.spec.get("base_model", ""))
            return ServerState(server, "gone", problem=error.cause)
        except UserError as error:
            return ServerState(server, "gone", problem=error.cause)

    def template_of(self, model: str) -> str | None:
        """The chat template of a base model, empty: it has none; None: not known, as it is one file, or not here."""
        folder = self.models.folder_of(model)
        return None if folder is None else chat_template.of_folder(folder) or ""

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
        """Take a server that runs already into the list. Raises UserError for what is none, or was started here."""
        client = detect(url)
        server = Server(name or f"{client.kind}-{client.url.rpartition(':')[2]}", client.kind, client.url)
        check_name(server.name, "a server")
        there = self.servers()
        here = (server.url, server.url.replace("localhost", HOST))
        own = next((item for item in there if item.url in here and item.run is not None), None)
        if own is not None:
            cause = f"{own.name} at {own.url} was started here, and follows the active adapter already"
            raise UserError("conflict", cause, "Nothing to do.")
        others = [item for item in self._adopted() if item.url != server.url]
        if any(item.name == server.name for item in [*others, *there] if item.url != server.url):
            raise UserError("conflict", f"there is a server {server.name} already", "Give it another --name.")
        self._save([*others, server])
        return server

    def forget(self, server: Server) -> None:
        """Take an adopted server out of the list; it runs on. Raises UserError for one that was started here."""
        if server.run is not None:
            step = f"Stop it: ftui serve-llm stop {server.name}."
            raise UserError("conflict", f"{server.name} was started here, so it is followed while it runs", step)
        self._save([item for item in self._adopted() if item.url != server.url])

    def _save(self, servers: list[Server]) -> None:
        settings = statefiles.read_object(self.workspace.settings)
        settings["servers"] = [{"name": item.name, "kind": item.kind, "url": item.url} for item in servers]
        statefiles.write_json(self.workspace.settings, settings)

    # --- starting and stopping ---

    def start(self, config: ServeConfig) -> Run:
        """Start a server with the active adapter, if that fits. Returns at once; see `wait_until_ready`."""
        device = devices.resolve(config.device)
        server_start.check(config, device)
        python = self.environments.require("vllm" if config.kind == "vllm" else "llm")
        model = self._base(config, device)
        llama = self._llama(model) if config.kind == "llama-server" else None
        port = server_start.free_port(config.port, [server.url for server in self.servers()])
        rank = server_start.vllm_rank(config.max_lora_rank or self._highest_rank(model))
        source = str(self._folder_of(model)) if llama else model
        needs_stand_in = config.kind == "vllm" and device == "cpu"
        zeros = stand_in.path_of(self.workspace, self._folder_of(model)) if needs_stand_in else None
        adapter, files = self._fitting(model, config.kind), self.models.folder_of(model)
        brought = adapter[1] / ADAPTER_TEMPLATE if adapter and self.template_of(model) == "" else None
        template = brought if brought is not None and brought.is_file() else None
        wish = server_start.Wish(config, python, source, device, port, rank, adapter, llama, zeros, files, template)
        argv, env = server_start.command(wish)
        ours = {} if config.kind == "vllm" else self.environments.variables("llm")
        run = self.runs.create(
            "serve", f"{config.kind}-{port}", argv, config={**config.model_dump(), "port": port},
            env={**ours, **env}, server=config.kind, url=f"http://{HOST}:{port}",
            base_model=model, max_lora_rank=rank if config.kind == "vllm" else None,
            chat_template=template.read_text(encoding="utf-8") if template else None,
        )  # fmt: skip
        self.runs.start(run)
        return run

    def _llama(self, model: str) -> server_start.Llama:
        """Raises UserError where `ftui setup llama` was not run."""
        programs, tools = llama_cpp.require(self.workspace), gguf_tools.require(self.workspace)
        active = self.adapters.active()
        adapter = self.adapters.get(active) if active else None
        base = self._folder_of(adapter.base_model) if adapter and same_base(adapter, model) else None
        return server_start.Llama(tools, programs, self.models.folder / ".gguf", base)

    def _folder_of(self, model: str) -> Path:
        """Where a model's files are. Raises UserError for one that is not on this machine."""
        path = self.models.folder_of(model) or Path(model)
        if not path.exists() and path != self.models.embedded:
            raise UserError("not_found", f"{model} is not on this machine", f"Get it: ftui models download {model}.")
        return path

    def write_gguf(self, adapter: Adapter, name: str, version: Path) -> None:
        """Write VERSION/NAME.gguf, which llama-server loads. Some seconds the first time. Raises UserError."""
        base, tools = self._folder_of(adapter.base_model), gguf_tools.require(self.workspace)
        arguments = [str(base), "--tools", str(tools), "--write", f"{name}={version}"]
        python, env = self.environments.require("llm"), self.environments.variables("llm")
        ask_script(python, "finetune.llama_server", arguments, env)

    def running(self, config: ServeConfig) -> ServerState | None:
        """A server that is what `config` asks for, or is about to be, so that none needs to be started."""
        model = self._base(config, devices.resolve(config.device))
        usual = ServeConfig().model_dump()
        wished = {name: value for name, value in config.model_dump().items() if value != usual[name]}
        wished.pop("base_model", None)  # it may be called otherwise there
        for server in self.servers():
            has = server.run.spec["config"] if server.run else {"kind": server.kind}
            if server.kind == config.kind and all(has.get(name) == value for name, value in wished.items()):
                state = self.state(server)
                if state.state in ("ready", "starting") and state.base_model == model:
                    return state
        return None

    def wait_until_ready(
        self, run: Run, seconds: float = LONGEST_START, tick: Callable[[], None] | None = None
    ) -> None:
        """Block until the server answers. Raises UserError with the cause if it ends before."""
        client = KINDS[run.spec["server"]](run.spec["url"], run.folder)
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

    def _fitting(self, model: str, kind: str) -> tuple[str, Path] | None:
        """The active adapter's name and path at a server, if it is one for this base model.

        Raises UserError if this kind of server cannot serve it.
        """
        active = self.adapters.active()
        adapter = self.adapters.get(active) if active else None
        if adapter is None or not same_base(adapter, model):
            return None
        shape = adapter_check.check_folder(adapter.final)
        template = self.template_of(model) or None  # where there is none, it gets the adapter's
        try:
            check_kind(adapter, shape, kind, kind, template)
        except UserError as error:
            error.next_step += " Or go back to the base model first: ftui adapters base."
            raise
        return self.new_name(adapter), adapter_versions.path_of(self.workspace, adapter)

    def _highest_rank(self, model: str) -> int:
        ranks = [item.rank or 0 for item in self.adapters.list() if item.complete and same_base(item, model)]
        return max([server_start.LEAST_RANK, *ranks])

    # --- a command of the user's ---

    def on_activate(self) -> list[str]:
        """What is run after each activation; empty: nothing."""
        saved = statefiles.read_object(self.workspace.settings).get("on_activate")
        return [str(word) for word in saved] if isinstance(saved, list) else []

    def set_on_activate(self, argv: list[str]) -> None:
        """Raises UserError for a program that is not there."""
        if argv:
            on_activate.check(argv, self.workspace.home)
        settings = statefiles.read_object(self.workspace.settings)
        settings["on_activate"] = argv
        statefiles.write_json(self.workspace.settings, settings)
