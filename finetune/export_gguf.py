"""Write an adapter, or base and adapter merged, as GGUF for llama.cpp, Ollama and LM Studio.

    python -m finetune.export_gguf BASE_FOLDER ADAPTER_FOLDER OUTPUT_FOLDER --tools FOLDER [--llama FOLDER]

--tools: llama.cpp's converters, see engines/setup/gguf_tools.py; --llama: its programs, see engines/setup/llama_cpp.py.
With them there are types of fewer than 8 bit, and the file is loaded and asked by llama-server.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from engines.config.export import GgufConfig
from engines.config.job import load
from engines.contract import statefiles
from engines.contract.errors import UserError
from engines.contract.events import emit
from engines.contract.fingerprints import ADAPTER_FILES
from engines.contract.run_protocol import run_script, stop_requested, write_result
from engines.weights import tensor_files
from finetune import export_folder, llama_check, merge_adapter, merge_check, ollama
from finetune.embedded_model import make_if_wanted
from finetune.scoring import Stopped

BLOCK = 256  # a row of a k-quant is made of such blocks; one that is not gets another type
SMALL_BLOCK = 32  # the same of q8_0
MERGED_INSTEAD = "Export the merged model instead: --weights q8_0."
WHOLE = ("F32", "F16", "BF16")


def convert(tools: Path, script: str, source: Path, target: Path, *more: str) -> None:
    """Run one of llama.cpp's converters. Raises UserError with its last words, Stopped."""
    run_tool([sys.executable, str(tools / script), str(source), "--outfile", str(target), *more], tools, target)


