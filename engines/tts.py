"""The voice engine: everything the TTS screen and `ftui tts` can do.

Each job is a run (see runs.py) of one script in tts/. Nothing here blocks on a job:
a method starts it and returns the run, which any face can follow.
"""

from __future__ import annotations

from engines.environments import Environments
from engines.runs import Runs
from engines.samples import Samples
from engines.workspace import Workspace


class TTSEngine:
    """The jobs of the voice side, on one workspace."""

    def __init__(self, workspace: Workspace):
        self.workspace = workspace
        self.runs = Runs(workspace)
        self.samples = Samples(workspace)
        self.environments = Environments(workspace)
