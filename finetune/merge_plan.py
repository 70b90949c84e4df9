"""Which tensors of a base model an adapter changes, and how; found in heads of files, before anything is computed.

LoRA adds scale · B·A to a weight (Hu et al. 2021, arXiv:2106.09685); scale is alpha / rank, with rsLoRA alpha / √rank.
DoRA then gives each row the length that was learned for it (Liu et al. 2024, arXiv:2402.09353).
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engines.contract import statefiles
from engines.contract.errors import UserError
from engines.contract.fingerprints import ADAPTER_FILES
from engines.weights import adapter_check, tensor_files
from engines.weights.tensor_files import Tensor

HEAD, EMBEDDINGS = "lm_head", "model.embed_tokens"
INDEX = "model.safetensors.index.json"
# Kinds of adapters whose effect is no sum of matrices, or whose parts have no place in the base model's files.
UNSUPPORTED = {
    "bias": "it trained biases", "lora_bias": "it has biases of its own", "alora_invocation_tokens": "it is an aLoRA",
    "arrow_config": "it routes between experts", "layer_replication": "it repeats layers",
    "target_parameters": "it changes parameters of experts", "trainable_token_indices": "it trained single tokens",
    "use_bdlora": "it is block-diagonal", "use_qalora": "it is a QA-LoRA", "velora_config": "it is a VeLoRA",
    "kasa_config": "it is a KaSA", "monteclora_config": "it is a MonteCLoRA",
    "ensure_weight_tying": "it ties its own weights",
}  # fmt: skip
CHANGED_BASES = ("pissa", "olora", "corda", "loftq", "lora_ga")  # ways to begin that take something from the base
FLOATS = ("F32", "F16", "BF16")


@dataclass(frozen=True)
class LowRank:
    """Names of tensors in the adapter. transposed: a row of the base's weight is an input, not an output.

    copy: of the base's own weight, which peft saves beside a changed head or embeddings.
    """

    down: str
    up: str
    scale: float
    transposed: bool
    magnitude: str | None
    copy: str | None


@dataclass(frozen=True)
class Whole:
    """A layer trained whole: the adapter's tensor takes the place of the base's."""

    name: str


@dataclass
class Plan:
    """shards: file → its tensors in the order of their bytes; changes: tensor → how it changes.

    copies: new tensor → (file, tensor of the base) that it begins as, where tied weights part.
    """

    shards: dict[str, dict[str, Tensor]]
    changes: dict[str, LowRank | Whole] = field(default_factory=dict)
    copies: dict[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of all tensors of the result."""
        kept = sum(tensor.size for tensors in self.shards.values() for tensor in tensors.values())
        return kept + sum(self.shards[shard][name].size for shard, name in self.copies.values())


def make_plan(base: Path, adapter: Path) -> Plan:
    """Raises UserError with the reason for what cannot be merged."""
    shape = adapter_check.check_folder(adapter)
    adapter_check.check_fit(shape, base)
    config = statefiles.read_object(adapter / ADAPTER_FILES[0])
    refuse_unsupported(config)
    model = statefiles.read_object(base / "config.json")
    if model.get("quantization_config"):
        raise UserError(
            "conflict", f"{base.name} is quantised; what is added to rounded weights is rounded away",
            "Merge into the 16-bit model it was made of: --base-model FOLDER, or owner/name on the hub.",
        )  # fmt: skip
    plan = Plan({name: _in_order(tensor_files.read_header(base / name)) for name in _shard_names(base)})
    tensors = tensor_files.read_header(adapter / ADAPTER_FILES[1])
    changes = _changes(tensors, config)
    if model.get("tie_word_embeddings", model.get("text_config", {}).get("tie_word_embeddings")):
        _part_what_is_tied(plan, changes)
    _check_places(plan, changes, tensors, base)
    plan.changes = changes
    return plan


def refuse_unsupported(config: dict[str, Any]) -> None:
    why = next((why for key, why in UNSUPPORTED.items() if config.get(key) not in (None, False, [], {}, "none")), "")
    begun = str(config.get("init_lora_weights", ""))
    if begun.startswith(CHANGED_BASES):
        why = f"it began as {begun[:20]}, which changes the base model too"
    if why:
        raise UserError("conflict", f"this adapter cannot be merged: {why}", "Merge it where it was made, with peft.")


def _shard_names(base: Path) -> list[str]:
    """The files that transformers reads; some models bring a second copy of their weights under another name."""
    index = statefiles.read_object(base / INDEX).get("weight_map")
    if index:
        return sorted(set(index.values()))
    single = base / "model.safetensors"
    names = [single.name] if single.is_file() else sorted(file.name for file in base.glob("*.safetensors"))
    if not names:
        raise UserError("bad_input", f"{base} has no weights (*.safetensors)", "Choose a model in 16 or 32 bit.")
    return names


