"""A chat whose voice notes are written down when it becomes a dataset: by a real Whisper, each once."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import soundfile
import soxr

from engines.config.prepare import PrepareConfig
from engines.contract.errors import UserError
from engines.data.looks import inspect
from engines.llm import LLMEngine
from engines.tts import TTSEngine
from engines.workspace import Workspace
from tests.tts.test_transcribe import whisper_folder
from tts.demo_speech import RATE, SENTENCES, say

__all__ = ["whisper_folder"]


def write_export(folder: Path) -> Path:
    """Text and voice in turn; one note is not in the export, one leads out of it."""
    (folder / "voice_messages").mkdir(parents=True)
    contents = ["Any news?", 5, 9, "Thanks!", "Bye", "missing", "../secret.ogg", "Good night"]
    messages = []
    for number, content in enumerate(contents):
        message = {
            "id": number, "type": "message", "date": "2026-01-01T10:00:00", "date_unixtime": str(1767261600 + number),
            "from": "Peer" if number % 2 == 0 else "Owner", "from_id": "user2" if number % 2 == 0 else "user1",
            "text": content if isinstance(content, str) else "",
        }  # fmt: skip
        if isinstance(content, int) or content in ("missing", "../secret.ogg"):
            name = f"voice_messages/audio_{number}.ogg" if isinstance(content, int) else content
            message |= {"text": "", "media_type": "voice_message", "file": name}
        if isinstance(content, int):
            audio = soxr.resample(say(SENTENCES[content]), RATE, 48_000)
            soundfile.write(folder / str(message["file"]), audio, 48_000, format="OGG", subtype="OPUS")
        messages.append(message)
    soundfile.write(folder.parent / "secret.ogg", say(SENTENCES[0]), RATE)
    chat = {"name": "Peer", "type": "personal_chat", "id": 2, "messages": messages}
    (folder / "result.json").write_text(json.dumps(chat))
    return folder / "result.json"


def prepared(engine: LLMEngine, export: Path, name: str, **values: object) -> tuple[str, str]:
    """(all that is said in the dataset, the log)"""
    config = PrepareConfig.model_validate({"min_dialog_messages": 2, **values})
    run = engine.prepare(export, config, name=name)
    status = engine.runs.wait(run, 120)
    log = run.log.read_text()
    assert status.state == "done", log
    rows = [json.loads(line) for line in engine.datasets.path(name).read_text().splitlines()]
    return " | ".join(turn["content"] for row in rows for turn in row["messages"]), log


def test_voice_notes_become_turns_and_are_heard_once(tmp_path: Path, whisper_folder: Path) -> None:
    workspace = Workspace(tmp_path / "home")
    TTSEngine(workspace).remember_config(whisper_model=str(whisper_folder), language="en", device="cpu")
    engine = LLMEngine(workspace)
    export = write_export(tmp_path / "ChatExport")
    without, _ = prepared(engine, export, "without")
    assert "bicycle" not in without
    text, log = prepared(engine, export, "with", transcribe_voice=True)
    assert "bicycle" in text and "rained" in text and "Good night" in text and "open at nine" not in text
    assert "2 voice notes were left out" in log and "Loading Whisper" in log
    again, log = prepared(engine, export, "again", transcribe_voice=True)
    assert again == text and "Loading Whisper" not in log
    archive = shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path, "ChatExport")
    unpacked, log = prepared(engine, Path(archive), "unpacked", transcribe_voice=True)
    assert unpacked == text and "2 voice notes were left out" in log


def test_the_model_and_the_language_are_named_with_the_preparation(tmp_path: Path, whisper_folder: Path) -> None:
    """Nobody has ever transcribed samples here. Another model in a folder of the same name hears for itself."""
    engine = LLMEngine(Workspace(tmp_path / "home"))
    export = write_export(tmp_path / "ChatExport")
    told = {"transcribe_voice": True, "language": "en", "whisper_model": str(whisper_folder)}
    text, log = prepared(engine, export, "with", **told)
    assert "bicycle" in text and f"Loading Whisper {whisper_folder}" in log
    other = tmp_path / "other" / whisper_folder.name
    shutil.copytree(whisper_folder, other)
    again, log = prepared(engine, export, "again", **{**told, "whisper_model": str(other)})
    assert again == text and f"Loading Whisper {other}" in log
    for model in (whisper_folder, other):
        assert "Loading" not in prepared(engine, export, "cached", **{**told, "whisper_model": str(model)})[1]


def test_a_look_does_not_listen_and_says_so(tmp_path: Path) -> None:
    export = write_export(tmp_path / "ChatExport")
    found = inspect(export, PrepareConfig(transcribe_voice=True))
    assert found["dropped"]["voice_message"] == 4 and "`ftui llm prepare`" in found["notes"][0]
    assert inspect(export, PrepareConfig())["notes"] == []


@pytest.mark.parametrize("alone", [{"language": "ru"}, {"whisper_model": "base"}])
def test_a_language_of_voice_notes_is_no_filter(tmp_path: Path, alone: dict[str, str]) -> None:
    with pytest.raises(UserError, match="voice notes"):
        inspect(write_export(tmp_path / "ChatExport"), PrepareConfig.model_validate(alone))


def test_a_whisper_that_is_not_there_fails_with_its_cause(tmp_path: Path) -> None:
    engine = LLMEngine(Workspace(tmp_path / "home"))
    TTSEngine(engine.workspace).remember_config(whisper_model=str(tmp_path), device="cpu")
    run = engine.prepare(write_export(tmp_path / "ChatExport"), PrepareConfig(transcribe_voice=True), name="x")
    status = engine.runs.wait(run, 60)
    assert status.state == "failed" and "no model.bin" in status.cause, run.log.read_text()
    assert not engine.datasets.path("x").exists()


@pytest.fixture(autouse=True)
def our_code_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parent.parent.parent))
