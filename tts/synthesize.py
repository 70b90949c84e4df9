"""Speak a text with a trained voice.

    python -m tts.synthesize --voice EPOCH_FOLDER --text TEXT_FILE --output OUT.wav [--speed 14] [--seed 42]

The text is spoken sentence by sentence; the file grows with each and appears under its name when it is whole.
A stop keeps what was spoken.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from engines.contract import statefiles
from engines.contract.errors import UserError
from engines.contract.events import emit
from engines.contract.run_protocol import run_script, stop_requested, write_result
from tts import qwen, speaking

PAUSE_SECONDS = 0.25  # between sentences


def synthesize(arguments: argparse.Namespace) -> None:
    import numpy
    import soundfile
    import torch

    sentences = speaking.pieces(arguments.text.read_text(encoding="utf-8"))
    if not sentences:
        raise UserError("bad_input", "the text has no words", "Give a text with letters or digits.")
    device = qwen.choose_device(arguments.device)
    qwen.set_threads()
    emit("phase", name="load", text=f"loading the voice on {device}")
    precision, attention = qwen.choose_precision("auto", device), qwen.choose_attention("auto", device)
    voice = qwen.load(arguments.voice, device, precision, attention, kind="custom_voice")
    torch.manual_seed(arguments.seed)
    output: Path = arguments.output
    partial = output.with_name(f".{output.name}.{os.getpid()}.partial")
    endless = spoken_count = 0
    pause: numpy.ndarray = numpy.zeros(round(PAUSE_SECONDS * qwen.SAMPLE_RATE), dtype="float32")
    emit("phase", name="speak", text=f"speaking {len(sentences)} sentences")
    try:
        with (
            statefiles.open_private(partial) as file,
            soundfile.SoundFile(file, "w", qwen.SAMPLE_RATE, 1, "PCM_16", format="WAV") as sound,
        ):
            for text in sentences:
                if stop_requested():
                    break
                spoken = speaking.with_voice(voice, text, speaking.frame_limit(text, arguments.speed))
                sound.write(spoken.sound)
                sound.write(pause)
                endless += not spoken.ended
                spoken_count += 1
                emit("progress", done=spoken_count, total=len(sentences), unit="sentences")
            seconds = sound.tell() / qwen.SAMPLE_RATE
        if spoken_count:
            os.rename(partial, output)
    finally:
        partial.unlink(missing_ok=True)
    if endless:
        emit("warning", text=f"{endless} of {spoken_count} sentences had no end and were cut off")
    state = "done" if spoken_count == len(sentences) else "stopped"
    write_result(state, output=str(output), sentences=spoken_count, seconds=round(seconds, 2), without_end=endless)


def main() -> None:
    parser = argparse.ArgumentParser(description="Speak a text with a trained voice.")
    parser.add_argument("--voice", type=Path, required=True, help="an epoch's folder")
    parser.add_argument("--text", type=Path, required=True, help="a text file in UTF-8")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--speed", type=float, default=speaking.USUAL_SPEED, help="the speaker's characters a second")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--device", default="auto")
    synthesize(parser.parse_args())


if __name__ == "__main__":
    run_script(main)
