"""How large a model on disk is, from the heads of its weight files, without loading it."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

MAX_HEADER_BYTES = 100 * 1024 * 1024


def shapes(folder: Path) -> dict[str, list[int]]:
    """The shape of every tensor in a folder's safetensors files, from their headers.

    A file begins with the header's length (8 bytes, little endian) and the header, a JSON object
    (huggingface/safetensors, "Format"). Empty for a folder without weights; a damaged file is passed over.
    """
    found: dict[str, list[int]] = {}
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with open(file, "rb") as stream:
                (length,) = struct.unpack("<Q", stream.read(8))
                header = json.loads(stream.read(min(length, MAX_HEADER_BYTES)))
            found |= {name: entry["shape"] for name, entry in header.items() if name != "__metadata__"}
        except (OSError, ValueError, KeyError, TypeError, struct.error):
            continue
    return found


def count(shape: list[int]) -> int:
    """How many numbers a tensor of that shape holds."""
    return math.prod(shape)
