"""Speech to codes, in batches of like length, kept in a file that an interrupted run goes on with.

Each line of the file is one clip: {"key": hash of the sound, "codes": [T][16]}. The codes of a clip do not depend
on what it is batched with: the codec looks back only, and a batch is padded behind.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engines.contract import statefiles
from tts.qwen import FRAME_SAMPLES, SAMPLE_RATE

BATCH_CLIPS = 32
BATCH_SECONDS = 120.0  # of padded sound: a bound of the memory, and small enough for a CPU's cache

Codes = list[list[int]]


def key_of(sound: Any) -> str:
    """What tells one clip's sound from another's; 24 kHz samples, [N]."""
    return hashlib.blake2b(sound.tobytes(), digest_size=16).hexdigest()


def batches(lengths: list[int]) -> Iterator[list[int]]:
    """Indices of clips, the longest first, grouped so that little is padded. lengths: in samples."""
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    limit = int(BATCH_SECONDS * SAMPLE_RATE)
    while order:
        size = max(1, min(BATCH_CLIPS, limit // max(1, lengths[order[0]])))
        yield order[:size]
        order = order[size:]


def encode(codec: Any, sounds: list[Any]) -> list[Codes]:
    """The codes of several clips at once, each [T][16] with T = samples / 1920, rounded up.

    Each is filled up with silence to whole frames: else the codec pads the longest of a batch inside, layer by layer,
    and the codes of its last frame depend on what it is batched with.
    """
    import numpy

    whole = [numpy.pad(sound, (0, -len(sound) % FRAME_SAMPLES)) for sound in sounds]
    return [codes.cpu().tolist() for codes in codec.encode(whole, sr=SAMPLE_RATE).audio_codes]


class CodeFile:
    """The codes that are known already. A line that a crash has torn does not count."""

    def __init__(self, path: Path, codec_identity: str):
        self.path = path
        self.known: dict[str, Codes] = {}
        self._identity = codec_identity
        if path.exists():
            self._read()
        self._file = open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, statefiles.PRIVATE_FILE), "ab", 0)
        if path.stat().st_size == 0:
            self._write({"codec": codec_identity})

    def _read(self) -> None:
        data = self.path.read_bytes()
        lines = data.split(b"\n")
        try:
            right = json.loads(lines[0]).get("codec") == self._identity
            for line in lines[1:-1] if right else ():
                entry = json.loads(line)
                self.known[entry["key"]] = entry["codes"]
        except (ValueError, KeyError, AttributeError):
            pass  # what was read before the damage is good
        whole = [json.dumps({"codec": self._identity})]
        whole += [json.dumps({"key": key, "codes": codes}) for key, codes in self.known.items()]
        statefiles.write_bytes(self.path, "\n".join([*whole, ""]).encode())

    def add(self, key: str, codes: Codes) -> None:
        self.known[key] = codes
        self._write({"key": key, "codes": codes})

    def _write(self, entry: dict[str, Any]) -> None:
        self._file.write(json.dumps(entry).encode() + b"\n")

    def close(self) -> None:
        os.fsync(self._file.fileno())
        self._file.close()
