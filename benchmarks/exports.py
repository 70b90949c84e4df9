"""What exports of the embedded model make: size, real bits per weight, distance from the original, CPU seconds.

    python -m benchmarks.exports [--home WORKSPACE] [gguf:q4_k_m awq:gptq onnx:int4 …]

Needs `ftui setup export-gguf`, `llama`, `export-awq`, `export-onnx` in that workspace. The adapter is drawn, and
changes the model a little; calibrated and compared on the general questions shipped here. AWQ and GPTQ see 16 rows.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from engines.contract import statefiles
from engines.llm import LLMEngine
from engines.setup import gguf_tools, llama_cpp
from engines.workspace import Workspace
from finetune.evaluation_sets import GENERAL_FILE

KINDS = (
    *(f"gguf:{weights}" for weights in ("bf16", "q8_0", "q6_k", "q5_k_m", "q4_k_m", "q3_k_m")),
    "awq:awq", "awq:gptq", "onnx:fp32", "onnx:int4",
)  # fmt: skip


def drawn_adapter(model: Path, folder: Path) -> Path:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    adapted = get_peft_model(base, LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj", "up_proj"]))
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=0.01)
    adapted.save_pretrained(folder)
    return folder


def command(engine: LLMEngine, kind: str, model: Path, adapter: Path, place: Path) -> tuple[list[str], dict[str, str]]:
    """(arguments, environment) of the script of one export."""
    to, _, way = kind.partition(":")
    environment = {"gguf": "llm", "awq": "export-awq", "onnx": "export-onnx"}[to]
    values: dict[str, Any] = {
        "gguf": {"weights": way},
        "awq": {"method": way, "samples": 16},
        "onnx": {"precision": way},
    }[to]
    statefiles.write_json(place / "config.json", values)
    output = place / kind.replace(":", "-")
    argv = [str(engine.environments.require(environment)), "-m", f"finetune.export_{to}", str(model)]
    argv += [str(output), "--adapter", f"drawn={adapter}"] if to == "onnx" else [str(adapter), str(output)]
    if to == "gguf":
        argv += [
            "--tools",
            str(gguf_tools.require(engine.workspace)),
            "--llama",
            str(llama_cpp.require(engine.workspace)),
        ]
    argv += ["--config", str(place / "config.json"), "--dataset", str(GENERAL_FILE), "--eval-share", "0.2"]
    return argv, {**os.environ, **engine.environments.variables(environment), "HF_HUB_OFFLINE": "1"}


def measured(argv: list[str], env: dict[str, str]) -> tuple[dict[str, Any], float]:
    """(the script's result, CPU seconds)."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(argv, env=env, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f"{done.stdout[-1000:]}\n{done.stderr[-2000:]}")
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"event": "result"')]
    return json.loads(lines[-1]), after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description="Exports of the embedded model.")
    parser.add_argument("kinds", nargs="*", default=KINDS, help=f"of {', '.join(KINDS)}; default: all")
    parser.add_argument("--home", type=Path)
    arguments = parser.parse_args()
    engine = LLMEngine(Workspace(arguments.home))
    model = engine.models.embedded
    if not engine.models.embedded_is_ready():
        subprocess.run([sys.executable, "-m", "finetune.embedded_model", str(model)], check=True)
    print(f"{'':<12} {'size':>8} {'bits':>6} {'logits':>8} {'same':>6} {'perplexity':>17} {'answers':>8} {'CPU':>6}")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        adapter = drawn_adapter(model, place / "adapter")
        for kind in arguments.kinds:
            told, seconds = measured(*command(engine, kind, model, adapter, place))
            figures = told["adapters"]["drawn"] if kind.startswith("onnx") else told
            after = figures.get("perplexity_merged", figures.get("perplexity_exported"))
            answers = f"{told['same_answers']} of {told['asked']}" if "asked" in told else ""
            print(
                f"{kind:<12} {told['bytes'] / 1e6:>5.0f} MB {told.get('bits_per_weight', ''):>6} "
                f"{figures['max_logit_difference']:>8.4f} {figures['same_choice']:>6.1%} "
                f"{figures['perplexity']:>8.3f} {after:>8.3f} {answers:>8} {seconds:>4.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
