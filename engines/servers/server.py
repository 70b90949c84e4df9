"""A model server as it is known here, and how it stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from engines.running.runs import Run
from engines.servers.server_clients import Client
from engines.servers.server_kinds import KINDS


@dataclass(frozen=True)
class Server:
    """One server. run: the run that it is, None for one that somebody else started."""

    name: str
    kind: str
    url: str
    run: Run | None = None

    @property
    def client(self) -> Client:
        return KINDS[self.kind](self.url, self.run.folder if self.run else None)

    @property
    def highest_rank(self) -> int | None:
        """Of adapters that it takes; None: not known, or without a limit."""
        return self.run.spec.get("max_lora_rank") if self.run else None


@dataclass(frozen=True)
class ServerState:
    """How a server stands. state: starting, ready, gone; adapters: name → path.

    template: the chat template that all requests get, empty: none; None: not known, or each adapter's own.
    follows: what answers is the active adapter.
    """

    server: Server
    state: str
    base_model: str = ""
    adapters: tuple[tuple[str, str], ...] = ()
    active: str | None = None
    problem: str = ""
    template: str | None = None
    follows: bool = True

    def as_dict(self) -> dict[str, Any]:
        server = self.server
        return {
            "name": server.name, "kind": server.kind, "url": server.url, "run": server.run.id if server.run else None,
            "state": self.state, "base_model": self.base_model, "adapters": dict(self.adapters),
            "active": self.active, "follows": self.follows, "problem": self.problem,
        }  # fmt: skip
