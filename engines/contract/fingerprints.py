"""What tells one base model, one adapter from another: 16 hexadecimal digits. Standard library only."""

from __future__ import annotations

import hashlib
from pathlib import Path

CHUNK = 1 << 20
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
ADAPTER_TEMPLATE = "chat_template.jinja"  # which an adapter may bring with it


def of_model(source: str) -> str:
    """Of a folder, a GGUF file or a hub name: sizes and heads of its weight files, or the name itself."""
    path = Path(source)
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path] if path.is_file() else []
    digest = hashlib.blake2b(digest_size=8)
    if not files:
        digest.update(source.encode())
    for file in files:
        digest.update(str(file.stat().st_size).encode())
        with open(file, "rb") as stream:
            digest.update(stream.read(CHUNK))
    return digest.hexdigest()


def of_adapter(folder: Path) -> str:
    """Of every byte that a server reads of an adapter. Raises OSError; about a second per GB."""
    digest = hashlib.blake2b(digest_size=8)
    for file in adapter_files(folder):
        digest.update(str(file.stat().st_size).encode() + b"\n")
        with open(file, "rb") as stream:
            while chunk := stream.read(CHUNK):
                digest.update(chunk)
    return digest.hexdigest()


def adapter_files(folder: Path) -> list[Path]:
    """What a server reads of an adapter: its two files, and its chat template if it brings one."""
    brought = [ADAPTER_TEMPLATE] if (folder / ADAPTER_TEMPLATE).is_file() else []
    return [folder / name for name in (*ADAPTER_FILES, *brought)]


def of_dataset(path: Path) -> str:
    """Of a dataset's bytes, those of its own split (`…_train`, `…_eval`) included. Raises OSError."""
    digest = hashlib.blake2b(digest_size=8)
    for part in (path, *(path.with_name(f"{path.stem}_{side}.jsonl") for side in ("train", "eval"))):
        if part == path or part.is_file():
            with open(part, "rb") as file:
                while block := file.read(CHUNK):
                    digest.update(block)
    return digest.hexdigest()
