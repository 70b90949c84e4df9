"""What a training will be, asked of the script that reads dataset and architecture, and of earlier runs."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from engines.config.families import Family
from engines.config.train import TrainConfig
from engines.contract import statefiles
from engines.contract.errors import UserError
from engines.data.datasets import Dataset
from engines.running import devices
from engines.running.questions import OnPhase, ask_script

HIGHEST_FULL_RATE = 5e-5


def advice(config: TrainConfig, family: Family, device: str) -> list[str]:
    """What is known of parameters that do not go well with a model or a device, without looking at the data."""
    found = []
    if family.learning_rate and config.learning_rate > 2 * family.learning_rate:
        found.append(
            f"this model's loss becomes NaN at usual learning rates: {family.learning_rate:g} is known to work, "
            f"with a warm-up of {family.warmup_ratio:g}"
        )
    if config.learning_rate > HIGHEST_FULL_RATE and config.method == "full":
        found.append(f"a learning rate above {HIGHEST_FULL_RATE:g} usually ruins a model trained in full")
    if config.quantization == "nf4" and device == "cpu":
        found.append("nf4 on a CPU saves memory but is slow; none is faster for a small model")
    if config.use_dora:
        found.append("vLLM and llama.cpp load no DoRA adapters: merge it into the model to serve it")
    return found


def ask(
    python: Path,
    env: dict[str, str],
    dataset: Dataset,
    model: str,
    config: TrainConfig,
    device: str,
    *,
    probe: bool,
    on_phase: OnPhase | None,
) -> dict[str, Any]:
    """What finetune/preflight.py finds; some seconds, with `probe` as long as loading the model takes."""
    with tempfile.TemporaryDirectory() as folder:
        parameters = Path(folder) / "config.json"
        statefiles.write_json(parameters, config.model_dump())
        arguments = ["--dataset", str(dataset.path), "--model", model, "--device", device]
        arguments += ["--free", str(devices.free_bytes(device) or 1), "--config", str(parameters)]
        if probe:
            arguments += ["--probe", str(Path(folder) / "probe")]
        return ask_script(python, "finetune.preflight", arguments, env, on_phase=on_phase)


def ask_gguf(python: Path, env: dict[str, str], base: Path | None, tools: Path) -> dict[str, Any] | None:
    """converts: can llama.cpp's converters write this base model as GGUF? why: not. None where that is not known.

    Takes some seconds, where the converters are here.
    """
    if base is None or not (base / "config.json").is_file() or not tools.is_dir():
        return None
    try:
        return ask_script(python, "finetune.gguf_check", [str(base), "--tools", str(tools)], env)
    except UserError:  # it did not come to an end, which says nothing of the model
        return None
