"""The proof that a voice learns what generation will ask of it: measured by the package's generation."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy
from tts_support.dataset import prepare_dataset
from tts_support.generation import generation_cross_entropy

from tts import layout, loss, sft_12hz

UNIFORM_TALKER, UNIFORM_SUB_TALKER = math.log(3072), math.log(2048)
STEPS = 30
SETTINGS: dict[str, Any] = {"method": "full", "learning_rate": 1e-2, "warmup_ratio": 0, "schedule": "constant"}


def short_clips(base: Path, folder: Path) -> Path:
    return prepare_dataset(base, folder, 3, 0.6, min_duration_sec=0.5)


def learn(training: Any) -> float:
    """Train on the first two clips alone. Returns the training's own last loss."""
    training.data.train[:] = training.data.train[:2]
    for step in range(STEPS):
        figures = sft_12hz.train_step(training, [[0, 1]], step)
    return figures["loss"]


def as_generated(training: Any) -> tuple[float, float]:
    clip = training.data.train[0]
    text = training.voice.processor.tokenizer.decode(clip.text_ids[layout.ROLE :])
    return generation_cross_entropy(training.voice, text, torch.tensor(clip.codes), training.speaker)


def shifted_loss(model: Any, batch: dict[str, Any], speaker: Any) -> loss.Loss:
    """What the labels are when they are shifted by hand and by the model once more: the frame after the next."""
    talker = model.talker
    hidden = talker.model(
        inputs_embeds=loss.embed(model, batch, speaker)[:, :-1],
        attention_mask=batch["attention_mask"][:, :-1],
        use_cache=False,
    ).last_hidden_state
    by_hand = batch["labels"][:, 1:]
    labels = by_hand[:, 1:]
    learned = labels != layout.IGNORED
    logits = talker.codec_head(hidden[:, :-1][learned])
    frames = batch["codes"][batch["frame_mask"]]
    states = hidden[batch["frame_mask"][:, :-1]]  # the state that has seen the frame already
    rest = loss.sub_talker_logits(talker, frames, states)[:, :-1]
    return loss.Loss(
        cross_entropy(logits, labels[learned], reduction="sum"),
        cross_entropy(rest.flatten(0, 1), frames[:, 2:].flatten(), reduction="sum"),
        int(learned.sum()),
        frames[:, 2:].numel(),
    )


@pytest.mark.parametrize("size", ["tiny_base", "tiny_base_small"])
def test_what_was_trained_is_what_generation_predicts(
    size: str, build: Any, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    base = request.getfixturevalue(size)
    training = build(base, short_clips(base, tmp_path / "clips"), **SETTINGS)
    before = as_generated(training)
    assert before == pytest.approx((UNIFORM_TALKER, UNIFORM_SUB_TALKER), abs=0.5)
    learn(training)
    talker, sub_talker = as_generated(training)
    assert talker < 0.2 * UNIFORM_TALKER and sub_talker < 0.7 * UNIFORM_SUB_TALKER, (talker, sub_talker)


def test_shifted_labels_fail_the_same_proof(
    tiny_base: Path, build: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sft_12hz, "batch_loss", shifted_loss)
    training = build(dataset=short_clips(tiny_base, tmp_path / "clips"), **SETTINGS)
    own = learn(training)
    talker, sub_talker = as_generated(training)
    assert own < 0.5 * (UNIFORM_TALKER + 0.3 * UNIFORM_SUB_TALKER)  # the training itself looks healthy
    assert talker > 0.5 * UNIFORM_TALKER and sub_talker > UNIFORM_SUB_TALKER, (talker, sub_talker)
