"""An exported epoch is a custom voice that qwen_tts loads by itself, with the trained weights in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tts_support.generation import generation_cross_entropy

from engines.contract.errors import UserError
from tts import export_voice, qwen, sft_12hz, speaking


def exported(training: Any, target: Path, name: str = "Tester") -> Any:
    target.mkdir()
    scale = training.config.lora_alpha / training.config.lora_rank
    export_voice.export(training.base, target, name, training.parameters, training.speaker, scale)
    return qwen.import_qwen().Qwen3TTSModel.from_pretrained(str(target), dtype=torch.float32, local_files_only=True)


@pytest.mark.parametrize(("method", "size"), [("lora", "tiny_base"), ("full", "tiny_base_small")])
def test_the_exported_voice_computes_what_was_trained(
    method: str, size: str, build: Any, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    base = request.getfixturevalue(size)
    training = build(base, request.getfixturevalue(f"dataset_of_{size}"), method=method, learning_rate=3e-2)
    for step in range(3):
        sft_12hz.train_step(training, [[0, 1]], step)
    voice = exported(training, tmp_path / "voice", "My Voice")
    assert list(voice.get_supported_speakers()) == ["my voice"]
    assert voice.model.speaker_encoder is None
    row = voice.model.talker.model.codec_embedding.weight[qwen.VOICE_ROW]
    torch.testing.assert_close(row, training.speaker)

    # as the base speaks with the same speaker and the trained weights, so does the voice
    clip = training.data.train[0]
    text = training.voice.processor.tokenizer.decode(clip.text_ids[3:])
    codes = torch.tensor(clip.codes[:4])
    trained = generation_cross_entropy(training.voice, text, codes, training.speaker)
    voice.model.tts_model_type = "base"  # so that the measure may give it a speaker's embedding
    assert generation_cross_entropy(voice, text, codes, row.detach()) == pytest.approx(trained, abs=1e-4)
    untrained = qwen.load(base, "cpu", "fp32", "sdpa")
    assert generation_cross_entropy(untrained, text, codes, training.speaker) != pytest.approx(trained, abs=1e-2)


def test_an_exported_voice_speaks_and_shares_the_codec(build: Any, tmp_path: Path) -> None:
    training = build()
    voice = exported(training, tmp_path / "voice")
    torch.manual_seed(1)
    spoken = speaking.with_voice(voice, "Hello.", limit=12)
    assert spoken.seconds == pytest.approx(11 / 12.5) and not spoken.ended
    codec = "speech_tokenizer/model.safetensors"
    assert (tmp_path / "voice" / codec).stat().st_ino == (training.base / codec).stat().st_ino
    config = json.loads((tmp_path / "voice" / "config.json").read_text())
    assert config["tts_model_type"] == "custom_voice" and config["talker_config"]["spk_id"] == {"tester": 3000}


def test_a_voice_is_no_base_and_a_base_is_no_voice(build: Any, tmp_path: Path) -> None:
    training = build()
    exported(training, tmp_path / "voice")
    for folder, kind in ((tmp_path / "voice", "base"), (training.base, "custom_voice"), (tmp_path, "base")):
        with pytest.raises(UserError) as raised:
            qwen.check_kind(folder, kind)
        assert raised.value.code == "bad_input" and raised.value.next_step
