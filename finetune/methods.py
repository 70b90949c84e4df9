"""What of a model is trained and how: LoRA and its variants or all weights, by the rules of the model's family."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from engines.config.families import Family
from engines.config.train import TrainConfig
from engines.contract.errors import UserError

OPTIMIZERS = {
    "adamw": "adamw_torch",
    "adamw_8bit": "adamw_8bit",
    "paged_adamw_8bit": "paged_adamw_8bit",
    "paged_adamw_32bit": "paged_adamw_32bit",
}

OUT_OF_MEMORY = ("out of memory", "can't allocate memory")


def adapter_config(config: TrainConfig, family: Family) -> Any:
    """The peft configuration, or None where all weights are trained."""
    if config.method == "full":
        return None
    from peft import LoraConfig

    targets: list[str] | str = config.target_modules
    return LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules="all-linear" if targets == ["all-linear"] else targets,
        exclude_modules="|".join(rf"{name}(\..*)?" for name in family.apart) or None,
        use_rslora=config.use_rslora,
        use_dora=config.use_dora,
        bias="none",
        task_type="CAUSAL_LM",
    )


def check_targets(model: Any, config: TrainConfig) -> None:
    """Raises UserError if one of the layers that shall get an adapter is not in the model.

    peft alone says so only if none of them is there, and trains the others in silence.
    """
    if config.method == "full" or config.target_modules == ["all-linear"]:
        return
    names = [name for name, _ in model.named_modules() if name]
    missing = [
        target for target in config.target_modules if not any(f".{name}".endswith(f".{target}") for name in names)
    ]
    if missing:
        layers = {name.rpartition(".")[2] for name, module in model.named_modules() if _is_linear(module)} - {"lm_head"}
        raise UserError(
            "usage",
            f"the model has no layers called {', '.join(name or repr(name) for name in missing)}",
            f"Set target_modules to all-linear or to some of: {', '.join(sorted(layers))}.",
        )


def _is_linear(module: Any) -> bool:
    return "Linear" in type(module).__name__  # those in 4 bit too


def freeze_towers(model: Any, family: Family) -> None:
    """Parts that see and hear are not trained on text: they stay as they are, in fp32 so that nothing overflows."""
    for name, module in model.named_modules():
        if name.rpartition(".")[2] in family.towers:
            module.requires_grad_(False)
            module.float()


def optimizer_name(config: TrainConfig, family: Family) -> str:
    """The optimizer in the words of transformers."""
    return OPTIMIZERS[family.optimizer if config.optimizer == "auto" else config.optimizer]


def custom_loss(name: str) -> Callable[..., Any]:
    """The function behind `package.module:function` or `FILE.py:function`.

    It is called as loss(model, inputs, num_items_in_batch) and returns a scalar tensor; inputs holds input_ids,
    attention_mask and labels (-100 where nothing is learned), each of shape (rows, tokens); num_items_in_batch is
    the number of learned tokens of the whole optimizer step. Raises UserError if it cannot be found.
    """
    place, _, function = name.rpartition(":")
    try:
        if place.endswith(".py"):
            spec = importlib.util.spec_from_file_location("custom_loss", Path(place).expanduser())
            if spec is None or spec.loader is None:
                raise ImportError(f"{place} is not a Python file")
            module = importlib.util.module_from_spec(spec)
            sys.modules["custom_loss"] = module
            spec.loader.exec_module(module)
        else:
            module = importlib.import_module(place)
        found = getattr(module, function)
    except Exception as error:
        raise UserError(
            "bad_input",
            f"the loss {name} cannot be loaded: {type(error).__name__}: {error}",
            "Name it as package.module:function or FILE.py:function.",
        ) from error
    if not callable(found):
        raise UserError("bad_input", f"the loss {name} is not a function", "Name a function.")
    try:
        inspect.signature(found).bind("model", "inputs", "num_items_in_batch")
    except TypeError:
        raise UserError(
            "bad_input",
            f"the loss {name} takes {inspect.signature(found)}",
            "Let it take (model, inputs, num_items_in_batch).",
        ) from None
    except ValueError:
        pass  # of a built-in function nobody knows
    return partial(_called, found, name)


def _called(loss: Callable[..., Any], name: str, *arguments: Any) -> Any:
    """What `loss` returns. Raises UserError, with the line of its own file, for a fault in it."""
    try:
        return loss(*arguments)
    except Exception as error:
        if isinstance(error, MemoryError) or any(words in str(error) for words in OUT_OF_MEMORY):
            raise  # no fault of the loss
        traceback.print_exc()
        frames = traceback.extract_tb(error.__traceback__)[1:]
        line = next(
            (f" in line {frame.lineno}" for frame in reversed(frames) if frame.filename == frames[0].filename), ""
        )
        words = ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])
        raise UserError(
            "bad_input", f"the loss {name} failed{line}: {words[:200]}", "Mend it; the log has the whole story."
        ) from error
