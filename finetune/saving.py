"""What a training leaves behind: an adapter, or a model where all weights were trained; whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from engines.contract import checkpoints, statefiles
from engines.contract.errors import UserError
from engines.contract.events import emit
from engines.contract.run_protocol import stop_requested

# Bytes a trained parameter takes in a checkpoint: its value and two moments of the optimizer, in fp32.
CHECKPOINT_BYTES = 12
FULL_DISK_SECONDS = 5


def tokenizer_bytes(tokenizer: Any) -> int:
    """What its files take; they are written with every checkpoint and with the result."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        return sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())


def result_bytes(trainable: int, tokenizer: int) -> int:
    """Of an adapter, or of a model whose weights were all trained. tokenizer: bytes of its files."""
    return trainable * 4 + tokenizer


def space_needed(trainable: int, kept: int, tokenizer: int) -> int:
    """Bytes of all checkpoints that can stand at one time (best, newest, the one being written) and of the result."""
    checkpoint = trainable * CHECKPOINT_BYTES + tokenizer
    return checkpoint * (kept + 2) + result_bytes(trainable, tokenizer) + (8 << 20)


def check_disk(trainer: Any, folder: Path, kept: int) -> None:
    """Refuse to start what cannot be saved."""
    trainable = sum(parameter.numel() for parameter in trainer.model.parameters() if parameter.requires_grad)
    needed = space_needed(trainable, kept, tokenizer_bytes(trainer.processing_class))
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            "not_ready",
            f"the checkpoints need {needed / 1e6:.0f} MB, but {folder} has {free / 1e6:.0f} MB free",
            "Free some space, keep fewer checkpoints, or move the workspace with --home.",
        )


def save_result(trainer: Any, output: Path, card: dict[str, Any], *, adapter: bool) -> None:
    """Write an adapter to OUTPUT/final or a model to OUTPUT, and card.json; on a full disk wait for space or a stop."""
    partial = output.with_name(f".{output.name}.{os.getpid()}.partial")
    weights = partial / "final" if adapter else partial
    while True:
        try:
            shutil.rmtree(partial, ignore_errors=True)
            statefiles.make_private_dir(weights)
            trainer.model.save_pretrained(weights)
            trainer.processing_class.save_pretrained(weights)
            checkpoints.mark_complete(weights)
            (weights / checkpoints.MARK).unlink()
            statefiles.write_json(partial / "card.json", card)
            os.rename(partial, output)
            statefiles.sync_dir(output.parent)
            return
        except Exception as error:
            shutil.rmtree(partial, ignore_errors=True)
            if not checkpoints.is_disk_full(error) or stop_requested():
                raise
            emit("warning", text="the disk is full: the result waits to be saved; free some space")
            time.sleep(FULL_DISK_SECONDS)
