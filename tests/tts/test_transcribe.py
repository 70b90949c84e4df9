"""Samples are written down by a real Whisper: what is new, never what was edited, as well as the plain library."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import soxr

from engines.config.samples import TranscribeConfig
from engines.contract.errors import UserError
from engines.tts import TTSEngine
from engines.workspace import Workspace
from tests.tts.word_errors import word_error_rate
from tts import demo_whisper
from tts.audio import SAMPLE_RATE, write
from tts.demo_speech import RATE, SENTENCES, say
from tts.numbers import spelled
from tts.whisper import Whisper, is_suspicious


@pytest.fixture(scope="session")
def whisper_folder(request: pytest.FixtureRequest) -> Path:
    """Whisper base, joined once and kept in pytest's cache."""
    return demo_whisper.make(Path(str(request.config.cache.mkdir("whisper"))) / "base")


@pytest.fixture
def tts(tmp_path: Path) -> TTSEngine:
    return TTSEngine(Workspace(tmp_path / "home"))


def fill(engine: TTSEngine, count: int) -> None:
    for number, text in enumerate(SENTENCES[:count]):
        write(engine.samples.folder / f"s{number:02d}.wav", soxr.resample(say(text), RATE, SAMPLE_RATE))


def settings(folder: Path, **values: object) -> TranscribeConfig:
    return TranscribeConfig.model_validate({"whisper_model": str(folder), "language": "en", "device": "cpu", **values})


def test_only_what_is_new_and_never_what_was_edited(tts: TTSEngine, whisper_folder: Path) -> None:
    fill(tts, 6)
    tts.samples.set_transcript("s01", "By hand.")
    tts.samples.registry.put("s02.wav", transcript="There before.")
    run = tts.transcribe(settings(whisper_folder))
    assert tts.runs.wait(run, 120).state == "done", run.log.read_text()
    texts = {sample.filename: sample for sample in tts.samples.list()}
    assert texts["s01.wav"].transcript == "By hand." and texts["s02.wav"].transcript == "There before."
    assert run.result()["written"] == 4 and run.result()["languages"] == {"en": 4}
    assert word_error_rate(SENTENCES[5], texts["s05.wav"].transcript) < 0.25
    assert 0.5 < (texts["s05.wav"].confidence or 0) <= 1 and texts["s05.wav"].language == "en"
    with pytest.raises(UserError, match="all samples have a transcript"):
        tts.transcribe(settings(whisper_folder))
    again = tts.transcribe(settings(whisper_folder, again=True, language="auto", beam_size=1))
    assert tts.runs.wait(again, 120).state == "done", again.log.read_text()
    assert again.result()["written"] == 5 and again.result()["languages"] == {"en": 5}
    assert tts.samples.get("s01").transcript == "By hand." and tts.samples.get("s02").transcript != "There before."


def test_killed_it_has_lost_nothing_and_goes_on(tts: TTSEngine, whisper_folder: Path) -> None:
    fill(tts, 12)
    run = tts.transcribe(settings(whisper_folder, decode_batch=1))
    while sum(bool(sample.transcript) for sample in tts.samples.list()) < 2:
        assert tts.runs.wait(run, 0).active
        time.sleep(0.02)
    os.killpg(run.status().pid or 0, signal.SIGKILL)
    tts.runs.wait(run, 20)
    before = {sample.filename: sample.transcript for sample in tts.samples.list() if sample.transcript}
    assert 2 <= len(before) < 12
    second = tts.transcribe(settings(whisper_folder))
    assert tts.runs.wait(second, 120).state == "done"
    assert second.result()["written"] == 12 - len(before)
    after = {sample.filename: sample.transcript for sample in tts.samples.list()}
    assert before.items() <= after.items() and all(after.values())


