"""Who listens to the voice notes of a chat: the voice environment, with the parameters of the last transcription."""

from __future__ import annotations

from typing import Any

from engines.config.samples import TranscribeConfig
from engines.running import devices
from engines.tts import TTSEngine
from engines.workspace import Workspace


def transcriber(workspace: Workspace) -> dict[str, Any]:
    """What finetune/heard_notes.py has to know. Raises UserError where the voice environment is not complete."""
    engine = TTSEngine(workspace)
    config = engine.resolved(engine.last_config(TranscribeConfig))
    return {
        "python": str(engine.environments.require("tts")),
        "env": engine.environments.variables("tts"),
        "cache": str(workspace.folder("qwen3-tts", "heard")),
        "config": {**config.model_dump(), "device": devices.resolve(config.device)},
    }
