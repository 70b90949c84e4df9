"""`ftui tts demo`: the whole voice pipeline once, offline, without a GPU."""

from __future__ import annotations

import time

from engines.contract.errors import UserError
from engines.voice import voice_demo
from ftui import format
from ftui.commands.tts import tts
from ftui.commands.voices import epoch_lines
from ftui.console import Common, follow, note, say, say_json, table


@tts.command
def demo(*, common: Common | None = None) -> int:
    """From speech to a voice that speaks, with a tiny model of random weights: about two minutes, nothing asked.

    It shows that everything works on this machine; the voice says noise. What is there already is not done again.
    """
    common = common or Common()
    engine = voice_demo.demo_engine(common.tts_engine())
    engine.runs.reconcile()
    began = time.monotonic()
    if not common.json:
        note(voice_demo.TRUTH)
    for number, step in enumerate(voice_demo.steps(engine), 1):
        if not common.json:
            note(f"\n[{number}/7] {step.title}" + ("" if step.run else ": there already"))
        if step.run is not None:
            status, _ = follow(engine, step.run, quiet=common.json)
            if status.state != "done":
                raise UserError("failed", f"{step.title}: {status.cause or status.state}", f"Its log: {step.run.log}")
    voice = engine.voice_jobs.voices.choose(voice_demo.NAME)[0]
    output, seconds = voice_demo.output(engine), time.monotonic() - began
    if common.json:
        say_json({"seconds": round(seconds, 1), "output": str(output), "voice": voice.as_dict()})
        return 0
    say()
    table(["", "name", "base model", "date", "size", "eval loss", "heard"], epoch_lines(voice), "")
    say(f"\n● {output}: the voice says “{voice_demo.TEXT}”. This took {format.duration(seconds)}.")
    say(f"\n{voice_demo.TRUTH}")
    say("\nYour own voice:")
    for command, meaning in (
        ("ftui tts samples add FOLDER", "your recordings"),
        ("ftui tts transcribe --language en", "what is said in them"),
        ("ftui tts prepare --voice-name me", "the dataset"),
        ("ftui tts train", "the voice"),
    ):
        say(f"  {command}".ljust(44) + meaning)
    return 0
