"""The parameters of making one adapter of several."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from engines.config.job import JobConfig


class CombineConfig(JobConfig):
    """How several adapters of one base model become one."""

    weights: Annotated[
        list[float],
        Field(title="Weights", description="One for each adapter, in their order; empty: equal ones that sum to 1"),
    ] = []
    method: Annotated[
        Literal["cat", "linear", "ties", "dare_linear"],
        Field(
            title="Method",
            description="cat: exactly the weighted sum, ranks add up; the others keep the rank and come near it",
        ),
    ] = "cat"
    density: Annotated[
        float, Field(title="Density", gt=0, le=1, description="ties, dare_linear: share of the values that is kept")
    ] = 0.5
    seed: Annotated[int, Field(title="Seed", ge=0, le=2**32 - 1, description="dare_linear: which values are kept")] = 42