def run_tool(argv: list[str], folder: Path, target: Path | None) -> None:
    """Run a program of llama.cpp that writes `target`, if it writes. Raises UserError with its last words, Stopped."""
    done = subprocess.run(argv, cwd=folder, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    print(done.stderr[-4000:], flush=True)
    if stop_requested():
        raise Stopped
    if done.returncode or (target is not None and not target.is_file()):
        name = Path(next(part for part in argv if part != sys.executable)).name
        last = re.sub(r"^ERROR:[\w.-]+:", "", done.stderr.strip().rsplit("\n", 1)[-1])[:200]
        raise UserError("failed", f"llama.cpp's {name} cannot convert this: {last}", "Read the log.")


def describe(file: Path, weights: str) -> dict[str, Any]:
    """Bytes; the real bits per weight, as the head tells, not as the type is called; tensors by type.

    fallback: how many matrices are in another type than was asked for since their rows are no multiple of a block.
    """
    from gguf import GGUFReader

    tensors = GGUFReader(file).tensors
    values = sum(int(tensor.n_elements) for tensor in tensors)
    bits = sum(int(tensor.n_bytes) for tensor in tensors) * 8 / values
    kinds = Counter(tensor.tensor_type.name for tensor in tensors)
    block = BLOCK if "_k" in weights else SMALL_BLOCK if weights == "q8_0" else 1
    uneven = [tensor for tensor in tensors if len(tensor.shape) > 1 and int(tensor.shape[0]) % block]
    if block == BLOCK:  # some matrices are never made smaller
        uneven = [tensor for tensor in uneven if tensor.tensor_type.name not in WHOLE]
    return {
        "bytes": file.stat().st_size, "bits_per_weight": round(bits, 3), "tensors": dict(kinds),
        "fallback": len(uneven), "fallback_widths": sorted({int(tensor.shape[0]) for tensor in uneven}),
    }  # fmt: skip


def export_adapter(base: Path, adapter: Path, file: Path, tools: Path) -> None:
    """llama.cpp scales by alpha / rank and knows of nothing else. Raises UserError for what it cannot express."""
    emit("phase", name="convert", text="writing the adapter as GGUF")
    config = statefiles.read_object(adapter / "adapter_config.json")
    if config.get("alpha_pattern") or (config.get("use_rslora") and config.get("rank_pattern")):
        cause = "llama.cpp knows one scale for all layers of an adapter, this one has several"
        raise UserError("conflict", cause, MERGED_INSTEAD)
    names = tensor_files.read_header(adapter / ADAPTER_FILES[1])
    is_tied = statefiles.read_object(base / "config.json").get("tie_word_embeddings")
    if is_tied and any(part in name for name in names for part in (".lm_head.", ".embed_tokens.")):
        cause = "it changes the head or the embeddings, which are one tensor in this base model’s GGUF"
        raise UserError("conflict", cause, MERGED_INSTEAD)
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        if config.get("use_rslora"):  # alpha / √rank
            config["lora_alpha"] *= config["r"] ** 0.5
        statefiles.write_json(Path(folder) / "adapter_config.json", config)
        (Path(folder) / "adapter_model.safetensors").symlink_to((adapter / "adapter_model.safetensors").absolute())
        convert(tools, "convert_lora_to_gguf.py", Path(folder), file, "--base", str(base), "--outtype", "f16")


def check_adapter(arguments: argparse.Namespace, file: Path) -> dict[str, Any]:
    """Figures of the difference: base and adapter by llama.cpp, and by peft; empty, with a warning, where that cannot
    be. The base model is written as GGUF for it, in its own precision. Raises Stopped.
    """
    if arguments.llama is None:
        emit("warning", text="not compared: llama.cpp is not built here (ftui setup llama)")
        return {}
    precision = merge_check.fitting_precision(arguments.base)
    if precision is None:
        return {}
    whole = file.with_name("base.gguf")
    try:
        tensors = tensor_files.read_model(arguments.base).values()
        merge_adapter.check_disk(file, sum(tensor.size for tensor in tensors))
        emit("phase", name="convert", text="writing the base model as GGUF, for the check alone")
        convert(arguments.tools, "convert_hf_to_gguf.py", arguments.base, whole, "--outtype", "auto")
        return {**llama_check.compare(arguments, whole, precision, file), "checked_in": precision}
    except UserError as error:
        emit("warning", text=f"not compared: {error.cause}")
        return {}
    finally:
        whole.unlink(missing_ok=True)


def export_merged(arguments: argparse.Namespace, config: GgufConfig, file: Path) -> dict[str, Any]:
    """Figures of the difference to base and adapter; empty where they were not compared. Raises Stopped."""
    merged = export_folder.merged_model(arguments.base, arguments.adapter, file.parent)
    whole = merged / "whole.gguf" if config.quantised_by_llama else file
    outtype = "bf16" if config.quantised_by_llama else config.weights
    if not whole.exists():  # made before a stop
        emit("phase", name="convert", text=f"writing the merged model as {outtype}")
        torn = whole.with_suffix(".tmp")
        convert(arguments.tools, "convert_hf_to_gguf.py", merged, torn, "--outtype", outtype,
                "--model-name", arguments.name)  # fmt: skip
        torn.rename(whole)
    if config.quantised_by_llama:
        emit("phase", name="quantize", text=f"quantising it as {config.weights}")
        quantizer = arguments.llama / "llama-quantize"
        run_tool([str(quantizer), str(whole), str(file), config.weights.upper()], arguments.llama, file)
    if not config.check:
        return {}
    figures = export_folder.difference(arguments, file, merged)
    if arguments.llama is not None and figures:
        try:
            figures |= llama_check.compare(arguments, file, figures["checked_in"])
        except UserError as error:
            emit("warning", text=f"not asked by llama.cpp: {error.cause}")
    return figures


def main() -> None:
    parser = export_folder.arguments_of(__doc__.splitlines()[0] if __doc__ else "", "GgufConfig")
    parser.add_argument("--tools", type=Path, required=True)
    parser.add_argument("--llama", type=Path)
    arguments = parser.parse_args()
    config = load(GgufConfig, arguments.config)
    if config.quantised_by_llama and arguments.llama is None:
        raise UserError("usage", f"{config.weights} is written by llama-quantize", "Name its folder with --llama.")
    base, adapter, output = arguments.base, arguments.adapter, arguments.output.absolute()
    try:
        make_if_wanted(base)
        with export_folder.filled(output, base) as partial:
            file = partial / f"{arguments.name}-{config.weights}.gguf"
            if config.weights == "adapter":
                export_adapter(base, adapter, file, arguments.tools)
                source, figures = str(base), check_adapter(arguments, file) if config.check else {}
            else:
                source, figures = f"./{file.name}", export_merged(arguments, config, file)
            beside = f"./{file.name}" if config.weights == "adapter" else ""
            tokenizer = export_folder.tokenizer_of(base, adapter)
            (partial / "Modelfile").write_text(ollama.modelfile(source, tokenizer, beside), encoding="utf-8")
            report = {"file": file.name, "weights": config.weights, **describe(file, config.weights), **figures}
            statefiles.write_json(
                partial / "report.json", {"to": "gguf", "adapter": arguments.name, "base": base.name, **report}
            )
    except Stopped:
        write_result("stopped")
        return
    report.pop("answers", None)  # long texts stay in the report's file
    write_result("done", folder=str(output), to="gguf", **report)


if __name__ == "__main__":
    run_script(main)
