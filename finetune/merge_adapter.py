"""Add an adapter's weights to those of its base model, block by block of rows: a model of any size takes little memory.

    python -m finetune.merge_adapter BASE_FOLDER ADAPTER_FOLDER OUTPUT_FOLDER [--config merge.json] [--card card.json]

Everything that the adapter does not change is copied from file to file. A finished file of the model is kept when the
merge is stopped or killed, and the next merge of the same things into the same folder goes on after it.
A stop leaves nothing else behind.
"""

from __future__ import annotations

import argparse
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engines.config.job import load
from engines.config.merge import MergeConfig
from engines.contract import fingerprints, statefiles
from engines.contract.errors import UserError
from engines.contract.events import emit
from engines.contract.fingerprints import ADAPTER_FILES
from engines.contract.run_protocol import run_script, stop_requested, write_result
from engines.weights.tensor_files import BYTES, Tensor
from finetune.embedded_model import make_if_wanted
from finetune.merge_plan import INDEX, LowRank, Plan, Whole, head_of, make_plan
from finetune.scoring import Stopped

BLOCK_ELEMENTS = 8 << 20  # of a weight; computed in fp32, so each takes about 100 MB with all that is beside it
COPY_BYTES = 64 << 20
PROGRESS_SECONDS = 0.5
SPARE_BYTES = 64 << 20
STAMP = "merge.json"
TOKENIZER = ("chat_template.jinja", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
SMALL = (".json", ".jinja", ".model", ".txt")  # what belongs to a model beside its weights


class Progress:
    """Bytes written, told now and then; here a stop is heard."""

    def __init__(self, total: int):
        self.total = total
        self.done = 0
        self._told = 0.0

    def advance(self, count: int) -> None:
        self.done += count
        if time.monotonic() - self._told > PROGRESS_SECONDS or self.done >= self.total:
            self._told = time.monotonic()
            emit("progress", done=self.done, total=self.total, unit="bytes")
        if stop_requested():
            raise Stopped


class Merger:
    """Rows of changed weights. Everything is computed in fp32 and rounded to what the base is stored in."""

    def __init__(self, adapter: Path, rounding: str):
        from safetensors import safe_open

        self.tensors = safe_open(adapter / ADAPTER_FILES[1], framework="pt")
        self.rounding = rounding

    def rows(self, weight: Any, change: LowRank | Whole, first: int) -> Any:
        """What becomes of `weight`, rows of the base from number `first` on, of shape (rows, columns)."""
        import torch

        last = first + len(weight)
        if isinstance(change, Whole):
            return self.tensors.get_slice(change.name)[first:last].to(weight.dtype)
        self._check_copy(weight, change, first)
        down, up = self.tensors.get_slice(change.down), self.tensors.get_slice(change.up)
        if change.transposed:
            delta = (up[:].float() @ down[:, first:last].float()).T * change.scale
        else:
            delta = up[first:last].float() @ down[:].float() * change.scale
        if change.magnitude is not None:
            summed = weight + delta
            wanted = self.tensors.get_slice(change.magnitude)[first:last].float()
            merged = (wanted / torch.linalg.norm(summed, dim=1)).view(-1, 1) * summed
        elif self.rounding == "peft":
            merged = weight + delta.to(weight.dtype)
        else:
            merged = weight.float() + delta
        merged = merged.to(weight.dtype)
        if not torch.isfinite(merged).all():
            raise UserError("bad_input", f"{change.up[-60:]} makes weights that are no numbers", "Train it again.")
        return merged

    def _check_copy(self, weight: Any, change: LowRank, first: int) -> None:
        """Raises UserError where the adapter was trained on another weight than the base's, rounding apart."""
        if change.copy is None:
            return
        copy = self.tensors.get_slice(change.copy)[first : first + len(weight)]
        if not (copy.to(weight.dtype).equal(weight) or weight.to(copy.dtype).equal(copy)):
            raise UserError(
                "conflict", f"{change.copy[-60:]} is not what the base model has there",
                "Use the base model that it was trained on: --base-model FOLDER.",
            )  # fmt: skip


def write_shard(source: Path, target: Path, plan: Plan, name: str, merger: Merger, progress: Progress) -> None:
    """One file of the model, whole or not at all."""
    tensors = plan.shards[name]
    copies = {new: tensors[old] for new, (shard, old) in plan.copies.items() if shard == name}
    partial = target.with_name(f"{target.name}.tmp")
    with open(source, "rb") as base, statefiles.open_private(partial) as out:
        out.write(head_of({**tensors, **copies}))
        out.flush()
        for tensor_name, tensor in [*tensors.items(), *copies.items()]:
            change = plan.changes.get(tensor_name)
            if change is None:
                _copy(base.fileno(), out.fileno(), tensor, progress)
                continue
            for first, block in _blocks(base.fileno(), tensor):
                _write(out.fileno(), merger.rows(block, change, first))
                progress.advance(block.numel() * block.element_size())
        os.fsync(out.fileno())
    os.rename(partial, target)
    statefiles.sync_dir(target.parent)


def _copy(source: int, target: int, tensor: Tensor, progress: Progress) -> None:
    """Bytes from file to file, in the kernel where it can."""
    place, end = tensor.offset, tensor.offset + tensor.size
    while place < end:
        wanted = min(COPY_BYTES, end - place)
        try:
            count = os.copy_file_range(source, target, wanted, place)
        except (AttributeError, OSError):  # not on this system, or not between these two disks
            count = 0
        if count == 0:
            block = os.pread(source, wanted, place)
            if not block:
                raise UserError("bad_input", "a file of the base model is shorter than its head says", "Get it again.")
            _write_all(target, block)
            count = len(block)
        place += count
        progress.advance(count)


def _blocks(source: int, tensor: Tensor) -> Iterator[tuple[int, Any]]:
    """(number of the first row, rows) of a weight, some MB at a time."""
    import torch

    dtype = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}[tensor.dtype]
    width = tensor.size // tensor.shape[0]
    rows = max(1, BLOCK_ELEMENTS * BYTES[tensor.dtype] // width)
    for first in range(0, tensor.shape[0], rows):
        count = min(rows, tensor.shape[0] - first)
        buffer = bytearray(count * width)
        view = memoryview(buffer)
        read = 0
        while read < len(buffer):
            got = os.preadv(source, [view[read:]], tensor.offset + first * width + read)
            if not got:
                raise UserError("bad_input", "a file of the base model is shorter than its head says", "Get it again.")
            read += got
        yield first, torch.frombuffer(buffer, dtype=dtype).view(count, *tensor.shape[1:])


def _write(target: int, tensor: Any) -> None:
    import torch

    _write_all(target, tensor.contiguous().view(torch.uint8).numpy())


def _write_all(target: int, data: Any) -> None:
    view = memoryview(data).cast("B")
    while view:
        view = view[os.write(target, view) :]


def merge(base: Path, adapter: Path, output: Path, config: MergeConfig) -> Path:
    """The folder beside `output` that holds the merged model, complete but for its name. Raises UserError, Stopped."""
    from finetune.base_model import set_threads

    emit("phase", name="plan", text=f"reading the heads of {base.name} and the adapter")
    plan = make_plan(base, adapter)
    partial = _partial(base, adapter, output, config)
    left = [name for name in plan.shards if not (partial / name).is_file()]
    if len(left) < len(plan.shards):
        emit("phase", name="resume", text=f"{len(plan.shards) - len(left)} of {len(plan.shards)} files are there")
    check_disk(output, sum(tensor.size for name in left for tensor in plan.shards[name].values()))
    set_threads()
    merger, progress = Merger(adapter, config.rounding), Progress(plan.size)
    progress.done = sum((partial / name).stat().st_size for name in plan.shards if name not in left)
    emit("phase", name="merge", text=f"adding {len(plan.changes)} changed weights, copying the rest")
    for name in left:
        write_shard(base / name, partial / name, plan, name, merger, progress)
    _write_small_files(base, adapter, partial, plan)
    return partial


def _partial(base: Path, adapter: Path, output: Path, config: MergeConfig) -> Path:
    """The folder that is filled: of an earlier merge of the very same things, or an empty one."""
    partial = partial_folder(output)
    stamp = {"base": fingerprints.of_model(str(base)), "adapter": fingerprints.of_adapter(adapter),
             "rounding": config.rounding}  # fmt: skip
    if statefiles.read_object(partial / STAMP) != stamp:
        shutil.rmtree(partial, ignore_errors=True)
        statefiles.make_private_dir(partial)
        statefiles.write_json(partial / STAMP, stamp)
    return partial


def partial_folder(output: Path) -> Path:
    return output.with_name(f".{output.name}.partial")


def clear_stopped(base: Path, output: Path) -> None:
    """Of a stopped merge only finished files of a model in several files are worth keeping; else nothing is left."""
    partial, several = partial_folder(output), len(list(base.glob("*.safetensors"))) > 1
    finished = len(list(partial.glob("*.safetensors"))) if several else 0
    if not finished:
        shutil.rmtree(partial, ignore_errors=True)
        return
    for torn in partial.glob("*.tmp"):
        torn.unlink()
    emit(
        "warning",
        text=f"{finished} finished files are kept: the same command goes on after them; else delete {partial}",
    )


def check_disk(output: Path, needed: int) -> None:
    """Raises UserError where a model of so many bytes has no room."""
    free = shutil.disk_usage(output.parent).free
    if free < needed + SPARE_BYTES:
        raise UserError(
            "not_ready", f"the merged model needs {needed / 1e9:.1f} GB, but {output.parent} has {free / 1e9:.1f} GB",
            "Free some space, or name a folder on another disk with --output.",
        )  # fmt: skip


def _write_small_files(base: Path, adapter: Path, partial: Path, plan: Plan) -> None:
    """Configuration and tokenizer; the adapter's own tokenizer and chat template go before the base's."""
    for file in sorted(base.iterdir()):
        if file.suffix in SMALL and file.is_file() and file.name not in (STAMP, "card.json"):
            shutil.copyfile(file, partial / file.name)
    for name in TOKENIZER:
        if (adapter / name).is_file():
            shutil.copyfile(adapter / name, partial / name)
    if not plan.copies:
        return
    config = statefiles.read_object(partial / "config.json")
    statefiles.write_json(partial / "config.json", {**config, "tie_word_embeddings": False})
    index = statefiles.read_object(partial / INDEX)
    if index:
        index["weight_map"] |= {new: shard for new, (shard, _) in plan.copies.items()}
        index["metadata"] = {**index.get("metadata", {}), "total_size": plan.size}
        statefiles.write_json(partial / INDEX, index)


def finish(partial: Path, output: Path, card: dict[str, Any]) -> int:
    """Give the model its name. Returns its bytes."""
    (partial / STAMP).unlink(missing_ok=True)
    size = sum(file.stat().st_size for file in partial.iterdir())
    statefiles.write_json(partial / "card.json", {**card, "name": output.name, "created_at": time.time()})
    os.rename(partial, output)
    statefiles.sync_dir(output.parent)
    return size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("base", type=Path)
    parser.add_argument("adapter", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--config", type=Path, help="parameters as JSON, see engines/config/merge.py")
    parser.add_argument("--card", type=Path, help="what the result is made from, as JSON")
    parser.add_argument("--dataset", type=Path, help="for the perplexity in the check; default: general questions")
    parser.add_argument("--eval-share", type=float, default=0.1)
    arguments = parser.parse_args()
    config = load(MergeConfig, arguments.config)
    base, output = arguments.base.absolute(), arguments.output.absolute()
    if output.exists():
        raise UserError("conflict", f"there is {output} already", "Choose another name, or delete that one.")
    make_if_wanted(base)
    began = time.monotonic()
    try:
        partial = merge(base, arguments.adapter, output, config)
        seconds = round(time.monotonic() - began, 2)
        figures = {}
        if config.check:
            from finetune import merge_check

            figures = merge_check.compare(base, arguments.adapter, partial, arguments.dataset, arguments.eval_share)
    except Stopped:
        clear_stopped(base, output)
        write_result("stopped")
        return
    card = statefiles.read_object(arguments.card) if arguments.card else {"kind": "merged", "base_model": str(base)}
    size = finish(partial, output, {**card, "rounding": config.rounding, "figures": figures})
    write_result("done", model=output.name, folder=str(output), bytes=size, seconds=seconds, **figures)


if __name__ == "__main__":
    run_script(main)
