"""A prepared dataset as rows to train on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.contract import fingerprints, statefiles
from engines.contract.errors import UserError
from tts import audio, layout


@dataclass(frozen=True)
class VoiceData:
    """train, eval: clips; reference: 24 kHz samples [N] and what is said in them; figures: see prepare_data."""

    train: list[layout.Clip]
    held_out: list[layout.Clip]
    reference: Any
    reference_text: str
    figures: dict[str, Any]
    fingerprint: str

    @property
    def speed(self) -> float:
        """The speaker's characters a second."""
        return float(self.figures.get("characters_per_second") or 14.0)


def read_part(path: Path, processor: Any) -> list[layout.Clip]:
    clips = []
    with open(path, encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            clips.append(layout.Clip(layout.text_ids(processor, row["text"]), row["audio_codes"]))
    return clips


def read(folder: Path, processor: Any, base: Path) -> VoiceData:
    """The dataset in `folder`. Raises UserError if it is incomplete or its codes are another model's."""
    figures = statefiles.read_object(folder / "dataset.json")
    if not figures:
        raise UserError("not_found", f"{folder} holds no prepared dataset", "Run `ftui tts prepare`.")
    if figures.get("codec") != fingerprints.of_model(str(base / "speech_tokenizer")):
        raise UserError("conflict", "the codes were extracted with another model's codec", "Run `ftui tts prepare`.")
    digest = hashlib.blake2b(digest_size=8)
    for name in ("train.jsonl", "eval.jsonl", "reference.wav"):
        digest.update((folder / name).read_bytes())
    digest.update(fingerprints.of_model(str(base)).encode())
    return VoiceData(
        read_part(folder / "train.jsonl", processor),
        read_part(folder / "eval.jsonl", processor),
        audio.read(folder / "reference.wav"),
        str(figures["reference"]["text"]),
        figures,
        digest.hexdigest(),
    )
