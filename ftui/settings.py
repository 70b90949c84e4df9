"""What the app remembers between two starts, under the key "app" of the workspace's settings."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

from engines.contract import statefiles
from engines.workspace import Workspace


@dataclass
class AppSettings:
    theme: str = "textual-dark"
    place: str = "llm"
    pane: str = "dataset"
    dataset: str = ""
    log_scale: bool = False


def load(workspace: Workspace) -> AppSettings:
    """The saved settings; what is missing or of a wrong type is the default."""
    defaults = AppSettings()
    document = statefiles.read_json(workspace.settings, {})
    saved = document.get("app") if isinstance(document, dict) else None
    if not isinstance(saved, dict):
        return defaults
    known = {field.name for field in fields(defaults)}
    good = {key: saved[key] for key in known & saved.keys() if type(saved[key]) is type(getattr(defaults, key))}
    return AppSettings(**good)


def save(workspace: Workspace, settings: AppSettings) -> None:
    """Write them beside whatever else the file holds."""
    document = statefiles.read_json(workspace.settings, {})
    if not isinstance(document, dict):
        document = {}
    if document.get("app") == asdict(settings):
        return
    statefiles.write_json(workspace.settings, {**document, "app": asdict(settings)})
