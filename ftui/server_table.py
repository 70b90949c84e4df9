"""The table of model servers, for both faces."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engines.servers.server import ServerState

MARKS = {"ready": "● ready", "starting": "◌ starting", "gone": "✗ does not answer"}
HEADINGS = ("server", "state", "address", "base model", "active")


def cells(state: ServerState) -> tuple[str, ...]:
    base = state.base_model.rsplit("/", 1)[-1]
    active = state.active or ("base model" if state.state == "ready" else "")
    active += "" if state.follows else " (not the active one)"
    return (state.server.name, MARKS[state.state], f"{state.server.url}/v1", base, active)
