"""The voice screen on real samples: read, edit, find, delete and undo. What takes a model is in tests/tts."""

from __future__ import annotations

import json
import math
import wave
from array import array
from pathlib import Path
from typing import Any

import pytest

from engines.config.voice import VoiceConfig
from engines.llm import LLMEngine
from engines.tts import TTSEngine
from engines.voice.playback import fetch_command
from ftui.screens.sample_dialogs import EditTextScreen
from ftui.screens.tts import TTSScreen
from tests.tui.conftest import Driver, opened


def write_tone(path: Path, seconds: float = 2.0) -> None:
    """A tone that swells and fades."""
    count = round(24000 * seconds)
    tone = (math.sin(0.06 * at) * math.sin(math.pi * at / count) * 28000 for at in range(count))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(24000)
        file.writeframes(array("h", map(round, tone)).tobytes())


def add_samples(engine: TTSEngine) -> None:
    """Three samples as an import and a transcription leave them."""
    details: dict[str, dict[str, Any]] = {
        "shop-001.wav": {"transcript": "We open at nine.", "confidence": 0.97, "uncertain_words": [],
                         "checks": {"snr_db": 41.0, "source_lufs": -21.4, "clipped_share": 0.0}},
        "shop-002.wav": {"transcript": "Ask for mister Bxatl.", "confidence": 0.61, "uncertain_words": ["Bxatl"],
                         "checks": {"snr_db": 9.0, "source_lufs": -25.0, "clipped_share": 0.0}},
        "shop-003.wav": {"transcript": "", "checks": {"snr_db": 38.0, "source_lufs": -22.0, "clipped_share": 0.02}},
    }  # fmt: skip
    for name, values in details.items():
        write_tone(engine.samples.folder / name)
        source = {"name": "shop.mp3", "sha256": "0" * 64, "start_sec": 0.0}
        engine.samples.registry.put(name, duration_sec=2.0, source=source, transcript_edited=False, **values)


def add_voice(engine: TTSEngine) -> None:
    """A voice of two epochs as a training leaves it, with a few bytes for weights."""
    folder = engine.voice_jobs.voices.folder / "anna"
    heard = {"wer": 0.05, "similarity": 0.8, "speed": 1.3, "without_end": 0, "sentences": 1}
    for number in (1, 2):
        epoch = folder / f"checkpoint-epoch-{number}"
        epoch.mkdir(parents=True)
        (epoch / "config.json").write_text("{}")
        (epoch / "model.safetensors").write_bytes(b"weights")
        sentence = {"text": "Good morning.", "heard": "Could morning \x1b[31m", "ended": True}
        card = {"epoch": number, "eval_loss": 3.5, "heard": heard, "sentences": [sentence]}
        (epoch / "card.json").write_text(json.dumps(card))
    (folder / "voice.json").write_text(json.dumps({"best_epoch": 2, "zero_shot": {"heard": heard}}))


@pytest.fixture
def tts(engine: LLMEngine) -> TTSEngine:
    return TTSEngine(engine.workspace)


def voice_screen(ui: Driver) -> TTSScreen:
    return next(screen for screen in ui.app.screen_stack if isinstance(screen, TTSScreen))


async def go(ui: Driver) -> TTSScreen:
    await ui.press("2")
    await ui.until(lambda: ui.app.current_mode == "tts")
    screen = voice_screen(ui)
    await ui.until(lambda: screen.lists is not None and screen.params is not None and ui.app.focused is not None)
    return screen


async def test_an_empty_screen_says_what_to_do(engine: LLMEngine) -> None:
    async with opened(engine) as ui:
        await go(ui)
        await ui.until(lambda: ui.shows("No samples yet", "add recordings", "No voice yet"))
        await ui.press("s")
        await ui.until(lambda: ui.shows("No sample yet: press o"))


async def test_samples_their_wave_and_what_is_wrong(engine: LLMEngine, tts: TTSEngine) -> None:
    add_samples(tts)
    async with opened(engine, (140, 50)) as ui:
        screen = await go(ui)
        await ui.until(lambda: ui.shows("6 s of 30 min recommended", "3 samples", "doubtful"))
        await ui.until(lambda: ui.shows("▇", "97% sure", "41 dB over noise", "shop.mp3"))
        await ui.press("j")
        await ui.until(lambda: ui.shows("noisy: speech only 9 dB", "Bxatl?"))
        await ui.press("v", "v")
        await ui.until(lambda: ui.shows("shown: 1 without a text") and screen.sample_panel.table.row_count == 1)
        await ui.press("escape")
        await ui.until(lambda: screen.sample_panel.table.row_count == 3)