def _in_order(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return dict(sorted(tensors.items(), key=lambda item: item[1].offset))


def _changes(tensors: dict[str, Tensor], config: dict[str, Any]) -> dict[str, LowRank | Whole]:
    """Tensor of the base → change. Raises UserError for a tensor whose meaning is not known."""
    changes: dict[str, LowRank | Whole] = {}
    known: set[str] = set()
    for name in tensors:
        for down, up in ((".lora_A.weight", ".lora_B.weight"), (".lora_embedding_A", ".lora_embedding_B")):
            layer, found, _ = name.partition(down)
            if not found:
                continue
            if f"{layer}{up}" not in tensors or len(tensors[name].shape) != 2:
                raise _strange(name)
            magnitude, copy = f"{layer}.lora_magnitude_vector", f"{layer}.base_layer.weight"
            transposed = bool(config.get("fan_in_fan_out")) or "embedding" in down
            if magnitude in tensors and transposed:
                raise UserError("conflict", "DoRA on a transposed layer cannot be merged here", "Merge it with peft.")
            path = layer.removeprefix(adapter_check.PREFIX)
            changes[f"{path}.weight"] = LowRank(
                name, f"{layer}{up}", _scale(path, tensors[name].shape[0], config), transposed,
                magnitude if magnitude in tensors else None, copy if copy in tensors else None,
            )  # fmt: skip
            known |= {name, f"{layer}{up}", magnitude, copy}
    for name in tensors.keys() - known:
        if ".lora_" in name or ".base_layer." in name:
            raise _strange(name)
        changes[name.removeprefix(adapter_check.PREFIX)] = Whole(name)
    return changes


def _scale(layer: str, rank: int, config: dict[str, Any]) -> float:
    """The last part of a pattern's layer name counts, as in peft."""
    pattern = config.get("alpha_pattern") or {}
    key = next((key for key in pattern if re.match(rf"(.*\.)?({key})$", layer)), None)
    alpha = float(pattern[key] if key is not None else config.get("lora_alpha", 8))
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _strange(name: str) -> UserError:
    return UserError(
        "conflict", f"nothing is known of the adapter's tensor {name[-80:]!r}", "Merge it where it was made, with peft."
    )


def _part_what_is_tied(plan: Plan, changes: dict[str, LowRank | Whole]) -> None:
    """In a tied model the head is the embeddings; an adapter changes one of the two, so that they part."""
    head, embeddings = f"{HEAD}.weight", f"{EMBEDDINGS}.weight"
    if head not in changes and embeddings not in changes:
        return
    shard = next((shard for shard, tensors in plan.shards.items() if embeddings in tensors), None)
    if shard is not None and not any(head in tensors for tensors in plan.shards.values()):
        plan.copies[head] = (shard, embeddings)


def _check_places(plan: Plan, changes: dict[str, LowRank | Whole], tensors: dict[str, Tensor], base: Path) -> None:
    """Each change has a weight of its size. Raises UserError."""
    there = {name: tensor for shard in plan.shards.values() for name, tensor in shard.items()}
    there |= {name: there[source] for name, (_, source) in plan.copies.items()}
    for name, change in changes.items():
        weight = there.get(name)
        if weight is None:
            raise UserError(
                "conflict", f"{base.name} has no tensor {name[-80:]} on disk",
                "Its layers are stored otherwise than they are computed; merge it with peft.",
            )  # fmt: skip
        if isinstance(change, Whole):
            shape = tensors[change.name].shape
        elif change.copy is not None and tensors[change.copy].shape != weight.shape:
            shape = tensors[change.copy].shape
        else:
            shape = (tensors[change.up].shape[0], tensors[change.down].shape[1])
            shape = shape[::-1] if change.transposed else shape
        if weight.shape != shape or weight.dtype not in FLOATS:
            has = f"{weight.dtype} {' × '.join(map(str, weight.shape))}"
            raise UserError(
                "conflict", f"{name[-80:]} is {has} in {base.name}, but {' × '.join(map(str, shape))} in the adapter",
                "Use the base model that it was trained on, in 16 or 32 bit.",
            )  # fmt: skip


def head_of(tensors: dict[str, Tensor]) -> bytes:
    """The head of a safetensors file that holds these tensors one after the other."""
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, tensor in tensors.items():
        begin, end = end, end + tensor.size
        entries[name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
