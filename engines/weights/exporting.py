"""Adapters written for llama.cpp, Ollama and LM Studio, as runs: the engine call behind `ftui llm export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from engines.config import ExportConfig
from engines.contract.errors import UserError
from engines.running.runs import Run
from engines.setup import gguf_tools
from engines.weights.adapters import Adapter
from engines.weights.merging import base_folder

if TYPE_CHECKING:
    from engines.llm import LLMEngine


def export_gguf(
    engine: LLMEngine, adapter: Adapter, config: ExportConfig | None = None, *,
    output: Path | str | None = None, base_model: str | None = None,
) -> Run:  # fmt: skip
    """Start writing GGUF, a Modelfile for Ollama and a report into a new folder.

    output: the folder; default: `NAME-gguf-WEIGHTS` in the workspace's finetune/exports. Raises UserError for what
    cannot be exported, and where the converters are missing, before anything is computed.
    """
    config = config or ExportConfig()
    tools = gguf_tools.require(engine.workspace)
    exports = engine.workspace.folder("finetune", "exports")
    target = Path(output).expanduser().absolute() if output else exports / f"{adapter.name}-gguf-{config.weights}"
    if target.exists():
        raise UserError("conflict", f"there is {target} already", "Name another folder with --output, or delete it.")
    if not target.parent.is_dir():
        raise UserError("not_found", f"there is no folder {target.parent}", "Make it first.")
    argv = [
        str(engine.environments.require("llm")), "-m", "finetune.export_gguf",
        str(base_folder(engine, adapter, base_model)), str(adapter.final), str(target),
        "--name", adapter.name, "--tools", str(tools), "--config", "{run}/config.json",
    ]  # fmt: skip
    share = adapter.config.get("eval_share")
    if share and Path(adapter.dataset_path).is_file():
        argv += ["--dataset", adapter.dataset_path, "--eval-share", str(share)]
    run = engine.runs.create(
        "export", adapter.name, argv, config=config.model_dump(), env=engine.environments.variables("llm"),
        adapter=adapter.name, output=str(target),
    )  # fmt: skip
    engine.runs.start(run)
    return run
