"""Speech without anybody speaking, for the demo and the tests: espeak-ng reads sentences into files.

    python -m tts.demo_speech FOLDER [--count N]

FOLDER gets `sentence-001.wav` … with the text of each beside it. The library comes with the
package espeakng-loader (the extra `tts-demo`); espeak-ng is GPL-3, called, not part of this.
"""

from __future__ import annotations

import argparse
import ctypes
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from engines.contract import statefiles
from engines.contract.errors import UserError
from engines.contract.run_protocol import run_script, write_result
from tts.audio import Samples

RATE = 22_050
SYNCHRONOUS = 2  # AUDIO_OUTPUT_SYNCHRONOUS: sound goes to the callback
UTF8 = 1
SPEED, PITCH = 1, 3  # espeak_PARAMETER
SENTENCES = (
    "Good morning, we open at nine and close at six.",
    "Your parcel was sent on Tuesday and should arrive soon.",
    "Please call me back when you have the time to talk.",
    "I would like to order two boxes of green tea.",
    "Our shop is closed on Sundays and on public holidays.",
    "The blue bicycle stands behind the old wooden gate.",
    "Can you tell me how much the delivery costs?",
    "We repair small lamps, clocks and kitchen scales.",
    "The meeting begins at ten in the large room upstairs.",
    "It rained all night, and the garden is green again.",
    "Send the bill to the address that is on the card.",
    "There is fresh bread on the table, help yourself.",
)


def say(text: str, voice: str = "en-us", *, pitch: int = 50, words_per_minute: int = 160) -> Samples:
    """`text` as sound at 22,050 Hz. voice: of espeak-ng, such as en-us, en-us+f3, ru. Raises UserError."""
    library, parts = _library()
    if library.espeak_SetVoiceByName(voice.encode()):
        raise UserError("usage", f"espeak-ng has no voice {voice}", "Such as en-us, ru or de.")
    library.espeak_SetParameter(SPEED, words_per_minute, 0)
    library.espeak_SetParameter(PITCH, pitch, 0)
    parts.clear()
    data = text.encode()
    library.espeak_Synth(data, len(data) + 1, 0, 0, 0, UTF8, None, None)
    library.espeak_Synchronize()
    return np.frombuffer(b"".join(parts), np.int16).astype(np.float32) / 32768


@lru_cache(maxsize=1)
def _library() -> tuple[Any, list[bytes]]:
    """(the library, the sound of what it said last). The callback must live as long as the library."""
    try:
        import espeakng_loader
    except ImportError:
        raise UserError(
            "not_ready", "the package espeakng-loader is not installed", "pip install espeakng-loader"
        ) from None
    parts: list[bytes] = []
    kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)

    @kind
    def take(sound: Any, count: int, _: Any) -> int:
        if sound and count > 0:
            parts.append(ctypes.string_at(sound, 2 * count))
        return 0

    library: Any = ctypes.CDLL(espeakng_loader.get_library_path())
    library.espeak_Initialize(SYNCHRONOUS, 0, str(espeakng_loader.get_data_path()).encode(), 0)
    library.espeak_SetSynthCallback(take)
    library.keep_alive = take
    return library, parts


def main() -> None:
    import soundfile

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=len(SENTENCES))
    arguments = parser.parse_args()
    folder = statefiles.make_private_dir(arguments.folder)
    for number in range(arguments.count):
        text = SENTENCES[number % len(SENTENCES)]
        file = folder / f"sentence-{number + 1:03d}.wav"
        soundfile.write(file, say(text, words_per_minute=145 + 5 * (number // len(SENTENCES) % 6)), RATE)
        file.with_suffix(".txt").write_text(text + "\n", encoding="utf-8")
    write_result("done", folder=str(folder), sentences=arguments.count)


if __name__ == "__main__":
    run_script(main)
