"""A base model fetched from a hub: a small server on loopback that speaks the hub's protocol with real files."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest

from engines.config.families import FAMILIES
from engines.config.train import TrainConfig
from engines.contract.errors import UserError
from engines.llm import LLMEngine
from engines.running.runs import Run

NAME = "someone/tiny-llama"
COMMIT = "a" * 40


class Hub(BaseHTTPRequestHandler):
    """Serves one repository, the files of `folder`."""

    folder: Path
    served: list[str]

    def do_GET(self) -> None:
        place = unquote(urlparse(self.path).path)
        if place.startswith(f"/api/models/{NAME}/revision/") or place == f"/api/models/{NAME}":
            files = [{"rfilename": file.name, "size": file.stat().st_size} for file in self.folder.iterdir()]
            self._json({"id": NAME, "modelId": NAME, "sha": COMMIT, "siblings": files, "private": False, "tags": []})
        elif place.startswith(f"/api/models/{NAME}/tree/"):
            self._json([
                {"type": "file", "path": file.name, "size": file.stat().st_size, "oid": _digest(file)}
                for file in self.folder.iterdir()
            ])  # fmt: skip
        elif place.startswith(f"/{NAME}/resolve/") and (self.folder / Path(place).name).is_file():
            self._file(self.folder / Path(place).name)
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    do_HEAD = do_GET

    def _file(self, file: Path) -> None:
        body = file.read_bytes()
        begin = int((self.headers.get("Range") or "bytes=0-")[6:].split("-")[0])
        self.send_response(206 if begin else 200)
        self.send_header("ETag", f'"{_digest(file)}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(body) - begin))
        self.end_headers()
        if self.command == "GET":
            self.served.append(file.name)
            self.wfile.write(body[begin:])

    def _json(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def _digest(file: Path) -> str:
    return hashlib.sha1(file.read_bytes(), usedforsecurity=False).hexdigest()


@pytest.fixture
def hub(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    folder = tmp_path / "repository"
    folder.mkdir()
    for file in tiny_model.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "pytorch_model.bin").write_bytes(b"a pickle that nobody shall fetch")
    handler = type("OneHub", (Hub,), {"folder": folder, "served": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    yield handler
    server.shutdown()


def ended(engine: LLMEngine, run: Run) -> Run:
    engine.runs.wait(run, timeout=120)
    return run


def test_a_model_is_fetched_listed_and_not_fetched_again(engine: LLMEngine, hub: type[Hub]) -> None:
    run = ended(engine, engine.download(NAME))
    assert run.status().state == "done", run.log.read_text()[-3000:]
    assert "model.safetensors" in hub.served and "pytorch_model.bin" not in hub.served
    model = next(model for model in engine.models.list() if model.name == NAME)
    assert model.from_hub and model.kind == "llama" and model.parameters > 1_000_000 and model.dtype in ("F32", "BF16")
    assert (model.path / "tokenizer.json").is_file() and engine.models.resolve(NAME, "cpu") == NAME
    before = list(hub.served)
    assert ended(engine, engine.download(NAME)).status().state == "done"
    assert hub.served == before


def test_without_a_network_the_cache_answers_and_nothing_is_waited_for(
    engine: LLMEngine, hub: type[Hub], dataset_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = engine.datasets.get(str(dataset_file))
    assert ended(engine, engine.download(NAME)).status().state == "done"
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    found = engine.preflight(dataset, TrainConfig(base_model=NAME, gradient_accumulation_steps=2))
    assert found["parameters"] > 1_000_000
    began = time.monotonic()
    with pytest.raises(UserError, match=r"not on this machine, and http://127.*cannot be reached") as raised:
        engine.preflight(dataset, TrainConfig(base_model="someone/nothing", gradient_accumulation_steps=2))
    assert raised.value.code == "not_found" and time.monotonic() - began < 25  # mostly imports


def test_a_model_that_needs_more_packages_is_not_fetched_before_they_are_there(
    engine: LLMEngine, hub: type[Hub]
) -> None:
    if all(importlib.util.find_spec(name) for name in FAMILIES["gemma3n"].packages):
        pytest.skip("they are here")
    (hub.folder / "config.json").write_text('{"model_type": "gemma3n"}')
    status = ended(engine, engine.download(NAME)).status()
    assert status.state == "failed" and "needs timm and torchvision" in status.cause
    assert "pip install timm" in status.next_step and hub.served == ["config.json"]


def test_what_is_not_there_is_said(engine: LLMEngine, hub: type[Hub], monkeypatch: pytest.MonkeyPatch) -> None:
    status = ended(engine, engine.download("someone/nothing")).status()
    assert status.state == "failed" and "has no model someone/nothing" in status.cause
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    status = ended(engine, engine.download(NAME)).status()
    assert status.state == "failed" and "could not be fetched" in status.cause and "network" in status.next_step
    with pytest.raises(UserError, match="no name on the hub"):
        engine.download("../../etc")
