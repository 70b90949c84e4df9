"""The same storm against a real llama-server. `make test-serving` builds it and sets FTUI_LLAMA and FTUI_GGUF_TOOLS."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sample_adapters import strong_adapter
from storm import QUESTIONS, TOKENS, Storm, expected, largest_gap, quiet_answers

from engines.contract.errors import UserError
from engines.llm import LLMEngine
from engines.servers.server_clients import Client, ServerGone
from engines.setup import gguf_tools, llama_cpp
from engines.weights.adapter_transfer import import_adapter
from tests.serving.conftest import start, stop_all, with_adapters

TIE = 0.1  # logits

pytestmark = [
    pytest.mark.skipif(not os.environ.get("FTUI_LLAMA"), reason="needs llama.cpp: make test-serving"),
    pytest.mark.timeout(900),
]
GREEDY: dict[str, Any] = {"temperature": 0, "max_tokens": TOKENS, "repetition_penalty": 1.0}


def with_llama(home: Path, model: Path, names: str = "ab") -> LLMEngine:
    engine = with_adapters(home, model, names)
    for place, made in (
        (llama_cpp.folder(engine.workspace), "FTUI_LLAMA"),
        (gguf_tools.folder(engine.workspace), "FTUI_GGUF_TOOLS"),
    ):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(os.environ[made])
    return engine


@pytest.fixture(scope="module")
def llama(embedded_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LLMEngine]:
    engine = with_llama(tmp_path_factory.mktemp("llama") / "home", embedded_model)
    start(engine, kind="llama-server", gguf_weights="f32", max_model_len=512)
    yield engine
    stop_all(engine)


def post(engine: LLMEngine, text: str, **more: Any) -> str:
    """What a client of somebody else's gets, who knows nothing of adapters."""
    body = {"messages": [{"role": "user", "content": text}], "temperature": 0, "max_tokens": TOKENS, **more}
    return str(engine.serving.servers()[0].client.ask("/v1/chat/completions", body)["choices"][0]["message"]["content"])


def test_a_hundred_switches_under_requests_and_no_wrong_answer(llama: LLMEngine) -> None:
    """Asked as a client does that knows nothing of adapters: whichever is active answers."""
    folders: dict[str | None, Path] = {adapter.name: adapter.final for adapter in llama.adapters.list()}
    base = llama.workspace.models / "base"
    answers = expected(base, folders)
    names = {text: name for (name, _), text in answers.items()}
    address = llama.serving.servers()[0].url

    def ask(text: str) -> tuple[str | None, str, float]:
        pieces, came = [], 0.0
        for piece in Client(address).chat(
            "base", [{"role": "user", "content": text}], temperature=0, max_tokens=TOKENS
        ):
            pieces, came = [*pieces, piece], came or time.monotonic()
        said = "".join(pieces).strip()
        if said not in names:  # rounded otherwise: whose it is, the weights tell
            gaps = {name: largest_gap(base, folders.get(name), text, said) for name in (None, "a", "b")}
            names[said] = min(gaps, key=lambda name: gaps[name])
            assert gaps[names[said]] < TIE and sorted(gaps.values())[1] > 10 * TIE, (text, said, gaps)
        return names[said], said, came

    quiet = quiet_answers(llama, ask)
    for key, text in quiet.items():
        if text != answers[key]:
            print(f"with nobody else asking {key} says {text!r}, peft {answers[key]!r}")
    storm = Storm(llama, quiet, ask).run(switches=100, clients=6)
    print(f"answers {dict(storm.given)}, {storm.switched_meanwhile} with a switch under way, "
          f"slowest {storm.slowest} s, rounded otherwise {sum(storm.others.values())}")  # fmt: skip
    assert storm.wrong == []
    assert set(storm.given) == {None, "a", "b"} and storm.switched_meanwhile > 20
    for (adapter, _, text), _ in storm.others.items():
        assert names[text] == adapter


def test_the_chat_asks_adapters_by_name_whichever_is_active(llama: LLMEngine) -> None:
    from engines.servers.chat import ChatOptions, ServerModel, open_model

    llama.activation.activate("a")
    llama.activation.activate("b")
    both = [None, llama.adapters.get("a"), llama.adapters.get("b")]
    answers = expected(llama.workspace.models / "base", {"a": both[1].final, "b": both[2].final}, QUESTIONS[:1])  # type: ignore[union-attr]
    model = open_model(llama, both, "base")
    assert isinstance(model, ServerModel)
    model.wait_until_ready()
    client = llama.serving.servers()[0].client
    names = {adapter.name if adapter else None: model._name(adapter) for adapter in both}
    for name, at_server in [*names.items(), *reversed(names.items())]:
        pieces = list(client.chat(at_server, [{"role": "user", "content": QUESTIONS[0]}], **GREEDY))
        assert "".join(pieces).strip() == answers[name, QUESTIONS[0]] and len(pieces) > 1
    assert "".join(model.ask(both[1], [{"role": "user", "content": "Hi"}], ChatOptions(max_new_tokens=4)))
    model.close()
    assert "b@" in str(client.active(None))