def test_texts_are_those_of_the_plain_library(whisper_folder: Path) -> None:
    clips = [soxr.resample(say(text), RATE, 16_000) for text in SENTENCES[:5]]
    ours = Whisper(str(whisper_folder), "cpu", "auto", "en", 5)
    heard = ours.transcribe(clips)
    plain = [" ".join(part.text for part in ours.model.transcribe(clip)[0]) for clip in clips]
    rate = {name: word_error_rate(" ".join(SENTENCES[:5]), " ".join(texts)) for name, texts in
            (("ours", [found.text for found in heard]), ("plain", plain))}  # fmt: skip
    assert rate["ours"] <= rate["plain"] + 0.07, rate  # three words; `benchmarks.samples` measures it finely
    wrong = [found for text, found in zip(SENTENCES[:5], heard, strict=True) if word_error_rate(text, found.text) > 0.3]
    assert all(found.uncertain for found in wrong)


def test_each_clip_has_its_own_language(whisper_folder: Path) -> None:
    german = "Ich möchte bitte zwei Karten für das Konzert am Samstag kaufen, wenn es noch welche gibt."
    texts = [(SENTENCES[0], "en-us"), (german, "de"), (SENTENCES[1], "en-us"), (SENTENCES[4], "en-us")]
    clips = [soxr.resample(say(text, voice), RATE, 16_000) for text, voice in texts]
    clips.append(np.random.default_rng(1).normal(0, 0.01, 32_000).astype(np.float32))
    found = Whisper(str(whisper_folder), "cpu", "int8", "auto", 1).transcribe(clips)
    assert [heard.language for heard in found] == ["en", "de", "en", "en", "en"], "noise has the language of the others"
    assert "zwei karten" in found[1].text.lower()
    forced = Whisper(str(whisper_folder), "cpu", "int8", "en", 1).transcribe(clips)
    assert {heard.language for heard in forced} == {"en"}


def test_noise_and_silence_do_not_end_it(whisper_folder: Path) -> None:
    ours = Whisper(str(whisper_folder), "cpu", "auto", "auto", 1)
    noise = np.random.default_rng(3).normal(0, 0.02, 16_000 * 3).astype(np.float32)
    heard = ours.transcribe([np.zeros(16_000, np.float32), noise])
    assert len(heard) == 2 and all(len(found.text) < 500 for found in heard)


@pytest.mark.parametrize(
    ("model", "cause"), [("no-such-size", "there is no Whisper model"), ("large-v3", "cannot be fetched")]
)
def test_a_model_that_cannot_be_had(tts: TTSEngine, model: str, cause: str) -> None:
    fill(tts, 1)
    run = tts.transcribe(TranscribeConfig(whisper_model=model, device="cpu"))
    status = tts.runs.wait(run, 60)
    assert status.state == "failed" and cause in status.cause, run.log.read_text()
    assert "folder" in status.next_step


def test_a_folder_without_a_model(tts: TTSEngine, tmp_path: Path) -> None:
    fill(tts, 1)
    run = tts.transcribe(TranscribeConfig(whisper_model=str(tmp_path), device="cpu"))
    assert "no model.bin" in tts.runs.wait(run, 60).cause


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("We open at 9 and close at 18.", "en", "We open at nine and close at eighteen."),
        ("It costs 2.5 pounds, room A4.", "en", "It costs two point five pounds, room A4."),
        ("Мне 21 год.", "ru", "Мне двадцать один год."),
        ("1 000 mal", "de", "eintausend mal"),
        ("9", "zz", "9"),
    ],
)
def test_numbers_are_spelled(text: str, language: str, expected: str) -> None:
    assert spelled(text, language) == expected


def test_repetition_is_noticed() -> None:
    assert is_suspicious("") and is_suspicious("we open at nine. we open at nine.")
    assert not any(is_suspicious(text) for text in SENTENCES)


def test_a_damaged_small_whisper_is_not_used(
    whisper_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(demo_whisper.SHA256, "config.json", "0" * 64)
    with pytest.raises(UserError, match="not the file that was expected"):
        demo_whisper.make(tmp_path / "base")
    assert not list(tmp_path.glob("*base*")), "nothing half is left"
