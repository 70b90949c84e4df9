"""Can a server serve an adapter? If not, what to change."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from engines.contract import fingerprints
from engines.contract.errors import UserError
from engines.servers.server_start import RANKS, vllm_rank
from engines.weights import adapter_check, chat_template
from engines.weights.adapters import Adapter

if TYPE_CHECKING:
    from engines.servers.server import ServerState

MERGE_IT = "Merge it into its base model, or serve it with the light server: ftui serve-llm start --kind light."


def same_base(adapter: Adapter, model: str) -> bool:
    """Was the adapter made for this base model? By fingerprint; by path or name where there is none.

    A GGUF file that we wrote of a base model has its fingerprint in its name.
    """
    if adapter.base_model == model:
        return True
    known = adapter.base_identity
    return bool(known) and (known == fingerprints.of_model(model) or Path(model).name.startswith(f"{known}-"))


def check_served(adapter: Adapter, state: ServerState) -> None:
    """Raises UserError if this server cannot serve this adapter, with what to change."""
    server, where = state.server, f"{state.server.name} at {state.server.url}"
    there = {Path(path).name for _, path in state.adapters}  # llama.cpp has compared it with the model already
    loaded = server.kind == "llama-server" and fingerprints.of_adapter(adapter.final) in there
    if not loaded and not same_base(adapter, state.base_model):
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
            f"Start it again with --max-lora-rank {vllm_rank(shape.rank)}." if shape.rank <= RANKS[-1] else MERGE_IT,
        )
    check_kind(adapter, shape, server.kind, where, state.template)


def check_kind(
    adapter: Adapter, shape: adapter_check.AdapterShape, kind: str, where: str, template: str | None
) -> None:
    """Raises UserError for what this kind of server cannot serve. template: the one that all its requests get."""
    if kind == "light":
        return
    special = {
        "DoRA": shape.is_dora,
        "layers trained whole": shape.whole_layers,
        "biases": shape.bias != "none",
        "tokens trained on their own": shape.tokens,
    }
    what = next((name for name, has in special.items() if has), None)
    if what is not None:
        raise UserError("conflict", f"{adapter.name} has {what}, which {where} cannot serve", MERGE_IT)
    own = chat_template.of_folder(adapter.final)
    if own is not None and template is not None and own.strip() != template.strip():
        cause = f"{adapter.name} was trained with a chat template of its own, but {where} has one for all"
        raise UserError("conflict", cause, MERGE_IT)
