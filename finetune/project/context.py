"""What the sources of a project share: its files, the parameters, the questions, what is taken already."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from engines.config.generate import GenerateConfig
from finetune.project.files import ProjectFiles
from finetune.project.pair import Pair
from finetune.project.questions import Questions

MAX_LISTED = 50


class Context:
    """One generation. `tick` is called often and raises when somebody asked to stop."""

    def __init__(self, root: Path, config: GenerateConfig, tick: Callable[[], None], name: str = ""):
        self.config = config
        self.tick = tick
        self.files = ProjectFiles(root, tick, name)
        self.questions = Questions(config.language, config.seed)
        self.taken: set[str] = set()  # files, and sections as file#section, that an earlier source has read
        self.languages: set[str] = set()  # of what the sources before have found
        self.dropped_turns: Counter[str] = Counter()  # turns without a question before or an answer after them
        self.unread: list[dict[str, str]] = []  # files that are not what their name says
        self.unread_count = 0
        self.repository: dict[str, object] = {}

    def cannot_read(self, path: str, reason: str) -> None:
        self.unread_count += 1
        if len(self.unread) < MAX_LISTED:
            self.unread.append({"file": path, "reason": " ".join(reason.split())[:200]})


Source = Callable[[Context], Iterator[Pair]]
