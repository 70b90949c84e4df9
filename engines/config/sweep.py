"""The parameters of a sweep; what is tried, the search space, is in engines/tuning/sweep_space.py."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from engines.config.job import JobConfig, unit


class SweepConfig(JobConfig):
    """How trials are chosen, compared and ended."""

    sampler: Annotated[
        Literal["tpe", "random", "grid"],
        Field(title="Sampler", description="tpe: learns from the trials so far; random; grid: each combination once"),
    ] = "tpe"
    trials: Annotated[
        int,
        Field(
            title="Trials",
            ge=0,
            le=10_000,
            json_schema_extra=unit("trials"),
            description="How many trainings; 0: 12, of a grid all",
        ),
    ] = 0
    objective: Annotated[
        Literal["eval_loss", "loss"],
        Field(
            title="Objective",
            description="By which the trials are compared: loss on the held-out part, or training loss",
        ),
    ] = "eval_loss"
    direction: Annotated[
        Literal["minimize", "maximize"], Field(title="Direction", description="What is better; of a loss: minimize")
    ] = "minimize"
    evaluations: Annotated[
        int,
        Field(
            title="Evaluations",
            ge=1,
            le=1000,
            description="Of the held-out part during each trial, at even distances; there bad trials are ended",
        ),
    ] = 5
    pruner: Annotated[
        Literal["median", "none"],
        Field(
            title="Pruner", description="median: end a trial that is worse than half of the others at the same place"
        ),
    ] = "median"
    pruner_startup: Annotated[
        int, Field(title="Never pruned", ge=1, json_schema_extra=unit("trials"), description="The first ones")
    ] = 4
    pruner_warmup: Annotated[
        int,
        Field(
            title="Pruned after",
            ge=0,
            json_schema_extra=unit("evaluations"),
            description="Not before so many of a trial",
        ),
    ] = 1
    keep_adapters: Annotated[
        bool,
        Field(
            title="Keep all adapters",
            description="Off: only the best one's stays, the others go to the trash and their checkpoints are removed",
        ),
    ] = False
    seed: Annotated[int, Field(title="Seed", ge=0, le=2**31 - 1, description="Of the choice of trials")] = 42
