"""Who listens to the voice notes of a chat: the voice environment, with the parameters of the last transcription."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engines.config.job import build
from engines.config.samples import TranscribeConfig
from engines.running import devices
from engines.tts import TTSEngine
from engines.workspace import Workspace


def transcriber(workspace: Workspace, whisper_model: str = "", language: str = "") -> dict[str, Any]:
    """What finetune/heard_notes.py has to know. whisper_model, language: empty: those of the last transcription.

    Raises UserError where the voice environment is not complete.
    """
    engine = TTSEngine(workspace)
    values = engine.last_config(TranscribeConfig).model_dump()
    if language:
        values["language"] = language
    if whisper_model:
        folder = Path(whisper_model).expanduser().absolute()
        values["whisper_model"] = str(folder) if folder.is_dir() else whisper_model
    config = engine.resolved(build(TranscribeConfig, values))
    return {
        "python": str(engine.environments.require("tts")),
        "env": engine.environments.variables("tts"),
        "cache": str(workspace.folder("qwen3-tts", "heard")),
        "config": {**config.model_dump(), "device": devices.resolve(config.device)},
    }
