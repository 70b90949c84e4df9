"""TensorBoard files of a run. A disk that is full costs them figures, never the training.

Importing this imports transformers.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

from transformers.integrations import TensorBoardCallback

from engines.contract import checkpoints
from engines.contract.events import emit

RETRY_SECONDS = 30.0  # each try leaves a file behind


class TensorBoardFiles(TensorBoardCallback):
    """Writes below `folder`. After a full disk it goes on in a new file, once there is space."""

    tb_writer: Any

    def __init__(self, folder: Path):
        super().__init__()
        self.logging_dir = str(folder)
        self._retry_at = 0.0

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        self._write(super().on_train_begin, args, kwargs)

    def on_log(self, *args: Any, **kwargs: Any) -> None:
        self._write(super().on_log, args, kwargs)

    def on_train_end(self, *args: Any, **kwargs: Any) -> None:
        self._write(super().on_train_end, args, kwargs)

    def _write(self, write: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if time.monotonic() < self._retry_at:
            return
        try:
            write(*args, **kwargs)
        except OSError as error:
            if not checkpoints.is_disk_full(error):
                raise
            emit("warning", text="the disk is full: TensorBoard misses figures; training goes on")
            self._retry_at = time.monotonic() + RETRY_SECONDS
            writer, self.tb_writer = self.tb_writer, None
            if writer is not None:
                with contextlib.suppress(OSError):
                    writer.close()
