"""Recordings of every kind that a person may have, good and bad, spoken by espeak-ng."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile
import soxr

from tts.demo_speech import RATE, SENTENCES, say

MARKET = "Every Friday there is a market in front of the town hall."


def pause(seconds: float) -> np.ndarray:
    return np.zeros(int(RATE * seconds), np.float32)


def many_formats(folder: Path) -> None:
    """One other sentence in each format, named after it."""
    folder.mkdir(parents=True, exist_ok=True)
    said = iter(SENTENCES)
    soundfile.write(folder / "wav.wav", say(next(said)), RATE)
    soundfile.write(folder / "eight_bit.wav", say(next(said)), RATE, subtype="PCM_U8")
    high = soxr.resample(say(next(said)), RATE, 96_000)
    soundfile.write(folder / "six_channels_96k.wav", np.stack([high] * 6, axis=1), 96_000)
    soundfile.write(folder / "flac.flac", say(next(said)), RATE)
    soundfile.write(folder / "aiff.aiff", say(next(said)), RATE)
    soundfile.write(folder / "vorbis.ogg", say(next(said)), RATE)
    opus = soxr.resample(say(next(said)), RATE, 48_000)
    soundfile.write(folder / "opus.ogg", opus, 48_000, format="OGG", subtype="OPUS")
    soundfile.write(folder / "mp3.mp3", say(next(said)), RATE, format="MP3")
    soundfile.write(folder / "wrong_suffix.wav", say(next(said)), RATE, format="MP3")
    with_av(folder / "aac.m4a", say(next(said)), "mp4", "aac")
    with_av(folder / "opus.webm", soxr.resample(say(next(said)), RATE, 48_000), "webm", "libopus", 48_000)
    with_av(folder / "adts.aac", say(next(said)), "adts", "aac")


def with_av(path: Path, audio: np.ndarray, container: str, codec: str, rate: int = RATE) -> None:
    """Written by PyAV, in a process of its own: its encoders may fail to release memory."""
    soundfile.write(path.with_suffix(".tmp"), audio, rate, format="WAV")
    code = f"""
import av
source = av.open({str(path.with_suffix(".tmp"))!r}, format="wav")
with av.open({str(path)!r}, "w", format={container!r}) as target:
    stream = target.add_stream({codec!r}, rate={rate})
    for frame in source.decode(audio=0):
        frame.pts = None
        for packet in stream.encode(frame):
            target.mux(packet)
    for packet in stream.encode(None):
        target.mux(packet)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    path.with_suffix(".tmp").unlink()


def bad_ones(folder: Path) -> None:
    """What must be refused with a reason."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "empty.wav").touch()
    (folder / "no_audio.mp3").write_text("this is a letter\n" * 200)
    (folder / "playlist.wav").write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/private\n")
    (folder / "header_only.wav").write_bytes(b"RIFF\x24\x10\x00\x00WAVEfmt ")
    soundfile.write(folder / "silence.wav", pause(5), RATE)
    soundfile.write(folder / "blip.wav", say("No.")[: int(RATE * 0.4)], RATE)
    noise = np.random.default_rng(1).normal(0, 0.05, RATE * 4).astype(np.float32)
    soundfile.write(folder / "hiss.wav", noise, RATE)


def doubtful_ones(folder: Path) -> None:
    """What is taken, and is told about."""
    folder.mkdir(parents=True, exist_ok=True)
    soundfile.write(folder / "clipped.wav", np.clip(say(SENTENCES[0]) * 8, -1, 1), RATE)
    speech = say(SENTENCES[1])
    noise = np.random.default_rng(2).normal(0, 0.05, len(speech)).astype(np.float32)
    soundfile.write(folder / "noisy.wav", speech + noise, RATE)
    soundfile.write(folder / "quiet.wav", say(SENTENCES[2]) * 0.005, RATE, subtype="FLOAT")
    soundfile.write(folder / "other_voice.wav", say(SENTENCES[3], "en-us+f3"), RATE)
    soundfile.write(folder / "copy.mp3", say(MARKET), RATE, format="MP3")
    soundfile.write(folder / "original.wav", say(MARKET), RATE)
    whole = np.concatenate([say(SENTENCES[5]), pause(0.3), say(SENTENCES[6], "en-us+f3", pitch=70)])
    soundfile.write(folder / "two_voices.wav", whole, RATE)
    soundfile.write(folder / "torn.wav", np.concatenate([say(text) for text in SENTENCES[7:10]]), RATE)
    torn = (folder / "torn.wav").read_bytes()
    (folder / "torn.wav").write_bytes(torn[: len(torn) // 2])
    soundfile.write(folder / "name.wav", say(SENTENCES[10]), RATE)
    os.rename(folder / "name.wav", os.fsencode(folder) + b"/na\xffme \xd0\xb6.wav")


def long_one(path: Path, minutes: float) -> float:
    """Sentences with pauses between them. Returns its seconds."""
    parts: list[np.ndarray] = []
    seconds = 0.0
    sentences = [say(text) for text in SENTENCES]
    while seconds < minutes * 60:
        for number, sentence in enumerate(sentences):
            parts += [sentence, pause(0.3 + 0.2 * (number % 4))]
            seconds += len(parts[-1]) / RATE + len(sentence) / RATE
    soundfile.write(path, np.concatenate(parts), RATE)
    return sum(map(len, parts)) / RATE
