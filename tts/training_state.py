"""Points to resume a voice's training from: weights, optimizer, random state, and how far it has come.

The base model is not in them (its speaker encoder neither): it is loaded anew and the trained weights are put in.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from engines.contract import checkpoints, statefiles
from engines.contract.errors import UserError
from engines.contract.events import emit

KEPT = 2  # at least two: while one is written the one before must stand


def save(folder: Path, step: int, parameters: dict[str, Any], optimizer: Any, data: str) -> bool:
    """Write `checkpoint-{step}` below `folder`. False if the disk is full: training goes on without it."""
    import torch
    from safetensors.torch import save_file

    target = folder / f"checkpoint-{step}"
    shutil.rmtree(target, ignore_errors=True)
    try:
        statefiles.make_private_dir(target)
        save_file(
            {name: value.detach().contiguous() for name, value in parameters.items()}, target / "weights.safetensors"
        )
        torch.save(optimizer.state_dict(), target / "optimizer.pt")
        random = {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all()}
        torch.save(random, target / "random.pt")
        checkpoints.mark_complete(target, step=step, data=data)
    except Exception as error:
        if not checkpoints.is_disk_full(error):
            raise
        shutil.rmtree(target, ignore_errors=True)
        emit("warning", text=f"the disk is full: nothing to resume from at step {step}; training goes on")
        return False
    emit("checkpoint", step=step, path=str(target))
    old = [entry for entry in folder.iterdir() if 0 <= checkpoints.step_of(entry) < step]
    for entry in sorted(old, key=checkpoints.step_of)[: -(KEPT - 1)]:
        shutil.rmtree(entry, ignore_errors=True)
    return True


def newest(folder: Path, data: str) -> Path | None:
    """The checkpoint to go on from. Raises UserError if it belongs to other data."""
    remedy = "Start a new run, or put back what was there."
    return checkpoints.to_resume(folder, data, what="the dataset or the base model", remedy=remedy)


def restore(checkpoint: Path, parameters: dict[str, Any], optimizer: Any) -> int:
    """Put weights, optimizer and random state back. Returns the step that was done last."""
    import torch
    from safetensors.torch import load_file

    saved = load_file(checkpoint / "weights.safetensors")
    if saved.keys() != parameters.keys():
        raise UserError("conflict", "the checkpoint holds other weights than are trained now", "Start a new run.")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(saved[name])
    optimizer.load_state_dict(torch.load(checkpoint / "optimizer.pt", weights_only=True))
    random = torch.load(checkpoint / "random.pt", weights_only=True)
    torch.set_rng_state(random["cpu"])
    if random["cuda"]:
        torch.cuda.set_rng_state_all(random["cuda"])
    return checkpoints.step_of(checkpoint)
