"""The parameters of a conversation with the base model and adapters."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from engines.config.job import JobConfig, unit


class ChatConfig(JobConfig):
    """How answers are drawn: with the same seed all partners draw alike, here and through a server."""

    max_new_tokens: Annotated[
        int,
        Field(
            title="Longest answer",
            ge=1,
            le=1 << 20,
            json_schema_extra=unit("tokens"),
            description="At most this much; less where the model takes less",
        ),
    ] = 200
    temperature: Annotated[
        float, Field(title="Temperature", ge=0, le=2, description="0: the likeliest words each time")
    ] = 0.0
    seed: Annotated[
        int,
        Field(
            title="Seed",
            ge=0,
            le=2**32 - 1,
            description="The same one for all partners; with a temperature it decides the words",
        ),
    ] = 1
    system: Annotated[str, Field(title="System prompt", description="A system message before everything")] = ""
