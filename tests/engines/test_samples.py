"""The samples of a workspace: a list that survives crashes, two writers and other programs."""

from __future__ import annotations

import json
import subprocess
import sys
import wave
from pathlib import Path

import pytest

from engines.contract.errors import UserError
from engines.voice import transcript_files
from engines.voice.samples import Samples
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


def test_find_and_replace_takes_whole_words_and_is_undone(samples: Samples) -> None:
    for name, text in (("one", "The quen runs, Quen!"), ("two", "quenching thirst")):
        write_wav(samples.folder / f"{name}.wav")
        samples.registry.put(f"{name}.wav", transcript=text)
    before = samples.replace("quen", r"Qwen\1")
    assert [sample.filename for sample in before] == ["one.wav"]
    assert samples.get("one").transcript == r"The Qwen\1 runs, Qwen\1!" and samples.get("one").transcript_edited
    assert samples.replace("QUENCHING", "x", match_case=True) == []
    samples.put_back(before)
    assert samples.get("one").transcript == "The quen runs, Quen!" and not samples.get("one").transcript_edited


@pytest.mark.parametrize(
    "content",
    [
        "one|I raw|I read it\ntwo|Two\nnone|Nobody\n",
        "file,text\nclips/one.mp3,I read it\ntwo.wav,Two\nnone.wav,Nobody\n",
        '"id";"transcript"\n"one";"I read it"\n"two";"Two"\n"none";"Nobody"\n',
        '{"audio": "/data/one.wav", "text": "I read it"}\n\n{"audio": "two.wav", "text": "Two"}\n'
        '{"audio": "none.wav", "text": "Nobody"}\n[1]\n',
    ],
)
def test_texts_that_exist_are_taken_over(samples: Samples, tmp_path: Path, content: str) -> None:
    write_wav(samples.folder / "one.wav")
    write_wav(samples.folder / "cut-001.wav")
    samples.registry.put("cut-001.wav", source={"name": "folder/two.ogg"})
    (tmp_path / "texts").write_text(content, encoding="utf-8-sig")
    before, unknown = samples.set_transcripts(transcript_files.read(tmp_path / "texts"))
    assert {sample.filename: sample.transcript for sample in samples.list()} == {
        "one.wav": "I read it", "cut-001.wav": "Two",
    }  # fmt: skip
    assert len(before) == 2 and [Path(name).stem for name in unknown] == ["none"]
    assert all(sample.transcript_edited for sample in samples.list())


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", b"\xff\xfe\x00", b"{}\n"])
def test_what_holds_no_texts_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "texts").write_bytes(content)
    with pytest.raises(UserError):
        transcript_files.read(tmp_path / "texts")


def test_a_text_is_held_against_the_length_of_the_sound(samples: Samples) -> None:
    write_wav(samples.folder / "one.wav", 2.0)
    samples.registry.put("one.wav", checks={"snr_db": 40.0}, transcript="x" * 100)
    assert samples.get("one").reasons == ["text too long for the sound: 50 characters a second"]
    samples.set_transcript("one", "no")
    assert samples.get("one").reasons == ["text too short for the sound: 1.0 characters a second"]
    samples.set_transcript("one", "This is what was said.")
    assert (samples.get("one").score, samples.get("one").reasons) == (100, [])


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
from engines.voice.sample_registry import SampleRegistry
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
