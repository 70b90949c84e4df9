"""Adapters written for other programs, as runs: the engine calls behind `ftui llm export gguf`, `awq` and `onnx`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from engines.config.export import AwqConfig, GgufConfig, OnnxConfig
from engines.config.job import JobConfig
from engines.contract.errors import UserError
from engines.data.datasets import Dataset
from engines.running.runs import Run
from engines.setup import gguf_tools, llama_cpp
from engines.weights.adapters import Adapter
from engines.weights.merging import base_folder
from engines.workspace import check_name

if TYPE_CHECKING:
    from engines.llm import LLMEngine

GGUF, AWQ, ONNX = "gguf", "awq", "onnx"
EVAL_SHARE = 0.1  # held out of a dataset that the adapter was not trained on


def require(engine: LLMEngine, to: str, config: JobConfig | None = None) -> None:
    """Raises UserError where what an export needs is not here; all of that at once, with what it costs."""
    if to != GGUF:
        engine.environments.require(f"export-{to}")
        return
    engine.environments.require("llm")
    needs_llama = isinstance(config, GgufConfig) and config.quantised_by_llama
    has_tools, has_llama = (tool.folder(engine.workspace).is_dir() for tool in (gguf_tools, llama_cpp))
    if needs_llama and not has_llama and not has_tools:
        raise UserError(
            "not_ready", "neither llama.cpp nor its converters to GGUF are here",
            f"Run `ftui setup llama` ({llama_cpp.COST}); it brings both.",
        )  # fmt: skip
    gguf_tools.require(engine.workspace)
    if needs_llama:
        llama_cpp.require(engine.workspace)


def export_gguf(
    engine: LLMEngine, adapter: Adapter, config: GgufConfig | None = None, *,
    output: Path | str | None = None, base_model: str | None = None,
) -> Run:  # fmt: skip
    """Start writing GGUF, a Modelfile for Ollama and a report into a new folder.

    output: the folder; default: `NAME-gguf-WEIGHTS` in the workspace's finetune/exports. Raises UserError for what
    cannot be exported, and where the converters are missing, before anything is computed.
    """
    config = config or GgufConfig()
    require(engine, GGUF, config)
    tools, llama = gguf_tools.folder(engine.workspace), llama_cpp.folder(engine.workspace)
    target = target_of(engine, GGUF, adapter, config, output)
    argv = [
        str(engine.environments.require("llm")), "-m", "finetune.export_gguf",
        str(base_folder(engine, adapter, base_model)), str(adapter.final), str(target),
        "--name", adapter.name, "--tools", str(tools), *(["--llama", str(llama)] if llama.is_dir() else []),
    ]  # fmt: skip
    return _start(engine, [adapter], GGUF, "llm", argv + _held_out(adapter, None), config, target)


def export_awq(
    engine: LLMEngine, adapter: Adapter, config: AwqConfig | None = None, *, dataset: Dataset | None = None,
    output: Path | str | None = None, base_model: str | None = None,
) -> Run:  # fmt: skip
    """Start writing base and adapter as a model of few bits for vLLM, with a report, into a new folder.

    dataset: to calibrate on; default: the one that the adapter was trained on. output: default `NAME-METHOD` in the
    workspace's finetune/exports. Raises UserError, also where no dataset is found.
    """
    config = config or AwqConfig()
    data = dataset or _own_dataset(engine, adapter)
    target = target_of(engine, AWQ, adapter, config, output)
    argv = [
        str(engine.environments.require("export-awq")), "-m", "finetune.export_awq",
        str(base_folder(engine, adapter, base_model)), str(adapter.final), str(target), "--name", adapter.name,
    ]  # fmt: skip
    _, device = engine.base_of(adapter, base_model)  # calibrated where models are trained, one after the other
    return _start(engine, [adapter], AWQ, "export-awq", argv + _held_out(adapter, data), config, target, device)


def export_onnx(
    engine: LLMEngine, adapters: Sequence[Adapter], config: OnnxConfig | None = None, *,
    output: Path | str | None = None, base_model: str | None = None,
) -> Run:  # fmt: skip
    """Start writing a base model with these adapters for onnxruntime-genai, with a report, into a new folder.

    output: default `NAME-onnx` of the first adapter in the workspace's finetune/exports. Raises UserError, also for
    adapters of different base models.
    """
    config = config or OnnxConfig()
    first, python = adapters[0], engine.environments.require("export-onnx")
    target = target_of(engine, ONNX, first, config, output)
    base = base_folder(engine, first, base_model)
    argv = [str(python), "-m", "finetune.export_onnx", str(base), str(target)]
    for adapter in {adapter.name: adapter for adapter in adapters}.values():
        if adapter.name != first.name:
            engine.base_of(adapter, str(base))
        argv += ["--adapter", f"{adapter.name}={adapter.final}"]
    return _start(engine, adapters, ONNX, "export-onnx", argv + _held_out(first, None), config, target)


def default_name(to: str, adapter: Adapter, config: JobConfig) -> str:
    """What an export is called in the workspace's finetune/exports."""
    if isinstance(config, GgufConfig):
        return f"{adapter.name}-gguf-{config.weights}"
    return f"{adapter.name}-{config.method if isinstance(config, AwqConfig) else to}"


def free_target(engine: LLMEngine, to: str, adapter: Adapter, config: JobConfig, output: Path | str | None) -> Path:
    """The new folder. Raises UserError if something is there, or its folder is not."""
    exports = engine.workspace.folder("finetune", "exports")
    name = default_name(to, adapter, config)
    target = Path(output).expanduser().absolute() if output else exports / check_name(name, "an export")
    if target.exists():
        raise UserError("conflict", f"there is {target} already", "Name another folder (--output), or delete it.")
    if not target.parent.is_dir():
        raise UserError("not_found", f"there is no folder {target.parent}", "Make it first.")
    return target


def target_of(engine: LLMEngine, to: str, adapter: Adapter, config: JobConfig, output: Path | str | None) -> Path:
    """The same; raises UserError also if a run is writing there."""
    target = free_target(engine, to, adapter, config, output)
    for run in engine.runs.list("export"):
        if run.spec.get("output") == str(target) and run.status().active:
            raise UserError("conflict", f"a run is writing {target.name} already", f"Watch it: ftui runs log {run.id}.")
    return target


def _own_dataset(engine: LLMEngine, adapter: Adapter) -> Dataset:
    try:
        return engine.data_of(adapter)
    except UserError as error:
        raise UserError(
            error.code, f"the dataset of {adapter.name} is not here, and this is calibrated on one",
            "Name one with --dataset.",
        ) from None  # fmt: skip


def _held_out(adapter: Adapter, dataset: Dataset | None) -> list[str]:
    """What tells a script which rows to compare on: those that the adapter's training did not see."""
    share = adapter.config.get("eval_share")
    if dataset is not None:
        return ["--dataset", str(dataset.path), "--eval-share", str(share or EVAL_SHARE)]
    if share and Path(adapter.dataset_path).is_file():
        return ["--dataset", adapter.dataset_path, "--eval-share", str(share)]
    return []


def _start(
    engine: LLMEngine, adapters: Sequence[Adapter], to: str, environment: str, argv: list[str], config: JobConfig,
    target: Path, device: str | None = None,
) -> Run:  # fmt: skip
    run = engine.runs.create(
        "export", adapters[0].name, [*argv, "--config", "{run}/config.json"], config=config.model_dump(), device=device,
        env={**engine.environments.variables(environment), "HF_HUB_OFFLINE": "1"},
        adapter=adapters[0].name, output=str(target), to=to,
    )  # fmt: skip
    engine.runs.start(run)
    return run
