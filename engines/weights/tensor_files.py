"""The heads of safetensors files: which tensors there are, of which shape. Nothing of the weights is read.

The format: 8 bytes with the length of a JSON object (little endian), the object, then the
data. Each entry has dtype, shape and data_offsets into the data. Unlike a pickle it cannot
hold code. See https://github.com/huggingface/safetensors.
"""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path

from engines.contract.errors import UserError

LONGEST_HEADER = 64 << 20
BYTES = {"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2,
         "I8": 1, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1}  # fmt: skip


@dataclass(frozen=True)
class Tensor:
    """offset: of its first byte in the file."""

    dtype: str
    shape: tuple[int, ...]
    offset: int = 0

    @property
    def size(self) -> int:
        """In bytes."""
        return math.prod(self.shape) * BYTES[self.dtype]


def read_header(path: Path) -> dict[str, Tensor]:
    """All tensors of one file by name. Raises UserError if it is damaged or no such file; OSError."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
        if not 2 <= length <= min(LONGEST_HEADER, size - 8):
            raise _damaged(path, "its head is no safetensors head")
        text = file.read(length)
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError):
        entries = None
    if not isinstance(entries, dict):
        raise _damaged(path, "its head is no JSON object")
    entries.pop("__metadata__", None)
    data = size - 8 - length
    try:
        return {name: _tensor(entry, 8 + length, data) for name, entry in entries.items()}
    except (AttributeError, KeyError, TypeError, ValueError):
        raise _damaged(path, "an entry of its head does not fit the file") from None


def _tensor(entry: dict[str, object], start: int, data: int) -> Tensor:
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(shape, list) or not isinstance(offsets, list) or not all(
        isinstance(number, int) and number >= 0 for number in [*shape, *offsets]
    ):  # fmt: skip
        raise ValueError
    begin, end = offsets
    if end > data or end - begin != math.prod(shape) * BYTES[str(dtype)]:
        raise ValueError
    return Tensor(str(dtype), tuple(shape), start + begin)


def read_model(folder: Path) -> dict[str, Tensor]:
    """All tensors of a model folder, of all its shards. Raises UserError, OSError."""
    tensors: dict[str, Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        tensors |= read_header(file)
    return tensors


def _damaged(path: Path, why: str) -> UserError:
    return UserError("bad_input", f"{path.name} is damaged: {why}", "Get the file again; it is not used.")
