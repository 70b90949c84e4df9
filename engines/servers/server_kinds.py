"""The kinds of model servers, and which one answers at an address."""

from __future__ import annotations

import contextlib

from engines.contract.errors import UserError
from engines.servers.llama_client import LlamaClient
from engines.servers.server_clients import CONNECT_SECONDS, Client, LightClient, Refused, VllmClient

KINDS: dict[str, type[Client]] = {kind.kind: kind for kind in (LightClient, VllmClient, LlamaClient)}


def detect(url: str) -> Client:
    """A client for whatever answers at `url`. Raises UserError if nobody does, or none of the known kinds."""
    client = Client(url)
    with contextlib.suppress(Refused):
        health = client.ask("/health", seconds=CONNECT_SECONDS)
        if isinstance(health, dict) and health.get("server") == "ftui":
            return LightClient(url)
    with contextlib.suppress(Refused):
        if isinstance(client.ask("/version", seconds=CONNECT_SECONDS), dict):
            return VllmClient(url)
    with contextlib.suppress(Refused):
        props = client.ask("/props", seconds=CONNECT_SECONDS)
        if isinstance(props, dict) and "model_path" in props:
            return LlamaClient(url)
    raise UserError("bad_input", f"what answers at {client.url} is no known server", f"Known: {', '.join(KINDS)}.")
