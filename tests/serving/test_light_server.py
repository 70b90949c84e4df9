"""The light server: OpenAI's requests, adapters that come and go, and not one answer of a wrong adapter."""

from __future__ import annotations

import json
import socket
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from sample_adapters import strong_adapter
from storm import QUESTIONS, TOKENS, Storm, expected, quiet_answers

from engines.config.serve import ServeConfig
from engines.contract.errors import UserError
from engines.llm import LLMEngine
from engines.servers.server_clients import LightClient, Refused, check_url
from engines.servers.server_kinds import detect
from tests.serving.conftest import start, stop_all, with_adapters

pytestmark = pytest.mark.model
GREEDY = {"temperature": 0, "max_tokens": TOKENS}


def url(engine: LLMEngine) -> str:
    return engine.serving.servers()[0].url


def post(address: str, body: Any, **headers: str) -> Any:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(address, data, {"Content-Type": "application/json", **headers})
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.loads(response.read())


def refusal(address: str, body: Any, **headers: str) -> tuple[int, str]:
    with pytest.raises(urllib.error.HTTPError) as refused:
        post(address, body, **headers)
    text = refused.value.read().decode()
    return refused.value.code, json.loads(text)["error"]["message"] if text.startswith("{") else text


def question(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def folders(engine: LLMEngine) -> dict[str | None, Path]:
    return {adapter.name: adapter.final for adapter in engine.adapters.list()}


def test_a_hundred_switches_under_requests_and_no_wrong_answer(served: LLMEngine) -> None:
    answers = expected(served.workspace.models / "base", folders(served))
    address = url(served)

    def ask(text: str) -> tuple[str | None, str, float]:
        body = {"model": "active", "messages": question(text), "stream": True, **GREEDY}
        request = urllib.request.Request(
            f"{address}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        pieces, models = [], set()
        with urllib.request.urlopen(request, timeout=120) as response:
            came = time.monotonic()
            for line in response:
                if line.startswith(b"data: {"):
                    event = json.loads(line[6:])
                    models.add(event["model"])
                    pieces.append(event["choices"][0]["delta"].get("content", ""))
        (model,) = models
        return (None if model == "base" else model.partition("@")[0]), "".join(pieces), came

    assert quiet_answers(served, ask) == answers
    storm = Storm(served, answers, ask).run(switches=100, clients=6)
    print(f"answers {dict(storm.given)}, {storm.switched_meanwhile} with a switch under way, slowest {storm.slowest} s")
    assert storm.wrong == [] and storm.others == {}
    assert set(storm.given) == {None, "a", "b"} and storm.switched_meanwhile > 20
    state = served.serving.state(served.serving.servers()[0])
    assert len(state.adapters) == (served.adapters.active() is not None), "old adapters are still loaded"


def test_answers_are_those_of_openai(served: LLMEngine) -> None:
    served.activation.activate("a")
    answers = expected(served.workspace.models / "base", folders(served), QUESTIONS[:1])
    address = f"{url(served)}/v1/chat/completions"
    for model, name in (
        ("base", None),
        ("active", "a"),
        ("a", "a"),
        (served.serving.servers()[0].client.active(None), "a"),
    ):
        whole = post(address, {"model": model, "messages": question(QUESTIONS[0]), **GREEDY})
        assert whole["choices"][0]["message"] == {"role": "assistant", "content": answers[name, QUESTIONS[0]]}
        assert whole["usage"]["completion_tokens"] <= TOKENS and whole["object"] == "chat.completion"
    client = LightClient(url(served))
    pieces = list(client.chat("a", question(QUESTIONS[0]), **GREEDY))
    assert "".join(pieces).strip() == answers["a", QUESTIONS[0]] and len(pieces) > 1
    seeded = [
        list(client.chat("base", question("Hi"), temperature=1.0, seed=seed, max_tokens=12)) for seed in (1, 1, 2)
    ]
    assert seeded[0] == seeded[1] != seeded[2]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"messages": []}, "at least one"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "role"),
        ({"messages": question("Hi"), "temperature": 9}, "temperature"),
        ({"messages": question("Hi"), "max_tokens": 0}, "max_tokens"),
        ({"messages": question("Hi"), "n": 3}, "`n` is not supported"),
        ({"messages": question("Hi"), "stop": ["x"]}, "`stop` is not supported"),
        ({"messages": question("Hi"), "tool_choice": "required"}, "`tool_choice` is not supported"),
        ({"messages": question("Hi"), "store": True}, "`store` is not supported"),
        ({"messages": question("Hi"), "model": "nobody"}, "`nobody` does not exist. See /v1/models."),
        ({"messages": question("Hi"), "tempeature": 1}, "not known"),
        ({"messages": question("long " * 600)}, "the model takes 512"),
        (b"[1]", "no JSON object"),
        (b"{" * 100_000, "no JSON object"),
        (b" " * (5 << 20), "at most 4 MB"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_not_obeyed_is_refused(served: LLMEngine, body: Any, says: str) -> None:
    code, text = refusal(f"{url(served)}/v1/chat/completions", body)
    assert code == (404 if "exist" in says else 400) and says in text and ".." not in text


def test_what_asks_for_nothing_special_is_taken(served: LLMEngine) -> None:
    usual = {"tools": [], "tool_choice": "auto", "stream_options": {"include_usage": True}, "user": "me", "n": 1}
    assert post(f"{url(served)}/v1/chat/completions", {"messages": question("Hi"), "max_tokens": 2, **usual})["usage"]


def test_web_pages_and_other_hosts_cannot_reach_it(served: LLMEngine) -> None:
    address = f"{url(served)}/v1/chat/completions"
    assert refusal(address, {"messages": question("Hi")}, **{"Content-Type": "text/plain"})[0] == 400
    assert refusal(address, {"messages": question("Hi")}, Host="evil.example")[0] == 400
    port = int(url(served).rpartition(":")[2])
    outward = socket.gethostbyname(socket.gethostname())
    if not outward.startswith("127."):
        with pytest.raises(OSError):
            socket.create_connection((outward, port), timeout=2)


def hang_up_on(address: str, *, after: bytes = b"", **body: Any) -> None:
    """Ask, read until `after` came, and be gone."""
    host, port = address.removeprefix("http://").split(":")
    data = json.dumps({"messages": question("Go on for ever."), "max_tokens": 400, "temperature": 0, **body}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    with socket.create_connection((host, int(port)), timeout=60) as line:
        line.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
        came = b""
        while after not in came:
            came += line.recv(1000)


def test_whoever_hangs_up_ends_what_he_asked_for_and_nothing_else(served: LLMEngine) -> None:
    """In the middle of an answer, in the queue behind one, and one that was to come whole."""
    served.activation.activate("a")
    answers = expected(served.workspace.models / "base", folders(served), QUESTIONS[:1])
    address, client = url(served), LightClient(url(served))
    answered = client.ask("/health")["answered"]
    for _ in range(3):
        hang_up_on(address, stream=True, after=b'"content": "')
        for _ in range(4):
            hang_up_on(address, stream=True)
            hang_up_on(address, stream=False)
        began = time.monotonic()
        said = "".join(client.chat("a", question(QUESTIONS[0]), **GREEDY))
        assert said.strip() == answers["a", QUESTIONS[0]] and time.monotonic() - began < 10
    until = time.monotonic() + 10
    while client.ask("/health")["waiting"]:
        assert time.monotonic() < until
        time.sleep(0.05)
    assert client.ask("/health")["answered"] == answered + 3
    assert served.activation.activate("b").done


def test_an_idle_server_has_another_adapter_within_a_second(served: LLMEngine) -> None:
    """Generously: the machine of a test does other things, too."""
    for name in ("a", "b", "a"):
        outcome = served.activation.activate(name)
        assert outcome.done and [result.seconds for result in outcome.results if result.seconds > 2.5] == []
    assert min(served.activation.activate(name).results[0].seconds for name in ("b", "a", "b", "a")) < 1.0


def test_the_log_says_what_was_loaded_switched_and_refused(served: LLMEngine) -> None:
    run = served.serving.servers()[0].run
    assert run is not None
    served.activation.activate("a")
    served.activation.deactivate()
    for _ in range(3):
        refusal(f"{url(served)}/v1/chat/completions", {"model": "nobody\n{}", "messages": question("secret words")})
    log = run.log.read_text()
    assert "active is a@" in log and "active is the base model" in log and "let go of a@" in log
    assert log.count("refused /v1/chat/completions: The model `nobody {}` does not exist. See /v1/models.\n") == 1
    assert "secret words" not in log


def test_an_adapter_that_is_gone_or_bad_is_refused_with_the_reason(served: LLMEngine, tmp_path: Path) -> None:
    client = LightClient(url(served))
    with pytest.raises(Refused, match="does not exist"):
        list(client.chat("nobody", question("Hi")))
    with pytest.raises(Refused, match="no folder"):
        client.load("x", tmp_path / "gone")
    damaged = strong_adapter(served.workspace.models / "base", tmp_path / "damaged", 1)
    import torch
    from safetensors.torch import load_file, save_file

    weights = load_file(damaged / "adapter_model.safetensors")
    save_file({name: value * float("nan") for name, value in weights.items()}, damaged / "adapter_model.safetensors")
    with pytest.raises(Refused, match="numbers that are none"):
        client.load("x", damaged)
    assert torch.isfinite(torch.ones(1)).all() and "x" not in client.adapters()
    assert list(client.chat("base", question("Hi"), **GREEDY))


def test_the_same_name_with_other_weights_is_another_model(served: LLMEngine, tmp_path: Path) -> None:
    """Deleted and trained again under the same name: no answer of the old weights."""
    from engines.weights.adapter_transfer import import_adapter

    base = served.workspace.models / "base"
    for seed in (11, 12):
        made = strong_adapter(base, tmp_path / str(seed), seed)
        import_adapter(served.adapters, served.models, made, name="same", base_model=str(base))
        assert served.activation.activate("same").done
        answers = expected(base, {"same": made}, QUESTIONS[:1])
        said = "".join(LightClient(url(served)).chat("active", question(QUESTIONS[0]), **GREEDY))
        assert said.strip() == answers["same", QUESTIONS[0]]
        served.activation.delete("same", even_if_active=True)
    assert served.serving.state(served.serving.servers()[0]).adapters == ()


def test_a_renamed_adapter_goes_on_answering(served: LLMEngine) -> None:
    served.activation.activate("a")
    served.activation.rename("a", "c")
    state = served.serving.state(served.serving.servers()[0])
    assert state.active is not None and state.active.startswith("c@")
    served.serving.set_on_activate(["false"])
    with pytest.raises(UserError, match="c was not renamed"):
        served.activation.rename("c", "a")
    served.serving.set_on_activate([])
    now = served.serving.state(served.serving.servers()[0])
    assert (now.active or "").startswith("c@") and served.adapters.active() == "c" and len(now.adapters) == 1
    served.activation.rename("c", "a")


def test_a_failing_command_takes_everything_back(served: LLMEngine, tmp_path: Path) -> None:
    served.activation.activate("a")
    said = tmp_path / "said"
    script = f'echo "$FTUI_ADAPTER" >> {said}; test "$FTUI_ADAPTER" != b || {{ echo no such bot >&2; exit 3; }}'
    served.serving.set_on_activate(["sh", "-c", script])
    try:
        outcome = served.activation.activate("b")
        assert (
            not outcome.done
            and "exit code 3: no such bot" in {r.server: r.text for r in outcome.results}["on_activate"]
        )
        state = served.serving.state(served.serving.servers()[0])
        assert served.adapters.active() == "a" and [name[:2] for name, _ in state.adapters] == ["a@"]
        assert state.active is not None and state.active.startswith("a@")
        assert said.read_text().split() == ["b", "a"]
    finally:
        served.serving.set_on_activate([])
    assert served.activation.activate("b").done


def test_what_cannot_be_served_is_refused_before_anything_changes(served: LLMEngine, tmp_path: Path) -> None:
    from sample_adapters import write_adapter, write_base

    from engines.weights.adapter_transfer import import_adapter

    served.activation.activate("a")
    other = write_base(tmp_path / "other")
    import_adapter(served.adapters, served.models, write_adapter(tmp_path / "x"), name="x", base_model=str(other))
    with pytest.raises(UserError, match="was trained on") as refused:
        served.activation.activate("x")
    assert "serve-llm stop" in refused.value.next_step
    assert served.adapters.active() == "a"
    served.adapters.delete("x")


def test_one_server_that_cannot_takes_the_other_back_and_a_new_one_starts_with_the_active(
    tiny_model: Path, tmp_path: Path
) -> None:
    """The second server's model is another one than its folder says now: its load fails, the first lets go again."""
    import shutil

    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    engine = with_adapters(tmp_path / "home", tiny_model)
    base, swapped = engine.workspace.models / "base", engine.workspace.models / "swapped"
    config = AutoConfig.from_pretrained(base)
    config.hidden_size = 16
    AutoModelForCausalLM.from_config(config).save_pretrained(swapped)
    AutoTokenizer.from_pretrained(base).save_pretrained(swapped)
    try:
        runs = [engine.serving.start(ServeConfig(base_model=name)) for name in ("base", "swapped")]
        for run in runs:
            engine.serving.wait_until_ready(run)
        shutil.rmtree(swapped)
        shutil.copytree(base, swapped)
        outcome = engine.activation.activate("a")
        results = {result.server: result for result in outcome.results}
        assert not outcome.done and engine.adapters.active() is None
        assert "does not fit" in results[runs[1].name].text
        assert engine.serving.state(engine.serving.get(runs[0].name)).adapters == ()
        engine.serving.stop(engine.serving.get(runs[1].name))
        engine.runs.wait(runs[1], timeout=60)
        assert engine.activation.activate("a").done
        adopted = LLMEngine(engine.workspace).serving.state(engine.serving.get(runs[0].name))
        assert adopted.active is not None
        engine.serving.stop(engine.serving.get(runs[0].name))
        engine.runs.wait(runs[0], timeout=60)
        assert runs[0].status().state == "stopped"
        start(engine)
        state = engine.serving.state(engine.serving.servers()[0])
        assert state.active is not None and state.active.startswith("a@")
    finally:
        stop_all(engine)


def test_a_server_that_cannot_start_says_why(engine: LLMEngine, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "model.safetensors").write_bytes(b"nothing")
    run = engine.serving.start(ServeConfig(base_model=str(tmp_path / "empty")))
    with pytest.raises(UserError, match="did not start"):
        engine.serving.wait_until_ready(run, 60)
    assert engine.serving.servers() == []


def test_a_server_of_somebody_else_is_adopted_and_followed(served: LLMEngine, tmp_path: Path) -> None:
    other = LLMEngine(type(served.workspace)(tmp_path / "home"))
    server = other.serving.adopt(url(served).removeprefix("http://"), "theirs")
    assert [item.name for item in LLMEngine(other.workspace).serving.servers()] == ["theirs"] == [server.name]
    assert other.serving.state(server).state == "ready"
    with pytest.raises(UserError, match="not started here"):
        other.serving.stop(server)
    other.serving.forget(server)
    assert other.serving.servers() == []


def test_only_addresses_of_this_machine_are_taken() -> None:
    for bad in ("http://example.com:80", "https://127.0.0.1:1", "http://10.0.0.1:8000", "127.0.0.1", "http://u@127.0.0.1:1",
                "http://127.0.0.1.evil.example:80", "file:///etc/passwd", "http://[::2]:1"):  # fmt: skip
        with pytest.raises(UserError, match="no address of this machine"):
            check_url(bad)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        with pytest.raises(UserError, match="does not answer"):
            detect(f"127.0.0.1:{probe.getsockname()[1]}")
