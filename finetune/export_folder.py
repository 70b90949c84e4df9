"""What all exports of an adapter have in common: arguments, the folder they fill, the merged model they start from."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engines.config.merge import MergeConfig
from engines.contract import statefiles
from engines.contract.errors import UserError
from engines.contract.events import emit
from finetune import merge_adapter, merge_check
from finetune.base_model import load_tokenizer
from finetune.scoring import Stopped

MERGED = "merged"


def arguments_of(description: str, config: str) -> argparse.ArgumentParser:
    """config: the file of the parameters' model, for the help."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("base", type=Path)
    parser.add_argument("adapter", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--name", default="model", help="how the files are called")
    parser.add_argument("--config", type=Path, help=f"parameters as JSON, see {config}")
    parser.add_argument("--dataset", type=Path, help="for the perplexity in the check; default: general questions")
    parser.add_argument("--eval-share", type=float, default=0.1)
    return parser


@contextmanager
def filled(output: Path, base: Path) -> Iterator[Path]:
    """A folder beside `output` that gets its name when all went well; else nothing is left of it but, after a stop,
    the merged model of a base in several files, with which the next export to `output` goes on.

    SIGTERM is a stop here. What a killed export has left is used by the next one, or goes. Raises UserError, Stopped.
    """
    if output.exists():
        raise UserError("conflict", f"there is {output} already", "Choose another folder, or delete that one.")
    partial = output.with_name(f".{output.name}.partial")
    statefiles.make_private_dir(partial)
    merged = merge_adapter.partial_folder(partial / MERGED)
    _clear(partial, merged)

    def stop(*_: object) -> None:
        raise Stopped

    before, keeps = signal.signal(signal.SIGTERM, stop), False
    try:
        yield partial
        shutil.rmtree(merged, ignore_errors=True)
        os.rename(partial, output)
    except Stopped:
        merge_adapter.clear_stopped(base, partial / MERGED)
        _clear(partial, merged)
        keeps = merged.is_dir()
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
        if not keeps:
            shutil.rmtree(partial, ignore_errors=True)
    statefiles.sync_dir(output.parent)


def _clear(partial: Path, kept: Path) -> None:
    """Remove all in `partial` but the folder `kept`."""
    for item in partial.iterdir():
        if item.is_dir() and item != kept:
            shutil.rmtree(item)
        elif item != kept:
            item.unlink()


def merged_model(base: Path, adapter: Path, partial: Path) -> Path:
    """Base and adapter as one model, inside `partial` as long as it is being filled. Raises UserError, Stopped."""
    return merge_adapter.merge(base, adapter, partial / MERGED, MergeConfig(check=False))


def tokenizer_of(base: Path, adapter: Path) -> Any:
    """The adapter's own tokenizer goes before the base's."""
    return load_tokenizer(str(adapter if (adapter / "tokenizer_config.json").is_file() else base))


def difference(arguments: argparse.Namespace, made: Path, tokenizer_folder: Path | None = None) -> dict[str, Any]:
    """Figures of the difference of `made` to base and adapter; empty, with a warning, where it cannot be loaded."""
    try:
        return merge_check.compare(
            arguments.base, arguments.adapter, made, arguments.dataset, arguments.eval_share, tokenizer_folder
        )
    except UserError as error:
        emit("warning", text=f"not compared: {error.cause}")
        return {}
