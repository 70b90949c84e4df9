"""Write an adapter, or base and adapter merged, as GGUF for llama.cpp, Ollama and LM Studio.

    python -m finetune.export_gguf BASE_FOLDER ADAPTER_FOLDER OUTPUT_FOLDER --tools FOLDER [--config export.json]

--tools: llama.cpp's converters, see engines/setup/gguf_tools.py. The merged model is written beside the output
for a while.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from engines.config import EMBEDDED_FOLDER, ExportConfig, MergeConfig, load
from engines.contract import statefiles
from engines.contract.errors import UserError
from engines.contract.events import emit
from engines.contract.run_protocol import run_script, write_result
from finetune import merge_adapter, merge_check, ollama
from finetune.base_model import load_tokenizer
from finetune.scoring import Stopped


def convert(tools: Path, script: str, source: Path, target: Path, *more: str) -> None:
    """Run one of llama.cpp's converters. Raises UserError with its last words."""
    argv = [sys.executable, str(tools / script), str(source), "--outfile", str(target), *more]
    done = subprocess.run(argv, cwd=tools, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    print(done.stderr[-4000:], flush=True)
    if done.returncode or not target.is_file():
        last = done.stderr.strip().rsplit("\n", 1)[-1][:200]
        raise UserError("failed", f"llama.cpp's {script} cannot convert this: {last}", "Read the log.")


def describe(file: Path) -> dict[str, Any]:
    """Bytes; the real bits per weight, as the head tells, not as the type is called; tensors by type."""
    from gguf import GGUFReader

    tensors = GGUFReader(file).tensors
    values = sum(int(tensor.n_elements) for tensor in tensors)
    bits = sum(int(tensor.n_bytes) for tensor in tensors) * 8 / values
    kinds = Counter(tensor.tensor_type.name for tensor in tensors)
    return {"bytes": file.stat().st_size, "bits_per_weight": round(bits, 3), "tensors": dict(kinds)}


def export_adapter(base: Path, adapter: Path, file: Path, tools: Path) -> None:
    emit("phase", name="convert", text="writing the adapter as GGUF")
    convert(tools, "convert_lora_to_gguf.py", adapter, file, "--base", str(base), "--outtype", "f16")


def export_merged(arguments: argparse.Namespace, config: ExportConfig, file: Path) -> dict[str, Any]:
    """Figures of the difference to base and adapter; empty where they were not compared. Raises Stopped."""
    base, adapter, output = arguments.base, arguments.adapter, arguments.output
    merged = merge_adapter.merge(base, adapter, output.with_name(f"{output.name}.merged"), MergeConfig(check=False))
    (merged / merge_adapter.STAMP).unlink()
    emit("phase", name="convert", text=f"writing the merged model as {config.weights}")
    convert(arguments.tools, "convert_hf_to_gguf.py", merged, file, "--outtype", config.weights,
            "--model-name", arguments.name)  # fmt: skip
    figures: dict[str, Any] = {}
    if config.check:
        try:
            figures = merge_check.compare(base, adapter, file, arguments.dataset, arguments.eval_share, merged)
        except UserError as error:
            emit("warning", text=f"not compared: {error.cause}")
    shutil.rmtree(merged)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("base", type=Path)
    parser.add_argument("adapter", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--tools", type=Path, required=True)
    parser.add_argument("--name", default="model", help="how the files are called")
    parser.add_argument("--config", type=Path, help="parameters as JSON, see engines/config/export.py")
    parser.add_argument("--dataset", type=Path, help="for the perplexity in the check; default: general questions")
    parser.add_argument("--eval-share", type=float, default=0.1)
    arguments = parser.parse_args()
    config = load(ExportConfig, arguments.config)
    base, adapter, output = arguments.base, arguments.adapter, arguments.output
    if base.name == EMBEDDED_FOLDER and not base.exists():
        from finetune import embedded_model

        embedded_model.convert(base)
    partial = output.with_name(f".{output.name}.{os.getpid()}.files")
    statefiles.make_private_dir(partial)
    file = partial / f"{arguments.name}-{config.weights}.gguf"
    try:
        if config.weights == "adapter":
            export_adapter(base, adapter, file, arguments.tools)
            source, figures = str(base), {}
        else:
            source, figures = f"./{file.name}", export_merged(arguments, config, file)
        has_own = (adapter / "tokenizer_config.json").is_file()
        tokenizer = load_tokenizer(str(adapter if has_own else base))
        beside = f"./{file.name}" if config.weights == "adapter" else ""
        (partial / "Modelfile").write_text(ollama.modelfile(source, tokenizer, beside), encoding="utf-8")
        report = {"file": file.name, "weights": config.weights, **describe(file), **figures}
        statefiles.write_json(partial / "report.json", {"adapter": arguments.name, "base": base.name, **report})
        os.rename(partial, output)
    except Stopped:
        write_result("stopped")
        return
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    statefiles.sync_dir(output.parent)
    write_result("done", folder=str(output), **report)


if __name__ == "__main__":
    run_script(main)
