"""Write base and adapter as one model of 4 or 8 bit for vLLM, by AWQ or GPTQ, calibrated on a dataset.

    python -m finetune.export_awq BASE_FOLDER ADAPTER_FOLDER OUTPUT_FOLDER --dataset DATASET.jsonl [--config awq.json]

Runs in an environment of its own with llmcompressor. The format is that of compressed-tensors. AWQ: Lin et al. 2023,
arXiv:2306.00978; GPTQ: Frantar et al. 2022, arXiv:2210.17323.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from engines.config.export import AwqConfig
from engines.config.job import load
from engines.contract import statefiles
from engines.contract.errors import UserError
from engines.contract.events import emit
from engines.contract.run_protocol import run_script, stop_requested, write_result
from engines.weights import tensor_files
from finetune import evaluation_sets, export_folder, rows
from finetune.base_model import family, load_tokenizer, set_threads
from finetune.embedded_model import make_if_wanted
from finetune.scoring import Stopped

GROUP_SIZES = (128, 64, 32)  # that vLLM's kernels know
LEFT = ["lm_head"]  # stays as it is


def group_size(model: Any, wanted: str) -> int:
    """The largest group that divides the width of every layer, or the wanted one. Raises UserError if none does."""
    import torch

    widths = {
        module.in_features
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and name not in LEFT
    }
    sizes = GROUP_SIZES if wanted == "auto" else (int(wanted),)
    found = next((size for size in sizes if all(width % size == 0 for width in widths)), None)
    if found is None:
        tried = ", ".join(map(str, sizes))
        raise UserError(
            "conflict", f"layers are {', '.join(map(str, sorted(widths)))} wide; no group of {tried} divides them all",
            "Set group_size to auto." if wanted != "auto" else "Export it as GGUF.",
        )  # fmt: skip
    return found


def calibration_rows(dataset: Path, eval_share: float, tokenizer: Any, config: AwqConfig) -> list[list[int]]:
    """Token ids of rows of the training part, spread evenly; the held-out part is for the comparison."""
    train, _ = rows.read_parts(dataset, eval_share)
    encoded = rows.encode(evaluation_sets.spread(train, config.samples), tokenizer, config.max_length)
    if not encoded.input_ids:
        raise UserError(
            "bad_input", f"no row of {dataset.name} fits into {config.max_length} tokens", "Raise max_length."
        )
    return encoded.input_ids[: config.samples]


def recipe(config: AwqConfig, size: int) -> list[Any]:
    from llmcompressor.modifiers.gptq import GPTQModifier
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from llmcompressor.modifiers.transform.awq import AWQModifier

    weights = {
        "num_bits": int(config.bits), "type": "int", "symmetric": config.method == "gptq", "strategy": "group",
        "group_size": size,
    }  # fmt: skip
    groups = {"group_0": {"targets": ["Linear"], "weights": weights}}
    if config.method == "gptq":
        return [GPTQModifier(config_groups=groups, ignore=LEFT)]
    return [AWQModifier(duo_scaling=True), QuantizationModifier(config_groups=groups, ignore=LEFT)]


def watch_layers(total: int) -> None:
    """Tell of each finished layer, and hear a stop there. llmcompressor has no hook for it."""
    from llmcompressor.core import LifecycleCallbacks

    ended, done = LifecycleCallbacks.sequential_epoch_end, 0

    def layer_ended(*arguments: Any, **named: Any) -> Any:
        nonlocal done
        answer = ended(*arguments, **named)
        done = min(done + 1, total)
        emit("progress", done=done, total=total, unit="layers")
        if stop_requested():
            raise Stopped
        return answer

    LifecycleCallbacks.sequential_epoch_end = layer_ended


def quantize(merged: Path, ids: list[list[int]], tokenizer: Any, target: Path, config: AwqConfig) -> int:
    """Write the quantised model to `target`. Returns the group size. Raises UserError, Stopped."""
    import torch
    import transformers
    from datasets import Dataset
    from llmcompressor import oneshot
    from llmcompressor.pipelines.cache import IntermediatesCache

    if not torch.accelerator.is_available():  # 0.14 pins memory without asking for a device that it could be pinned for
        IntermediatesCache.pin_memory = lambda *_, **__: None
    model = getattr(transformers, family(str(merged)).auto_class).from_pretrained(merged, dtype="auto")
    size = group_size(model, config.group_size)
    emit("phase", name="calibrate", text=f"{config.method} in {config.bits} bit, groups of {size}, {len(ids)} rows")
    watch_layers(model.config.get_text_config().num_hidden_layers)
    dataset = Dataset.from_dict({"input_ids": ids, "attention_mask": [[1] * len(row) for row in ids]})
    oneshot(
        model=model, tokenizer=tokenizer, dataset=dataset, recipe=recipe(config, size),
        num_calibration_samples=len(ids), max_seq_length=config.max_length, shuffle_calibration_samples=False,
    )  # fmt: skip
    emit("phase", name="write", text="writing the quantised model")
    model.save_pretrained(target, save_compressed=True)
    tokenizer.save_pretrained(target)
    return size


def describe(folder: Path, merged: Path) -> dict[str, Any]:
    """Bytes of the weights; bits for each weight of the model, with scales and with what is not quantised."""
    tensors = tensor_files.read_model(folder)
    size = sum(tensor.size for tensor in tensors.values())
    values = sum(math.prod(tensor.shape) for tensor in tensor_files.read_model(merged).values())
    quantised = sum(name.endswith(".weight_packed") for name in tensors)
    return {"bytes": size, "bits_per_weight": round(size * 8 / values, 3), "quantised_layers": quantised}


def main() -> None:
    parser = export_folder.arguments_of(__doc__.splitlines()[0] if __doc__ else "", "AwqConfig")
    arguments = parser.parse_args()
    config = load(AwqConfig, arguments.config)
    if arguments.dataset is None:
        raise UserError("usage", "there is no dataset to calibrate on", "Name one with --dataset.")
    try:
        make_if_wanted(arguments.base)
        set_threads()
        with export_folder.filled(arguments.output.absolute(), arguments.base) as partial:
            merged = export_folder.merged_model(arguments.base, arguments.adapter, partial)
            tokenizer = load_tokenizer(str(merged))
            ids = calibration_rows(arguments.dataset, arguments.eval_share, tokenizer, config)
            size = quantize(merged, ids, tokenizer, partial, config)
            made = {"method": config.method, "bits": int(config.bits), "group_size": size, "samples": len(ids)}
            report = {
                **made,
                **describe(partial, merged),
                **(export_folder.difference(arguments, partial) if config.check else {}),
            }
            head = {
                "to": "awq",
                "adapter": arguments.name,
                "base": arguments.base.name,
                "dataset": arguments.dataset.name,
            }
            statefiles.write_json(partial / "report.json", {**head, **report})
    except Stopped:
        write_result("stopped")
        return
    write_result("done", folder=str(arguments.output), to="awq", **report)


if __name__ == "__main__":
    run_script(main)
