"""A faster way through a training step for any causal language model, where it is measured to be right and faster.

`prepare` makes a model ready and gives a `Step`, which computes the loss and the gradients of
the rows of an optimizer step: laid end to end without padding (`packs`), each attending to itself
alone (`attention`), frozen products packed (`linear`), the vocabulary in chunks (`loss`), by
threads side by side (`step`, `dropout`). What is fastest here, `probe` measures.
"""

from __future__ import annotations

from typing import Any

import torch

from engines.contract.events import emit
from finetune.fast import attention, probe
from finetune.fast.dropout import other_dropouts, seed_dropouts
from finetune.fast.linear import pack_frozen
from finetune.fast.loss import capped
from finetune.fast.packs import Row
from finetune.fast.step import Step

LEAST_LIMIT = 256  # tokens of a pack
CHECKED_TOKENS = 24  # of each of two rows
MOST_DIFFERENCE = 0.05  # of logits, relative; bf16 itself makes about 0.01
MOST_PACKS = 4  # at once: Python itself runs in one thread at a time
MOST_TRAINED = 0.2  # of the weights, for more than one pack at once


def prepare(model: Any, rows: list[Row], *, batch_size: int, rows_per_step: int, precision: str) -> Step | None:
    """Make `model` compute fast, in place; None, and the model as it was, if it cannot be.

    model: a causal language model on its device, with a PEFT adapter on it or not. rows: the
    training set. precision: bf16, fp16 or fp32, of products.

    First two rows laid end to end must give the logits that the model itself gives for each
    alone. A pack holds as many tokens as `batch_size` of the longest rows, and at least 256.
    The random state is left as it was.
    """
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    device = next(causal.parameters()).device.type
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    limit = max(LEAST_LIMIT, batch_size * max(map(len, rows)))
    with torch.random.fork_rng(devices=None if device == "cuda" else []):
        step = Step(causal, limit=limit, autocast=dtype)
        used = _right_modules(step, rows)
        if used is None:
            return None
        seed_dropouts(causal)
        packed = 0
        if device == "cpu" and precision == "bf16" and probe.bf16_products_are_fast():
            packed = pack_frozen(causal, used)
            step.autocast = None if packed else step.autocast
    if device == "cpu":
        step = Step(causal, limit=limit, autocast=step.autocast, side_by_side=_side_by_side(step, rows_per_step))
    emit("phase", name="fast", text=_in_words(step, packed))
    return step


def not_for(configuration: Any) -> str:
    """Why no model of this architecture (its configuration, of transformers) can be made fast; empty if it may be."""
    text = configuration.get_text_config()
    if getattr(text, "attn_logit_softcapping", None):
        return "the attention of this model is capped"
    return "this model reports how it routes" if getattr(text, "output_router_logits", False) else ""


def _right_modules(step: Step, rows: list[Row]) -> set[torch.nn.Module] | None:
    """The modules that take part in a forward pass, if packs give the model's own logits; else None, and say why."""
    causal, own = step.model, step.model.config._attn_implementation
    why_not = not_for(causal.config)
    if why_not:
        emit("phase", name="fast", text=f"rows are computed one by one: {why_not}")
        return None
    used: set[torch.nn.Module] = set()
    some = [Row(row.ids[: CHECKED_TOKENS - at], row.labels[: CHECKED_TOKENS - at]) for at, row in enumerate(rows[:2])]
    training = causal.training
    causal.eval()
    hook = torch.nn.modules.module.register_module_forward_hook(lambda module, *_: used.add(module))
    try:
        with torch.no_grad(), step.precision():
            wanted = torch.cat([causal(input_ids=row.ids[None], use_cache=False).logits[0] for row in some]).float()
            causal.set_attn_implementation(attention.best_for(causal))
            found = capped(causal.get_output_embeddings()(step.hidden(some)[0]).float(), step.cap)
        difference = float((found - wanted).norm() / wanted.norm())
        reason = "" if difference < MOST_DIFFERENCE else f"its logits differ by {difference:.2f} when rows are packed"
    except (RuntimeError, TypeError, ValueError, AttributeError, KeyError, IndexError) as error:
        reason = f"this model does not take rows laid end to end: {str(error)[:200]}"
    finally:
        hook.remove()
        causal.train(training)
    if not reason:
        return used
    causal.set_attn_implementation(own)
    emit("phase", name="fast", text=f"rows are computed one by one: {reason}")
    return None


def _side_by_side(step: Step, rows_per_step: int) -> int:
    """How many packs may be computed at once: one per core, but few, for each has activations and gradients."""
    trained = sum(parameter.numel() for parameter in step.parameters)
    if trained > MOST_TRAINED * sum(p.numel() for p in step.model.parameters()) or other_dropouts(step.model):
        return 1
    return min(torch.get_num_threads(), rows_per_step, MOST_PACKS)


def _in_words(step: Step, packed: int) -> str:
    return (
        f"rows are laid end to end up to {step.limit} tokens, {step.side_by_side} such packs at once; "
        f"{packed} frozen layers are packed"
    )
