"""`ftui tts samples …` on real files; taking recordings in is in tests/tts."""

from __future__ import annotations

import json
import wave
from pathlib import Path
from typing import Any

from engines.voice.samples import Samples
from engines.workspace import Workspace


def write_wav(path: Path) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(24000)
        file.writeframes(b"\0\1" * 48000)


def test_samples_are_listed_edited_renamed_deleted_restored_and_exported(ftui: Any, tmp_path: Path) -> None:
    assert "no sample yet" in ftui("tts", "samples", "list").stdout
    samples = Samples(Workspace())
    for name in ("one", "two"):
        write_wav(samples.folder / f"{name}.wav")
    samples.registry.put("two.wav", checks={"clipped_share": 0.02, "snr_db": 40.0})
    shown = ftui("tts", "samples", "list").stdout
    assert "one.wav" in shown and "clipped: 2.00%" in shown
    assert "4.0 s of speech" in shown.replace("4 s", "4.0 s") and "30 min 00 s recommended" in shown
    ftui("tts", "samples", "edit", "one", "We open \x1b[31mat nine.")
    assert "✎ We open at nine." in ftui("tts", "samples", "list").stdout
    ftui("tts", "samples", "rename", "one", "opening")
    ftui("tts", "samples", "delete", "opening", "two.wav")
    assert json.loads(ftui("tts", "samples", "list", "--json").stdout)["totals"]["count"] == 0
    back = json.loads(ftui("tts", "samples", "restore", "opening.wav", "--json").stdout)
    assert back["transcript"].endswith("at nine.") and back["transcript_edited"]
    ftui("tts", "samples", "export", str(tmp_path / "out"))
    assert (tmp_path / "out" / "wavs" / "opening.wav").is_file()


def test_without_the_voice_environment_it_is_said_what_to_do(ftui: Any, tmp_path: Path) -> None:
    write_wav(tmp_path / "one.wav")
    done = ftui("tts", "samples", "add", str(tmp_path / "one.wav"), code=5)
    assert "voice environment is not complete" in done.stderr and "ftui setup tts" in done.stderr


def test_a_sample_is_played_where_there_is_sound_and_else_fetched(ftui: Any, tmp_path: Path) -> None:
    samples = Samples(Workspace())
    write_wav(samples.folder / "one.wav")
    played = tmp_path / "played"
    ftui("tts", "samples", "play", "one", FTUI_PLAYER=f"sh -c 'echo \"$0\" > {played}'")
    assert played.read_text().strip() == str(samples.folder / "one.wav")
    far = ftui(
        "tts",
        "samples",
        "play",
        "one",
        code=5,
        SSH_CONNECTION="10.0.0.2 5 10.0.0.9 22",
        FTUI_PLAYER="",
        PULSE_SERVER="",
    )
    assert "scp" in far.stderr and "@10.0.0.9:" in far.stderr
