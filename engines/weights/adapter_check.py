"""Is a folder a LoRA adapter that can be used, and does it fit a base model? Reads heads alone, loads nothing.

The names are those that peft writes: `base_model.model.` + the layer's name in the base
model + `.lora_A.weight` (rank × inputs) and `.lora_B.weight` (outputs × rank); layers
trained whole (`modules_to_save`) have their name without a `lora_` part.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.contract import statefiles
from engines.contract.errors import UserError
from engines.contract.fingerprints import ADAPTER_FILES
from engines.weights import tensor_files

PREFIX = "base_model.model."
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
HIGHEST_RANK = 4096
USUAL_ALPHA = 8  # peft's


@dataclass(frozen=True)
class AdapterShape:
    """What an adapter asks of whoever loads it. layers: name in the base model → (inputs, outputs).

    tokens: rows of the embeddings are trained by themselves (`trainable_token_indices`).
    """

    rank: int
    is_dora: bool
    whole_layers: tuple[str, ...]
    tokens: bool
    bias: str
    base_model: str
    layers: dict[str, tuple[int, int]]


def check_folder(final: Path) -> AdapterShape:
    """Raises UserError with what is wrong, and what to do about it."""
    for name in ADAPTER_FILES:
        if not (final / name).is_file() or (final / name).is_symlink():
            pickles = [file.name for file in final.glob("*") if file.suffix in PICKLES] if final.is_dir() else []
            if pickles:
                raise UserError(
                    "bad_input",
                    f"{pickles[0]} is a pickle, which may run code when it is loaded",
                    "Save the adapter as safetensors where it was made: model.save_pretrained(folder).",
                )
            raise UserError("bad_input", f"{name} is missing", "Choose the folder that peft saved the adapter in.")
    config = _config(final / ADAPTER_FILES[0])
    tensors = tensor_files.read_header(final / ADAPTER_FILES[1])
    strange = next((name for name in tensors if not name.startswith(PREFIX)), None)
    if strange is not None or not tensors:
        raise UserError(
            "bad_input",
            f"it holds a tensor {strange[:80]!r}" if strange else "it holds no tensors",
            f"An adapter of peft has names that begin with {PREFIX}.",
        )
    layers = _layers(tensors)
    _check_ranks(config, layers, tensors)
    return AdapterShape(
        rank=max([config["r"], *config.get("rank_pattern", {}).values()]),
        is_dora=bool(config.get("use_dora")),
        whole_layers=tuple(config.get("modules_to_save") or ()),
        tokens=bool(config.get("trainable_token_indices")),
        bias=str(config.get("bias", "none")),
        base_model=str(config.get("base_model_name_or_path") or ""),
        layers=layers,
    )


def _config(file: Path) -> dict[str, Any]:
    config = statefiles.read_object(file)
    kind, rank, pattern = config.get("peft_type"), config.get("r"), config.get("rank_pattern") or {}
    if kind != "LORA":
        raise UserError("bad_input", f"it is an adapter of the kind {str(kind)[:40]}", "Only LoRA adapters are used.")
    if not isinstance(pattern, dict) or not all(_is_rank(value) for value in [rank, *pattern.values()]):
        raise UserError("bad_input", f"{file.name} has no rank that makes sense", "Get the adapter again.")
    alphas = [config.get("lora_alpha", USUAL_ALPHA)]
    by_layer = config.get("alpha_pattern") or {}
    if not isinstance(by_layer, dict) or not all(_is_number(value) for value in [*alphas, *by_layer.values()]):
        raise UserError("bad_input", f"{file.name} has no lora_alpha that makes sense", "Get the adapter again.")
    whole = config.get("modules_to_save") or []
    if not isinstance(whole, list) or not all(isinstance(name, str) for name in whole):
        raise UserError("bad_input", f"{file.name} names layers that are no names", "Get the adapter again.")
    if not _are_targets(config.get("target_modules")) and not config.get("target_parameters"):
        raise UserError("bad_input", f"{file.name} does not say which layers it changes", "Get the adapter again.")
    return {**config, "rank_pattern": pattern}


def _are_targets(value: object) -> bool:
    """A pattern, or names."""
    return bool(value) and (isinstance(value, str) or (isinstance(value, list) and all(map(_is_text, value))))


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_rank(value: object) -> bool:
    return type(value) is int and 1 <= value <= HIGHEST_RANK


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]


def _layers(tensors: dict[str, tensor_files.Tensor]) -> dict[str, tuple[int, int]]:
    """Raises UserError for an A without its B, or of another rank."""
    layers = {}
    for name, down in tensors.items():
        layer, found, _ = name.partition(".lora_A.weight")
        if not found:
            continue
        up = tensors.get(f"{layer}.lora_B.weight")
        if up is None or len(down.shape) != 2 or len(up.shape) != 2 or up.shape[1] != down.shape[0]:
            raise UserError("bad_input", f"the two halves of {layer[-60:]} do not fit together", "Get the file again.")
        layers[layer.removeprefix(PREFIX)] = (down.shape[1], up.shape[0])
    return layers


def _check_ranks(config: dict[str, Any], layers: dict[str, Any], tensors: dict[str, tensor_files.Tensor]) -> None:
    """Raises UserError where a layer has another rank than the config says, or DoRA without what it learned."""
    for layer in layers:
        has, wanted = tensors[f"{PREFIX}{layer}.lora_A.weight"].shape[0], _ranks_of(layer, config)
        if has not in wanted:
            said = " or ".join(map(str, sorted(wanted)))
            raise UserError("bad_input", f"{layer[-60:]} has rank {has}, its config says {said}", "Get it again.")
        if config.get("use_dora") and f"{PREFIX}{layer}.lora_magnitude_vector" not in tensors:
            raise UserError("bad_input", f"it is DoRA, but {layer[-60:]} has no magnitudes", "Get the adapter again.")


def _ranks_of(layer: str, config: dict[str, Any]) -> set[int]:
    """The rank that peft gives a layer: of the first name in rank_pattern that is an end of the layer's, else r.

    Such a name may be a regular expression. Of somebody else's that is not tried: then it is one of all ranks.
    """
    pattern: dict[str, int] = config["rank_pattern"]
    for name, rank in pattern.items():
        if not re.fullmatch(r"[\w.]+", name):
            return {config["r"], *pattern.values()}
        if layer == name or layer.endswith(f".{name}"):
            return {rank}
    return {config["r"]}


def check_fit(shape: AdapterShape, base: Path) -> None:
    """Raises UserError if the base model in the folder `base` has no such layers, or of another size.

    Models that are not for text alone name their layers otherwise on disk; those are taken on trust.
    """
    kinds = statefiles.read_object(base / "config.json").get("architectures") or [""]
    if not str(kinds[0]).endswith("ForCausalLM"):
        return
    tensors = tensor_files.read_model(base)
    parts = {name.rpartition(".")[0] for name in tensors}
    for layer, sizes in shape.layers.items():
        weight = tensors.get(f"{layer}.weight")
        if layer == "lm_head" and weight is None:  # tied to the embeddings, so not on disk
            weight = tensors.get("model.embed_tokens.weight")
        if weight is None and layer in parts:  # quantised: there, in another form
            continue
        if weight is None or (len(weight.shape) == 2 and weight.shape != (sizes[1], sizes[0])):
            has = f"it is {' × '.join(map(str, weight.shape))} there" if weight else "that model has no such layer"
            raise UserError(
                "conflict",
                f"the adapter does not fit {base.name}: {layer} is {sizes[1]} × {sizes[0]}, {has}",
                "Use the base model that it was trained on.",
            )
