"""The fast way through a training step computes what the plain one does, for models of several architectures."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from sample_rows import dialog_rows
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3Config,
    Gemma3ForCausalLM,
    Gemma3ForConditionalGeneration,
    Gemma3nForCausalLM,
    Gemma3nTextConfig,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from engines.contract.errors import UserError
from finetune import base_model, fast
from finetune.fast import dropout, heap, linear, loss, packs, probe
from finetune.fast.packs import Row
from finetune.gauges import rss
from finetune.rows import Dialog, Encoded, encode

SIZES = {
    "vocab_size": 300,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
MODELS: dict[str, tuple[Any, Any]] = {
    "llama": (LlamaForCausalLM, LlamaConfig(**SIZES, tie_word_embeddings=True)),
    "llama untied": (LlamaForCausalLM, LlamaConfig(**SIZES, tie_word_embeddings=False)),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config(**SIZES)),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config(**SIZES, head_dim=16)),
    "gemma3": (Gemma3ForCausalLM, Gemma3TextConfig(**SIZES, head_dim=16, sliding_window=7, query_pre_attn_scalar=16)),
    "gemma3 with pictures": (
        Gemma3ForConditionalGeneration,
        Gemma3Config(
            text_config={**SIZES, "head_dim": 16, "sliding_window": 7, "query_pre_attn_scalar": 16, "pad_token_id": 0},
            vision_config={"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1,
                           "num_attention_heads": 2, "image_size": 16, "patch_size": 8},
            mm_tokens_per_image=4, image_token_id=299,
        ),
    ),
    "gemma3n": (
        Gemma3nForCausalLM,
        Gemma3nTextConfig(
            **{**SIZES, "intermediate_size": [96] * 3}, head_dim=16, sliding_window=7, final_logit_softcapping=0.5,
            vocab_size_per_layer_input=300, hidden_size_per_layer_input=16, num_kv_shared_layers=1, laurel_rank=16,
            altup_num_inputs=2, layer_types=["sliding_attention", "full_attention", "full_attention"],
            activation_sparsity_pattern=[0.0] * 3,
        ),
    ),
}  # fmt: skip
needs_bf16 = pytest.mark.skipif(not probe.bf16_products_are_fast(), reason="this processor has no fast bf16")


def tiny(name: str, *, dropout: float = 0.0, **lora: Any) -> Any:
    """A random model with an adapter whose gradients are not zero."""
    made, config = MODELS[name]
    torch.manual_seed(5)
    model = made(copy.deepcopy(config))
    settings: dict[str, Any] = {"r": 4, "lora_dropout": dropout, "target_modules": ["q_proj", "v_proj", "down_proj"]}
    model = get_peft_model(model, LoraConfig(**(settings | lora), task_type="CAUSAL_LM"))
    for name_, parameter in model.named_parameters():
        if "lora_" in name_:
            torch.nn.init.normal_(parameter, std=0.2)
    return model


def some_rows(lengths: tuple[int, ...] = (23, 9, 31, 14), vocabulary: int = 300) -> list[Row]:
    """Random rows of which the last two thirds are learned."""
    generator = torch.Generator().manual_seed(3)
    rows = []
    for length in lengths:
        ids = torch.randint(0, vocabulary, (length,), generator=generator)
        labels = ids.clone()
        labels[: length // 3] = -100
        rows.append(Row(ids, labels))
    return rows


def learned(rows: list[Row]) -> int:
    return sum(int((row.labels[1:] != -100).sum()) for row in rows)


def prepared(model: Any, rows: list[Row], precision: str = "fp32", rows_per_step: int = 4) -> fast.Step:
    step = fast.prepare(model, rows, batch_size=1, rows_per_step=rows_per_step, precision=precision)
    assert step is not None
    return step


def fast_gradients(model: Any, step: fast.Step, rows: list[Row]) -> tuple[float, list[torch.Tensor]]:
    model.zero_grad()
    value = step.gradients(rows, learned(rows), lambda loss: loss.backward())
    return float(value), gradients_of(model)


def plain_gradients(model: Any, rows: list[Row]) -> tuple[float, list[torch.Tensor]]:
    """By transformers' own loss, row by row, divided by the learned tokens of all rows."""
    model.zero_grad()
    total = 0.0
    for row in rows:
        value = model(input_ids=row.ids[None], labels=row.labels[None], num_items_in_batch=learned(rows)).loss
        value.backward()
        total += float(value.detach())
    return total, gradients_of(model)


