"""What this machine and workspace have, and what can be added: the answer of `ftui doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engines.running import devices
from engines.setup import gguf_tools, llama_cpp

if TYPE_CHECKING:
    from engines.llm import LLMEngine

ENVIRONMENTS_IF_WANTED = ("vllm", "export-awq", "export-onnx")


def report(engine: LLMEngine) -> dict[str, Any]:
    """Plain data. `if_wanted`: is what only some need here, by what `ftui setup` calls it?"""
    workspace, environments = engine.workspace, engine.environments
    return {
        "home": str(workspace.home),
        "gpus": [gpu.__dict__ for gpu in devices.gpus()],
        "cores": devices.cores(),
        "free_memory": devices.free_memory(),
        "free_disk": devices.free_disk(workspace.home),
        "environment": environments.report("llm").as_dict(),
        "voice_environment": environments.report("tts").as_dict(),
        "if_wanted": {
            **{kind: environments.is_complete(kind) for kind in ENVIRONMENTS_IF_WANTED},
            "llama": llama_cpp.folder(workspace).is_dir(),
            "export-gguf": gguf_tools.folder(workspace).is_dir(),
        },
        "embedded_model": engine.models.embedded_is_ready(),
        "base_models": [model.name for model in engine.models.list()],
        "datasets": len(engine.datasets.list()),
        "adapters": len(engine.adapters.list()),
        "active_adapter": engine.adapters.active(),
        "runs": len(engine.runs.list()),
    }
