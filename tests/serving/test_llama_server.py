"""The same storm against a real llama-server. `make test-serving` builds it and sets FTUI_LLAMA and FTUI_GGUF_TOOLS."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sample_adapters import strong_adapter
from storm import QUESTIONS, TOKENS, Storm, expected_tokens, largest_gap, loaded, quiet_answers

from engines.contract.errors import UserError
from engines.llm import LLMEngine
from engines.servers.server_clients import ServerGone
from engines.setup import gguf_tools, llama_cpp
from engines.weights.adapter_transfer import import_adapter
from tests.serving.conftest import start, stop_all, with_adapters

TIE = 0.1  # logits

pytestmark = [
    pytest.mark.skipif(not os.environ.get("FTUI_LLAMA"), reason="needs llama.cpp: make test-serving"),
    pytest.mark.timeout(900),
]


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
    """Asked as a client does that knows nothing of adapters: whichever is active answers. Compared token by token."""
    folders: dict[str | None, Path] = {adapter.name: adapter.final for adapter in llama.adapters.list()}
    base = llama.workspace.models / "base"
    end = loaded(base, None)[1].eos_token_id  # the server does not say it
    answers = {
        key: str([token for token in ids if token != end]) for key, ids in expected_tokens(base, folders).items()
    }
    names = {(question, said): name for (name, question), said in answers.items()}
    address = llama.serving.servers()[0].url

    def ask(text: str) -> tuple[str | None, str, float]:
        ids, came = tokens_of(address, text)
        if (text, str(ids)) not in names:  # rounded otherwise: whose it is, the weights tell
            gaps = {name: largest_gap(base, folders.get(name), text, ids) for name in (None, "a", "b")}
            first, second, _ = sorted(gaps, key=lambda name: gaps[name])
            print(f"rounded otherwise: {text!r} {ids} {gaps}")
            assert gaps[first] < TIE and gaps[second] > 10 * TIE, (text, ids, gaps)
            names[text, str(ids)] = first
        return names[text, str(ids)], str(ids), came

    quiet_answers(llama, ask)
    storm = Storm(llama, answers, ask).run(switches=100, clients=6)
    print(f"answers {dict(storm.given)}, {storm.switched_meanwhile} with a switch under way, "
          f"slowest {storm.slowest} s, rounded otherwise {sum(storm.others.values())}")  # fmt: skip
    assert storm.wrong == []
    assert set(storm.given) == {None, "a", "b"} and storm.switched_meanwhile > 20


def answers_as(engine: LLMEngine, adapter: Path | None, **more: Any) -> bool:
    """Is the server's answer that of an adapter (None: of the base model)?"""
    ids, _ = tokens_of(engine.serving.servers()[0].url, QUESTIONS[0], **more)
    return largest_gap(engine.workspace.models / "base", adapter, QUESTIONS[0], ids) < TIE


def tokens_of(address: str, text: str, **more: Any) -> tuple[list[int], float]:
    """The numbers of an answer's tokens, and when its head came."""
    body = {"messages": [{"role": "user", "content": text}], "stream": True, "logprobs": True}
    body |= {"temperature": 0, "max_tokens": TOKENS, **more}
    request = urllib.request.Request(
        f"{address}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    ids: list[int] = []
    with urllib.request.urlopen(request, timeout=300) as response:
        came = time.monotonic()
        for line in response:
            if line.startswith(b"data: {"):
                logprobs = json.loads(line[6:])["choices"][0].get("logprobs") or {}
                ids += [entry["id"] for entry in logprobs.get("content", [])]
    return ids, came


def test_the_chat_asks_adapters_by_name_whichever_is_active(llama: LLMEngine) -> None:
    from engines.config.chat import ChatConfig
    from engines.servers.chat import ServerModel, open_model

    llama.activation.activate("a")
    llama.activation.activate("b")
    both = [None, llama.adapters.get("a"), llama.adapters.get("b")]
    model = open_model(llama, both, "base")
    assert isinstance(model, ServerModel)
    model.wait_until_ready()
    client = llama.serving.servers()[0].client
    names = {adapter.name if adapter else None: model._name(adapter) for adapter in both}
    names[None] = None
    for name, at_server in [*names.items(), *reversed(names.items())]:
        assert answers_as(llama, llama.adapters.get(name).final if name else None, lora=client._chosen(at_server))
    assert "".join(model.ask(both[1], [{"role": "user", "content": "Hi"}], ChatConfig(max_new_tokens=4)))
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
    assert answers_as(llama, made)
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
    assert answers_as(llama, llama.adapters.get("a").final)
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
        assert answers_as(other, other.adapters.get("a").final)
        assert other.activation.deactivate().done
        assert answers_as(other, None)
    finally:
        process.kill()
        process.wait()


def test_rank_stabilised_adapters_are_scaled_as_they_were_trained(embedded_model: Path, tmp_path: Path) -> None:
    engine = with_llama(tmp_path / "home", embedded_model, "")
    base = engine.workspace.models / "base"
    made = strong_adapter(base, tmp_path / "made", 3)
    config = json.loads((made / "adapter_config.json").read_text())
    (made / "adapter_config.json").write_text(json.dumps({**config, "use_rslora": True}))
    import_adapter(engine.adapters, engine.models, made, name="rs", base_model=str(base))
    engine.adapters.activate("rs")
    start(engine, kind="llama-server", gguf_weights="f32", max_model_len=512)
    try:
        assert answers_as(engine, made)
    finally:
        stop_all(engine)


def test_a_base_model_without_a_chat_template_gets_that_of_the_adapter(embedded_model: Path, tmp_path: Path) -> None:
    from engines.config.chat import ChatConfig
    from engines.servers.chat import ServerModel, open_model
    from tests.serving.test_chat_templates import FILE, TEMPLATE, without_template

    engine = with_llama(tmp_path / "home", without_template(embedded_model, tmp_path / "bare"))
    for name, template in (("a", TEMPLATE), ("b", TEMPLATE.replace("Q: ", "Question: "))):
        (engine.adapters.get(name).final / FILE).write_text(template)
    engine.adapters.activate("a")
    start(engine, kind="llama-server", gguf_weights="f32", max_model_len=512)
    try:
        state = engine.serving.state(engine.serving.servers()[0])
        assert state.template is not None and state.template.strip() == TEMPLATE
        model = open_model(engine, [engine.adapters.get("a")])
        assert isinstance(model, ServerModel)
        model.wait_until_ready()
        turns = [{"role": "user", "content": QUESTIONS[0]}]
        assert "".join(model.ask(engine.adapters.get("a"), turns, ChatConfig(max_new_tokens=4)))
        model.close()
        with pytest.raises(UserError, match="a chat template of its own"):
            engine.activation.activate("b")
    finally:
        stop_all(engine)


def test_adapters_whose_template_is_the_base_models_are_served(llama: LLMEngine) -> None:
    """As ftui saves them: with a copy of it."""
    from engines.weights import chat_template

    base = chat_template.of_folder(llama.workspace.models / "base")
    final = llama.adapters.get("b").final
    assert base is not None
    (final / "chat_template.jinja").write_text(base)
    try:
        assert llama.activation.activate("b").done and llama.activation.activate("a").done
    finally:
        (final / "chat_template.jinja").unlink()