def gradients_of(model: Any) -> list[torch.Tensor]:
    return [p.grad.clone() for p in model.parameters() if p.requires_grad and p.grad is not None]


def distance(found: list[torch.Tensor], wanted: list[torch.Tensor]) -> float:
    flat = [torch.cat([g.flatten().float() for g in gradients]) for gradients in (found, wanted)]
    return float((flat[0] - flat[1]).norm() / flat[1].norm())


@pytest.mark.parametrize("name", MODELS)
def test_loss_and_gradients_are_those_of_the_model_itself(name: str) -> None:
    model, rows = tiny(name), some_rows()
    wanted, gradients = plain_gradients(model, rows)
    step = prepared(model, rows)
    model.train()
    found, fast_ones = fast_gradients(model, step, rows)
    assert found == pytest.approx(wanted, rel=1e-5)
    assert len(fast_ones) == len(gradients) and distance(fast_ones, gradients) < 1e-4
    assert step.mean_loss(rows) == pytest.approx(wanted, rel=1e-5)


@needs_bf16
@pytest.mark.parametrize("name", MODELS)
def test_packed_gradients_are_no_farther_from_fp32_than_those_of_autocast(name: str) -> None:
    rows = some_rows((40, 25, 33, 50))
    _, exact = plain_gradients(tiny(name), rows)
    with torch.autocast("cpu", torch.bfloat16):
        _, rounded = plain_gradients(tiny(name), rows)
    model = tiny(name)
    for parameter in model.parameters():
        if not parameter.requires_grad:  # as a base model is loaded
            parameter.data = parameter.data.bfloat16()
    step = prepared(model, rows, "bf16")
    assert step.autocast is None
    left = [part for place, part in frozen_modules(model) if type(part) is torch.nn.Linear and "vision" not in place]
    assert all(min(part.weight.shape) < linear.SMALL for part in left)
    model.train()
    _, fast_ones = fast_gradients(model, step, rows)
    assert 0 < distance(fast_ones, exact) <= distance(rounded, exact)


def frozen_modules(model: Any) -> list[tuple[str, Any]]:
    return [
        (name, module)
        for name, module in model.named_modules()
        if list(module.parameters(False)) and not any(p.requires_grad for p in module.parameters())
    ]


@needs_bf16
@pytest.mark.model
def test_the_same_of_the_embedded_model(embedded_model: Path) -> None:
    dialogs = [Dialog(row["messages"], row["conversation"]) for row in dialog_rows(2)]
    encoded = encode(dialogs, base_model.load_tokenizer(str(embedded_model)), 512)
    rows = [Row(torch.tensor(a), torch.tensor(b)) for a, b in zip(encoded.input_ids, encoded.labels, strict=True)]

    def model(precision: str) -> Any:
        torch.manual_seed(1)
        config = LoraConfig(r=8, lora_dropout=0.0, target_modules=["q_proj", "k_proj", "v_proj"], task_type="CAUSAL_LM")
        made = get_peft_model(base_model.load_model(str(embedded_model), "cpu", precision), config)
        for name, parameter in made.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.02)
        return made

    _, exact = plain_gradients(model("fp32"), rows)
    with torch.autocast("cpu", torch.bfloat16):
        _, rounded = plain_gradients(model("fp32"), rows)
    ours = model("bf16")
    step = prepared(ours, rows, "bf16")
    ours.train()
    _, fast_ones = fast_gradients(ours, step, rows)
    print(f"distance from fp32: autocast {distance(rounded, exact):.4f}, ours {distance(fast_ones, exact):.4f}")
    assert distance(fast_ones, exact) <= distance(rounded, exact)


