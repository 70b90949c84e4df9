"""Does an ONNX graph with adapters say what peft says? Both are run, row by row."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from engines.contract.events import emit
from engines.contract.run_protocol import stop_requested
from engines.running import devices
from engines.weights import tensor_files
from finetune import export_folder
from finetune.base_model import load_model
from finetune.merge_check import MEMORY_FACTOR, held_out_rows
from finetune.rows import IGNORED
from finetune.scoring import Stopped

BASE = "base"


class Sums:
    """Of all learned tokens of some rows: losses of both, the largest difference of a logit, like choices."""

    def __init__(self) -> None:
        self.losses = [0.0, 0.0]
        self.tokens = self.same = 0
        self.largest = 0.0

    def add(self, reference: Any, found: Any, ids: list[int], labels: list[int]) -> None:
        """Two tensors of shape (tokens, vocabulary), for one row."""
        import torch

        places = [place for place in range(len(ids) - 1) if labels[place + 1] != IGNORED]
        wanted = torch.tensor([labels[place + 1] for place in places])
        for number, logits in enumerate((reference, found)):
            self.losses[number] += float(torch.nn.functional.cross_entropy(logits[places], wanted, reduction="sum"))
        self.largest = max(self.largest, float((reference[places] - found[places]).abs().max()))
        self.same += int((reference[places].argmax(-1) == found[places].argmax(-1)).sum())
        self.tokens += len(places)

    def figures(self) -> dict[str, float]:
        perplexities = [round(math.exp(loss / max(1, self.tokens)), 4) for loss in self.losses]
        return {
            "max_logit_difference": round(self.largest, 6), "same_choice": round(self.same / max(1, self.tokens), 4),
            "perplexity": perplexities[0], "perplexity_exported": perplexities[1],
        }  # fmt: skip


class Graph:
    """The exported folder, as a program that uses it would load it."""

    def __init__(self, folder: Path, adapters: list[str]):
        import onnxruntime_genai as genai

        self.genai = genai
        self.model = genai.Model(str(folder))
        self.adapters = genai.Adapters(self.model)
        for name in adapters:
            self.adapters.load(str(folder / f"{name}.onnx_adapter"), name)

    def logits(self, adapter: str, ids: list[int]) -> Any:
        """Of shape (tokens, vocabulary). Each generator has a cache of its own, so no adapter hears another."""
        import torch

        parameters = self.genai.GeneratorParams(self.model)
        parameters.set_search_options(max_length=len(ids) + 1)
        generator = self.genai.Generator(self.model, parameters)
        if adapter != BASE:
            generator.set_active_adapter(self.adapters, adapter)
        generator.append_tokens(ids)
        return torch.tensor(generator.get_output("logits"))[0].float()


def compare(
    base: Path, adapters: dict[str, Path], folder: Path, dataset: Path | None, eval_share: float
) -> dict[str, dict[str, float]]:
    """Figures for each adapter, and for the base without one; empty where the memory is not enough. Raises Stopped."""
    import torch

    values = sum(math.prod(tensor.shape) for tensor in tensor_files.read_model(base).values())
    needed, free = values * 8 * MEMORY_FACTOR, devices.free_memory()
    if needed > free:
        emit("warning", text=f"not compared: it takes {needed / 1e9:.0f} GB of memory, {free / 1e9:.0f} GB are free")
        return {}
    emit("phase", name="check", text="running peft and the graph, in fp32")
    rows = held_out_rows(export_folder.tokenizer_of(base, next(iter(adapters.values()))), dataset, eval_share)
    reference, graph = _with_adapters(base, adapters), Graph(folder, list(adapters))
    sums = {name: Sums() for name in (BASE, *adapters)}
    for done, (ids, labels) in enumerate(rows, 1):
        for name, counted in sums.items():
            with torch.inference_mode():
                counted.add(_reference_logits(reference, name, ids), graph.logits(name, ids), ids, labels)
        emit("progress", done=done, total=len(rows), unit="rows")
        if stop_requested():
            raise Stopped
    return {name: counted.figures() for name, counted in sums.items()}


def _with_adapters(base: Path, adapters: dict[str, Path]) -> Any:
    from peft import PeftModel

    first, *others = adapters.items()
    model = PeftModel.from_pretrained(load_model(str(base), "cpu", "fp32"), first[1], adapter_name=first[0])
    for name, folder in others:
        model.load_adapter(folder, adapter_name=name)
    return model.eval()


def _reference_logits(model: Any, name: str, ids: list[int]) -> Any:
    import torch

    tokens = torch.tensor([ids])
    if name == BASE:
        with model.disable_adapter():
            return model(tokens).logits[0].float()
    model.set_adapter(name)
    return model(tokens).logits[0].float()