async def test_a_text_is_edited_and_undone(engine: LLMEngine, tts: TTSEngine) -> None:
    add_samples(tts)
    async with opened(engine) as ui:
        await go(ui)
        await ui.press("e")
        await ui.until(lambda: isinstance(ui.app.screen, EditTextScreen))
        await ui.press("space", "q", "2")  # letters that are keys elsewhere
        await ui.press("enter")
        await ui.until(lambda: tts.samples.get("shop-001").transcript == "We open at nine. q2")
        await ui.until(lambda: ui.shows("✎ We open", "We open at nine. q2"))
        await ui.press("u")
        await ui.until(lambda: tts.samples.get("shop-001").transcript == "We open at nine.")
        assert not tts.samples.get("shop-001").transcript_edited


async def test_find_and_replace_rename_delete_and_undo(engine: LLMEngine, tts: TTSEngine) -> None:
    add_samples(tts)
    async with opened(engine) as ui:
        screen = await go(ui)
        await ui.press("f")
        await ui.until(lambda: ui.shows("Find and replace"))
        await ui.press(*"Bxatl", "tab", *"Bell", "enter")
        await ui.until(lambda: tts.samples.get("shop-002").transcript == "Ask for mister Bell.")
        await ui.until(lambda: ui.shows("1 transcripts changed"))
        await ui.press("R")
        await ui.until(lambda: ui.shows("New name of shop-001.wav"))
        await ui.press("end", "x", "enter")
        await ui.until(lambda: "shop-001x.wav" in screen.sample_panel.samples)
        await ui.until(lambda: screen.sample_panel.sample is not None)
        await ui.press("d")
        await ui.until(lambda: len(tts.samples.list()) == 2)
        for count in (3, 3, 3):
            await ui.press("u")
            await ui.until(lambda count=count: len(tts.samples.list()) == count)  # type: ignore[misc]
        await ui.until(lambda: tts.samples.get("shop-002").transcript == "Ask for mister Bxatl.")
        assert tts.samples.get("shop-001").filename == "shop-001.wav"