def test_what_is_not_frozen_or_not_plain_stays_as_it_is() -> None:
    rows = some_rows()
    whole = MODELS["llama"][0](MODELS["llama"][1])  # full fine-tuning
    _, wanted = plain_gradients(whole, rows)
    step = prepared(whole, rows)
    whole.train()
    assert step.side_by_side == 1 and distance(fast_gradients(whole, step, rows)[1], wanted) < 1e-4
    dora = tiny("llama", use_dora=True)
    for parameter in dora.parameters():
        if not parameter.requires_grad:
            parameter.data = parameter.data.bfloat16()
    step = prepared(dora, rows, "bf16")
    assert step.autocast == torch.bfloat16 and not any(isinstance(m, linear.PackedLinear) for m in dora.modules())
    assert fast_gradients(dora, step, rows)[0] > 0


def test_a_model_whose_logits_would_change_is_refused_and_left_as_it_was(capfd: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(1)
    model = Gemma2ForCausalLM(Gemma2Config(**SIZES, head_dim=16))
    assert fast.prepare(model, some_rows(), batch_size=1, rows_per_step=4, precision="fp32") is None
    assert "the attention of this model is capped" in capfd.readouterr().out
    model.config.attn_logit_softcapping = None  # the cap is still there, and is measured
    model.model.layers[0].self_attn.attn_logit_softcapping = 0.01
    own = model.config._attn_implementation
    for parameter in model.parameters():
        parameter.data *= 5
    assert fast.prepare(model, some_rows(), batch_size=1, rows_per_step=4, precision="fp32") is None
    assert "differ" in capfd.readouterr().out and model.config._attn_implementation == own


@pytest.mark.parametrize("cap", [None, 2.0])
@pytest.mark.parametrize("kind", ["frozen", "bias", "trained", "packed"])
def test_a_chunked_loss_is_the_whole_one(kind: str, cap: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss, "CHUNK_LOGITS", 20 * 500)  # three chunks
    torch.manual_seed(2)
    head = torch.nn.Linear(32, 500, bias=kind == "bias").requires_grad_(kind == "trained")
    states, targets = torch.randn(70, 32, requires_grad=True), torch.randint(0, 500, (70,))
    targets[:20] = -100
    used = linear.PackedLinear(head) if kind == "packed" else head
    logits = head(states) if cap is None else cap * torch.tanh(head(states) / cap)
    wanted = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
    wanted_gradients = torch.autograd.grad(wanted / 7, [states, *(head.parameters() if kind == "trained" else [])])
    found = loss.chunked_loss(states, targets, used, cap)
    gradients = torch.autograd.grad(found / 7, [states, *(head.parameters() if kind == "trained" else [])])
    rough = kind == "packed"
    assert float(found) == pytest.approx(float(wanted), rel=1e-3 if rough else 1e-5)
    assert distance(list(gradients), list(wanted_gradients)) < (1e-2 if rough else 1e-5)
    nothing = loss.chunked_loss(states, torch.full_like(targets, -100), used, cap)
    assert float(nothing) == 0 and not torch.autograd.grad(nothing, states)[0].any()


def test_the_full_logits_are_never_held() -> None:
    """A head that notes what it is asked for: never more rows than a chunk has."""
    asked: list[int] = []
    head = torch.nn.Linear(8, 40_000, bias=False).requires_grad_(False)
    head.register_forward_hook(lambda _, args, __: asked.append(len(args[0])))
    states = torch.randn(1000, 8, requires_grad=True)
    loss.chunked_loss(states, torch.randint(0, 40_000, (1000,)), head).backward()
    assert sum(asked) == 1000 and max(asked) <= loss.CHUNK_LOGITS // 40_000 + 1


def test_threads_side_by_side_give_the_same_bits_in_every_way() -> None:
    rows = some_rows((70, 50, 64, 33, 80, 41))
    model = tiny("qwen2", dropout=0.1)
    step = fast.prepare(model, rows, batch_size=1, rows_per_step=6, precision="fp32")
    assert step is not None
    step = fast.Step(step.model, limit=256, autocast=None, side_by_side=2)
    model.train()
    seen = []
    for way in (probe.Way(1, 2), probe.Way(2, 1), probe.Way(1, 1), probe.Way(2, 1)):
        step.pace.way, step.pace.ways = way, [way]
        torch.manual_seed(9)
        seen.append(fast_gradients(model, step, rows))
    for value, gradients in seen[1:]:
        assert value == seen[0][0]
        assert all(torch.equal(a, b) for a, b in zip(gradients, seen[0][1], strict=True))


def test_dropout_follows_its_seed_also_when_layers_are_computed_again() -> None:
    layer = dropout.SeededDropout(0.25, 3)
    x = torch.ones(1000, 33)
    dropout.seed_thread(1)
    first = layer(x)
    assert torch.equal(first, layer(x))
    assert abs(float((first == 0).float().mean()) - 0.25) < 0.01 and float(first.mean()) == pytest.approx(1, abs=0.02)
    dropout.seed_thread(2)
    assert not torch.equal(first, layer(x))
    assert torch.equal(layer.eval()(x), x)

    model, rows = tiny("llama", dropout=0.2), some_rows()
    step = prepared(model, rows)
    model.train()
    torch.manual_seed(1)
    plain = fast_gradients(model, step, rows)
    model.enable_input_require_grads()
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    torch.manual_seed(1)
    again = fast_gradients(model, step, rows)
    assert again[0] == plain[0] and distance(again[1], plain[1]) < 1e-6
    torch.manual_seed(2)
    assert fast_gradients(model, step, rows)[0] != plain[0]


def test_packs_are_even_whole_and_bounded() -> None:
    lengths = [60, 200, 75, 90, 300, 64, 128, 99, 61, 80]
    plan = packs.divide(lengths, 2, 256)
    assert sorted(number for pack in plan for number in pack) == list(range(len(lengths)))
    sizes = [sum(lengths[number] for number in pack) for pack in plan]
    assert len(plan) % 2 == 0 and max(sizes) <= 320 and len(plan) == 6
    assert packs.divide([20, 20], 2, 256) == [[0, 1]]  # too few tokens for two
    assert packs.divide([500], 4, 256) == [[0]]


def test_the_pace_settles_on_the_fastest_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    clock = [0.0]
    monkeypatch.setattr(probe.time, "monotonic", lambda: clock[0])
    pace = probe.Pace(4)
    cost = {1: 3.0, 2: 1.0, 4: 2.0}
    tried = []
    while not pace.settled:
        tried.append(pace.way.workers)
        with pace.measured(10):
            clock[0] += cost[pace.way.workers] * (5 if len(tried) <= 3 else 1)
    assert sorted(tried) == [1, 1, 1, 2, 2, 2, 4, 4, 4]
    assert pace.way == probe.Way(2, 2)


def test_what_is_freed_goes_back_to_the_system() -> None:
    def some() -> list[torch.Tensor]:
        return [torch.ones(1 << 18) for _ in range(300)]

    some()  # from now on malloc takes blocks of this size from its heap
    watched = heap.Heap()
    watched.size = 0
    last = some()[-1]
    before = rss()
    watched.tidy()
    assert rss() < before - (200 << 20) and float(last.sum()) == 1 << 18


def test_the_heap_is_looked_at_before_each_layer_is_computed_and_computed_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks: list[int] = []
    monkeypatch.setattr(heap.Heap, "tidy", lambda _: looks.append(1))
    model = LlamaForCausalLM(LlamaConfig(**SIZES)).train()
    heap.tidy_between_layers(model)
    ids = torch.arange(20)[None]
    model(ids).logits.sum().backward()
    assert not looks  # without checkpointing nothing is computed again, and nothing is done
    model.activation_checkpointing_enable()
    heap.tidy_between_layers(model)
    model(ids).logits.sum().backward()
    assert len(looks) == 2 * SIZES["num_hidden_layers"]


def test_an_adapter_on_the_vocabulary_is_refused() -> None:
    from finetune.trainer import Trainer

    adapter = LoraConfig(target_modules=["q_proj", "lm_head"])
    with pytest.raises(UserError, match="lm_head"):
        Trainer(None, None, None, adapter, (Encoded(), Encoded()), "data", None, kept=1)
