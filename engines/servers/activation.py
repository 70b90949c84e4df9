"""Which adapter is active, in the file and at every server: both move together, or neither does.

1. Every server is asked whether it can serve the adapter; a refusal changes nothing.
2. All load the new adapter, which answers then. If one cannot, the others let go of it again.
3. `.active` is written, the servers switch, the user's command runs. If it fails, all goes back.
4. The servers let go of the old adapter; what is asked of it already they still answer.

A crash in between leaves adapters that nobody asks for; the next activation clears them away.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engines.contract import statefiles
from engines.contract.errors import UserError
from engines.servers import catch_up, on_activate
from engines.servers.server import Server, ServerState
from engines.servers.server_clients import Client
from engines.servers.server_fit import check_served
from engines.servers.serving import Serving
from engines.weights import adapter_versions
from engines.weights.adapters import Adapter, Adapters
from engines.workspace import Workspace

LOCK_SECONDS = 60.0
COMMAND = "on_activate"
COMMAND_AGAIN = "on_activate again"


@dataclass(frozen=True)
class ServerResult:
    """What an activation did at one server, or the user's command. seconds: from the start to its result."""

    server: str
    ok: bool
    text: str
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """done: the adapter is active now; if not, everything is as it was. active: which one is."""

    done: bool
    active: str | None
    results: tuple[ServerResult, ...]

    def as_dict(self) -> dict[str, Any]:
        return {"done": self.done, "active": self.active, "servers": [asdict(result) for result in self.results]}


class Activation:
    """Changes the active adapter of a workspace, one change at a time."""

    def __init__(self, workspace: Workspace):
        self.workspace = workspace
        self.adapters = Adapters(workspace)
        self.serving = Serving(workspace)

    def activate(self, name: str) -> Outcome:
        """Raises UserError, with nothing changed, for an adapter that cannot be used."""
        adapter = self.adapters.get(name)
        self.adapters.check_complete(adapter)
        return self._change(adapter)

    def deactivate(self) -> Outcome:
        """Back to the base model everywhere."""
        return self._change(None)

    def rename(self, name: str, new_name: str) -> Adapter:
        """Rename an adapter; the servers follow if it is active, and where they cannot, it keeps its name.

        Then it is a copy that gets active, so that at any moment `.active` names an adapter that is there.
        """
        adapter = self.adapters.get(name)
        if not adapter.active:
            return self.adapters.rename(name, new_name)
        copy = self.adapters.copy(name, new_name)
        try:
            _demand(self.activate(new_name), f"{name} was not renamed")
        finally:
            shutil.rmtree((adapter if self.adapters.active() == new_name else copy).path)
        return self.adapters.get(new_name)

    def delete(self, name: str, *, even_if_active: bool = False) -> Path:
        """Move an adapter to the trash; the active one only with `even_if_active`, if the servers let go of it."""
        if even_if_active and self.adapters.active() == name:
            _demand(self.deactivate(), f"{name} was not deleted")
        return self.adapters.delete(name, even_if_active=even_if_active)

    # --- the change ---

    def _change(self, adapter: Adapter | None) -> Outcome:
        lock = self._lock()
        try:
            change = _Change(self, adapter)
            outcome = change.carry_out()
        except KeyboardInterrupt:
            now = self.adapters.active() or "the base model"
            raise UserError("interrupted", f"interrupted: {now} is active", "Give the command again.") from None
        finally:
            os.close(lock)
        if outcome.done:
            for server in change.starting:
                catch_up.later(self.workspace, server)
        return outcome

    def catch_up(self, server: Server) -> None:
        """Bring one server, ready now, to the active adapter. Raises UserError if it cannot."""
        lock = self._lock()
        try:
            active = self.adapters.active()
            change = _Change(self, self.adapters.get(active) if active else None)
            change.at_one(self.serving.state(server))
        finally:
            os.close(lock)

    def _lock(self) -> int:
        lock = statefiles.lock(self.adapters.folder / ".activation.lock", LOCK_SECONDS)
        if lock is None:
            raise UserError("conflict", "another activation is under way", "Try again in a moment.")
        return lock


def _demand(outcome: Outcome, otherwise: str) -> None:
    """Raises UserError, with what each server said, where nothing has changed."""
    if not outcome.done:
        said = "; ".join(f"{result.server}: {result.text}" for result in outcome.results if not result.ok)
        raise UserError(
            "failed", f"{otherwise}, and nothing has changed: {said}",
            "Mend that, or take the server out (ftui serve-llm stop or forget), or the command (ftui serve-llm "
            "on-activate).",
        )  # fmt: skip


