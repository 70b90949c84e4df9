"""Looks at data: what a source holds, how a dataset's rows are trained, how many tokens it has."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engines.config.prepare import PrepareConfig
from engines.config.train import TrainConfig
from engines.contract import statefiles
from engines.data.datasets import Dataset
from engines.running import devices
from engines.running.questions import OnProgress, ask_script

if TYPE_CHECKING:
    from engines.llm import LLMEngine


def inspect(source: Path | str, config: PrepareConfig) -> dict[str, Any]:
    """What a source holds and what would become of it; of large files by a sample. Takes about a second.

    Raises UserError for what cannot be read.
    """
    with tempfile.TemporaryDirectory() as folder:
        parameters = Path(folder) / "config.json"
        statefiles.write_json(parameters, config.model_dump())
        arguments = [os.path.expanduser(str(source)), "--config", str(parameters)]
        return ask_script(Path(sys.executable), "finetune.inspect_dataset", arguments)


def show_tokens(
    engine: LLMEngine, dataset: Dataset, config: TrainConfig, first: int = 0, count: int = 3
) -> dict[str, Any]:
    """Rows as they will be trained, with what of them is learned, and all lengths in tokens. Takes some seconds.

    Raises UserError for a base model that cannot be read.
    """
    which = ["--first", str(first), "--count", str(count)]
    return _ask_about_tokens(engine, "finetune.show_tokens", dataset, config, which)


def count_tokens(engine: LLMEngine, dataset: Dataset, config: TrainConfig, on_progress: OnProgress) -> dict[str, Any]:
    """Rows, conversations, messages and tokens of all of a dataset, exactly and by source: some MB a second."""
    return _ask_about_tokens(engine, "finetune.count_tokens", dataset, config, [], on_progress)


def _ask_about_tokens(
    engine: LLMEngine,
    module: str,
    dataset: Dataset,
    config: TrainConfig,
    more: list[str],
    on_progress: OnProgress | None = None,
) -> dict[str, Any]:
    model = engine.models.resolve(config.base_model, devices.resolve(config.device))
    arguments = ["--dataset", str(dataset.path), "--model", model, "--max-length", str(config.max_seq_length)]
    arguments += ["--text-template", config.text_template] if config.text_template else []
    python, env = engine.environments.require("llm"), engine.environments.variables("llm")
    return ask_script(python, module, [*arguments, *more], env, on_progress)
