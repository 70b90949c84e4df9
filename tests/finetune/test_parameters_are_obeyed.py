"""Every training parameter that a form shows changes the run: each is set, and seen in the real trainer."""

from __future__ import annotations

import argparse
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sample_rows import dialog_rows, write_dataset

from engines.config.families import USUAL
from engines.config.job import build, load
from engines.config.train import TrainConfig
from engines.contract import fingerprints
from engines.contract.errors import UserError
from finetune import base_model, prepared, rows, saving

START = {
    "base_model": "tiny",
    "gradient_accumulation_steps": 2,
    "precision": "fp32",
    "quantization": "none",
    "gradient_checkpointing": False,
    "device": "cpu",
}


class Built:
    """The trainer that a configuration leads to."""

    def __init__(self, values: dict[str, Any], model: Path, dataset: Path, folder: Path):
        config = build(TrainConfig, {**START, **values})
        tokenizer = base_model.load_tokenizer(str(model), config.text_template)
        self.tokenizer = tokenizer
        dialogs = rows.read_parts(dataset, config.eval_share)
        self.parts = prepared.encode_parts(dialogs, tokenizer, config)
        precision = base_model.choose_precision(config.precision, "cpu")
        family = base_model.family(str(model))
        has_eval = bool(self.parts[1].input_ids)
        arguments = prepared.training_arguments(config, family, "cpu", precision, folder, has_eval)
        quantization = base_model.choose_quantization(config.quantization, "cpu", config.base_model)
        loaded = base_model.load_model(str(model), "cpu", precision, quantization)
        prepared.set_seed(config)
        prompts = prepared.sample_prompts(config, dialogs[1])
        self.trainer = prepared.build_trainer(loaded, tokenizer, config, family, arguments, self.parts, "data", prompts)
        self.args = self.trainer.args

    def first_batch(self) -> Any:
        return next(iter(self.trainer.get_train_dataloader()))

    def first_rows(self) -> Any:
        return self.first_batch()["input_ids"].tolist()

    def adapted_layers(self) -> set[str]:
        return {
            name.split(".lora_A")[0].rsplit(".", 1)[-1]
            for name, _ in self.trainer.model.named_parameters()
            if "lora_A" in name
        }

    def learning_rates(self, steps: int) -> list[float]:
        self.trainer.create_optimizer_and_scheduler(steps)
        rates = []
        for _ in range(steps):
            rates.append(self.trainer.optimizer.param_groups[0]["lr"])
            self.trainer.optimizer.step()
            self.trainer.lr_scheduler.step()
        return rates

    def optimizer_bits(self) -> int:
        self.trainer.create_optimizer_and_scheduler(1)
        return getattr(getattr(self.trainer.optimizer, "args", None), "optim_bits", 32)

    def after_a_step(self) -> Any:
        """The base model, once training has begun."""
        self.args.max_steps = 1
        self.trainer.train()
        return self.trainer.model.base_model.model

    def dtype(self) -> str:
        return str(next(p for name, p in self.trainer.model.named_parameters() if "embed_tokens" in name).dtype)


def argmax(values: list[float]) -> int:
    return values.index(max(values))


