"""Of Telegram exports the owner's voice notes alone, whether they come as a folder, within one, or as a zip archive."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path
from typing import Any

from engines.contract.errors import UserError
from engines.running.questions import ask_script


def wanted_of(path: Path, owner: str) -> dict[str, Any]:
    """What is to be taken of a source, for tts/recordings.py: {"path", "skip", "take"}.

    Raises UserError for what is not there, an export that does not tell whose it is, and one without notes.
    """
    if not path.exists():
        raise UserError("not_found", f"there is no file or folder {path}", "Check the path.")
    is_export = path.suffix == ".json"
    if not (is_export or path.is_dir() or zipfile.is_zipfile(path)):
        return {"path": str(path)}
    exports = ask_script(Path(sys.executable), "finetune.voice_notes", [str(path), "--owner", owner])["exports"]
    if any(export["folder"] == "." and not export["files"] for export in exports):
        missing = f", {exports[0]['missing']} were left out of the export" if exports[0]["missing"] else ""
        cause = f"{path.name} holds no voice notes of {exports[0]['owner'] or 'its owner'}{missing}"
        raise UserError("bad_input", cause, "Export with voice messages, or give another owner.")
    return {
        "path": str(path.parent if is_export else path),
        "skip": [export["folder"] for export in exports],
        "take": [file for export in exports for file in export["files"]],
    }