def test_a_new_file_restarts_the_server_and_what_is_asked_is_answered_first(llama: LLMEngine) -> None:
    base = llama.workspace.models / "base"
    made = strong_adapter(base, llama.workspace.home / "made" / "c", 9)
    import_adapter(llama.adapters, llama.models, made, name="c", base_model=str(base))
    server = llama.serving.servers()[0]
    llama.activation.activate("a")
    said: list[str] = []
    long = {"max_tokens": 200, "ignore_eos": True}
    before = post(llama, QUESTIONS[3], **long)
    asking = threading.Thread(target=lambda: said.append(post(llama, QUESTIONS[3], **long)))
    asking.start()
    while not any(slot["is_processing"] for slot in server.client.ask("/slots")):
        time.sleep(0.01)
    outcome = llama.activation.activate("c")
    asking.join(60)
    print(f"activated after {outcome.results[0].seconds} s")
    assert outcome.done and said == [before]
    state = llama.serving.state(server)
    assert state.active is not None and state.active.startswith("c@") and len(state.adapters) >= 2
    assert post(llama, QUESTIONS[0]).strip() == expected(base, {"c": made}, QUESTIONS[:1])["c", QUESTIONS[0]]
    assert llama.activation.deactivate().done and llama.serving.state(server).active is None


def test_an_adapter_that_it_cannot_load_is_taken_back(llama: LLMEngine) -> None:
    """Weights of another shape under a name that is known: llama.cpp itself refuses, and goes on as before."""
    from engines.weights import adapter_versions

    base = llama.workspace.models / "base"
    made = strong_adapter(base, llama.workspace.home / "made" / "d", 10)
    import_adapter(llama.adapters, llama.models, made, name="d", base_model=str(base))
    llama.activation.activate("a")
    version = adapter_versions.path_of(llama.workspace, llama.adapters.get("d"))
    (version / "adapter.gguf").write_bytes(b"GGUF, but not really")
    outcome = llama.activation.activate("d")
    assert not outcome.done and "could not start with" in outcome.results[0].text
    state = llama.serving.state(llama.serving.servers()[0])
    assert llama.adapters.active() == "a" and str(state.active).startswith("a@")
    assert (
        post(llama, QUESTIONS[0]).strip()
        == expected(base, {"a": llama.adapters.get("a").final}, QUESTIONS[:1])["a", QUESTIONS[0]]
    )
    llama.adapters.delete("d")


def test_one_of_somebody_else_says_how_to_start_it(llama: LLMEngine, embedded_model: Path, tmp_path: Path) -> None:
    other = with_llama(tmp_path / "home", embedded_model)
    (model,) = (llama.workspace.models / ".gguf").glob("*-f32.gguf")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def run(*flags: str) -> subprocess.Popen[bytes]:
        argv = [f"{os.environ['FTUI_LLAMA']}/llama-server", "-m", str(model), "--port", str(port), "-c", "512"]
        process = subprocess.Popen([*argv, *flags], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while True:
            try:
                other.serving.adopt(f"127.0.0.1:{port}", "theirs")
                return process
            except UserError:
                assert process.poll() is None
                time.sleep(0.1)

    process = run()
    try:
        refused = other.activation.activate("a")
        assert not refused.done and other.adapters.active() is None
        flags = refused.results[0].text.partition("with ")[2]
        assert flags.startswith("--lora-scaled ") and Path(flags.split()[1].partition(":")[0]).is_file()
    finally:
        process.kill()
        process.wait()
    with pytest.raises(ServerGone):
        other.serving.servers()[0].client.base()
    process = run(*flags.split())
    try:
        assert other.activation.activate("a").done
        answers = expected(other.workspace.models / "base", {"a": other.adapters.get("a").final}, QUESTIONS[:1])
        assert post(other, QUESTIONS[0]).strip() == answers["a", QUESTIONS[0]]
        assert other.activation.deactivate().done
        assert post(other, QUESTIONS[0]).strip() == answers[None, QUESTIONS[0]]
    finally:
        process.kill()
        process.wait()


def test_rank_stabilised_adapters_are_scaled_as_they_were_trained(embedded_model: Path, tmp_path: Path) -> None:
    import json

    engine = with_llama(tmp_path / "home", embedded_model, "")
    base = engine.workspace.models / "base"
    made = strong_adapter(base, tmp_path / "made", 3)
    config = json.loads((made / "adapter_config.json").read_text())
    (made / "adapter_config.json").write_text(json.dumps({**config, "use_rslora": True}))
    import_adapter(engine.adapters, engine.models, made, name="rs", base_model=str(base))
    engine.adapters.activate("rs")
    start(engine, kind="llama-server", gguf_weights="f32", max_model_len=512)
    try:
        assert post(engine, QUESTIONS[0]).strip() == expected(base, {"rs": made}, QUESTIONS[:1])["rs", QUESTIONS[0]]
    finally:
        stop_all(engine)
