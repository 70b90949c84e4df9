"""A dataset made from a project folder, as a run: the engine call behind `ftui llm generate`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from engines.config.generate import GenerateConfig
from engines.contract.errors import UserError
from engines.data.datasets import SUFFIX
from engines.running.runs import Run
from engines.workspace import name_from

if TYPE_CHECKING:
    from engines.llm import LLMEngine


def generate(
    engine: LLMEngine, project_dir: Path | str, config: GenerateConfig, *,
    name: str | None = None, output: Path | str | None = None, preview: bool = False,
) -> Run:  # fmt: skip
    """Turn a project folder into a dataset, in the workspace or exactly at `output`.

    preview: only say what an endpoint would be asked. The endpoint's key stays in the
    environment that the run inherits; the run's files hold its variable's name alone.
    """
    folder = Path(project_dir).expanduser().absolute()
    if not folder.is_dir():
        raise UserError("not_found", f"there is no folder {folder}", "Name the folder of a project.")
    free = name or engine.datasets.free_name(name_from(folder.resolve().name), str(folder.resolve()))
    target = engine.datasets.target(free, output)
    check_endpoint(config)
    argv = [
        sys.executable, "-m", "finetune.generate_dataset", str(folder), str(target), "--config", "{run}/config.json",
        "--memory", str(engine.workspace.folder("finetune", "generated")), *(["--preview"] if preview else []),
        *([] if output else ["--home", str(engine.workspace.home)]),
    ]  # fmt: skip
    run = engine.runs.create(
        "generate", target.name.removesuffix(SUFFIX), argv,
        config=config.model_dump(), source=str(folder), output=str(target),
    )  # fmt: skip
    engine.runs.start(run)
    return run


def check_endpoint(config: GenerateConfig) -> None:
    """Raises UserError before anything is written down: a key that was given as a name is not kept."""
    if not config.endpoint:
        return
    if not config.endpoint_model:
        raise UserError("usage", "the endpoint's model is not named", "Add --endpoint-model NAME.")
    variable = config.endpoint_api_key_variable
    if variable and not os.environ.get(variable):
        raise UserError("not_ready", "the environment variable with the endpoint's key is not set", "Set it first.")