async def test_over_ssh_playing_says_how_to_fetch(
    engine: LLMEngine, tts: TTSEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_samples(tts)
    monkeypatch.setenv("SSH_CONNECTION", "10.0.0.2 50000 10.0.0.9 22")
    monkeypatch.delenv("PULSE_SERVER", raising=False)
    monkeypatch.delenv("FTUI_PLAYER", raising=False)
    async with opened(engine, (200, 60)) as ui:
        await go(ui)
        await ui.press("enter")
        await ui.until(lambda: ui.shows("no sound on this machine", "scp", "@10.0.0.9:"))
        sample = tts.samples.get("shop-001").path
        assert ui.app.clipboard == fetch_command(sample) and ui.app.clipboard.endswith("shop-001.wav .")


async def test_a_player_of_one_s_own_plays_the_file(
    engine: LLMEngine, tts: TTSEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    add_samples(tts)
    played = tmp_path / "played"
    monkeypatch.setenv("FTUI_PLAYER", f"sh -c 'echo \"$0\" > {played}; sleep 30'")
    async with opened(engine) as ui:
        screen = await go(ui)
        await ui.press("enter")
        await ui.until(lambda: played.exists() and played.read_text().strip().endswith("shop-001.wav"))
        await ui.press("escape")
        await ui.until(lambda: screen.sample_panel.player._process is None)


async def test_before_adding_and_writing_down_the_command_is_shown(
    engine: LLMEngine, tts: TTSEngine, tmp_path: Path
) -> None:
    add_samples(tts)
    async with opened(engine) as ui:
        await go(ui)
        await ui.press("s")
        await ui.until(lambda: ui.shows("Write down what is said", "ftui tts transcribe", "Whisper model"))
        await ui.press("escape", "o")
        await ui.until(lambda: ui.shows("Add recordings"))
        write_tone(tmp_path / "new.wav")
        await ui.type(str(tmp_path / "new.wav"))
        await ui.press("enter")
        await ui.until(lambda: ui.shows("ftui tts samples add", "new.wav", "Shortest piece"))
        await ui.press("s")
        await ui.until(lambda: ui.shows("voice environment is not complete", "ftui setup tts"))


async def test_every_action_is_carried_out_by_somebody(engine: LLMEngine) -> None:
    from ftui import actions

    async with opened(engine) as ui:
        screen = await go(ui)
        for pane in actions.TTS:
            screen.go_to(pane)
            for action in actions.ACTIONS:
                if actions.valid(action, pane):
                    assert any(hasattr(owner, f"do_{action.name}") for owner in screen.owners()), (pane, action.name)


async def test_a_voice_shows_its_epochs_and_is_written_as_an_archive(engine: LLMEngine, tts: TTSEngine) -> None:
    add_samples(tts)
    add_voice(tts)
    async with opened(engine, (140, 50)) as ui:
        screen = await go(ui)
        screen.go_to("voices")
        await ui.until(lambda: ui.shows("anna", "5%", "0.80"))
        await ui.press("v")
        await ui.until(
            lambda: ui.shows("● epoch 2", "speed 130% of the speaker", "zero-shot", "was heard as “Could morn")
        )
        await ui.press("escape")
        await ui.press("w")
        archive = engine.workspace.voice / "archives" / "anna-epoch-2.zip"
        await ui.until(archive.is_file)
        screen.go_to("voice_params")
        await ui.until(lambda: ui.shows("0.1 min of speech, 30 min are recommended"))


async def test_texts_are_taken_in_from_a_file_and_undone(engine: LLMEngine, tts: TTSEngine, tmp_path: Path) -> None:
    add_samples(tts)
    (tmp_path / "metadata.csv").write_text("shop-001|We open at ten.|We open at ten.\nstranger|x|x\n")
    async with opened(engine) as ui:
        await go(ui)
        await ui.press("I")
        await ui.until(lambda: ui.shows("Transcripts: a CSV or JSONL file"))
        await ui.type(str(tmp_path / "metadata.csv"))
        await ui.press("enter")
        await ui.until(lambda: ui.shows("1 texts written", "1 names are of no sample: stranger"))
        assert tts.samples.get("shop-001").transcript_edited
        await ui.press("u")
        await ui.until(lambda: tts.samples.get("shop-001").transcript == "We open at nine.")


async def test_a_sample_is_made_the_reference_and_not(engine: LLMEngine, tts: TTSEngine) -> None:
    add_samples(tts)
    async with opened(engine, (140, 50)) as ui:
        screen = await go(ui)
        await ui.press("j", "p")
        await ui.until(lambda: ui.shows("★ shop-002.wav"))
        await ui.until(lambda: tts.last_config(VoiceConfig).reference == "shop-002.wav")
        assert screen.params is not None and screen.params.form.values["reference"] == "shop-002.wav"
        await ui.press("p")
        await ui.until(lambda: tts.last_config(VoiceConfig).reference == "")


async def test_before_a_training_its_cost_and_its_rows_are_shown(engine: LLMEngine, tts: TTSEngine) -> None:
    add_samples(tts)
    async with opened(engine, (140, 50)) as ui:
        screen = await go(ui)
        screen.go_to("voice_params")
        await ui.press("v")
        await ui.until(lambda: ui.shows("4 s in 2 clips", "an epoch, 3 in all", "activations", "disk", "not known yet"))
        await ui.press("escape", "m")
        await ui.until(lambda: ui.shows("has no dataset yet"))
        folder = tts.voice_jobs.dataset_folder("my_voice")
        folder.mkdir()
        figures = {"train": 1, "eval": 0, "seconds": 2.0, "shortest": 2.0, "longest": 2.0, "median": 2.0,
                   "characters": 16, "clips": 1, "characters_per_second": 8.0, "left_out": {"too_short": 1},
                   "reference": {"clip": "shop-001.wav", "seconds": 2.0, "text": "We open at nine."}}  # fmt: skip
        (folder / "dataset.json").write_text(json.dumps(figures))
        codes = [[number] * 16 for number in range(25)]
        row = {"audio": "/x/shop-001.wav", "text": "We open \x1b[31mat nine.", "audio_codes": codes}
        (folder / "train.jsonl").write_text(json.dumps(row) + "\n")
        (folder / "eval.jsonl").write_text("")
        await ui.press("m")
        await ui.until(lambda: ui.shows("What will be trained: my_voice", "1 too short", "25 frames of 16 codes"))
