"""Write a base model and adapters for onnxruntime-genai: one graph, one small file for each adapter.

    python -m finetune.export_onnx BASE_FOLDER OUTPUT_FOLDER --adapter NAME=FOLDER [--adapter …] [--config onnx.json]

Runs in an environment of its own. onnxruntime-genai builds the graph with layers for every weight that any of the
adapters changes; Olive makes inputs of those layers, empty ones by default, so that without an adapter the graph is the
base model. The format of the adapters' files is that of onnxruntime (AdapterFormat).
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from engines.config.export import OnnxConfig
from engines.config.job import load
from engines.contract import statefiles
from engines.contract.errors import UserError
from engines.contract.events import emit
from engines.contract.fingerprints import ADAPTER_FILES
from engines.contract.run_protocol import run_script, stop_requested, write_result
from engines.weights import adapter_check
from finetune import export_folder
from finetune.base_model import set_threads
from finetune.embedded_model import make_if_wanted
from finetune.merge_adapter import TOKENIZER
from finetune.merge_plan import LowRank, make_plan
from finetune.scoring import Stopped

SUFFIX = ".onnx_adapter"
EXTRACTED = f"adapter_weights{SUFFIX}"  # as Olive calls what it takes out of the graph
QUIET = {"OLIVE_DISABLE_TELEMETRY": "1", "ORT_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "1"}
PARTS = ("lora_A", "lora_B")
Adapters = dict[str, Path]


def changes_of(base: Path, adapter: Path) -> dict[str, LowRank]:
    """Weight of the base → what the adapter adds to it. Raises UserError for what is more than a product of two."""
    changes = make_plan(base, adapter).changes
    for name, change in changes.items():
        if not isinstance(change, LowRank) or change.magnitude or change.transposed:
            what = "DoRA" if isinstance(change, LowRank) and change.magnitude else f"{name[-60:]} in a form of its own"
            raise UserError(
                "conflict", f"{adapter.parent.name} has {what}, for which ONNX adapters have no place",
                "Merge it and export the merged model, or export it as GGUF.",
            )  # fmt: skip
    return {name: change for name, change in changes.items() if isinstance(change, LowRank)}


def write_union(base: Path, adapters: Adapters, target: Path) -> list[str]:
    """Write an adapter that touches every weight that one of the others changes, to build the graph with.

    Its numbers are of no account, but no two tensors are alike, so that nothing takes them for one. Returns the
    layers.
    """
    import torch
    from safetensors.torch import save_file

    layers = {
        name: size for folder in adapters.values() for name, size in adapter_check.check_folder(folder).layers.items()
    }
    tensors = {}
    for name, (inputs, outputs) in sorted(layers.items()):
        tensors[f"{adapter_check.PREFIX}{name}.lora_A.weight"] = torch.randn(1, inputs)
        tensors[f"{adapter_check.PREFIX}{name}.lora_B.weight"] = torch.randn(outputs, 1)
    target.mkdir()
    save_file(tensors, target / ADAPTER_FILES[1])
    config = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 1, "lora_alpha": 1, "target_modules": sorted(layers),
        "base_model_name_or_path": str(base), "inference_mode": True,
    }  # fmt: skip
    statefiles.write_json(target / ADAPTER_FILES[0], config)
    return sorted(layers)


def run_tool(title: str, module: list[str], folder: Path) -> None:
    """Run a program of the environment, which writes into `folder`. Raises UserError with its last words, Stopped."""
    emit("phase", name="build", text=title)
    command = [sys.executable, *module]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **QUIET}, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        check=False,
    )  # fmt: skip
    words = done.stderr.replace("\r", "\n")
    print(words[-4000:], flush=True)
    if stop_requested():
        raise Stopped
    if done.returncode:
        raise UserError("failed", f"{title} failed: {words.strip().rsplit(chr(10), 1)[-1][:200]}", "Read the log.")


def build_graph(base: Path, adapters: Adapters, partial: Path, config: OnnxConfig) -> Path:
    """The folder of the finished graph, inside `partial`. Raises UserError, Stopped."""
    layers = write_union(base, adapters, partial / "union")
    builder = [
        "-m", "onnxruntime_genai.models.builder", "-i", str(base), "-o", "built", "-p", config.precision, "-e", "cpu",
        "-c", "cache", "--extra_options", f"adapter_path={partial / 'union'}",
    ]  # fmt: skip
    if config.precision == "int4":  # the adapters' layers stay whole, or their rank would be fixed
        builder.append(f"nodes_to_exclude={','.join(node_name(layer, part) for layer in layers for part in PARTS)}")
    run_tool("building the graph of base and adapters", builder, partial)
    olive = ["-m", "olive", "generate-adapter", "-m", "built", "-o", "graph", "--adapter_format", "onnx_adapter"]
    run_tool("making inputs of the adapters' layers", [*olive, "--disable_telemetry"], partial)
    return partial / "graph"


def node_name(layer: str, part: str) -> str:
    """`model.layers.0.self_attn.q_proj` → `/model/layers.0/attn/q_proj/lora_A/MatMul`, as the builder calls it."""
    path = layer.replace(".self_attn.", ".attn.").replace(".", "/").replace("layers/", "layers.")
    return f"/{path}/{part}/MatMul"


def input_name(weight: str, part: str) -> str:
    """`model.layers.0.self_attn.q_proj.weight` → `model.layers.0.attn.q_proj.lora_A.MatMul.weight`, as in the graph."""
    return f"{weight.removesuffix('.weight').replace('.self_attn.', '.attn.')}.{part}.MatMul.weight"


def write_adapter(base: Path, adapter: Path, target: Path, inputs: set[str]) -> None:
    """One adapter as inputs of the graph, its scale multiplied in. Raises UserError if the graph has no such input."""
    import numpy
    import onnxruntime
    from safetensors import safe_open

    values = {}
    with safe_open(adapter / ADAPTER_FILES[1], framework="pt") as tensors:
        for weight, change in changes_of(base, adapter).items():
            down = tensors.get_tensor(change.down).float().numpy().T
            up = tensors.get_tensor(change.up).float().numpy().T * change.scale
            values[input_name(weight, "lora_A")] = numpy.ascontiguousarray(down, numpy.float32)
            values[input_name(weight, "lora_B")] = numpy.ascontiguousarray(up, numpy.float32)
    missing = sorted(values.keys() - inputs)
    if missing:
        raise UserError(
            "conflict", f"the graph has no place for {missing[0][-80:]}",
            "Leave this adapter out, or merge it and export it as GGUF.",
        )  # fmt: skip
    made = onnxruntime.AdapterFormat()
    made.set_parameters({name: onnxruntime.OrtValue.ortvalue_from_numpy(value) for name, value in values.items()})
    made.export_adapter(str(target))


def export(base: Path, adapters: Adapters, partial: Path, config: OnnxConfig) -> None:
    """Fill `partial` with graph, tokenizer and adapters. Raises UserError, Stopped."""
    import onnxruntime

    graph = build_graph(base, adapters, partial, config)
    inputs = set(onnxruntime.AdapterFormat.read_adapter(str(graph / EXTRACTED)).get_parameters())
    (graph / EXTRACTED).unlink()
    (graph / "model_config.json").unlink(missing_ok=True)  # Olive's notes, with paths of this machine
    for file in graph.iterdir():
        os.rename(file, partial / file.name)
    for left in ("union", "built", "graph", "cache", ".olive-cache"):
        shutil.rmtree(partial / left, ignore_errors=True)
    emit("phase", name="adapters", text=f"writing {len(adapters)} adapters")
    for name, folder in adapters.items():
        write_adapter(base, folder, partial / f"{name}{SUFFIX}", inputs)
    own = next(iter(adapters.values()))
    for name in TOKENIZER:
        if (own / name).is_file():
            shutil.copyfile(own / name, partial / name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("base", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--adapter", action="append", required=True, metavar="NAME=FOLDER")
    parser.add_argument("--config", type=Path, help="parameters as JSON, see OnnxConfig")
    parser.add_argument("--dataset", type=Path, help="for the perplexity in the check; default: general questions")
    parser.add_argument("--eval-share", type=float, default=0.1)
    arguments = parser.parse_args()
    config = load(OnnxConfig, arguments.config)
    base, output = arguments.base.absolute(), arguments.output.absolute()
    adapters = {
        name: Path(folder).absolute() for name, _, folder in (item.partition("=") for item in arguments.adapter)
    }
    try:
        make_if_wanted(base)
        for folder in adapters.values():
            changes_of(base, folder)
        set_threads()
        with export_folder.filled(output, base) as partial:
            export(base, adapters, partial, config)
            files = {file.name: file.stat().st_size for file in sorted(partial.iterdir())}
            graph = sum(size for name, size in files.items() if name.startswith("model.onnx"))
            report: dict[str, Any] = {
                "precision": config.precision, "bytes": sum(files.values()), "graph_bytes": graph,
                "adapters": {name: {"file": f"{name}{SUFFIX}", "bytes": files[f"{name}{SUFFIX}"]} for name in adapters},
            }  # fmt: skip
            if config.check:
                from finetune import onnx_check

                figures = onnx_check.compare(base, adapters, partial, arguments.dataset, arguments.eval_share)
                for name in figures.keys() & report["adapters"].keys():
                    report["adapters"][name] |= figures[name]
                report |= {"base": figures["base"]} if figures else {}
            statefiles.write_json(partial / "report.json", {"to": "onnx", "base_model": base.name, **report})
    except Stopped:
        write_result("stopped")
        return
    write_result("done", folder=str(output), to="onnx", **report)


if __name__ == "__main__":
    run_script(main)
