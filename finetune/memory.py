"""How much memory a training will take at its peak, by part, without allocating it.

Weights, adapter and optimizer are counted on a model without storage (device meta). Activations
are measured, not guessed: a forward and backward pass of the real architecture runs on fake
tensors, which have shapes and lifetimes but no content, and the bytes alive are counted at every
operation. Two depths are run, since memory grows by the same amount with each layer.
"""

from __future__ import annotations

import copy
import weakref
from dataclasses import asdict, dataclass
from typing import Any

import torch
from accelerate.utils import convert_outputs_to_fp32
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from torch.utils.weak import WeakIdKeyDictionary

from engines.config.families import Family
from engines.config.train import TrainConfig
from finetune import base_model, fast, methods
from finetune.fast.loss import loss_of_learned
from finetune.fast.packs import divide
from finetune.fast.probe import bf16_products_are_fast

DEPTHS = (2, 4)  # layers that are run; all of them where there are no more
NF4_BYTES = 0.516  # of a parameter: 4 bits, and the block scales quantised once more (64 and 256 a block, 32 bits)
OPTIMIZER_BYTES = {"adamw_torch": 8, "adamw_8bit": 2, "paged_adamw_8bit": 2, "paged_adamw_32bit": 8}
FIRST_USE = 100 << 20  # of libraries' code that only a training touches, or makes: 104 MB were measured
GPU_RUNTIME = 450 << 20  # CUDA's context and the workspaces of cuBLAS
LOSS_CHUNK = 1 << 25  # bytes of logits at once in fp32, see fast/loss.py


@dataclass(frozen=True)
class Footprint:
    """Bytes at the peak of a training step."""

    runtime: int
    weights: int
    adapter: int
    optimizer: int
    gradients: int
    activations: int
    logits: int

    @property
    def total(self) -> int:
        return sum(asdict(self).values())


@dataclass(frozen=True)
class Plan:
    """What decides the footprint beside the model: as a training would run it.

    tokens: of a pass; passes: side by side; packed: frozen layers hold their weight twice, in bf16 for a CPU;
    padded: rows of a batch that is padded to the longest one and computed with its loss, 0: rows laid end to end.
    """

    device: str
    precision: str
    quantization: str
    tokens: int
    passes: int = 1
    packed: bool = False
    padded: int = 0

    @property
    def autocast(self) -> bool:
        return self.precision != "fp32" and not self.packed


def plan(config: TrainConfig, configuration: Any, device: str, lengths: list[int]) -> Plan:
    """How a training of rows with these lengths, in tokens, would be run on `device`: see finetune/fast.

    configuration: the model's, of transformers.
    """
    precision = base_model.choose_precision(config.precision, device)
    quantization = (
        base_model.choose_quantization(config.quantization, device, config.base_model)
        if config.method == "lora"
        else "none"
    )
    longest = sorted(lengths, reverse=True)
    batch = longest[0] * config.batch_size
    if config.loss or fast.not_for(configuration):
        return Plan(device, precision, quantization, batch, padded=config.batch_size)
    on_cpu, adapter = device == "cpu", config.method == "lora"
    threads = min(base_model.set_threads(), config.rows_per_step, fast.MOST_PACKS) if on_cpu and adapter else 1
    packs = divide(longest[: config.rows_per_step], threads, max(fast.LEAST_LIMIT, batch))
    plain = adapter and not config.use_dora and quantization == "none"  # layers that can be packed
    return Plan(
        device,
        precision,
        quantization,
        tokens=max(sum(longest[at] for at in pack) for pack in packs),
        passes=min(threads, len(packs)),
        packed=on_cpu and plain and precision == "bf16" and bf16_products_are_fast(),
    )


class Meter(TorchDispatchMode):
    """Counts the bytes of all storages that come to life under it, now and at the most."""

    def __init__(self, known: Any) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._live = WeakIdKeyDictionary()
        for tensor in known:
            self._live[tensor.untyped_storage()] = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        tree_map_only(torch.Tensor, self._count, result)
        return result

    def _count(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage in self._live:
            return
        size = storage.nbytes()
        self._live[storage] = size
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._freed, size)

    def _freed(self, size: int) -> None:
        self.now -= size


def empty_model(configuration: Any, dtype: torch.dtype, layers: int | None = None, attention: str | None = None) -> Any:
    """The text part of the architecture without storage, with `layers` layers instead of all.

    attention: as transformers calls it, None: the best that the architecture can have.
    """
    from transformers import AutoModelForCausalLM

    text = copy.deepcopy(configuration.get_text_config())
    if layers is not None:
        text.num_hidden_layers = layers
        for name in ("layer_types", "intermediate_size", "activation_sparsity_pattern", "mlp_layer_types"):
            if isinstance(getattr(text, name, None), list):
                setattr(text, name, getattr(text, name)[:layers])
        if getattr(text, "num_kv_shared_layers", 0):
            text.num_kv_shared_layers = 0
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(text, dtype=dtype, attn_implementation=attention)


def with_adapter(model: Any, config: TrainConfig, family: Family) -> Any:
    adapter = methods.adapter_config(config, family)
    if adapter is None:
        return model
    from peft import get_peft_model

    methods.check_targets(model, config)
    return get_peft_model(model, adapter)


def count(configuration: Any, config: TrainConfig, family: Family) -> dict[str, int]:
    """Parameters: all, linear (frozen matrices between embedding and head), trained."""
    model = empty_model(configuration, torch.bfloat16)
    head = model.get_output_embeddings()
    linear = sum(m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head)
    total = sum(parameter.numel() for parameter in model.parameters())
    trained = sum(p.numel() for p in with_adapter(model, config, family).parameters() if p.requires_grad)
    return {"all": total, "linear": linear, "head": head.weight.numel(), "trained": trained, "layers": _layers(model)}


