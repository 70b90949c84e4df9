"""Every parameter of a voice that a form shows changes what is done: each is set, and seen in the real thing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tts_support.dataset import prepare_dataset

from engines.config.job import build as build_config
from engines.config.voice import VoiceConfig
from engines.contract.errors import UserError
from tts import qwen, sft_12hz, trainable, voice_data


def rates(training: Any) -> list[float]:
    """The learning rate at each of ten steps."""
    return [training.config.learning_rate * trainable.rate_share(step, 10, training.config) for step in range(10)]


def after_a_step(training: Any, look: Callable[[Any], Any]) -> Any:
    sft_12hz.train_step(training, [[0, 1]], 0)
    return look(training)


def loss_of_a_step(training: Any) -> float:
    figures = sft_12hz.train_step(training, [[0, 1]], 0)
    return round((figures["loss"] - figures["talker_loss"]) / figures["sub_talker_loss"], 3)


def lora_matrix(training: Any) -> Any:
    return next(value for name, value in training.parameters.items() if "q_proj.lora_A" in name)


def lora_layer(training: Any) -> Any:
    return training.voice.model.talker.model.layers[0].self_attn.q_proj


def gradient_norm_after_clipping(training: Any) -> bool:
    """Were the gradients shortened? Seen in what the optimizer got."""
    seen: list[float] = []
    step = training.optimizer.step

    def note(*arguments: Any) -> Any:
        seen.append(float(torch.linalg.vector_norm(torch.stack([p.grad.norm() for p in training.parameters.values()]))))
        return step(*arguments)

    training.optimizer.step = note
    sft_12hz.train_step(training, [[0, 1]], 0)
    return seen[0] < 0.011


def has_text_embedding(training: Any) -> bool:
    return "talker.model.text_embedding.weight" in training.parameters


FULL = {"method": "full"}
# field: (a changed value, what is looked at, what must be seen there, other parameters)
SEEN: dict[str, tuple[Any, Callable[[Any], Any], Any, dict[str, Any]]] = {
    "method": ("full", lambda t: any("lora" in name for name in t.parameters), False, {}),
    "lora_rank": (4, lambda t: lora_matrix(t).shape[0], 4, {}),
    "lora_alpha": (64, lambda t: lora_layer(t).scaling["default"], 4.0, {}),
    "lora_dropout": (0.25, lambda t: getattr(lora_layer(t).lora_dropout["default"], "p", 0), 0.25, {}),
    "freeze_text_embedding": (False, has_text_embedding, True, FULL),
    "batch_size": (3, lambda t: len(sft_12hz.order_of_epoch(11, 0, t.config)[0][0]), 3, {}),
    "gradient_accumulation_steps": (2, lambda t: len(sft_12hz.order_of_epoch(11, 0, t.config)[0]), 2, {}),
    "learning_rate": (1e-3, lambda t: max(rates(t)), 1e-3, {}),
    "num_epochs": (5, lambda t: t.total // t.per_epoch, 5, {}),
    "warmup_ratio": (0.5, lambda t: rates(t).index(max(rates(t))), 4, {}),
    "schedule": ("constant", lambda t: rates(t)[-1] == t.config.learning_rate, True, {}),
    "weight_decay": (0.2, lambda t: t.optimizer.param_groups[0]["weight_decay"], 0.2, {}),
    "max_grad_norm": (0.01, gradient_norm_after_clipping, True, {}),
    "sub_talker_weight": (0.7, loss_of_a_step, 0.7, {}),
    "gradient_checkpointing": (True, lambda t: t.voice.model.talker.model.gradient_checkpointing, True, {}),
    "precision": ("bf16", lambda t: str(t.voice.model.dtype), "torch.bfloat16", {}),
    "attention": ("eager", lambda t: t.voice.model.talker.config._attn_implementation, "eager", {}),
}
SEEN_ELSEWHERE = {
    "voice_name", "min_duration_sec", "max_duration_sec", "reference", "eval_share", "base_model",
    "optimizer", "save_steps", "preview_sentences", "seed", "device", "output_dir", "language", "whisper_model",
}  # fmt: skip


def test_every_field_is_looked_at() -> None:
    assert set(SEEN) | SEEN_ELSEWHERE == set(VoiceConfig.model_fields)


@pytest.mark.parametrize("field", sorted(SEEN))
def test_parameter(field: str, build: Any) -> None:
    value, look, expected, others = SEEN[field]
    assert look(build(**others, **{field: value})) == expected
    assert look(build(**others)) != expected


def test_seed_changes_the_order_and_the_first_weights(build: Any) -> None:
    def seen(seed: int) -> tuple[Any, float]:
        training = build(seed=seed)
        return sft_12hz.order_of_epoch(11, 0, training.config), float(lora_matrix(training).detach().abs().sum())

    assert seen(1) == seen(1)
    assert seen(1)[0] != seen(2)[0] and seen(1)[1] != seen(2)[1]
    config = build_config(VoiceConfig, {})
    assert sft_12hz.order_of_epoch(11, 0, config) != sft_12hz.order_of_epoch(11, 1, config)  # each epoch anew


def test_gradients_of_several_batches_are_those_of_one(build: Any) -> None:
    """Accumulation really is used: two batches of one clip give the gradient of one batch of two."""

    def step_of(batches: list[list[int]]) -> tuple[float, dict[str, Any]]:
        training = build(learning_rate=1e-12, max_grad_norm=1e9)
        kept: dict[str, Any] = {}

        def keep() -> None:
            kept.update({name: value.grad.clone() for name, value in training.parameters.items()})

        training.optimizer.step = keep
        return sft_12hz.train_step(training, batches, 0)["loss"], kept

    found = [step_of([[0, 3]]), step_of([[0], [3]])]
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    for name, gradient in found[0][1].items():
        torch.testing.assert_close(gradient, found[1][1][name], rtol=1e-3, atol=1e-6)


def test_gradient_checkpointing_changes_no_gradient(build: Any) -> None:
    losses = [
        [sft_12hz.train_step(training, [[0, 1], [2]], step)["loss"] for step in range(3)]
        for training in (build(learning_rate=1e-2), build(learning_rate=1e-2, gradient_checkpointing=True))
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5) and losses[0][0] != losses[0][2]


def test_what_the_dataset_is_made_of(tiny_base: Path, tmp_path: Path) -> None:
    """Durations, held-out share and reference; clips are 1.6 to 2.24 s long."""

    def made(**values: Any) -> voice_data.VoiceData:
        folder = prepare_dataset(tiny_base, tmp_path, 10, **values)
        processor = qwen.load(tiny_base, "cpu", "fp32", "sdpa").processor
        return voice_data.read(folder, processor, tiny_base)

    usual = made()
    assert (len(usual.train), len(usual.held_out)) == (9, 1)
    assert made(min_duration_sec=1.7).figures["left_out"] == {"too_short": 2}
    assert made(max_duration_sec=1.7).figures["left_out"] == {"too_long": 8}
    assert len(made(eval_share=0.4).held_out) == 4
    assert made(reference="clip-3").figures["reference"]["clip"] == "clip-3.wav"
    assert made(language="ru").figures["language"] == "ru"
    with pytest.raises(UserError, match="no usable clip clip-99"):
        made(reference="clip-99")


def test_what_is_not_there_is_refused(build: Any) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU, so asking for one is right")
    for values in ({"device": "cuda:0"}, {"attention": "flash"}, {"optimizer": "adamw8bit"}):
        with pytest.raises(UserError) as raised:
            build(**values)
        assert raised.value.code == "not_ready" and raised.value.next_step