class _Change:
    """One change, from the check to the last server."""

    def __init__(self, activation: Activation, adapter: Adapter | None):
        self.workspace = activation.workspace
        self.adapters = activation.adapters
        self.serving = activation.serving
        self.adapter = adapter
        self.before = self.adapters.active()
        self.began = time.monotonic()
        self.results: dict[str, ServerResult] = {}
        self.starting: list[Server] = []
        self.version: Path | None = None
        self.command_began = False
        self.name: str | None = None  # at servers that have it not loaded yet
        if adapter is not None and self.serving.servers():
            self.version = adapter_versions.path_of(self.workspace, adapter)
            self.name = self.serving.new_name(adapter)

    def carry_out(self) -> Outcome:
        servers = self.serving.servers()
        states = self._each(servers, self.serving.state) if servers else []
        ready = [state for state in states if state.state == "ready"]
        for state in states:
            if state.state == "starting":
                self.starting.append(state.server)
                self._note(state.server.name, True, "it is still starting, and follows when it is ready")
            elif state.state != "ready":
                self._note(state.server.name, True, "left out: it does not answer")
        if self.adapter is not None:
            for state in ready:
                check_served(self.adapter, state)
        if self.name is not None and not self._load_everywhere(ready):
            return self._as_before(ready, "not loaded here either, because another server could not")
        try:
            self._write()
            done = all(self._try_each(ready, self._switch)) and self._run_command()
        except BaseException:
            self._go_back(ready)
            raise
        if not done:
            self._go_back(ready)
            return self._as_before(ready, "switched back")
        self._try_each(ready, self._unload_old)
        self._prune(ready)
        return Outcome(True, self.adapters.active(), tuple(self.results.values()))

    def _load_everywhere(self, ready: list[ServerState]) -> bool:
        """Whether all could; if not, none has it."""
        try:
            loaded = all(self._try_each(ready, self._load))
        except BaseException:
            self._try_each(ready, self._unload_new)
            raise
        if not loaded:
            self._try_each([state for state in ready if self.results[state.server.name].ok], self._unload_new)
        return loaded

    def at_one(self, state: ServerState) -> None:
        """The same at a single server, for the adapter that is active already. Raises UserError."""
        if state.state != "ready" or state.follows:
            return
        if self.adapter is not None:
            check_served(self.adapter, state)
            self._load(state.server.client, state)
        self._switch(state.server.client, state)
        self._unload_old(state.server.client, state)

    def _write(self) -> None:
        if self.adapter is None:
            self.adapters.deactivate()
        else:
            self.adapters.activate(self.adapter.name)

    def _go_back(self, ready: list[ServerState]) -> None:
        """Also after a Ctrl+C; one more leaves only the command out."""
        if self.before is None:
            self.adapters.deactivate()
        elif self.adapters.active() != self.before:
            self.adapters.activate(self.before)
        old = {state.server.name: state.active for state in ready}
        kept = dict(self.results)
        self._try_each(ready, lambda client, state: client.switch(old[state.server.name]))
        self._try_each(ready, self._unload_new)
        self.results = kept
        if self.command_began:
            self._run_command(again=True)

    def _as_before(self, ready: list[ServerState], otherwise: str) -> Outcome:
        for state in ready:
            result = self.results.get(state.server.name)
            if result is None or result.ok:
                self._note(state.server.name, False, otherwise)
        return Outcome(False, self.adapters.active(), tuple(self.results.values()))

    # --- at one server ---

    def _name_at(self, state: ServerState) -> str | None:
        """What the new adapter is called at this server, which may have it loaded already."""
        if self.adapter is None:
            return None
        there = (name for name, path in state.adapters if path == str(self.version))
        return next((name for name in there if name.rpartition("@")[0] == self.adapter.name), self.name)

    def _load(self, client: Client, state: ServerState) -> None:
        assert self.name is not None and self.version is not None
        if self._name_at(state) == self.name:
            if state.server.kind == "llama-server":
                assert self.adapter is not None
                self.serving.write_gguf(self.adapter, self.name, self.version)
            client.load(self.name, self.version)

    def _switch(self, client: Client, state: ServerState) -> None:
        client.switch(self._name_at(state))

    def _unload_new(self, client: Client, state: ServerState) -> None:
        if self.name is not None and self._name_at(state) == self.name:
            client.unload(self.name)

    def _unload_old(self, client: Client, state: ServerState) -> None:
        """Only what we have loaded: others' adapters have no version in their path."""
        versions = adapter_versions.folder(self.workspace)
        for name, path in client.adapters().items():
            if name != self._name_at(state) and Path(path).parent == versions:
                client.unload(name)

    def _try_each(self, states: list[ServerState], work: Callable[[Client, ServerState], None]) -> list[bool]:
        """Do it at all servers at once, note how it went, and say which could."""

        def attempt(state: ServerState) -> bool:
            try:
                work(state.server.client, state)
            except UserError as error:
                self._note(state.server.name, False, f"{error.cause}. {error.next_step}".strip(" ."))
                return False
            self._note(state.server.name, True, f"answers with {self._name_at(state) or 'the base model'}")
            return True

        return self._each(states, attempt)

    def _each(self, items: list[Any], work: Callable[[Any], Any]) -> list[Any]:
        if not items:
            return []
        with ThreadPoolExecutor(len(items)) as pool:
            return list(pool.map(work, items))

    def _note(self, server: str, ok: bool, text: str) -> None:
        self.results[server] = ServerResult(server, ok, text, round(time.monotonic() - self.began, 3))

    # --- around the servers ---

    def _run_command(self, *, again: bool = False) -> bool:
        """The user's command, for the adapter that is active now. again: for the one that was so before."""
        argv = self.serving.on_activate()
        if not argv:
            return True
        self.command_began = True
        active = self.adapters.active()
        ok, text = on_activate.run(argv, self.workspace.home, self.adapters.get(active) if active else None)
        if again:
            self._note(COMMAND_AGAIN, ok, f"for {active or 'the base model'}: {text}")
        else:
            self._note(COMMAND, ok, text)
        return ok

    def _prune(self, ready: list[ServerState]) -> None:
        needed = [Path(path) for state in ready for _, path in state.adapters]
        adapter_versions.prune(self.workspace, [*needed, *([self.version] if self.version else [])])
