"""`ftui demo`: the whole job once, on the bundled sample and the embedded model."""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from engines.config.evaluate import EvaluateConfig
from engines.config.prepare import PrepareConfig
from engines.config.serve import ServeConfig
from engines.config.train import EMBEDDED_MODEL, preset
from engines.contract.errors import UserError
from engines.llm import SAMPLE, LLMEngine
from engines.quality import evaluation
from engines.quality.figures import BASE, HELD_OUT, set_named
from engines.running.runs import Run
from engines.servers.server import Server
from engines.weights.adapters import Adapter
from engines.workspace import Workspace
from ftui import format
from ftui.commands.llm import report_dataset, report_evaluation
from ftui.console import Common, follow, note, say, say_json

NAME = "sample"
ADAPTER = "sample-demo"
PROMPTS = ["Any plans for the weekend?", "What is the capital of France?"]


def demo(*, common: Common | None = None) -> int:
    """From a chat export to an active adapter: a few minutes on two CPU cores, nothing asked.

    What is there already is not done again.
    """
    common = common or Common()
    engine = common.engine()
    began = time.monotonic()

    def title(number: int, text: str) -> None:
        if not common.json:
            note(f"\n[{number}/5] {text}")

    title(1, "the embedded base model (SmolLM2-135M-Instruct)")
    run = engine.make_base_model()
    _finish(engine, run, common, f"there already: {engine.models.embedded}")

    title(2, f"the bundled sample chats ({SAMPLE.name}) become a dataset")
    names = {dataset.name for dataset in engine.datasets.list()}
    run = None if NAME in names else engine.prepare(SAMPLE, PrepareConfig(), name=NAME)
    _finish(engine, run, common, "there already")
    dataset = engine.datasets.get(NAME)
    if not common.json:
        report_dataset(dataset.report)

    title(3, "training a LoRA adapter on it, in a process of its own")
    adapter = _trained(engine)
    run = _unfinished(engine) if adapter is None else None
    if adapter is None:
        run = run or engine.train(dataset, preset("demo"), name=ADAPTER)
        if not run.status().active:
            engine.resume(run)
    _finish(engine, run, common, f"there already: {ADAPTER}")
    adapter = engine.adapters.get(ADAPTER)

    title(4, "base model against adapter, on conversations that were held out")
    evaluated = [run for run in engine.runs.list("evaluate") if run.name == ADAPTER]
    done = [run for run in evaluated if run.status().state == "done" and evaluation.has_report(run)]
    run = done[0] if done else evaluation.evaluate(engine, adapter, EvaluateConfig(prompt=PROMPTS, answers=0))
    _finish(engine, run, common, "")
    report = evaluation.report(run)
    if not common.json:
        report_evaluation(report)

    title(5, "a server answers, first with the base model; then the adapter is activated while it runs")
    served = _served(engine, common)
    seconds = time.monotonic() - began
    if common.json:
        say_json(
            {
                "seconds": round(seconds, 1),
                "adapter": engine.adapters.get(ADAPTER).as_dict(),
                "evaluation": report,
                "served": served,
            }
        )
    else:
        _summary(engine, adapter, report, seconds)
    return 0


def _served(engine: LLMEngine, common: Common) -> dict[str, Any]:
    """Ask the light server over HTTP, switch it live, ask again, and stop it. At the end the adapter is active."""
    engine.activation.deactivate()
    run = engine.serving.start(ServeConfig(base_model=EMBEDDED_MODEL, device="cpu"))
    try:
        engine.serving.wait_until_ready(run)
        server = engine.serving.get(run.name)
        answers = {"base": _asked(server)}
        outcome = engine.activation.activate(ADAPTER)
        if not outcome.done:
            raise UserError("failed", "; ".join(result.text for result in outcome.results), f"Its log: {run.log}")
        seconds = next(result.seconds for result in outcome.results if result.server == run.name)
        answers["adapter"] = _asked(server)
    finally:
        if not run.status().ended:
            engine.serving.stop(engine.serving.get(run.name))
            engine.runs.wait(run, timeout=60)
    if not common.json:
        note(f"POST {server.url}/v1/chat/completions, model: active, switched in {seconds:.2f} s")
        note(f"> {PROMPTS[-1]}\n  base:     {answers['base']}\n  adapter:  {answers['adapter']}")
    return {"url": server.url, "prompt": PROMPTS[-1], "answers": answers, "switch_seconds": seconds}


def _asked(server: Server) -> str:
    messages = [{"role": "user", "content": PROMPTS[-1]}]
    pieces = server.client.chat("active", messages, temperature=0, max_tokens=40, repetition_penalty=1.1)
    return " ".join("".join(pieces).split())


def _finish(engine: LLMEngine, run: Run | None, common: Common, otherwise: str) -> dict[str, Any]:
    """Follow a run to its end and return its figures; None was not necessary."""
    if run is None:
        if not common.json:
            note(otherwise)
        return {}
    if not run.status().ended:
        status, _ = follow(engine, run, quiet=common.json)
        if status.state != "done":
            raise UserError("failed", f"{run.kind}: {status.cause or status.state}", f"Its log: {run.log}")
    return run.result()


def _trained(engine: LLMEngine) -> Adapter | None:
    found = [adapter for adapter in engine.adapters.list() if adapter.name == ADAPTER]
    return found[0] if found else None


def _unfinished(engine: LLMEngine) -> Run | None:
    """A demo training that was interrupted and can go on."""
    runs = [run for run in engine.runs.list("train") if run.spec.get("adapter") == ADAPTER]
    return next((run for run in runs if run.status().state != "done"), None)


def _summary(engine: LLMEngine, adapter: Adapter, report: dict[str, Any], seconds: float) -> None:
    figures = set_named(report, HELD_OUT)["figures"]
    base, adapted = (figures[who]["perplexity"]["value"] for who in (BASE, adapter.name))
    say(f"\n● {adapter.name} is active ({format.size(adapter.size)} in {adapter.path})")
    say(
        f"Perplexity on unseen conversations {base:.1f} → {adapted:.1f}, "
        f"{base / adapted:.1f} times lower. This took {format.duration(seconds)}."
    )
    say("\nGo on with:")
    for line in next_commands(_program(), engine.workspace.home):
        say(line)


def next_commands(program: str, home: Path) -> list[str]:
    """What to do after the demo, as commands with what each is for, in two columns."""
    where = [] if Workspace().home == home else ["--home", str(home)]
    steps = ((["llm", "chat"], "talk to it"), (["llm", "prepare", "FILE"], "your own chats"))
    commands = [(f"  {shlex.join([program, *words, *where])}", what) for words, what in (([], "the app"), *steps)]
    width = max(len(command) for command, _ in commands) + 3
    return [f"{command:<{width}}{what}" for command, what in commands]


def _program() -> str:
    """How this very program is called from here."""
    called = Path(sys.argv[0])
    if shutil.which("ftui") or not called.is_file():
        return "ftui"
    return str(called.relative_to(Path.cwd())) if called.is_relative_to(Path.cwd()) else str(called)
