"""What can be done, and all state on disk. No Textual, no torch.

    from engines import LLMEngine, Workspace
    engine = LLMEngine(Workspace("~/my-workspace"))

The names below are imported when they are first used, so that the supervisor, which
runs without site-packages, can import its own modules alone.
"""

from importlib import import_module
from typing import Any

_HOME_OF = {
    "LLMEngine": "engines.llm",
    "Workspace": "engines.workspace",
    "TrainConfig": "engines.config.train",
    "PrepareConfig": "engines.config.prepare",
    "preset": "engines.config.train",
    "UserError": "engines.contract.errors",
    "LogFile": "engines.running.follow",
    "Progress": "engines.running.progress",
}
__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        return getattr(import_module(_HOME_OF[name]), name)
    raise AttributeError(f"module 'engines' has no attribute {name!r}")
