"""A prepared dataset of clips made for the tests."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from tts import prepare_data
from tts_support.clips import write_clips


def prepare_dataset(base: Path, folder: Path, count: int = 12, seconds: float = 1.6, **values: Any) -> Path:
    """A dataset of `count` clips of about `seconds`, prepared for `base` with the parameters `values`."""
    clips = write_clips(folder / "clips", count, seconds)
    (folder / "config.json").write_text(json.dumps(values))
    prepare_data.prepare(
        argparse.Namespace(clips=clips, model=str(base), output=folder / "dataset", config=folder / "config.json")
    )
    return folder / "dataset"
