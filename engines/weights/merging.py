"""Adapters merged into their base models, or several into one, as runs: `ftui llm merge` and `combine`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from engines.config.combine import CombineConfig
from engines.config.merge import MergeConfig
from engines.config.train import EMBEDDED_FOLDER
from engines.contract import fingerprints, statefiles
from engines.contract.errors import UserError
from engines.running.runs import Run
from engines.weights.adapters import Adapter
from engines.workspace import check_name

if TYPE_CHECKING:
    from engines.llm import LLMEngine


def merge(
    engine: LLMEngine, adapter: Adapter, config: MergeConfig | None = None, *,
    output: str | None = None, base_model: str | None = None,
) -> Run:  # fmt: skip
    """Start writing the model that base and adapter are together.

    output: a name in the workspace's models, or a new folder; default: the adapter's name with `-merged`.
    Raises UserError for what cannot be merged. A merge of the same things that was stopped goes on where it was.
    """
    config = config or MergeConfig()
    target = merged_folder(engine, adapter, output)
    base = base_folder(engine, adapter, base_model)
    argv = [
        str(engine.environments.require("llm")), "-m", "finetune.merge_adapter", str(base), str(adapter.final),
        str(target), "--config", "{run}/config.json", "--card", "{run}/card.json",
    ]  # fmt: skip
    share = adapter.config.get("eval_share")
    if share and Path(adapter.dataset_path).is_file():
        argv += ["--dataset", adapter.dataset_path, "--eval-share", str(share)]
    run = engine.runs.create(
        "merge", target.name, argv, config=config.model_dump(), env=engine.environments.variables("llm"),
        adapter=adapter.name, output=str(target),
    )  # fmt: skip
    identity = fingerprints.of_adapter(adapter.final)
    card = {
        "kind": "merged", "base_model": str(base), "base_identity": fingerprints.of_model(str(base)),
        "adapter": {"name": adapter.name, "identity": identity, "run": adapter.run, "dataset": adapter.dataset},
    }  # fmt: skip
    statefiles.write_json(run.folder / "card.json", card)
    engine.runs.start(run)
    return run


def free_folder(engine: LLMEngine, adapter: Adapter, output: str | None) -> Path:
    """Where the merged model will lie. Raises UserError if something is there, or its folder is not."""
    if output and "/" in output:
        target = Path(output).expanduser().absolute()
        if not target.parent.is_dir():
            raise UserError("not_found", f"there is no folder {target.parent}", "Make it first.")
    else:
        target = engine.models.folder / check_name(output or f"{adapter.name}-merged", "a model")
    if target.exists():
        raise UserError("conflict", f"there is {target} already", "Choose another name (--output), or delete it.")
    return target


def merged_folder(engine: LLMEngine, adapter: Adapter, output: str | None) -> Path:
    """The same; raises UserError also if a run is writing there."""
    target = free_folder(engine, adapter, output)
    for run in engine.runs.list("merge"):
        if run.spec.get("output") == str(target) and run.status().active:
            raise UserError("conflict", f"a run is writing {target.name} already", f"Watch it: ftui runs log {run.id}.")
    return target


def base_folder(engine: LLMEngine, adapter: Adapter, base_model: str | None) -> Path:
    """The folder of an adapter's base model. Raises UserError if it is not on this machine as one."""
    model, _ = engine.base_of(adapter, base_model)
    folder = next((found.path for found in engine.models.list() if found.from_hub and found.name == model), Path(model))
    if folder.name == EMBEDDED_FOLDER and folder.is_absolute():
        return folder  # the script makes it where it is missing
    if folder.suffix == ".gguf":
        raise UserError(
            "conflict", f"{folder.name} is a GGUF file; weights are merged into safetensors",
            "Name the model that it was made of: --base-model FOLDER, or owner/name on the hub.",
        )  # fmt: skip
    if not folder.is_dir():
        raise UserError(
            "not_found", f"the base model {model} is not on this machine", f"Fetch it: ftui models download {model}."
        )
    return folder


def combine(engine: LLMEngine, adapters: Sequence[Adapter], name: str, config: CombineConfig | None = None) -> Run:
    """Start making the adapter `name` of several ones of the same base model. Raises UserError if they differ in it."""
    config = config or CombineConfig()
    if len(adapters) < 2:
        raise UserError("usage", "one adapter alone cannot be combined", "Name two or more.")
    if config.weights and len(config.weights) != len(adapters):
        cause = f"{len(config.weights)} weights for {len(adapters)} adapters"
        raise UserError("usage", cause, "Give one for each, in their order.")
    target = engine.adapters.folder / check_name(name, "an adapter")
    if target.exists():
        raise UserError("conflict", f"there is an adapter {name} already", "Choose another name.")
    model, _ = engine.base_of(adapters[0], None)
    for other in adapters[1:]:
        engine.base_of(other, model)
    argv = [str(engine.environments.require("llm")), "-m", "finetune.combine_adapters", model, str(target)]
    for adapter in adapters:
        argv += ["--adapter", str(adapter.final)]
    run = engine.runs.create(
        "combine", name, [*argv, "--config", "{run}/config.json", "--card", "{run}/card.json"],
        config=config.model_dump(), env=engine.environments.variables("llm"), adapter=name,
    )  # fmt: skip
    parts = [
        {"name": adapter.name, "identity": fingerprints.of_adapter(adapter.final), "run": adapter.run}
        for adapter in adapters
    ]
    card = {
        "name": name, "base_model": model, "base_identity": fingerprints.of_model(model), "created_at": time.time(),
        "combined": {**config.model_dump(), "adapters": parts},
        "notes": f"{config.method} of {', '.join(adapter.name for adapter in adapters)}",
    }  # fmt: skip
    statefiles.write_json(run.folder / "card.json", card)
    engine.runs.start(run)
    return run