# field: (a changed value, what is looked at in the trainer, what must be seen there)
SEEN: dict[str, tuple[Any, Callable[[Built], Any], Any]] = {
    "lora_rank": (4, lambda b: next(p.shape[0] for n, p in b.trainer.model.named_parameters() if "lora_A" in n), 4),
    "lora_alpha": (
        32,
        lambda b: b.trainer.model.base_model.model.model.layers[0].self_attn.q_proj.scaling["default"],
        4.0,
    ),
    "lora_dropout": (
        0.25,
        lambda b: b.trainer.model.base_model.model.model.layers[0].self_attn.q_proj.lora_dropout["default"].p,
        0.25,
    ),
    "target_modules": (["o_proj", "up_proj"], lambda b: b.adapted_layers(), {"o_proj", "up_proj"}),
    "method": ("full", lambda b: hasattr(b.trainer.model, "peft_config"), False),
    "use_rslora": (
        True,
        lambda b: b.trainer.model.base_model.model.model.layers[0].self_attn.q_proj.scaling["default"],
        16 / 8**0.5,
    ),
    "use_dora": (True, lambda b: any("magnitude" in name for name, _ in b.trainer.model.named_parameters()), True),
    "lr_schedule": ("constant", lambda b: b.learning_rates(10)[-1], 2e-4),
    "optimizer": ("adamw_8bit", lambda b: b.optimizer_bits(), 8),
    "text_template": (
        "Q: {user} A: {assistant}",
        lambda b: b.tokenizer.decode(b.parts[0].input_ids[0]).startswith("Q: "),
        True,
    ),
    "loss": (
        f"{Path(__file__).parent / 'losses.py'}:always_seven",
        lambda b: b.trainer.compute_loss(b.trainer.model, b.first_batch()).item(),
        7.0,
    ),
    "sample_prompts": (["Hello?"], lambda b: b.trainer.reporter.prompts, ["Hello?"]),
    "sample_tokens": (0, lambda b: b.trainer.reporter.prompts, []),
    "batch_size": (4, lambda b: len(b.first_rows()), 4),
    "learning_rate": (5e-4, lambda b: max(b.learning_rates(10)), 5e-4),
    "max_seq_length": (60, lambda b: max(map(len, b.parts[0].input_ids)) <= 60, True),
    "warmup_ratio": (0.5, lambda b: argmax(b.learning_rates(10)), 5),
    "weight_decay": (
        0.2,
        lambda b: (
            (b.learning_rates(1), {group["weight_decay"] for group in b.trainer.optimizer.param_groups})[1] >= {0.2}
        ),
        True,
    ),
    "gradient_checkpointing": (True, lambda b: b.after_a_step().is_activation_checkpointing, True),
    "precision": ("bf16", lambda b: (b.dtype(), b.args.bf16), ("torch.bfloat16", True)),
    "quantization": (
        "nf4",
        lambda b: type(b.trainer.model.base_model.model.model.layers[0].mlp.up_proj).__name__,
        "Linear4bit",
    ),
    "eval_share": (0.25, lambda b: (len(b.parts[0].input_ids), len(b.parts[1].input_ids)), (30, 10)),
}
SEEN_ELSEWHERE = {
    "seed", "base_model", "device", "use_best", "report_to",  # below
    "gradient_accumulation_steps", "num_epochs", "max_steps", "logging_steps", "save_steps", "keep_checkpoints",
    "early_stopping", "max_grad_norm",  # test_parameters_in_a_run.py
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = dialog_rows(40)
    rows[0]["messages"] = rows[0]["messages"] * 4  # one long dialog, for the max length
    return write_dataset(tmp_path_factory.mktemp("data") / "d_dataset.jsonl", rows)


def test_every_field_is_looked_at() -> None:
    assert set(SEEN) | SEEN_ELSEWHERE == set(TrainConfig.model_fields)


@pytest.mark.parametrize("field", sorted(SEEN))
def test_parameter(field: str, tiny_model: Path, data: Path, tmp_path: Path) -> None:
    value, look, expected = SEEN[field]
    assert look(Built({field: value}, tiny_model, data, tmp_path)) == expected
    if field != "max_seq_length":
        assert look(Built({}, tiny_model, data, tmp_path)) != expected


def test_seed_changes_the_order_and_the_first_weights(tiny_model: Path, data: Path, tmp_path: Path) -> None:
    def seen(seed: int) -> tuple[Any, float]:
        built = Built({"seed": seed, "batch_size": 4}, tiny_model, data, tmp_path)
        weight = next(p for n, p in built.trainer.model.named_parameters() if "lora_A" in n)
        return built.first_rows(), float(weight.detach().abs().sum())

    assert seen(1) == seen(1)
    assert seen(1)[0] != seen(2)[0] and seen(1)[1] != seen(2)[1]


def test_no_step_of_a_short_run_is_lost_to_a_warm_up(tiny_model: Path, data: Path, tmp_path: Path) -> None:
    assert Built({}, tiny_model, data, tmp_path).learning_rates(3)[0] == 2e-4
    assert Built({}, tiny_model, data, tmp_path).learning_rates(40)[0] == 0  # 1.2 steps, so two of them


def test_a_warm_up_over_all_steps_is_no_single_step(tiny_model: Path, data: Path, tmp_path: Path) -> None:
    rates = Built({"warmup_ratio": 1.0}, tiny_model, data, tmp_path).learning_rates(10)
    assert rates == pytest.approx([2e-4 * step / 10 for step in range(10)])


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU, so asking for one is right")
    with pytest.raises(UserError, match="0 GPUs"):
        base_model.choose_device("cuda:0")


def test_base_model_is_the_one_loaded(tiny_model: Path, embedded_model: Path) -> None:
    small = base_model.load_model(str(tiny_model), "cpu", "fp32")
    assert small.config.hidden_size == 32
    assert fingerprints.of_model(str(tiny_model)) != fingerprints.of_model(str(embedded_model))


def test_the_config_file_is_read_and_checked(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(json.dumps({"lora_rank": 3}))
    assert load(TrainConfig, tmp_path / "c.json").lora_rank == 3
    (tmp_path / "c.json").write_text("{")
    with pytest.raises(UserError, match="not a JSON object"):
        load(TrainConfig, tmp_path / "c.json")
    (tmp_path / "c.json").write_text(json.dumps({"lora_ranks": 3}))
    with pytest.raises(UserError, match="lora_ranks"):
        load(TrainConfig, tmp_path / "c.json")


def test_more_space_than_there_is_is_refused_before_the_first_step(
    tiny_model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = Built({}, tiny_model, data, tmp_path)
    free = argparse.Namespace(free=1 << 20)
    monkeypatch.setattr(saving.shutil, "disk_usage", lambda _: free)
    with pytest.raises(UserError, match="checkpoints need"):
        saving.check_disk(built.trainer, tmp_path, 2)


def test_reporting_to_a_service_needs_its_package(tiny_model: Path, data: Path, tmp_path: Path) -> None:
    assert Built({}, tiny_model, data, tmp_path).args.report_to == []
    if importlib.util.find_spec("trackio") is not None:
        pytest.skip("this environment has trackio")
    with pytest.raises(UserError, match="trackio, but its package is not installed"):
        prepared.check_named(build(TrainConfig, {"report_to": "trackio"}))


def test_liger_kernels_are_asked_for_on_a_gpu_that_has_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def asked(device: str, **values: Any) -> bool:
        config = TrainConfig(**values)
        arguments = prepared.training_arguments(config, USUAL, device, "fp32", tmp_path, has_eval=False)
        return bool(arguments.use_liger_kernel)

    monkeypatch.setattr(prepared, "_is_installed", lambda package: package == "liger_kernel")
    assert asked("cuda") and not asked("cpu") and not asked("cuda", loss="mine:loss")
    monkeypatch.setattr(prepared, "_is_installed", lambda package: False)
    assert not asked("cuda")


def test_the_best_checkpoint_is_taken_only_if_wanted(tiny_model: Path, data: Path, tmp_path: Path) -> None:
    from engines.contract import checkpoints
    from finetune.train import take_best

    built = Built({"max_steps": 2, "save_steps": 1, "sample_tokens": 0}, tiny_model, data, tmp_path)
    built.trainer.train()
    (first, _), last = checkpoints.best(tmp_path) or (None, 0), built.trainer.eval_loss_at(2)
    lower = tmp_path / "checkpoint-1"
    checkpoints.mark_complete(lower, step=1, data="data", eval_loss=last - 1)
    weights = {name: p.detach().clone() for name, p in built.trainer.model.named_parameters() if "lora_B" in name}
    assert first is not None and take_best(built.trainer, TrainConfig(use_best=False)) == (2, last)
    assert take_best(built.trainer, TrainConfig(use_best=True)) == (1, pytest.approx(last - 1))
    assert any(not p.equal(weights[name]) for name, p in built.trainer.model.named_parameters() if name in weights)
