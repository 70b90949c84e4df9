"""The samples of a workspace: a list that survives crashes, two writers and other programs."""

from __future__ import annotations

import json
import subprocess
import sys
import wave
from pathlib import Path

import pytest

from engines.errors import UserError
from engines.samples import Samples
from engines.workspace import Workspace


def write_wav(path: Path, seconds: float = 2.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(24000)
        file.writeframes(b"\1\2" * round(24000 * seconds))
    return path


@pytest.fixture
def samples(tmp_path: Path) -> Samples:
    return Samples(Workspace(tmp_path / "home"))


def test_the_list_of_another_installation_is_read_and_keeps_what_we_do_not_know(samples: Samples) -> None:
    write_wav(samples.folder / "one.wav")
    old = {
        "filename": "one.wav", "path": "/elsewhere/voice_samples/one.wav", "duration_sec": 2.0,
        "transcript": "Hello there.", "transcript_edited": True, "size_kb": 93.8, "mood": "calm",
    }  # fmt: skip
    samples.registry.file.write_text(json.dumps([old]))
    sample = samples.get("one")
    assert (sample.transcript, sample.transcript_edited, sample.duration_sec) == ("Hello there.", True, 2.0)
    assert sample.path == samples.folder / "one.wav"
    samples.set_transcript("one.wav", " Hello \n again. ")
    (entry,) = json.loads(samples.registry.file.read_text())
    assert entry["mood"] == "calm" and entry["transcript"] == "Hello again." and entry["size_kb"] == 93.8


def test_a_file_that_the_list_does_not_know_is_taken_in(samples: Samples) -> None:
    write_wav(samples.folder / "found.wav", 3.5)
    (samples.folder / "notes.txt").write_text("no sample")
    (sample,) = samples.list()
    assert (sample.filename, sample.duration_sec, sample.transcript) == ("found.wav", 3.5, "")
    assert not samples.registry.file.exists()  # a look changes nothing
    samples.registry.update(lambda entries: None)
    assert json.loads(samples.registry.file.read_text())[0]["filename"] == "found.wav"


def test_a_damaged_list_is_put_aside(samples: Samples) -> None:
    write_wav(samples.folder / "one.wav")
    samples.registry.file.write_text('[{"filename": "one.wav", "transcr')
    assert [sample.filename for sample in samples.list()] == ["one.wav"]
    (kept,) = samples.registry.home.glob("samples_metadata.damaged-*.json")
    assert kept.read_text().endswith("transcr")


def test_what_is_deleted_comes_back_with_its_text(samples: Samples) -> None:
    write_wav(samples.folder / "one.wav")
    samples.set_transcript("one", "Kept.")
    trashed = samples.delete("one")
    assert samples.list() == [] and samples.totals().count == 0
    assert samples.restore(trashed).transcript == "Kept."


def test_a_text_is_undone(samples: Samples) -> None:
    write_wav(samples.folder / "one.wav")
    before = samples.set_transcript("one", "New.")
    samples.put_back([before])
    assert (samples.get("one").transcript, samples.get("one").transcript_edited) == ("", False)


def test_renaming_keeps_everything_and_refuses_taken_and_wandering_names(samples: Samples) -> None:
    write_wav(samples.folder / "one.wav")
    write_wav(samples.folder / "two.wav")
    samples.set_transcript("one", "Said.")
    assert samples.rename("one", "first").transcript == "Said."
    assert sorted(sample.filename for sample in samples.list()) == ["first.wav", "two.wav"]
    trashed = samples.delete("two")
    for name in ("../up", "two", "two.wav"):
        with pytest.raises(UserError):
            samples.rename("first", name)
    assert samples.restore(trashed).filename == "two.wav"


def test_export_is_the_layout_of_ljspeech(samples: Samples, tmp_path: Path) -> None:
    write_wav(samples.folder / "one.wav")
    samples.set_transcript("one", "A|B")
    folder = samples.export(tmp_path / "out")
    assert (folder / "wavs" / "one.wav").read_bytes() == (samples.folder / "one.wav").read_bytes()
    assert (folder / "metadata.csv").read_text() == "one|A B|A B\n"
    with pytest.raises(UserError, match="exists already"):
        samples.export(folder)


def test_four_writers_at_once_lose_nothing(samples: Samples) -> None:
    for number in range(20):
        write_wav(samples.folder / f"s{number}.wav", 0.01)
    code = """
import sys
from pathlib import Path
from engines.sample_registry import SampleRegistry
registry, which = SampleRegistry(Path(sys.argv[1])), int(sys.argv[2])
for number in range(which, 20, 4):
    registry.put(f"s{number}.wav", transcript=f"text {number}")
"""
    home = str(samples.registry.home)
    writers = [subprocess.Popen([sys.executable, "-c", code, home, str(which)]) for which in range(4)]
    assert [writer.wait(60) for writer in writers] == [0] * 4
    assert {sample.filename: sample.transcript for sample in samples.list()} == {
        f"s{number}.wav": f"text {number}" for number in range(20)
    }
