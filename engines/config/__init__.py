"""Every parameter of every job, once: the form, the flags, the JSON file and the docs come from here.

A field has a title (form label), a description (help), bounds, and where it applies a
`unit` in `json_schema_extra`. A parameter that stands here is obeyed by its script.
"""

from __future__ import annotations

import re

from engines.config.combine import CombineConfig
from engines.config.evaluate import EvaluateConfig
from engines.config.export import AwqConfig, GgufConfig, OnnxConfig
from engines.config.generate import GenerateConfig
from engines.config.job import Config, JobConfig, build, explain, load
from engines.config.merge import MergeConfig
from engines.config.prepare import PrepareConfig
from engines.config.samples import SampleConfig, TranscribeConfig
from engines.config.serve import ServeConfig
from engines.config.sweep import SweepConfig
from engines.config.train import DEFAULT_GPU_MODEL, EMBEDDED_FOLDER, EMBEDDED_MODEL, PRESETS, TrainConfig, preset
from engines.config.voice import DEFAULT_VOICE_MODEL, TINY_VOICE_MODEL, VoiceConfig

HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")  # of a model or a dataset

__all__ = [
    "DEFAULT_GPU_MODEL",
    "DEFAULT_VOICE_MODEL",
    "EMBEDDED_FOLDER",
    "EMBEDDED_MODEL",
    "HUB_NAME",
    "PRESETS",
    "TINY_VOICE_MODEL",
    "AwqConfig",
    "CombineConfig",
    "Config",
    "EvaluateConfig",
    "GenerateConfig",
    "GgufConfig",
    "JobConfig",
    "MergeConfig",
    "OnnxConfig",
    "PrepareConfig",
    "SampleConfig",
    "ServeConfig",
    "SweepConfig",
    "TrainConfig",
    "TranscribeConfig",
    "VoiceConfig",
    "build",
    "explain",
    "load",
    "preset",
]
