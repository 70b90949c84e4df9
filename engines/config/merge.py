"""The parameters of merging an adapter into its base model."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from engines.config.job import JobConfig


class MergeConfig(JobConfig):
    """How an adapter's weights are added to those of the base model."""

    rounding: Annotated[
        Literal["once", "peft"],
        Field(
            title="Rounding",
            description="once: the exact sum is rounded; peft: the adapter’s part too, as with its safe_merge",
        ),
    ] = "once"
    check: Annotated[
        bool,
        Field(title="Check", description="Run both afterwards and compare, where the memory is enough for that"),
    ] = True