def _layers(model: Any) -> int:
    return int(model.config.get_text_config().num_hidden_layers)


def activations(configuration: Any, config: TrainConfig, family: Family, plan: Plan) -> int:
    """Bytes alive at the most in the forward and the backward pass over `plan.tokens` tokens.

    With the loss of a padded batch; where rows are laid end to end, `logits` has it. What is alive where the passes
    meet, and what is left at the end (gradients), each grows by the same amount with each layer; what comes and goes
    meanwhile does not grow.
    """
    layers = int(configuration.get_text_config().num_hidden_layers)
    if layers <= DEPTHS[1]:
        return _passes(configuration, config, family, plan, layers)[2]
    more = layers - DEPTHS[1]
    small, large = (_passes(configuration, config, family, plan, depth) for depth in DEPTHS)
    between, at_end = (
        high + more * (high - low) // (DEPTHS[1] - DEPTHS[0]) for low, high in zip(small[:2], large[:2], strict=True)
    )
    return max(between, at_end) + large[2] - max(large[:2])


def _passes(configuration: Any, config: TrainConfig, family: Family, plan: Plan, layers: int) -> tuple[int, int, int]:
    """Bytes alive between forward and backward pass through `layers` layers, after both, and at the most."""
    whole = plan.packed or plan.precision == "fp32" or config.method == "full"
    attention = "eager" if plan.padded and plan.device == "cpu" else None  # as base_model loads it, or fast sets it
    model = empty_model(configuration, torch.float32 if whole else torch.bfloat16, layers, attention)
    model = with_adapter(model, config, family)
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            model = model.to_empty(device="cpu").train()
            if config.gradient_checkpointing:
                model.gradient_checkpointing_enable({"use_reentrant": False})
                model.enable_input_require_grads()
            rows = max(1, plan.padded)
            ids = torch.zeros((rows, plan.tokens // rows), dtype=torch.long)
            with Meter([*model.parameters(), *model.buffers(), ids]) as meter:
                with torch.autocast("cpu", torch.bfloat16, enabled=plan.autocast):
                    result = _with_loss(model, ids, config, plan) if plan.padded else _last_states(model, ids)
                between = meter.now
                result.backward(torch.ones_like(result))
                return between, meter.now, meter.peak
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(False)


def _last_states(model: Any, ids: torch.Tensor) -> torch.Tensor:
    states: torch.Tensor = _causal(model).base_model(input_ids=ids, use_cache=False).last_hidden_state
    return states


def _with_loss(model: Any, ids: torch.Tensor, config: TrainConfig, plan: Plan) -> torch.Tensor:
    """The loss of a padded batch: one's own, else as TRL computes it."""
    if plan.autocast:
        model.forward = convert_outputs_to_fp32(model.forward)  # as Accelerate does
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids}
    if config.loss:
        own: torch.Tensor = methods.custom_loss(config.loss)(model, inputs, ids.numel())
        return own
    from trl.trainer.utils import add_fused_lm_head

    add_fused_lm_head(_causal(model), outputs=("log_probs", "entropy", "is_top1"))
    likelihoods: torch.Tensor = model(**inputs, fused_lm_head=True).log_probs
    return -likelihoods.sum()


def _causal(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def logits(configuration: Any, config: TrainConfig, plan: Plan) -> int:
    """Bytes alive at the most in the loss, a chunk at a time; with the gradients of a head that is trained."""
    if plan.padded:
        return 0  # they are among the activations
    text = configuration.get_text_config()
    cap = getattr(text, "final_logit_softcapping", None)
    if config.method != "full":
        held = 3 if cap else 2  # the logits, what is made of them, and a cap's slope
        return min(LOSS_CHUNK, plan.tokens * int(text.vocab_size) * 4) * held * plan.passes
    with FakeTensorMode():
        head = torch.nn.Linear(int(text.hidden_size), int(text.vocab_size), bias=False)
        hidden = torch.zeros((plan.tokens, head.in_features), requires_grad=True)
        targets = torch.zeros(plan.tokens, dtype=torch.long)
        with Meter([head.weight, hidden, targets]) as meter:
            with torch.autocast("cpu", torch.bfloat16, enabled=plan.autocast):
                loss = loss_of_learned(hidden, targets, head, cap)
            loss.backward()
            return meter.peak


def estimate(
    configuration: Any, config: TrainConfig, family: Family, plan: Plan, *, runtime: int, parameters: dict[str, int]
) -> Footprint:
    """The footprint of a training.

    configuration: the model's, of transformers; runtime: bytes of the interpreter and its libraries on a CPU;
    parameters: from `count`. Raises nothing; fake tensors need no memory worth speaking of.
    """
    width = 4 if plan.precision == "fp32" or config.method == "full" else 2
    frozen = 0 if config.method == "full" else parameters["linear"]
    rest = parameters["all"] - frozen
    if plan.quantization == "nf4":
        weights = int(frozen * NF4_BYTES) + rest * 2
    elif plan.packed:
        weights = (frozen + parameters["head"]) * 4 + (parameters["all"] - frozen) * 2
    else:
        weights = parameters["all"] * width
    trained = parameters["trained"]
    return Footprint(
        runtime=GPU_RUNTIME if plan.device.startswith("cuda") else runtime + FIRST_USE,
        weights=weights,
        adapter=0 if config.method == "full" else trained * 4,
        optimizer=trained * OPTIMIZER_BYTES[methods.optimizer_name(config, family)],
        gradients=trained * 4 * (plan.passes - 1),  # those of one pass are among the activations
        activations=activations(configuration, config, family, plan) * plan.passes,
        logits=logits(configuration, config, plan),
    )
