"""Real runs under the real supervisor: a voice killed and resumed, and the whole way from samples to speech."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
import urllib.error
import urllib.request
import wave
import zipfile
from pathlib import Path
from typing import Any

import pytest
import soundfile

from engines.config.job import build
from engines.config.samples import SampleConfig
from engines.config.voice import VoiceConfig
from engines.contract import statefiles
from engines.contract.errors import UserError
from engines.running.follow import LogFile
from engines.running.progress import Progress
from engines.running.runs import Run
from engines.tts import TTSEngine
from engines.workspace import Workspace
from tts import demo_speech

SEED = int(os.environ.get("FTUI_SEED", "1"))
SETTINGS: dict[str, Any] = {
    "voice_name": "tester",
    "learning_rate": 1e-2,
    "gradient_accumulation_steps": 2,
    "gradient_checkpointing": False,
    "precision": "fp32",
    "device": "cpu",
    "preview_sentences": [],
    "lora_dropout": 0.1,  # so that the random state matters
}
pytestmark = pytest.mark.timeout(600)  # a minute each where nobody else is at work


@pytest.fixture
def engine(tmp_path: Path, one_core: None) -> TTSEngine:
    return TTSEngine(Workspace(tmp_path / "home"))


@pytest.fixture
def config(tiny_base: Path) -> VoiceConfig:
    return build(VoiceConfig, {**SETTINGS, "base_model": str(tiny_base)})


def progress_of(run: Run) -> Progress:
    return Progress.of(LogFile(run.log).poll_all())


def wait_for_step(run: Run, step: int, seconds: float = 150) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if progress_of(run).step >= step:
            return
        assert not run.status().ended, f"{run.status()}\n{run.log.read_text()[-2000:]}"
        time.sleep(0.02)
    raise AssertionError(f"step {step} was not reached")


def finished(engine: TTSEngine, run: Run) -> dict[str, Any]:
    status = engine.runs.wait(run, timeout=200)
    assert status.state == "done", f"{status}\n{run.log.read_text()[-3000:]}"
    return run.result()


@pytest.mark.model
def test_killed_and_resumed_has_the_losses_of_a_run_never_interrupted(
    engine: TTSEngine, config: VoiceConfig, voice_dataset: Path
) -> None:
    shutil.copytree(voice_dataset, engine.voice_jobs.dataset_folder("tester"))
    config = config.model_copy(update={"num_epochs": 5, "save_steps": 2})  # 3 steps an epoch
    whole = engine.voice_jobs.train(config, name="whole")
    finished(engine, whole)
    expected = progress_of(whole)
    assert [step for step, _ in expected.losses] == list(range(1, 16))
    assert expected.losses[-1][1] < expected.losses[0][1]
    assert len(expected.eval_losses) == 5

    chance = random.Random(SEED)
    print(f"seed {SEED}")
    run = engine.voice_jobs.train(config, name="killed")
    for kind, step in zip(("kill", "stop"), sorted(chance.sample(range(3, 14), 2)), strict=True):
        wait_for_step(run, step)
        if kind == "kill":
            os.kill(statefiles.read_json(run.folder / "status.json")["pid"], signal.SIGKILL)
            assert engine.runs.wait(run, timeout=60).state == "failed"
        else:
            engine.runs.request_stop(run)
            assert engine.runs.wait(run, timeout=60).state in ("stopped", "done")
        if run.status().state != "done":
            engine.voice_jobs.resume(run)
    finished(engine, run)
    progress = progress_of(run)
    assert progress.losses == expected.losses
    assert progress.eval_losses == expected.eval_losses
    voices = [engine.voice_jobs.voices.get(name) for name in ("whole", "killed")]
    for one, other in zip(voices[0].epochs, voices[1].epochs, strict=True):
        assert (one.path / "model.safetensors").read_bytes() == (other.path / "model.safetensors").read_bytes()
    assert not (run.folder / "checkpoints").exists()  # they would take more room than the voice
    with pytest.raises(UserError, match="is finished"):
        engine.voice_jobs.resume(run)


def spoken_samples(folder: Path) -> Path:
    """Six sentences that espeak-ng speaks, with their texts beside them."""
    folder.mkdir()
    for number, text in enumerate(demo_speech.SENTENCES[:6]):
        soundfile.write(folder / f"take-{number}.wav", demo_speech.say(text), demo_speech.RATE)
        (folder / f"take-{number}.txt").write_text(text)
    return folder


def call(address: str, **body: Any) -> tuple[int, bytes]:
    request = urllib.request.Request(
        f"{address}/v1/audio/speech", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@pytest.mark.model
def test_from_samples_to_speech(engine: TTSEngine, config: VoiceConfig, tmp_path: Path) -> None:
    """Samples, dataset, training, epochs that speak, a text, a comparison, an archive, a server, the trash."""
    jobs = engine.voice_jobs
    with pytest.raises(UserError, match="no sample has a transcript"):
        jobs.prepare(config)
    with pytest.raises(UserError, match="no dataset yet"):
        jobs.train(config)
    finished(engine, engine.add_samples([spoken_samples(tmp_path / "takes")], SampleConfig(find_speakers=False)))
    figures = finished(engine, jobs.prepare(config))
    assert figures["clips"] == 6 and figures["eval"] == 1
    assert {row["text"] for row in jobs.rows("tester")} < set(demo_speech.SENTENCES) and jobs.rows("tester")[4][
        "frames"
    ]
    assert any("min of speech" in warning for warning in jobs.check(config))
    assert any("2e-6 is what works" in warning for warning in jobs.check(config))

    config = config.model_copy(update={"num_epochs": 2, "preview_sentences": ["Hi."]})
    before = jobs.preflight(config)
    assert before["prepared"] and before["expected"] is None and before["memory"]["activations"] > 1e6
    run = jobs.train(config)
    result = finished(engine, run)
    ends = [event for event in LogFile(run.log).poll_all() if event["event"] == "epoch_end"]
    assert [event["epoch"] for event in ends] == [1, 2] and progress_of(run).eta_seconds() == 0
    expected = result["seconds"] + result["seconds_per_epoch_end"]
    assert jobs.preflight(config)["expected"] == pytest.approx(expected, rel=0.02)
    silent = jobs.preflight(config.model_copy(update={"preview_sentences": []}))["expected"]
    assert silent == pytest.approx(result["seconds_per_step"] * result["steps"], rel=0.02)
    assert result["epochs"] == 2 and result["best_epoch"] in (1, 2)
    assert engine.last_config(VoiceConfig) == config
    voice = jobs.voices.get("tester")
    assert voice.best_epoch == result["best_epoch"] and [epoch.number for epoch in voice.epochs] == [1, 2]
    assert voice.card["zero_shot"]["heard"]["sentences"] == 1
    for epoch in voice.epochs:
        assert epoch.eval_loss and epoch.heard["similarity"] and epoch.size > 1e6
        assert soundfile.info(epoch.path / "preview" / "sentence-1.wav").samplerate == 24_000
    assert voice.size < sum(epoch.size for epoch in voice.epochs)  # they share the codec

    finished(engine, jobs.say("Hi. Yes!", voice, voice.epoch(), tmp_path / "said.wav"))
    with wave.open(str(tmp_path / "said.wav")) as sound:
        assert sound.getframerate() == 24_000 and sound.getnframes() > 24_000

    finished(engine, jobs.compare(voice, config, tmp_path / "compared", ["No <b>!"]))
    page = (tmp_path / "compared" / "index.html").read_text()
    for name in ("zero-shot", "epoch-1", "epoch-2"):
        assert f"{name}/sentence-1.wav" in page and (tmp_path / "compared" / name / "sentence-1.wav").is_file()
    assert "No &lt;b&gt;!" in page and "<b>!" not in page

    archive = jobs.voices.export("tester", tmp_path, 2)
    with zipfile.ZipFile(archive) as file:
        file.extractall(tmp_path / "unpacked")
    from tts import qwen

    loaded = qwen.import_qwen().Qwen3TTSModel.from_pretrained(str(tmp_path / "unpacked" / archive.stem))
    assert list(loaded.get_supported_speakers()) == ["tester"]

    server = jobs.serve(port=0)
    serves(engine, server)
    where = jobs.voices.delete("tester", 1)
    assert [epoch.number for epoch in jobs.voices.get("tester").epochs] == [2]
    jobs.voices.restore(where)
    where = jobs.voices.delete("tester")
    assert jobs.voices.list() == []
    jobs.voices.restore(where)
    assert jobs.voices.choose(None)[0].name == "tester"


def serves(engine: TTSEngine, run: Run) -> None:
    """Formats, voices that are switched, and what is refused."""
    deadline = time.monotonic() + 60
    while "http://" not in run.log.read_text() if run.log.exists() else True:
        assert time.monotonic() < deadline and not run.status().ended, run.log.read_text()
        time.sleep(0.1)
    address = run.log.read_text().split("voices at ")[1].split("/v1")[0]
    status, sound = call(address, model="qwen3-tts", voice="tester", input="Hi. No!")
    assert status == 200 and sound[:4] == b"RIFF" and len(sound) > 50_000
    status, sound = call(address, voice="tester:1", input="Hi.", response_format="flac")
    assert status == 200 and sound[:4] == b"fLaC"
    with urllib.request.urlopen(f"{address}/health", timeout=10) as answer:
        assert json.load(answer)["loaded"] == ["tester/checkpoint-epoch-1"]
    with urllib.request.urlopen(f"{address}/v1/models", timeout=10) as answer:
        assert json.load(answer)["data"][0]["epochs"] == [1, 2]
    for body, code in (
        ({"voice": "nobody", "input": "Hi."}, 404),
        ({"voice": "tester:9", "input": "Hi."}, 404),
        ({"voice": "../tester", "input": "Hi."}, 404),
        ({"voice": "tester", "input": "..."}, 400),
        ({"voice": "tester", "input": "Hi.", "response_format": "exe"}, 400),
        ({"voice": "tester", "input": "Hi.", "speed": 2}, 400),
        ({"voice": "tester"}, 400),
        ({"voice": "tester", "input": "x" * 30_000}, 413),
    ):
        status, answer_body = call(address, **body)
        assert status == code and json.loads(answer_body)["error"]["message"], body
    for headers, code in (
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/json", "Host": "evil.example"}, 403),
    ):
        request = urllib.request.Request(f"{address}/v1/audio/speech", b"{}", headers)
        with pytest.raises(urllib.error.HTTPError) as raised:
            urllib.request.urlopen(request, timeout=10)
        assert raised.value.code == code
    engine.runs.request_stop(run)
    assert engine.runs.wait(run, timeout=30).state == "done"


@pytest.mark.model
def test_the_default_name_and_another_output_folder(
    engine: TTSEngine, config: VoiceConfig, voice_dataset: Path, tmp_path: Path
) -> None:
    jobs, defaults = engine.voice_jobs, VoiceConfig()
    assert (defaults.voice_name, jobs.output_root(defaults)) == ("my_voice", jobs.voices.folder)
    shutil.copytree(voice_dataset, jobs.dataset_folder("my_voice"))
    elsewhere = tmp_path / "elsewhere" / "voices"
    config = config.model_copy(
        update={"voice_name": "my_voice", "output_dir": str(elsewhere), "num_epochs": 1, "preview_sentences": []}
    )
    finished(engine, jobs.train(config))
    assert (elsewhere / "my_voice" / "checkpoint-epoch-1" / "config.json").is_file()
    assert not list(jobs.voices.folder.iterdir())
    (voice,) = jobs.voices.list()
    assert voice.path == elsewhere / "my_voice" == jobs.voices.get("my_voice").path
    assert jobs.voices.free_name("my_voice") == "my_voice-2"
    with pytest.raises(UserError, match="not in the workspace"):
        jobs.voices.delete("my_voice")


@pytest.mark.parametrize("case", ["no_base", "a_llm", "a_voice_name", "reference", "taken"])
def test_bad_input_is_one_line_and_a_next_step(
    engine: TTSEngine, config: VoiceConfig, voice_dataset: Path, tmp_path: Path, case: str
) -> None:
    shutil.copytree(voice_dataset, engine.voice_jobs.dataset_folder("tester"))
    with pytest.raises(UserError) as raised:
        if case == "no_base":
            engine.voice_jobs.check(config.model_copy(update={"base_model": "/nowhere/at/all"}))
        if case == "a_llm":
            (tmp_path / "llm").mkdir()
            (tmp_path / "llm" / "config.json").write_text('{"model_type": "llama"}')
            from tts import qwen

            qwen.check_kind(tmp_path / "llm", "base")
        if case == "a_voice_name":
            engine.voice_jobs.check(config.model_copy(update={"voice_name": "../../etc"}))
        if case == "reference":
            (tmp_path / "empty").mkdir()
            engine.voice_jobs.check(config.model_copy(update={"base_model": str(tmp_path / "empty")}))
        if case == "taken":
            (engine.voice_jobs.voices.folder / "mine").mkdir()
            engine.voice_jobs.train(config, name="mine")
    assert raised.value.next_step and "\n" not in raised.value.cause
