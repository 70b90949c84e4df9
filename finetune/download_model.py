"""Fetch a base model from the hub into the cache that all Hugging Face programs share.

    python -m finetune.download_model OWNER/NAME [--revision main]

Weights as safetensors, configuration and tokenizer; no pickles, no other formats. What is there
already is not fetched again, and a download that was cut goes on where it stopped. HF_ENDPOINT
names another hub, HF_TOKEN opens gated models.
"""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path
from typing import Any

from engines.config.families import model_type_of
from engines.contract import hub
from engines.contract.errors import UserError
from engines.contract.events import emit
from engines.contract.run_protocol import run_script, stop_requested, write_result
from finetune import base_model

WANTED = ["*.safetensors", "*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken"]
UNWANTED = ["original/*", "onnx/*", "openvino/*", "consolidated*"]  # the same weights once more
PROGRESS_SECONDS = 0.5


class Stopped(Exception):
    """Somebody asked the run to stop."""


def download(name: str, revision: str) -> Path:
    """Returns the folder in the cache. Raises UserError for what cannot be reached, found or stored; Stopped."""
    from huggingface_hub import constants, hf_hub_download, model_info, snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError

    why = hub.why_unreachable()
    if why:
        raise UserError(
            "not_ready", f"{name} could not be fetched: {why}",
            "Connect to a network and try again, or name a folder on this machine.",
        )  # fmt: skip
    options: dict[str, Any] = {"revision": revision, "allow_patterns": WANTED, "ignore_patterns": UNWANTED}
    try:
        model_info(name, revision=revision)  # says what is wrong more exactly than a download does
        described = hf_hub_download(name, "config.json", revision=revision)
        base_model.check_packages(model_type_of(str(Path(described).parent)), name)
        files = snapshot_download(name, dry_run=True, **options)
        missing = sum(file.file_size for file in files if file.will_download)
        check_disk(Path(constants.HF_HUB_CACHE), missing)
        emit("phase", name="download", text=f"fetching {name}: {missing / 1e9:.2f} GB")
        return Path(snapshot_download(name, tqdm_class=progress_bar(missing), max_workers=4, **options))
    except RepositoryNotFoundError as error:
        raise UserError(
            "not_found",
            f"the hub has no model {name}, or it is private or gated",
            "Check the name; for a gated model accept its terms on its page and set HF_TOKEN.",
        ) from error
    except (UserError, Stopped):
        raise
    except Exception as error:  # of the hub's client, of the network below it, of the disk
        first = str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__
        raise UserError(
            "not_ready",
            f"{name} could not be fetched: {first}",
            "Connect to a network and try again (what was fetched is kept), or name a folder on this machine.",
        ) from error


def check_disk(cache: Path, needed: int) -> None:
    place = next(folder for folder in (cache, *cache.parents) if folder.exists())
    free = shutil.disk_usage(place).free
    if free < needed:
        raise UserError(
            "not_ready",
            f"{needed / 1e9:.1f} GB are to be fetched, but {place} has {free / 1e9:.1f} GB free",
            "Free some space, or set HF_HOME to another disk.",
        )


def progress_bar(total: int) -> type:
    """A tqdm that draws nothing: it reports bytes as progress events, and ends where a stop is asked for."""
    from tqdm.auto import tqdm  # type: ignore[import-untyped]

    class Bar(tqdm):
        done = 0.0
        told = 0.0

        def __init__(self, *arguments: Any, **options: Any):
            self.bytes = options.get("unit") == "B"
            options.pop("name", None)
            super().__init__(*arguments, **{**options, "disable": True})

        def update(self, n: float | None = 1) -> bool | None:
            if self.bytes:
                Bar.done += n or 0
                if time.monotonic() - Bar.told > PROGRESS_SECONDS or Bar.done >= total:
                    Bar.told = time.monotonic()
                    emit("progress", done=min(Bar.done, total), total=total, unit="bytes")
            if stop_requested():
                raise Stopped
            return None

    return Bar


def main() -> None:
    parser = argparse.ArgumentParser(description="Fetch a base model from the hub.")
    parser.add_argument("name", help="owner/name")
    parser.add_argument("--revision", default="main")
    arguments = parser.parse_args()
    try:
        folder = download(arguments.name, arguments.revision)
    except Stopped:
        write_result("stopped")
        return
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    write_result("done", model=arguments.name, folder=str(folder), bytes=size)


if __name__ == "__main__":
    run_script(main)
