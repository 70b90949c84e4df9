"""The training's loss is the cross-entropy that the model's own generation has of the same speech."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tts_support.generation import generation_cross_entropy

from tts import layout, loss, qwen

TEXTS = ("Hello there, this is a clip.", "Привет")


@pytest.mark.parametrize("size", ["tiny_base", "tiny_base_small"])
def test_the_loss_is_the_one_of_generation(size: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(size)
    voice = qwen.load(folder, "cpu", "fp32", "sdpa")
    torch.manual_seed(3)
    speaker = torch.randn(voice.model.config.talker_config.hidden_size)
    codes = [torch.randint(0, 2048, (frames, 16)) for frames in (7, 3)]
    clips = [
        layout.Clip(layout.text_ids(voice.processor, text), frames.tolist())
        for text, frames in zip(TEXTS, codes, strict=True)
    ]
    batch = layout.collate(clips, voice.model.config)
    with torch.no_grad():
        both = loss.batch_loss(voice.model.eval(), batch, speaker)
        alone = [
            loss.batch_loss(voice.model, layout.collate([clip], voice.model.config), speaker).means() for clip in clips
        ]
    for text, frames, (talker, sub_talker) in zip(TEXTS, codes, alone, strict=True):
        expected = generation_cross_entropy(voice, text, frames, speaker)
        assert (float(talker), float(sub_talker)) == pytest.approx(expected, abs=2e-4)
    # padding changes nothing
    assert float(both.talker) == pytest.approx(float(alone[0][0]) * 8 + float(alone[1][0]) * 4, rel=1e-5)
    assert (both.talker_count, both.sub_talker_count) == (8 + 4, 15 * 10)
