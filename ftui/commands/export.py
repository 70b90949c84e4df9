"""`ftui llm export`: base and adapters written for other programs, compared with what they were made of."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from engines.config.export import AwqConfig, GgufConfig, OnnxConfig
from engines.running.runs import Run
from engines.weights.exporting import export_awq, export_gguf, export_onnx
from ftui import export_lines
from ftui.commands.llm import ConfigFile, chosen_adapter, merged
from ftui.commands.merge import llm
from ftui.console import Common, finish, follow, say, started

export = App(name="export", help="Adapters for other programs: GGUF, AWQ and GPTQ, ONNX.", help_format="plaintext")
llm.command(export)

AdapterName = Annotated[str | None, Parameter(help="Default: the active one, else the newest")]
Output = Annotated[Path | None, Parameter(help="A new folder; default: one in finetune/exports")]
BaseModel = Annotated[str | None, Parameter(help="Default: the one it was trained on")]
Detach = Annotated[bool, Parameter(help="Return at once; the run goes on by itself", negative="")]


@export.command
def gguf(
    adapter: AdapterName = None,
    /,
    *,
    output: Output = None,
    base_model: BaseModel = None,
    config_file: ConfigFile = None,
    detach: Detach = False,
    flags: Annotated[GgufConfig | None, Parameter(name="*")] = None,
    common: Common | None = None,
) -> int:
    """Write base and adapter as one GGUF file for llama.cpp, Ollama and LM Studio, or the adapter alone.

    Needs `ftui setup export-gguf` once, and for types of fewer than 8 bit `ftui setup llama`.
    Ctrl+C only stops watching.

    For example:

      ftui llm export gguf me-v2
      ftui llm export gguf me-v2 --weights q4_k_m
      ftui llm export gguf me-v2 --weights adapter --output ~/me-v2-lora
    """
    common = common or Common()
    engine = common.engine()
    config = merged(GgufConfig(), config_file, flags)
    run = export_gguf(engine, chosen_adapter(engine, adapter), config, output=output, base_model=base_model)
    return _watch(common, run, detach=detach)


@export.command
def awq(
    adapter: AdapterName = None,
    /,
    *,
    dataset: Annotated[
        str | None, Parameter(help="To calibrate on: a name, or a .jsonl file; default: the one it was trained on")
    ] = None,
    output: Output = None,
    base_model: BaseModel = None,
    config_file: ConfigFile = None,
    detach: Detach = False,
    flags: Annotated[AwqConfig | None, Parameter(name="*")] = None,
    common: Common | None = None,
) -> int:
    """Write base and adapter as one model of 4 or 8 bit for vLLM, by AWQ or GPTQ, calibrated on your dataset.

    Needs `ftui setup export-awq` once. Ctrl+C only stops watching.

    For example:

      ftui llm export awq me-v2
      ftui llm export awq me-v2 --method gptq --samples 256
      ftui llm export awq me-v2 --dataset chats --output /mnt/big/me-v2-awq
    """
    common = common or Common()
    engine = common.engine()
    config = merged(AwqConfig(), config_file, flags)
    chosen, data = chosen_adapter(engine, adapter), engine.datasets.get(dataset) if dataset else None
    run = export_awq(engine, chosen, config, dataset=data, output=output, base_model=base_model)
    return _watch(common, run, detach=detach)


@export.command
def onnx(
    adapters: Annotated[
        list[str] | None, Parameter(help="One or more of one base model; default: the active one")
    ] = None,
    /,
    *,
    output: Output = None,
    base_model: BaseModel = None,
    config_file: ConfigFile = None,
    detach: Detach = False,
    flags: Annotated[OnnxConfig | None, Parameter(name="*")] = None,
    common: Common | None = None,
) -> int:
    """Write a base model with one or more adapters, switched while it runs, for onnxruntime-genai.

    Needs `ftui setup export-onnx` once. Ctrl+C only stops watching.

    For example:

      ftui llm export onnx me-v2
      ftui llm export onnx faq sales --output ~/assistant-onnx
    """
    common = common or Common()
    engine = common.engine()
    config = merged(OnnxConfig(), config_file, flags)
    chosen = [chosen_adapter(engine, name) for name in adapters or (None,)]
    return _watch(common, export_onnx(engine, chosen, config, output=output, base_model=base_model), detach=detach)


def _watch(common: Common, run: Run, *, detach: bool) -> int:
    if detach:
        return started(run, f"ftui runs log -f {run.id}", as_json=common.json)
    status, progress = follow(common.engine(), run, quiet=common.json)
    return finish(run, status, progress, as_json=common.json, report=_report)


def _report(result: dict[str, Any]) -> None:
    for line in export_lines.lines(result):
        say(line)
