"""`ftui doctor` and `ftui setup`: what is there, what is missing, and how to mend it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from engines.contract.errors import EXIT_NOT_READY, UserError
from engines.llm import LLMEngine
from engines.running.runs import Run
from engines.setup import gguf_tools, llama_cpp
from engines.setup.environments import KINDS
from ftui import format
from ftui.console import Common, finish, follow, note, say, say_json

LLM_SHOWN = ("torch", "transformers", "trl", "peft")
VOICE_SHOWN = ("torch", "transformers", "qwen-tts", "faster-whisper")


def doctor(*, common: Common | None = None) -> int:
    """Say what this machine and workspace have, what is missing, and the command that mends it."""
    common = common or Common()
    facts = common.engine().doctor()
    environment = facts["environment"]
    if common.json:
        say_json(facts)
        return 0 if environment["ready"] else EXIT_NOT_READY
    for gpu in facts["gpus"]:
        free = f"{format.size(gpu['free_bytes'])} of {format.size(gpu['total_bytes'])} free"
        say(f"✓ GPU {gpu['index']}: {gpu['name']}, {free}")
    if not facts["gpus"]:
        say("· no GPU that nvidia-smi shows: training runs on the CPU, good for the embedded model")
    say(f"✓ {facts['cores']} cores, {format.size(facts['free_memory'])} of memory free")
    mark = "✓" if facts["free_disk"] > 2e9 else "✗"
    say(f"{mark} {format.size(facts['free_disk'])} of disk free for {facts['home']}")
    for report, shown in ((environment, LLM_SHOWN), (facts["voice_environment"], VOICE_SHOWN)):
        say_environment(report, shown)
    say_if_wanted(facts["if_wanted"])
    if facts["embedded_model"]:
        say("✓ embedded base model SmolLM2-135M-Instruct")
    else:
        say("· the embedded base model is not converted yet (it happens at first use)\n    now: ftui setup")
    active = facts["active_adapter"] or "none"
    say(f"· {facts['datasets']} datasets, {facts['adapters']} adapters (active: {active}), {facts['runs']} runs")
    return 0 if environment["ready"] else EXIT_NOT_READY


def say_environment(report: dict[str, Any], shown: tuple[str, ...]) -> None:
    """One environment, with the versions of `shown`, or with what is missing and the command that mends it."""
    title, python, versions = KINDS[report["kind"]].title, report["python"], report["packages"]
    if report["ready"]:
        say(f"✓ {title} environment {python}: " + ", ".join(f"{name} {versions[name]}" for name in shown))
    else:
        problem = report["problem"] or "missing: " + ", ".join(report["missing"])
        say(f"✗ {title} environment {python}: {problem}\n    mend: ftui setup {report['kind']}")


def say_if_wanted(found: dict[str, bool]) -> None:
    """What only some need: servers other than the built-in one, and exports."""
    here, missing = ([kind for kind, ready in found.items() if ready is wanted] for wanted in (True, False))
    if here:
        say(f"✓ for servers and exports: {', '.join(here)}")
    if missing:
        say(f"· needed only for other servers and exports: {', '.join(missing)}\n    get: ftui setup WHAT")


def setup(
    what: Annotated[
        Literal["llm", "tts", "vllm", "llama", "export-gguf", "export-awq", "export-onnx"],
        Parameter(help="Which environment"),
    ] = "llm",
    /,
    *,
    python: Annotated[Path | None, Parameter(help="Use this interpreter instead of making an environment")] = None,
    common: Common | None = None,
) -> int:
    """Make an environment ready: for language models (llm), voices (tts) or vLLM (vllm); llm with the embedded model.

    llama builds llama.cpp's server and quantizer: 15 minutes of one core, shared by all cores; 19 MB are kept.
    export-gguf fetches llama.cpp's converters: 77 MB, of which 2 MB are kept, in about a minute.
    export-awq and export-onnx are for exports to AWQ or GPTQ and to ONNX.
    llm takes 1.7 GB, tts 2.3 GB, vllm 3.4 GB, export-awq and export-onnx 1.5 GB each without a GPU and more with one;
    each some minutes.

    Installs with the pip of this Python. Which torch comes, for CPU or CUDA, is decided by
    the package index that pip uses (PIP_INDEX_URL, PIP_EXTRA_INDEX_URL).

    For example:

      ftui setup
      ftui setup tts
      ftui setup export-awq
      ftui setup llm --python ~/envs/train/bin/python
    """
    common = common or Common()
    engine = common.engine()
    if what == "llama":
        return setup_tool(common, engine, llama_cpp)
    if what == "export-gguf":
        return setup_tool(common, engine, gguf_tools)
    environments = engine.environments
    if python is not None:
        environments.choose(what, python)
    make_environment = partial(environments.make, what) if python is None else lambda: None
    for make in (make_environment, engine.make_base_model if what == "llm" else lambda: None):
        run = make()
        if run is None:
            continue
        if not common.json:
            cost = f"{KINDS[what].cost} without a GPU; " if run.kind == "setup" else ""
            note(f"{run.kind}: {cost}log in {run.log}")
        status, progress = follow(engine, run, quiet=common.json, stop_on_interrupt=True)
        if status.state != "done":
            return finish(run, status, progress, as_json=common.json, report=lambda _: None)
    report = environments.report(what)
    if not report.ready:
        cause = report.problem or f"{', '.join(report.missing)} is missing in {report.python}"
        raise UserError("not_ready", cause, f"Install that there, or let `ftui setup {what}` make its own.")
    model = {"embedded_model": str(engine.models.embedded)} if what == "llm" else {}
    if common.json:
        say_json({**report.as_dict(), **model})
        return 0
    say(f"✓ {KINDS[what].title} environment: {report.python}")
    if model:
        say(f"✓ embedded base model: {engine.models.embedded}")
    return 0


def setup_tool(common: Common, engine: LLMEngine, tool: ModuleType) -> int:
    """What is no Python environment: llama.cpp's converters to GGUF, its programs."""
    run: Run | None = tool.make(engine.workspace)
    if run is not None:
        if not common.json:
            note(f"{tool.COST}; log in {run.log}")
        status, progress = follow(engine, run, quiet=common.json, stop_on_interrupt=True)
        if status.state != "done":
            return finish(run, status, progress, as_json=common.json, report=lambda _: None)
    place = tool.require(engine.workspace)
    say_json({"folder": str(place)}) if common.json else say(f"✓ {tool.TITLE}: {place}")
    return 0
