"""A trained voice as a folder that qwen_tts loads by itself: the base with the trained weights put in.

What differs from the base: the weights of the talker (LoRA merged in fp32), row 3000 of the codec embedding, which
becomes the speaker's embedding, no speaker encoder, and the config's kind and speaker. All other files are the
base's, as hard links where the disk allows it, so that epochs share the codec.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from engines.contract import statefiles
from engines.contract.errors import UserError
from tts.qwen import VOICE_ROW

CODEC_EMBEDDING = "talker.model.codec_embedding.weight"
SPEAKER_ENCODER = "speaker_encoder."
INDEX = "model.safetensors.index.json"


def speaker_name(voice: str) -> str:
    """The name under which the model knows the voice; qwen_tts looks speakers up in lower case."""
    return voice.lower()


def merged_weight(name: str, base: Any, trained: dict[str, Any], scale: float) -> Any:
    """A tensor of the voice, in the base's precision. trained: as in training_state; scale: LoRA alpha / rank."""
    module = name.removesuffix(".weight")
    down = trained.get(f"{module}.lora_A.default.weight")
    if down is not None:
        up = trained[f"{module}.lora_B.default.weight"]
        delta = up.detach().float().cpu() @ down.detach().float().cpu()
        return (base.float() + scale * delta).to(base.dtype)
    own = trained.get(name)
    return base if own is None else own.detach().cpu().to(base.dtype)


def write_weights(base: Path, target: Path, trained: dict[str, Any], speaker: Any, scale: float) -> None:
    """Go through the base's weight files one by one; no more than one is in memory."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    dropped: list[str] = []
    for file in sorted(base.glob("*.safetensors")):
        tensors = {}
        with safe_open(file, framework="pt") as source:
            for name in source.keys():  # noqa: SIM118 (it is no dict)
                if name.startswith(SPEAKER_ENCODER):
                    dropped.append(name)
                    continue
                tensors[name] = merged_weight(name, source.get_tensor(name), trained, scale)
                if name == CODEC_EMBEDDING:
                    tensors[name] = tensors[name].clone()
                    tensors[name][VOICE_ROW] = speaker.to(tensors[name].dtype).cpu()
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, target / file.name, {"format": "pt"})
    index = statefiles.read_object(base / INDEX)
    if index:
        index["weight_map"] = {name: file for name, file in index["weight_map"].items() if name not in dropped}
        (target / INDEX).write_text(json.dumps(index, indent=1))


def copy_rest(base: Path, target: Path) -> None:
    """All files that are neither weights nor the config, hidden ones left out."""
    for path in sorted(base.rglob("*")):
        relative = path.relative_to(base)
        if any(part.startswith(".") for part in relative.parts) or path.is_dir():
            continue
        in_root = len(relative.parts) == 1
        if in_root and (path.suffix == ".safetensors" or path.name in (INDEX, "config.json", "card.json")):
            continue
        place = target / relative
        statefiles.make_private_dir(place.parent)
        try:
            os.link(path.resolve(), place)
        except OSError:
            shutil.copyfile(path, place)


def export(base: Path, target: Path, voice: str, trained: dict[str, Any], speaker: Any, scale: float) -> None:
    """Write the voice into the folder `target`, which is there and empty. speaker: [D].

    Raises OSError on a full disk; making `target` appear whole is the caller's.
    """
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    if config["talker_config"]["vocab_size"] <= VOICE_ROW:
        raise UserError("bad_input", "the base model has no room for a voice", "Use a Qwen3-TTS-12Hz Base model.")
    name = speaker_name(voice)
    config["tts_model_type"] = "custom_voice"
    config["talker_config"]["spk_id"] = {name: VOICE_ROW}
    config["talker_config"]["spk_is_dialect"] = {name: False}
    write_weights(base, target, trained, speaker, scale)
    copy_rest(base, target)
    (target / "config.json").write_text(json.dumps(config, indent=1, ensure_ascii=False), encoding="utf-8")
