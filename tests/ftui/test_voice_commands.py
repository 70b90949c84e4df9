"""`ftui tts voices …` and what a training refuses, as real processes; no voice environment is needed for these."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any


def write_voice(home: Path, name: str = "anna") -> Path:
    """What a training leaves, with a few bytes for weights."""
    folder = home / "qwen3-tts" / "finetuning" / name
    for number, alike in ((1, 0.8), (2, 0.7)):
        epoch = folder / f"checkpoint-epoch-{number}"
        epoch.mkdir(parents=True)
        (epoch / "config.json").write_text("{}")
        (epoch / "model.safetensors").write_bytes(b"weights")
        heard = {"wer": 0.05, "similarity": alike, "speed": 1.3, "without_end": 0, "sentences": 2}
        (epoch / "card.json").write_text(json.dumps({"epoch": number, "eval_loss": 3.5, "heard": heard}))
    card = {"best_epoch": 1, "speaker": name, "base_model": "/models/Base", "dataset": {"characters_per_second": 15}}
    (folder / "voice.json").write_text(json.dumps(card))
    return folder


def test_voices_are_listed_exported_deleted_and_brought_back(ftui: Any, tmp_path: Path) -> None:
    home = Path(os.environ["FTUI_HOME"])
    assert "no voice yet" in ftui("tts", "voices", "list").stdout
    write_voice(home)
    listed = ftui("tts", "voices", "list").stdout
    assert "anna" in listed and "alike 80%, word errors 5%, speed 130% of the speaker's" in listed
    shown = json.loads(ftui("tts", "voices", "show", "anna", "--json").stdout)
    assert shown["best_epoch"] == 1 and [epoch["number"] for epoch in shown["epochs"]] == [1, 2]

    written = json.loads(ftui("tts", "voices", "export", "anna", "-o", str(tmp_path), "--json").stdout)
    with zipfile.ZipFile(written["output"]) as archive:
        assert "anna-epoch-1/model.safetensors" in archive.namelist()
        assert 'speaker="anna"' in archive.read("anna-epoch-1/README.txt").decode()
    again = ftui("tts", "voices", "export", "anna", "-o", str(tmp_path), code=6)
    assert "exists" in again.stderr

    ftui("tts", "voices", "delete", "anna", "--epoch", "1")
    assert [e["number"] for e in json.loads(ftui("tts", "voices", "list", "--json").stdout)[0]["epochs"]] == [2]
    ftui("tts", "voices", "restore", "checkpoint-epoch-1")
    ftui("tts", "voices", "delete", "anna")
    ftui("tts", "voices", "restore", "anna")
    assert len(json.loads(ftui("tts", "voices", "list", "--json").stdout)[0]["epochs"]) == 2


def test_what_is_missing_is_one_line_and_a_next_step(ftui: Any, tmp_path: Path) -> None:
    for arguments, code, cause, step in (
        (["say", "Hello.", "-o", str(tmp_path / "x.wav")], 4, "there is no voice yet", "ftui tts train"),
        (["voices", "show", "../x"], 2, "is not a name", "Use letters"),
        (["train"], 4, "has no dataset yet", "ftui tts prepare"),
        (["prepare"], 5, "no sample has a transcript yet", "ftui tts transcribe"),
        (["status"], 4, "no voice has been trained yet", "ftui tts train"),
        (["check", "--learning-rate", "7"], 2, "less than or equal to 1", ""),
    ):
        answer = ftui("tts", *arguments, code=code)
        assert cause in answer.stderr and step in answer.stderr, answer.stderr
