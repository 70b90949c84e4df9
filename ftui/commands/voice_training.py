"""`ftui tts prepare`, `train` and what belongs to a training: the same engine as for language models."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter

from engines.config.voice import VoiceConfig
from engines.contract.errors import EXIT_FAILED, EXIT_OK
from engines.running.runs import Run
from engines.tts import TTSEngine
from ftui import format, voice_facts
from ftui.commands.llm import ConfigFile, RunName, merged
from ftui.commands.tts import tts
from ftui.console import Common, finish, follow, note, say, say_json, show_log, show_status, started, stop_and_wait

Flags = Annotated[VoiceConfig | None, Parameter(name="*")]
Detach = Annotated[bool, Parameter(help="Return at once; the run goes on by itself", negative="")]


def wanted(engine: TTSEngine, file: Any, flags: VoiceConfig | None) -> VoiceConfig:
    """The last parameters (tts_config.json), then the file, then the flags."""
    return merged(engine.last_config(VoiceConfig), file, flags)


@tts.command
def prepare(*, config_file: ConfigFile = None, flags: Flags = None, common: Common | None = None) -> int:
    """Make the voice's dataset of all transcribed samples: reference clip, held-out part, codes.

    Parameters that are not given are those of the last time (tts_config.json). What was extracted before is not
    extracted again.

    For example:

      ftui tts prepare --voice-name anna
      ftui tts prepare --voice-name anna --reference clip-007 --eval-share 0.05
    """
    common = common or Common()
    engine = common.tts_engine()
    run = engine.voice_jobs.prepare(wanted(engine, config_file, flags))
    status, progress = follow(engine, run, quiet=common.json, stop_on_interrupt=True)
    return finish(run, status, progress, as_json=common.json, report=report_dataset)


def report_dataset(figures: dict[str, Any]) -> None:
    """A prepared dataset, for people."""
    for title, text in voice_facts.dataset(figures):
        say(f"{title + ':':<11} {text}")


@tts.command
def rows(
    voice: str | None = None,
    /,
    *,
    held_out: Annotated[bool, Parameter(help="The held-out part", negative="")] = False,
    first: int = 0,
    count: int = 10,
    common: Common | None = None,
) -> int:
    """What will be trained: the dataset's figures, and clips with text and codes."""
    common = common or Common()
    engine = common.tts_engine()
    name = voice or engine.last_config(VoiceConfig).voice_name
    figures = engine.voice_jobs.dataset(name)
    found = engine.voice_jobs.rows(name, "eval" if held_out else "train", first, count)
    if common.json:
        say_json({"dataset": figures, "rows": found})
        return 0
    report_dataset(figures)
    for row in found:
        say("\n" + "\n  ".join(voice_facts.row(row)))
    return 0


@tts.command
def check(*, config_file: ConfigFile = None, flags: Flags = None, common: Common | None = None) -> int:
    """Say what a training with these parameters would be, without starting it: steps, memory, disk, time, warnings.

    Ends with 1 where it must not start.
    """
    common = common or Common()
    found = common.tts_engine().voice_jobs.preflight(wanted(common.tts_engine(), config_file, flags))
    if common.json:
        say_json(found)
    else:
        for title, text in voice_facts.preflight(found):
            say(f"{title:<11} {text}")
        for warning in found["warnings"]:
            say(f"! {warning}")
        for cause, next_step in found["refusals"]:
            say(f"✗ {cause}. {next_step}")
    return EXIT_FAILED if found["refusals"] else EXIT_OK


@tts.command
def train(
    *,
    name: Annotated[
        str | None, Parameter(help="The new voice's name; default: --voice-name, numbered if taken")
    ] = None,
    config_file: ConfigFile = None,
    detach: Detach = False,
    flags: Flags = None,
    common: Common | None = None,
) -> int:
    """Train a voice on its prepared dataset. Ctrl+C only stops watching; the training goes on.

    For example:

      ftui tts train --voice-name anna --num-epochs 5
      ftui tts train --voice-name anna --method full --learning-rate 2e-6 --detach
      ftui tts train --voice-name anna --base-model tiny --device cpu
    """
    common = common or Common()
    engine = common.tts_engine()
    config = wanted(engine, config_file, flags)
    if not common.json:
        for warning in engine.voice_jobs.check(config):
            note(f"! {warning}")
    run = engine.voice_jobs.train(config, name=name)
    if detach:
        return started(run, f"ftui tts log -f {run.id}", as_json=common.json)
    return watch(engine, run, common)


def watch(engine: TTSEngine, run: Run, common: Common) -> int:
    """Follow a training to its end and say what came of it."""
    status, progress = follow(engine, run, quiet=common.json)
    return finish(run, status, progress, as_json=common.json, report=report_training)


def report_training(result: dict[str, Any]) -> None:
    """A finished training, for people."""
    say(f"voice:      {result.get('voice')}, {result.get('epochs')} epochs in {format.duration(result.get('seconds'))}")
    best = result.get("best_epoch")
    if best is not None:
        say(f"best epoch: {best}, held-out loss {format.number(result.get('eval_loss'))}")
    if result.get("heard"):
        say(f"heard:      {format.heard(result['heard'])}")
    if result.get("zero_shot"):
        say(f"zero-shot:  {format.heard(result['zero_shot'])}")
    say(f'say:        ftui tts say "Hello." --voice {result.get("voice")} -o hello.wav')


@tts.command
def stop(
    run: RunName = None,
    /,
    *,
    grace: Annotated[float, Parameter(help="Seconds to save and end by itself before it is ended")] = 120.0,
    common: Common | None = None,
) -> int:
    """Save where the training is and stop; `ftui tts resume` goes on from there."""
    common = common or Common()
    engine = common.tts_engine()
    chosen = engine.voice_jobs.training_run(run)
    return stop_and_wait(engine.runs, chosen, grace, as_json=common.json)


@tts.command
def resume(run: RunName = None, /, *, detach: Detach = False, common: Common | None = None) -> int:
    """Go on with a stopped, failed or lost training from its newest point."""
    common = common or Common()
    engine = common.tts_engine()
    chosen = engine.voice_jobs.training_run(run)
    engine.voice_jobs.resume(chosen)
    if detach:
        say_json(chosen.as_dict()) if common.json else say(f"resumed {chosen.id}")
        return 0
    return watch(engine, chosen, common)


@tts.command
def status(run: RunName = None, /, *, common: Common | None = None) -> int:
    """How the newest training of a voice stands."""
    common = common or Common()
    show_status(common.tts_engine().voice_jobs.training_run(run), as_json=common.json)
    return 0


@tts.command
def log(
    run: RunName = None,
    /,
    *,
    follow: Annotated[bool, Parameter(name=["--follow", "-f"], help="Go on until the run ends", negative="")] = False,
    common: Common | None = None,
) -> int:
    """Print a training's log; -f follows it. With --json: its events, one a line."""
    common = common or Common()
    show_log(common.tts_engine().voice_jobs.training_run(run), following=follow, as_json=common.json)
    return 0
