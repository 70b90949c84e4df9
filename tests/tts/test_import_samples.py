"""Recordings become samples: every format, bad files, long ones, crashes. Real audio, real scripts."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from engines.config.samples import SampleConfig
from engines.contract.errors import UserError
from engines.running.follow import LogFile
from engines.running.runs import Run
from engines.tts import TTSEngine
from engines.voice.samples import Sample
from engines.workspace import Workspace
from tests.tts import recordings
from tts.demo_speech import RATE, SENTENCES, say
from tts.one_recording import take
from tts.recordings import Source

QUICK = SampleConfig(find_speakers=False)


def add(engine: TTSEngine, *sources: Path, config: SampleConfig = QUICK, state: str = "done") -> Run:
    run = engine.add_samples(sources, config)
    status = engine.runs.wait(run, 120)
    assert status.state == state, run.log.read_text(errors="replace")
    return run


@pytest.fixture
def tts(tmp_path: Path) -> TTSEngine:
    return TTSEngine(Workspace(tmp_path / "home"))


@pytest.fixture(scope="module")
def looked_at(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Sample], Run]:
    """Good, bad and doubtful recordings taken in at once, with voices compared."""
    folder = tmp_path_factory.mktemp("recordings")
    recordings.many_formats(folder)
    recordings.bad_ones(folder)
    recordings.doubtful_ones(folder)
    engine = TTSEngine(Workspace(tmp_path_factory.mktemp("home")))
    run = add(engine, folder, config=SampleConfig())
    return {sample.filename: sample for sample in engine.samples.list()}, run


FORMATS = ("wav", "eight_bit", "six_channels_96k", "flac", "aiff", "vorbis", "opus", "mp3", "wrong_suffix", "aac",
           "opus-2", "adts")  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_becomes_24_khz_mono(looked_at: tuple[dict[str, Sample], Run], name: str) -> None:
    sample = looked_at[0][f"{name}.wav"]
    found = soundfile.info(sample.path)
    assert (found.samplerate, found.channels, found.subtype) == (24000, 1, "PCM_16")
    assert sample.duration_sec == pytest.approx(found.duration, abs=0.01) and 2 < found.duration < 4
    assert sample.path.stat().st_mode & 0o077 == 0
    assert not [reason for reason in sample.reasons if "breaks off" in reason or "clipped" in reason]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("clipped.wav", "clipped"),
        ("noisy.wav", "noisy"),
        ("quiet.wav", "very quietly"),
        ("other_voice.wav", "another speaker"),
        ("two_voices.wav", "more than one speaker"),
        ("original.wav", "sounds like copy.wav again"),
        ("torn.wav", "breaks off"),
    ],
)
def test_what_is_doubtful_says_why(looked_at: tuple[dict[str, Sample], Run], name: str, reason: str) -> None:
    sample = looked_at[0][name]
    assert any(reason in text for text in sample.reasons), sample
    assert sample.score is not None and sample.score < 100


def test_what_is_good_has_the_full_score(looked_at: tuple[dict[str, Sample], Run]) -> None:
    for name in ("wav.wav", "flac.wav", "mp3.wav", "aac.wav", "copy.wav"):
        assert (looked_at[0][name].score, looked_at[0][name].reasons) == (100, []), name


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("empty.wav", "is empty"),
        ("no_audio.mp3", "no audio that can be read"),
        ("playlist.wav", "no audio that can be read"),
        ("header_only.wav", "no audio that can be read"),
        ("silence.wav", "nobody speaks"),
        ("hiss.wav", "nobody speaks"),
        ("blip.wav", "shorter than the shortest"),
    ],
)
def test_what_is_bad_is_refused_with_a_cause(looked_at: tuple[dict[str, Sample], Run], name: str, cause: str) -> None:
    samples, run = looked_at
    assert cause in run.result()["skipped"][name]
    assert name not in samples


def test_a_name_that_is_no_text_becomes_one(looked_at: tuple[dict[str, Sample], Run]) -> None:
    assert "na_me_ж.wav" in looked_at[0]


def test_samples_are_even_in_loudness(looked_at: tuple[dict[str, Sample], Run]) -> None:
    from tts.checks import loudness

    found = [loudness(soundfile.read(looked_at[0][f"{name}.wav"].path, dtype="float32")[0]) for name in FORMATS]
    assert all(value == pytest.approx(-23, abs=0.5) for value in found), found


def test_a_long_recording_is_cut_at_pauses_and_stays_as_it_is(tts: TTSEngine, tmp_path: Path) -> None:
    file = tmp_path / "talk.wav"
    seconds = recordings.long_one(file, 5)
    before = (file.read_bytes(), file.stat().st_mtime_ns)
    add(tts, file)
    samples = tts.samples.list()
    assert (file.read_bytes(), file.stat().st_mtime_ns) == before
    lengths = [sample.duration_sec or 0 for sample in samples]
    assert min(lengths[:-1]) >= 3 and max(lengths) <= 15 and len(samples) > 15
    assert sum(lengths) > 0.75 * seconds  # of which the pauses are a fifth
    starts = [sample.source["start_sec"] for sample in samples]
    assert starts == sorted(starts) and starts[-1] > seconds - 30
    edges = [soundfile.read(sample.path)[0][[*range(240), *range(-240, 0)]] for sample in samples]
    assert max(abs(edge).max() for edge in edges) < 0.02  # nobody is cut off in a word


def test_limits_are_obeyed(tts: TTSEngine, tmp_path: Path) -> None:
    recordings.long_one(tmp_path / "talk.wav", 1)
    soundfile.write(tmp_path / "short.wav", say(SENTENCES[0]), RATE)
    config = SampleConfig(
        find_speakers=False, min_duration_sec=3.5, piece_min_sec=4, piece_max_sec=6, max_duration_sec=8
    )
    run = add(tts, tmp_path / "talk.wav", tmp_path / "short.wav", config=config)
    lengths = [sample.duration_sec or 0 for sample in tts.samples.list()]
    assert lengths and min(lengths) >= 3.5 and max(lengths) <= 6
    assert "shorter than the shortest" in run.result()["skipped"]["short.wav"]
    contradiction = SampleConfig(piece_min_sec=20)
    assert "contradict" in add_failing(tts, tmp_path / "talk.wav", contradiction)


def add_failing(engine: TTSEngine, source: Path, config: SampleConfig) -> str:
    return engine.runs.wait(add(engine, source, config=config, state="failed"), 1).cause


def test_denoise_takes_noise_out(tts: TTSEngine, tmp_path: Path) -> None:
    recordings.doubtful_ones(tmp_path / "all")
    noisy = tmp_path / "all" / "noisy.wav"
    add(tts, noisy, config=SampleConfig(find_speakers=False, denoise=True))
    clean, rate = soundfile.read(tts.samples.list()[0].path)
    with_noise = soundfile.read(noisy)[0]
    assert quietest(clean, rate) < 0.1 * quietest(with_noise, RATE)


def quietest(audio: np.ndarray, rate: int) -> float:
    """The energy of the 20 ms that one in twenty is quieter than, of all energy."""
    frames = audio[: len(audio) // (rate // 50) * (rate // 50)].reshape(-1, rate // 50)
    energy = (frames**2).mean(axis=1)
    return float(np.percentile(energy, 5) / energy.mean())


def test_archives_and_texts_beside_and_nothing_twice(tts: TTSEngine, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "one.wav", say(SENTENCES[0]), RATE)
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.write(tmp_path / "one.wav", "../../evil/one.wav")
        archive.writestr("../../evil/one.txt", "  Good morning,\n we open. ")
        archive.writestr("notes.pdf", "no sound")
    add(tts, tmp_path / "all.zip")
    (sample,) = tts.samples.list()
    assert (sample.filename, sample.transcript, sample.transcript_edited) == ("one.wav", "Good morning, we open.", True)
    assert not (tmp_path.parent / "evil").exists() and not list(tts.samples.registry.home.glob(".incoming/*"))
    run = add(tts, tmp_path / "one.wav")
    assert run.result()["skipped"] == {"one.wav": "is there already"} and len(tts.samples.list()) == 1


def write_export(export: Path, outside: str) -> None:
    """A chat of two: a note of each, one that leads out of the folder, one that was not exported."""
    (export / "voice_messages").mkdir(parents=True)
    messages = []
    for number, (author, file) in enumerate(
        [("user1", "voice_messages/a.ogg"), ("user2", "voice_messages/b.ogg"), ("user1", outside),
         ("user1", "(File not included. Change data exporting settings to download.)")]
    ):  # fmt: skip
        if file.startswith("voice"):
            soundfile.write(export / file, say(SENTENCES[number]), RATE)
        messages.append({
            "id": number, "type": "message", "date": "2026-01-01T10:00:00", "date_unixtime": "1767261600",
            "from": "Sample" if author == "user1" else "Peer", "from_id": author, "media_type": "voice_message",
            "file": file, "text": "",
        })  # fmt: skip
    chat = {"name": "Peer", "type": "personal_chat", "id": 2, "messages": messages}
    (export / "result.json").write_text(json.dumps(chat))


@pytest.mark.parametrize("way", ["folder", "json", "folder_around", "zip", "zip_around"])
def test_the_owner_s_voice_notes_come_straight_from_an_export(tts: TTSEngine, tmp_path: Path, way: str) -> None:
    around = tmp_path / "around"
    export = around / "ChatExport"
    soundfile.write(tmp_path / "outside.ogg", say(SENTENCES[5]), RATE)
    write_export(export, "../../outside.ogg")
    own = ["a.wav"]
    if way.endswith("around"):
        soundfile.write(around / "memo.wav", say(SENTENCES[6]), RATE)
        own += ["memo.wav"]
    source = {"folder": export, "json": export / "result.json", "folder_around": around}.get(way)
    if source is None:
        root = around if way == "zip_around" else export
        source = Path(shutil.make_archive(str(tmp_path / "export"), "zip", root))
    add(tts, source)
    assert sorted(sample.filename for sample in tts.samples.list()) == own
    with pytest.raises(UserError, match="nobody in the export is called"):
        tts.add_samples([source], SampleConfig(owner_name="Nobody"))
    add(tts, source, config=SampleConfig(owner_name="Peer", find_speakers=False))
    assert sorted(sample.filename for sample in tts.samples.list()) == sorted([*own, "b.wav"])


@pytest.mark.parametrize("packed", [False, True])
def test_an_export_that_does_not_tell_whose_voices_it_has(tts: TTSEngine, tmp_path: Path, packed: bool) -> None:
    export = tmp_path / "ChatExport"
    (export / "voice_messages").mkdir(parents=True)
    (export / "messages.html").write_text("<html>")
    (export / "voice_messages" / "a.ogg").write_bytes(b"x")
    source = Path(shutil.make_archive(str(tmp_path / "export"), "zip", export)) if packed else export
    with pytest.raises(UserError, match="as HTML") as caught:
        tts.add_samples([source], QUICK)
    assert "JSON" in caught.value.next_step


def test_a_stop_does_not_wait_for_the_end_of_a_long_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recordings.long_one(tmp_path / "talk.wav", 2)
    (tmp_path / "pieces").mkdir()
    monkeypatch.setenv("FTUI_RUN_DIR", str(tmp_path))
    source = Source("talk.wav", tmp_path / "talk.wav")
    assert not take(source, tmp_path / "pieces", QUICK).stopped and list((tmp_path / "pieces").iterdir())
    shutil.rmtree(tmp_path / "pieces")
    (tmp_path / "pieces").mkdir()
    (tmp_path / "stop.json").touch()
    taken = take(source, tmp_path / "pieces", QUICK)
    assert taken.stopped and not taken.entries and not list((tmp_path / "pieces").iterdir())


def test_every_second_is_accounted_for_and_progress_is_told_on_the_way(tts: TTSEngine, tmp_path: Path) -> None:
    recordings.long_one(tmp_path / "talk.wav", 2)
    run = add(tts, tmp_path / "talk.wav")
    result = run.result()
    told = [event for event in LogFile(run.log).poll_all() if event["event"] == "progress"]
    assert told[0]["done"] == 0 and told[-1]["done"] == told[-1]["total"] > 0
    samples = tts.samples.list()
    assert result["kept_seconds"] == pytest.approx(sum(sample.duration_sec or 0 for sample in samples), abs=0.1)
    assert result["read_seconds"] == pytest.approx(soundfile.info(tmp_path / "talk.wav").duration, abs=0.1)
    whole = result["kept_seconds"] + result["short_seconds"] + result["silent_seconds"]
    assert whole == pytest.approx(result["read_seconds"], abs=0.2)


def test_killed_at_any_moment_an_import_is_just_done_again(tts: TTSEngine, tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    folder.mkdir()
    for number, text in enumerate(SENTENCES):
        soundfile.write(folder / f"s{number:02d}.wav", say(text), RATE)
    (tmp_path / "list.json").write_text(json.dumps([str(folder)]))
    (tmp_path / "config.json").write_text('{"find_speakers": false}')
    command = [sys.executable, "-m", "tts.import_samples", str(tts.workspace.voice)]
    command += ["--files", str(tmp_path / "list.json"), "--config", str(tmp_path / "config.json")]
    for seconds in (3.0, 5.0):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
        time.sleep(seconds)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        json.loads(tts.samples.registry.file.read_text()) if tts.samples.registry.file.exists() else None
    add(tts, folder)
    samples = tts.samples.list()
    assert sorted(sample.filename for sample in samples) == [f"s{number:02d}.wav" for number in range(len(SENTENCES))]
    assert all(sample.checks and sample.path.exists() for sample in samples)
    assert list(tts.samples.registry.home.glob(".incoming/*")) == []


def test_a_decoder_that_crashes_costs_one_recording(
    tts: TTSEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfile.write(tmp_path / "good.wav", say(SENTENCES[0]), RATE)
    soundfile.write(tmp_path / "evil.wav", say(SENTENCES[1]), RATE)
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(  # what a fault in a C library does, for one file
        "import os, hashlib, io\n"
        "real = hashlib.file_digest\n"
        "def digest(file, name):\n"
        "    if 'evil' in str(file.name) and os.getppid() != int(os.environ['TEST_PARENT']):\n"
        "        import multiprocessing\n"
        "        if multiprocessing.parent_process() is not None: os.kill(os.getpid(), 11)\n"
        "    return real(file, name)\n"
        "hashlib.file_digest = digest\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{site}:{Path.cwd()}")
    monkeypatch.setenv("TEST_PARENT", str(os.getpid()))
    run = add(tts, tmp_path / "good.wav", tmp_path / "evil.wav")
    assert [sample.filename for sample in tts.samples.list()] == ["good.wav"]
    assert "crashed" in run.result()["skipped"]["evil.wav"]
