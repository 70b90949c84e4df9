"""Random tests repeat the same cases in CI and never fail for being slow; FTUI_FAULTS=long draws new ones."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

IS_LONG = os.environ.get("FTUI_FAULTS") == "long"
settings.register_profile(
    "ftui",
    deadline=None,
    derandomize=not IS_LONG,
    database=None,
    max_examples=10_000 if IS_LONG else 200,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("ftui")
