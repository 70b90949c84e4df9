"""The parameters of samples: how recordings are taken in."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from engines.config.job import JobConfig, unit


class SampleConfig(JobConfig):
    """How recordings become samples."""

    owner_name: Annotated[
        str, Field(title="Owner", description="Of a chat export: whose voice notes are taken; empty: found by id")
    ] = ""
    min_duration_sec: Annotated[
        float,
        Field(title="Shortest", ge=0.1, json_schema_extra=unit("s"), description="What is shorter is left out"),
    ] = 1.0
    max_duration_sec: Annotated[
        float,
        Field(
            title="Longest",
            gt=0.1,
            le=60,
            json_schema_extra=unit("s"),
            description="Longer recordings are cut at pauses",
        ),
    ] = 30.0
    piece_min_sec: Annotated[
        float,
        Field(
            title="Shortest piece",
            ge=0.1,
            json_schema_extra=unit("s"),
            description="Of a recording that is cut, if pauses allow",
        ),
    ] = 3.0
    piece_max_sec: Annotated[
        float,
        Field(
            title="Longest piece", gt=0.1, le=60, json_schema_extra=unit("s"), description="Of a recording that is cut"
        ),
    ] = 15.0
    loudness_lufs: Annotated[
        float,
        Field(
            title="Loudness",
            ge=-50,
            le=-5,
            json_schema_extra=unit("LUFS"),
            description="Each sample is brought to it, peaks kept below full scale",
        ),
    ] = -23.0
    denoise: Annotated[
        bool, Field(title="Denoise", description="Take steady noise out by spectral gating; speech loses a little too")
    ] = False
    find_speakers: Annotated[
        bool,
        Field(title="Find speakers", description="Compare voices, within a sample and among all, to find strangers"),
    ] = True
