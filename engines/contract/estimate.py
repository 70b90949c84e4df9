"""What a run will cost and whether its parameters make sense for the data, before it starts."""

from __future__ import annotations

import math

from engines.config.train import TrainConfig
from engines.contract.errors import UserError

FEW_STEPS = 10
SENSIBLE_STEPS = 20


def optimizer_steps(rows: int, config: TrainConfig) -> int:
    """How many times the weights are changed in the whole run.

    As the trainer counts: an epoch ends with a step even if its last accumulation is not full.
    """
    if config.max_steps:
        return config.max_steps
    per_epoch = math.ceil(math.ceil(rows / config.batch_size) / config.gradient_accumulation_steps)
    return math.ceil(per_epoch * config.num_epochs)


def sensible_accumulation(rows: int, config: TrainConfig) -> int:
    """An accumulation that gives about `SENSIBLE_STEPS` steps an epoch."""
    return max(1, rows // (SENSIBLE_STEPS * config.batch_size))


def check_steps(rows: int, config: TrainConfig) -> str | None:
    """A warning about too few optimizer steps, or None.

    Raises UserError if one step wants more rows than there are: such a run would change the
    weights hardly at all, and look as if it had worked.
    """
    wanted = config.rows_per_step
    if config.batch_size > rows:
        raise UserError(
            "usage",
            f"one batch takes {config.batch_size} rows, but there are {rows} to train on",
            f"Set batch_size to 1 and gradient_accumulation_steps to {max(1, rows // SENSIBLE_STEPS)}.",
        )
    better = sensible_accumulation(rows, config)
    if wanted > rows:
        raise UserError(
            "usage",
            f"one optimizer step takes {wanted} rows (batch size {config.batch_size} × accumulation "
            f"{config.gradient_accumulation_steps}), but there are {rows} to train on",
            f"Set gradient_accumulation_steps to {better}, which gives about "
            f"{optimizer_steps(rows, config.model_copy(update={'gradient_accumulation_steps': better}))} steps.",
        )
    steps = optimizer_steps(rows, config)
    if steps < FEW_STEPS and not config.max_steps:
        return f"only {steps} optimizer steps; {_for_more_steps(rows, config)} would give more"
    return None


def _for_more_steps(rows: int, config: TrainConfig) -> str:
    """The first parameter that can still be lowered for more steps, else more epochs."""
    accumulation = sensible_accumulation(rows, config)
    if accumulation < config.gradient_accumulation_steps:
        return f"gradient_accumulation_steps {accumulation}"
    batch = max(1, rows // (SENSIBLE_STEPS * config.gradient_accumulation_steps))
    if batch < config.batch_size:
        return f"batch_size {batch}"
    return f"num_epochs {math.ceil(SENSIBLE_STEPS * config.rows_per_step / rows)}"
