"""The parameters of an evaluation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from engines.config.fields import Device
from engines.config.job import JobConfig, unit
from engines.quality import gate


class EvaluateConfig(JobConfig):
    """What is measured of a base model and its adapters, and on what."""

    against: Annotated[
        list[str], Field(title="Other adapters", description="Compared too; they must have the same base model")
    ] = []
    general: Annotated[
        bool,
        Field(
            title="Forgetting", description="Measure also on a small general set, English and Russian: what was lost"
        ),
    ] = True
    also: Annotated[
        list[str], Field(title="More sets", description="Other datasets or .jsonl files to measure on, by name or path")
    ] = []
    max_rows: Annotated[
        int,
        Field(
            title="Most rows",
            ge=0,
            json_schema_extra=unit("rows"),
            description="Of each set, spread evenly over it and reported; 0: all",
        ),
    ] = 400
    answers: Annotated[
        int,
        Field(
            title="Answers",
            ge=0,
            json_schema_extra=unit("rows"),
            description="Of each set, generated and compared by BLEU, chrF and ROUGE; 0: none",
        ),
    ] = 16
    max_new_tokens: Annotated[
        int,
        Field(title="Longest answer", ge=1, le=8192, json_schema_extra=unit("tokens"), description="Then it is cut"),
    ] = 64
    prompt: Annotated[list[str], Field(title="Questions", description="Answered by all and shown in the report")] = []
    batch_size: Annotated[
        int, Field(title="Batch size", ge=1, json_schema_extra=unit("rows"), description="Rows in memory at once")
    ] = 8
    resamples: Annotated[
        int,
        Field(
            title="Resamples", ge=100, le=100_000, description="Of the bootstrap that gives the confidence intervals"
        ),
    ] = 1000
    confidence: Annotated[
        float,
        Field(title="Confidence", gt=0.5, lt=1, description="Of the intervals: 0.95 holds the truth 19 times in 20"),
    ] = 0.95
    seed: Annotated[int, Field(title="Seed", ge=0, le=2**32 - 1, description="Of the bootstrap")] = 42
    tasks: Annotated[
        list[str], Field(title="Benchmarks", description="Tasks of lm-eval such as arc_easy; needs the package lm-eval")
    ] = []
    tasks_folder: Annotated[
        str, Field(title="Benchmark folder", description="A folder with lm-eval tasks of your own; empty: none")
    ] = ""
    tasks_limit: Annotated[
        int,
        Field(
            title="Benchmark limit", ge=0, json_schema_extra=unit("rows"), description="Questions of each task; 0: all"
        ),
    ] = 0
    fail_if: Annotated[
        list[str], Field(title="Fail if", description='Conditions such as "perplexity > 12"; exit code 1 if one holds')
    ] = []
    precision: Annotated[
        Literal["auto", "bf16", "fp16", "fp32"],
        Field(title="Precision", description="auto: bf16 where the device computes it fast, else fp16 or fp32"),
    ] = "auto"
    quantization: Annotated[
        Literal["auto", "nf4", "none"],
        Field(title="Quantization", description="Of the base model; auto: as the adapter was trained"),
    ] = "auto"
    device: Device = "auto"

    @field_validator("fail_if")
    @classmethod
    def _are_conditions(cls, value: list[str]) -> list[str]:
        for expression in value:
            gate.parse(expression)
        return value
