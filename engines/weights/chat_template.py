"""The chat template in a model's or an adapter's folder: what turns a dialog into the text that it was trained on."""

from __future__ import annotations

from pathlib import Path

from engines.contract import statefiles
from engines.contract.fingerprints import ADAPTER_TEMPLATE

LARGEST = 1 << 20  # bytes


def of_folder(folder: Path) -> str | None:
    """Its text, where transformers keeps it; None where there is none. Of several the one that is used by default."""
    try:
        with open(folder / ADAPTER_TEMPLATE, encoding="utf-8") as file:
            return file.read(LARGEST)
    except (OSError, UnicodeDecodeError):
        pass
    kept = statefiles.read_object(folder / "tokenizer_config.json").get("chat_template")
    if isinstance(kept, list):  # of older models: several with names
        named = {item.get("name"): item.get("template") for item in kept if isinstance(item, dict)}
        kept = named.get("default")
    return kept if isinstance(kept, str) else None


def write_out(folder: Path) -> None:
    """Put the template of an adapter that keeps it otherwise into the file that servers read."""
    found = of_folder(folder)
    if found is not None and not (folder / ADAPTER_TEMPLATE).exists():
        statefiles.write_bytes(folder / ADAPTER_TEMPLATE, found.encode())
