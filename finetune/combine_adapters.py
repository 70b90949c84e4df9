"""Make one adapter of several, by peft's add_weighted_adapter.

    python -m finetune.combine_adapters BASE OUTPUT_FOLDER --adapter FOLDER --adapter FOLDER [--config combine.json]

The base model's weights are not read: only its layers are laid out, without memory. Methods: cat is exact; TIES
(Yadav et al. 2023, arXiv:2306.01708) and DARE (Yu et al. 2023, arXiv:2311.03099) thin the adapters out first.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from engines.config.combine import CombineConfig
from engines.config.job import load
from engines.contract import statefiles
from engines.contract.errors import UserError
from engines.contract.events import emit
from engines.contract.fingerprints import ADAPTER_FILES
from engines.contract.run_protocol import run_script, write_result
from engines.weights import adapter_check, tensor_files
from finetune.base_model import configuration, family
from finetune.merge_plan import refuse_unsupported

NAME = "combined"


def check(adapters: list[Path], config: CombineConfig) -> list[float]:
    """The weights. Raises UserError for what cannot be combined."""
    weights = config.weights or [1 / len(adapters)] * len(adapters)
    if len(weights) != len(adapters):
        raise UserError("usage", f"{len(weights)} weights for {len(adapters)} adapters", "Give one for each, in order.")
    shapes = [adapter_check.check_folder(folder) for folder in adapters]
    for folder, shape in zip(adapters, shapes, strict=True):
        refuse_unsupported(statefiles.read_object(folder / ADAPTER_FILES[0]))
        if shape.is_dora or shape.whole_layers:
            what = "DoRA" if shape.is_dora else f"layers trained whole ({shape.whole_layers[0]})"
            raise UserError("conflict", f"{folder.parent.name} has {what}, of which no sum is made", "Leave it out.")
    if config.method != "cat" and len({shape.rank for shape in shapes}) > 1:
        ranks = ", ".join(str(shape.rank) for shape in shapes)
        raise UserError("conflict", f"{config.method} wants equal ranks, these are {ranks}", "Use --method cat.")
    return weights


def combine(base: str, adapters: list[Path], target: Path, config: CombineConfig) -> None:
    """Write the adapter to `target`. Raises UserError."""
    import torch

    weights = check(adapters, config)
    torch.manual_seed(config.seed)
    emit("phase", name="combine", text=f"{len(adapters)} adapters by {config.method}")
    names = [f"adapter{number}" for number in range(len(adapters))]
    with tempfile.TemporaryDirectory() as folder:
        model = _load(base, dict(zip(names, adapters, strict=True)), Path(folder))
    for name in names:
        _settle(model, name)
    density = config.density if config.method in ("ties", "dare_linear") else None
    try:
        model.add_weighted_adapter(names, weights, NAME, combination_type=config.method, density=density)
    except (ValueError, TypeError) as error:
        raise UserError(
            "conflict", f"peft refuses: {str(error)[:200]}", "Use --method cat, or leave one out."
        ) from error
    model.save_pretrained(target, selected_adapters=[NAME], save_embedding_layers=False)
    for file in (target / NAME).iterdir():
        os.replace(file, target / file.name)
    (target / NAME).rmdir()
    adapter_check.check_folder(target)


def _load(base: str, adapters: dict[str, Path], folder: Path) -> Any:
    """The layers of a base model without its weights, with these adapters. folder: an empty one, for a while."""
    import torch
    import transformers
    from accelerate import init_empty_weights
    from peft import PeftModel

    with init_empty_weights():
        model: Any = getattr(transformers, family(base).auto_class).from_config(configuration(base))
    for module in model.modules():  # peft wants weights on a device; one zero that stands for all of them takes nothing
        for name, weight in module.named_parameters(recurse=False):
            setattr(module, name, torch.nn.Parameter(torch.zeros(()).expand(weight.shape), requires_grad=False))
    for name, adapter in adapters.items():
        source = _without_copies(adapter, folder / name)
        try:
            if isinstance(model, PeftModel):
                model.load_adapter(source, adapter_name=name)
            else:
                model = PeftModel.from_pretrained(model, source, adapter_name=name)
        except (ValueError, RuntimeError) as error:
            cause = f"{adapter.parent.name} cannot be loaded: {' '.join(str(error).split())[:200]}"
            raise UserError("conflict", cause, "Leave it out.") from error
    return model


def _without_copies(adapter: Path, place: Path) -> Path:
    """The adapter without the base's own weights, which peft saves beside a changed head; training leaves them as they
    are, so the base has them."""
    from safetensors.torch import load_file, save_file

    weights = adapter / ADAPTER_FILES[1]
    if not any(".base_layer." in name for name in tensor_files.read_header(weights)):
        return adapter
    kept = {name: tensor for name, tensor in load_file(weights).items() if ".base_layer." not in name}
    place.mkdir()
    shutil.copyfile(adapter / ADAPTER_FILES[0], place / ADAPTER_FILES[0])
    save_file(kept, place / ADAPTER_FILES[1], metadata={"format": "pt"})
    return place


def _settle(model: Any, name: str) -> None:
    """Name the layers of a loaded adapter one by one, and let its scale be alpha / rank.

    peft makes the new adapter's settings of the first one's. Its layers are all of them, whichever the first one has,
    and what they are scaled by is in their weights then.
    """
    config = model.peft_config[name]
    layers = model.base_model.model.named_modules()
    parts = ("lora_A", "lora_embedding_A")
    config.target_modules = {path for path, layer in layers if any(name in getattr(layer, part, ()) for part in parts)}
    config.layers_to_transform = config.layers_pattern = config.exclude_modules = None
    config.use_rslora, config.init_lora_weights = False, True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("base")
    parser.add_argument("output", type=Path, help="the adapter's folder; the weights lie in its final/")
    parser.add_argument("--adapter", type=Path, action="append", required=True)
    parser.add_argument("--config", type=Path, help="parameters as JSON, see engines/config/combine.py")
    parser.add_argument("--card", type=Path, help="what the result is made from, as JSON")
    arguments = parser.parse_args()
    output = arguments.output.absolute()
    partial = output.with_name(f".{output.name}.{os.getpid()}.partial")
    statefiles.make_private_dir(partial / "final")
    try:
        combine(arguments.base, arguments.adapter, partial / "final", load(CombineConfig, arguments.config))
        statefiles.write_json(partial / "card.json", statefiles.read_object(arguments.card) if arguments.card else {})
        os.rename(partial, output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    statefiles.sync_dir(output.parent)
    rank = statefiles.read_object(output / "final" / ADAPTER_FILES[0])["r"]
    write_result("done", adapter=output.name, rank=rank, folder=str(output))


if __name__ == "__main__":
    run_script(main)
