"""The parameters of samples: how recordings are taken in, and how they are written down."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from engines.config.fields import Device
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


class TranscribeConfig(JobConfig):
    """How samples are written down."""

    whisper_model: Annotated[
        str,
        Field(
            title="Whisper model",
            min_length=1,
            description="tiny, base, small, medium, large-v3, turbo, or a folder with a faster-whisper model",
        ),
    ] = "large-v3"
    language: Annotated[
        str, Field(title="Language", pattern=r"^(auto|[a-z]{2,3})$", description="Of the speech: auto, or ru, en, de …")
    ] = "auto"
    decode_batch: Annotated[  # not batch_size: tts_config.json holds the training's parameters too
        int,
        Field(title="Decode batch", ge=1, le=64, json_schema_extra=unit("clips"), description="Clips decoded at once"),
    ] = 8
    beam_size: Annotated[
        int, Field(title="Beams", ge=1, le=10, description="More find better words, a little slower")
    ] = 5
    compute_type: Annotated[
        Literal["auto", "float16", "int8_float16", "int8", "float32"],
        Field(title="Compute type", description="auto: float16 on a GPU, int8 on a CPU"),
    ] = "auto"
    device: Device = "auto"
    again: Annotated[
        bool, Field(title="Again", description="Also what has a transcript; what you edited is never touched")
    ] = False
    spell_numbers: Annotated[
        bool,
        Field(title="Spell numbers", description="Write numbers as words (ru, en, de and more), as a voice reads them"),
    ] = False
