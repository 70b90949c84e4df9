"""What an export made, how far it is from base and adapter, and how it is used: lines for both faces."""

from __future__ import annotations

import shlex
from typing import Any

from ftui import format

Report = dict[str, Any]


def lines(report: Report) -> list[str]:
    """report: the result of a run of kind export."""
    return {"gguf": _gguf, "awq": _awq, "onnx": _onnx}[report["to"]](report)


def difference(report: Report) -> list[str]:
    """How far the merged or exported model is from base with adapter; empty where they were not compared."""
    if "max_logit_difference" not in report:
        return []
    largest, same = report["max_logit_difference"], report["same_choice"]
    after = report.get("perplexity_merged", report.get("perplexity_exported", 0.0))
    return [
        f"difference: logits at most {largest:.4f}, same first choice in {same:.1%}",
        f"perplexity: {report['perplexity']:.3f} of the original, {after:.3f} of what was made",
    ]


def _path(report: Report, name: str = "") -> str:
    folder = format.path(report["folder"])
    return shlex.quote(f"{folder}/{name}" if name else folder).replace("'~/", "~/'")


def _gguf(report: Report) -> list[str]:
    file = _path(report, report["file"])
    kinds = ", ".join(f"{count} {kind}" for kind, count in report["tensors"].items())
    told = [
        f"file:       {file}, {format.size(report['bytes'])}",
        f"weights:    {report['bits_per_weight']:.2f} bits each ({kinds} tensors)",
    ]
    block = 256 if "_k" in report["weights"] else 32
    uneven = [str(width) for width in report["fallback_widths"] if width % block]
    if report["fallback"] and uneven:
        rows = f"rows of {' and '.join(uneven)}, no multiple of {block}"
        told.append(f"            {report['fallback']} tensors have {rows}: other types")
    told += difference(report)
    if "asked" in report:
        same = f"{report['same_answers']} of {report['asked']} the same in llama-server"
        told.append(f"answers:    {same}; alike for {report['same_beginning']:.0%} of their length before they part")
        if "max_logprob_difference" in report:
            at_most = f"{report['max_logprob_difference']:.3f}"
            told.append(f"            log-probabilities of the tokens that it said differ by {at_most} at most")
    if report["weights"] == "adapter":
        told.append(f"llama.cpp:  llama-server -m BASE.gguf --lora {file}")
    else:
        told += [f"llama.cpp:  llama-server -m {file}", f"LM Studio:  lms import {file}"]
    return [*told, f"Ollama:     cd {_path(report)} && ollama create NAME -f Modelfile"]


def _awq(report: Report) -> list[str]:
    method, groups = report["method"].upper(), f"groups of {report['group_size']}"
    return [
        f"model:      {_path(report)}, {format.size(report['bytes'])}",
        f"weights:    {method} in {report['bits']} bit, {groups}; {report['bits_per_weight']:.2f} bits each in all",
        f"calibrated: on {report['samples']} rows of the dataset",
        *difference(report),
        f"vLLM:       vllm serve {_path(report)}",
    ]


def _onnx(report: Report) -> list[str]:
    told = [f"folder:     {_path(report)}, {format.size(report['bytes'])}"]
    for name, figures in [*report["adapters"].items(), *([("base", report["base"])] if "base" in report else [])]:
        told.append(f"{'without an adapter' if name == 'base' else f'adapter {name}'}:")
        if "file" in figures:
            told.append(f"  file:       {figures['file']}, {format.size(figures['bytes'])}")
        told += [f"  {line}" for line in difference(figures)]
    first, place = next(iter(report["adapters"])), report["folder"]
    return [
        *told,
        "use it:     import onnxruntime_genai as og",
        f"            model = og.Model({place!r}); adapters = og.Adapters(model)",
        f"            adapters.load({place + '/' + report['adapters'][first]['file']!r}, {first!r})",
        f"            generator.set_active_adapter(adapters, {first!r})",
    ]
