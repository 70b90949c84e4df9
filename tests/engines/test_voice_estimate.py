"""What a voice's training needs: the figures for the real models, and warnings."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from engines.config.job import build
from engines.config.voice import VoiceConfig
from engines.contract.errors import UserError
from engines.voice.voice_estimate import GIB, cost, speech_warnings, steps_per_epoch
from engines.voice.voice_files import read_voice
from engines.voice.voice_memory import Layers, activations, shapes_of

FULL_TEXT = {"method": "full", "freeze_text_embedding": False}
BASE = "Qwen/Qwen3-TTS-12Hz-1.7B-Base"


@pytest.mark.parametrize(
    ("base", "values", "gib"),
    [
        (BASE, FULL_TEXT, 14.4),
        (BASE, {"method": "full"}, 12.6),
        (BASE, {"method": "full", "optimizer": "adamw8bit"}, 9.6),
        (BASE, {}, 3.9),
        (BASE.replace("1.7B", "0.6B"), FULL_TEXT, 6.8),
        (BASE.replace("1.7B", "0.6B"), {"method": "full"}, 5.1),
        (BASE.replace("1.7B", "0.6B"), {}, 1.9),
    ],
)
def test_memory_of_the_real_models(base: str, values: dict[str, object], gib: float) -> None:
    """As measured by counting the real models' parameters in bf16."""
    found = cost(base, build(VoiceConfig, values), "bf16")
    assert found is not None and found.memory / GIB == pytest.approx(gib, rel=0.06)


def write_model(folder: Path) -> Path:
    shapes = {
        "talker.model.text_embedding.weight": [100, 8],
        "talker.model.layers.0.self_attn.q_proj.weight": [16, 8],
        "speaker_encoder.x.weight": [10, 10],
    }
    folder.mkdir()
    header, place = {}, 0
    for name, shape in shapes.items():
        size = 2 * shape[0] * shape[1]
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [place, place + size]}
        place += size
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(place))
    return folder


def test_a_model_on_disk_is_counted(tmp_path: Path) -> None:
    base = write_model(tmp_path / "base")
    full = cost(base, build(VoiceConfig, FULL_TEXT), "bf16")
    assert full is not None and full.trained == 800 + 128 and full.memory == 2 * 1028 + 6 * 928
    lora = cost(base, build(VoiceConfig, {"lora_rank": 4}), "fp32")
    assert lora is not None and lora.trained == 4 * (16 + 8) and lora.memory == 4 * 1028 + 16 * 96
    assert lora.disk(3) == 3 * 2 * 1028 + lora.resume
    assert cost("somebody/else", build(VoiceConfig, {}), "bf16") is None
    (base / "model.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(UserError, match="damaged"):
        cost(base, build(VoiceConfig, {}), "bf16")


def test_steps_and_warnings() -> None:
    config = build(VoiceConfig, {"batch_size": 2, "gradient_accumulation_steps": 4})
    assert [steps_per_epoch(clips, config) for clips in (1, 8, 9, 17)] == [1, 1, 2, 3]
    found = speech_warnings(100.0, 30, config)
    assert any("1.7 min of speech" in text and "poor voice" in text for text in found)
    assert any("2e-6 is what works" in text for text in found)
    assert any("only 12 optimizer steps; gradient_accumulation_steps 2" in text for text in found)
    good = config.model_copy(update={"learning_rate": 2e-6})
    assert speech_warnings(2000.0, 800, good) == []
    assert any("20 epochs" in text for text in speech_warnings(2000.0, 800, good.model_copy(update={"num_epochs": 20})))


def test_a_voice_that_another_program_trained_is_read(tmp_path: Path) -> None:
    for number in (2, 10):
        (tmp_path / f"checkpoint-epoch-{number}").mkdir()
        (tmp_path / f"checkpoint-epoch-{number}" / "config.json").write_text("{}")
        (tmp_path / f"checkpoint-epoch-{number}" / "model.safetensors").write_bytes(b"x" * 10)
    (tmp_path / "checkpoint-epoch-3").mkdir()  # interrupted: no weights
    voice = read_voice(tmp_path)
    assert [epoch.number for epoch in voice.epochs] == [2, 10] and voice.epoch().number == 10
    assert voice.epochs[0].eval_loss is None and voice.size == 2 * 12
    with pytest.raises(UserError, match="no epoch 3"):
        voice.epoch(3)


def test_activations_follow_the_batch_the_length_and_checkpointing() -> None:
    """The shapes of the real models; the numbers are compared with trainings by benchmarks/voice_memory.py."""
    shapes = shapes_of(BASE)
    assert shapes is not None and shapes[0].count == 28 and shapes_of("somebody/else") is None

    def needed(seconds: float = 15.0, **values: object) -> float:
        return activations(shapes, build(VoiceConfig, values), "bf16", seconds, 14 * seconds) / GIB

    assert 0.5 < needed() < 3, "two clips of 15 s with checkpointing, in GiB"
    assert needed(gradient_checkpointing=False) > 4 * needed()
    assert needed(batch_size=4) == pytest.approx(2 * needed(), rel=0.01)
    assert needed(30.0) == pytest.approx(2 * needed(), rel=0.1)
    assert needed(method="full") > needed()


def test_a_base_on_disk_tells_its_shapes(tmp_path: Path) -> None:
    talker = {"num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4,
              "num_key_value_heads": 2, "head_dim": 16}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps({"talker_config": {**talker, "code_predictor_config": talker}}))
    assert shapes_of(tmp_path) == (Layers(2, 64, 128, 64, 32), Layers(2, 64, 128, 64, 32))
    (tmp_path / "config.json").write_text(json.dumps({"talker_config": talker}))
    assert shapes_of(tmp_path) is None
