"""The endpoint against a real HTTP server: good and broken answers, busy and slow ones, and what is remembered."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from engines.config.generate import GenerateConfig
from engines.contract.errors import UserError
from finetune.project.endpoint import BudgetSpent, Endpoint, NoAnswer
from finetune.project.loose_json import repaired
from finetune.project.pair import Pair, question
from finetune.project.selection import Selection
from finetune.project.variants import Writer, can_be_extended

KEY = "canary-key-0123456789"
ASKED = [{"role": "user", "content": "anything"}]
PAIR = question("docs", "a.md", "Delivery", "What about delivery?", "Delivery takes two days and is free of charge.")

Reply = str | int | tuple[int, str, dict[str, str]] | float | None


class Server:
    """Answers with the replies in turn, the last one for ever.

    A str is what the model says, an int a status, a tuple a whole response, a float
    seconds of silence, None a connection that is cut.
    """

    def __init__(self, replies: list[Reply] | Callable[[dict[str, Any]], Reply]):
        self.replies = replies
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.closing = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                server.answer(self)

            def do_GET(self) -> None:
                server.headers.append({"redirected": self.path, **self.headers})

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        self.headers.append({"path": handler.path, **handler.headers})
        self.requests.append(body)
        if callable(self.replies):
            reply = self.replies(body)
        else:
            reply = self.replies[min(len(self.requests), len(self.replies)) - 1]
        if isinstance(reply, float):
            self.closing.wait(reply)
            reply = "{}"
        if reply is None:
            handler.connection.close()
            return
        status, text, headers = (reply, "", {}) if isinstance(reply, int) else (200, completion(str(reply)), {})
        if isinstance(reply, tuple):
            status, text, headers = reply
        data = text.encode()
        handler.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(data)

    def close(self) -> None:
        self.closing.set()
        self.http.shutdown()
        self.http.server_close()


def completion(text: str) -> str:
    usage = {"prompt_tokens": 10, "completion_tokens": 5}
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}], "usage": usage})


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(*replies: Any) -> Server:
        servers.append(Server(replies[0] if callable(replies[0]) else list(replies)))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def nothing() -> None:
    """Nobody asks to stop."""


def config(server: Server, **values: Any) -> GenerateConfig:
    return GenerateConfig(endpoint=server.url, endpoint_model="small", **values)


def endpoint(server: Server, folder: Path, tick: Callable[[], None] = nothing, **values: Any) -> Endpoint:
    seconds = values.pop("seconds", 10.0)
    return Endpoint(config(server, **values), folder / "memory", tick, seconds=seconds, pauses=(0.01, 0.01, 0.01))


def writer(server: Server, folder: Path, **values: Any) -> Writer:
    selection = Selection(config(server, **values))
    assert list(selection.take(PAIR)) == [PAIR]
    return Writer(config(server, **values), folder, nothing, selection, endpoint(server, folder, **values))


def anything(answer: Any) -> Any:
    return answer


# --- JSON ---


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1}', {"a": 1}),
        ('Here it is:\n```json\n{"a": [1, 2,], }\n```\nEnjoy 5" {more}', {"a": [1, 2]}),
        ('<think>{"a": 0} or so</think>{"a": ", }"}', {"a": ", }"}),
        ('The set {x} is 5" wide: {"a": {"b": 1,},}', {"a": {"b": 1}}),
        ('{"a": "line\nbreak"}', {"a": "line\nbreak"}),
        ('{"a": 1', None),
        ("[1, 2]", None),
        ("", None),
        ("{" * 100_000, None),
        ('{"a":' * 100_000, None),
        ('{"' + '\\"' * 200_000, None),
    ],
    ids=range(11),
)
def test_json_is_repaired(text: str, value: Any) -> None:
    assert repaired(text) == value


# --- one exchange ---


def test_what_is_sent_and_what_comes_back(serve: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_ENDPOINT_KEY", KEY)
    server = serve('```json\n{"a": 1,}\n```')
    asked = endpoint(server, tmp_path, endpoint_api_key_variable="TEST_ENDPOINT_KEY")
    assert asked.ask(ASKED, anything) == {"a": 1}
    assert server.requests == [{"model": "small", "messages": ASKED, "stream": False}]
    assert server.headers[0]["path"] == "/v1/chat/completions"
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    figures = asked.figures()
    assert (figures["requests"], figures["tokens"]) == (1, {"prompt": 10, "completion": 5})
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 1 and KEY not in files[0].read_text() and KEY not in json.dumps(figures)
    assert files[0].stat().st_mode & 0o077 == files[0].parent.stat().st_mode & 0o077 == 0


def test_an_answer_is_remembered_by_what_was_asked(serve: Any, tmp_path: Path) -> None:
    server = serve('{"a": 1}', '{"a": 2}', '{"a": 3}')
    assert endpoint(server, tmp_path).ask(ASKED, anything) == {"a": 1}
    again = endpoint(server, tmp_path)
    assert again.recall(ASKED, anything) and again.ask(ASKED, anything) == {"a": 1}
    assert (again.requests, again.remembered) == (0, 1)
    assert again.ask([{"role": "user", "content": "else"}], anything) == {"a": 2}
    other = Endpoint(config(server).model_copy(update={"endpoint_model": "large"}), tmp_path / "memory", nothing)
    assert other.ask(ASKED, anything) == {"a": 3}


@pytest.mark.parametrize(
    "bad",
    [429, 500, 503, None, "no JSON at all", '{"a": ', (200, "<html>", {}), (200, '{"choices": []}', {})],
    ids=str,
)
def test_what_may_pass_is_asked_again(serve: Any, tmp_path: Path, bad: Reply) -> None:
    server = serve(bad, bad, '{"a": 1}')
    asked = endpoint(server, tmp_path)
    assert asked.ask(ASKED, anything) == {"a": 1}
    assert (asked.requests, asked.repeated, len(server.requests)) == (3, 2, 3)


def test_the_endpoint_says_how_long_to_wait(serve: Any, tmp_path: Path) -> None:
    server = serve((429, "", {"Retry-After": "1"}), '{"a": 1}')
    began = time.monotonic()
    assert endpoint(server, tmp_path).ask(ASKED, anything) == {"a": 1}
    assert time.monotonic() - began >= 1


def test_broken_json_is_asked_for_in_other_words(serve: Any, tmp_path: Path) -> None:
    server = serve("sorry", '{"b": 1}', '{"a": 1}')
    assert endpoint(server, tmp_path).ask(ASKED, lambda answer: answer.get("a")) == 1
    assert server.requests[0]["messages"] == ASKED
    assert "JSON" in server.requests[1]["messages"][-1]["content"]


def test_what_never_comes_is_not_remembered_and_ends_the_run(serve: Any, tmp_path: Path) -> None:
    server = serve(500)
    asked = endpoint(server, tmp_path)
    for _ in range(2):
        with pytest.raises(NoAnswer, match="HTTP 500"):
            asked.ask(ASKED, anything)
    with pytest.raises(UserError, match="failed 3 times in a row: HTTP 500"):
        asked.ask(ASKED, anything)
    assert len(server.requests) == 12 and not (tmp_path / "memory").exists()


def test_a_success_between_failures_lets_the_run_go_on(serve: Any, tmp_path: Path) -> None:
    server = serve(*[500] * 8, '{"a": 1}', 500)
    asked = endpoint(server, tmp_path)
    failed = 0
    for number in range(5):
        try:
            asked.ask([{"role": "user", "content": str(number)}], anything)
        except NoAnswer:
            failed += 1
    assert (failed, asked.failed) == (4, 4)


@pytest.mark.parametrize(("status", "word"), [(401, "key"), (404, "address"), (400, "model")])
def test_what_no_repetition_mends_ends_the_run_and_hides_the_key(
    serve: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, word: str
) -> None:
    monkeypatch.setenv("TEST_ENDPOINT_KEY", KEY)
    server = serve((status, f"bad\x1b[31m key {KEY}\n", {}))
    with pytest.raises(UserError, match=rf"HTTP {status}: bad\[31m key \[key\]$") as error:
        endpoint(server, tmp_path, endpoint_api_key_variable="TEST_ENDPOINT_KEY").ask(ASKED, anything)
    assert word in error.value.next_step and len(server.requests) == 1


def test_the_key_does_not_follow_a_redirect(serve: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_ENDPOINT_KEY", KEY)
    other = serve('{"a": 1}')
    server = serve((302, "", {"Location": other.url}))
    with pytest.raises(UserError, match="HTTP 302"):
        endpoint(server, tmp_path, endpoint_api_key_variable="TEST_ENDPOINT_KEY").ask(ASKED, anything)
    assert other.headers == []


def test_a_slow_endpoint_is_not_waited_for(serve: Any, tmp_path: Path) -> None:
    server = serve(30.0, '{"a": 1}')
    began = time.monotonic()
    assert endpoint(server, tmp_path, seconds=0.5).ask(ASKED, anything) == {"a": 1}
    assert time.monotonic() - began < 10


def test_a_stop_does_not_wait_for_the_endpoint(serve: Any, tmp_path: Path) -> None:
    server = serve(30.0)
    began = time.monotonic()

    def tick() -> None:
        if server.requests:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        endpoint(server, tmp_path, tick).ask(ASKED, anything)
    assert time.monotonic() - began < 10


def test_nobody_there_is_said(serve: Any, tmp_path: Path) -> None:
    server = serve("{}")
    asked = endpoint(server, tmp_path)
    server.close()
    with pytest.raises(NoAnswer, match="refused"):
        asked.ask(ASKED, anything)


def test_no_more_requests_than_allowed(serve: Any, tmp_path: Path) -> None:
    server = serve(500, '{"a": 1}')
    asked = endpoint(server, tmp_path, max_requests=2)
    assert asked.ask(ASKED, anything) == {"a": 1}
    with pytest.raises(BudgetSpent):
        asked.ask([{"role": "user", "content": "else"}], anything)
    assert asked.ask(ASKED, anything) == {"a": 1}
    assert len(server.requests) == 2


def test_a_key_that_is_not_there_is_an_error(serve: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEST_ENDPOINT_KEY", raising=False)
    server = serve("{}")
    with pytest.raises(UserError, match="TEST_ENDPOINT_KEY is not set"):
        endpoint(server, tmp_path, endpoint_api_key_variable="TEST_ENDPOINT_KEY")
    monkeypatch.setenv("TEST_ENDPOINT_KEY", "a\nb")
    with pytest.raises(UserError, match="no key that can be sent"):
        endpoint(server, tmp_path, endpoint_api_key_variable="TEST_ENDPOINT_KEY")


@pytest.mark.parametrize(
    ("url", "shown"), [("http://example.org/v1", True), ("https://example.org/v1/chat/completions/", False)]
)
def test_a_key_that_others_can_read_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, shown: bool
) -> None:
    monkeypatch.setenv("TEST_ENDPOINT_KEY", KEY)
    named = GenerateConfig(endpoint=url, endpoint_model="m", endpoint_api_key_variable="TEST_ENDPOINT_KEY")
    asked = Endpoint(named, tmp_path, nothing)
    assert asked.shows_key is shown and asked.url.endswith("example.org/v1/chat/completions")
    assert not Endpoint(GenerateConfig(endpoint=url, endpoint_model="m"), tmp_path, nothing).shows_key


@pytest.mark.parametrize(
    "url", ["ftp://x", "http://user:pw@x/v1", "https://x/v1?key=1", "x", "http://x/ y", "http://x\n"]
)
def test_the_endpoint_is_a_plain_base_url(url: str) -> None:
    with pytest.raises(ValueError, match="base URL"):
        GenerateConfig(endpoint=url)
    with pytest.raises(ValueError, match="not the key itself"):
        GenerateConfig(endpoint_api_key_variable="sk-0123")


# --- variants ---

DIALOG = [
    {"role": "user", "content": "Is delivery free?"},
    {"role": "assistant", "content": "Yes, it is free."},
    {"role": "user", "content": "And how long does it take?"},
    {"role": "assistant", "content": "Two days."},
]


def model(supported: list[int], questions: list[str] | None = None) -> Callable[[dict[str, Any]], str]:
    """A model that writes the same variants for everything, and judges them."""

    def reply(body: dict[str, Any]) -> str:
        if "supported" in body["messages"][0]["content"]:
            return json.dumps({"supported": supported})
        return json.dumps({"questions": questions or ["How fast do you deliver?", "Delivery?"], "dialogs": [DIALOG]})

    return reply


def test_variants_are_grounded_in_the_section_alone_and_judged(serve: Any, tmp_path: Path) -> None:
    server = serve(model([1, 3]))
    written = writer(server, tmp_path)
    longer, worded = written.variants(PAIR)
    assert [text for _, text in longer.turns] == [turn["content"] for turn in DIALOG]
    assert worded.turns == [("user", "Delivery?"), ("assistant", PAIR.text)]
    assert {variant.conversation for variant in (longer, worded)} == {PAIR.conversation}
    assert written.selection.figures() == {
        "found": 4, "written": 3, "dropped": {"not_supported": 1},
        "kinds": {"docs": {"found": 4, "written": 3, "dropped": {"not_supported": 1}}},
    }  # fmt: skip
    ask, judge = (request["messages"][1]["content"] for request in server.requests)
    assert PAIR.text in ask and PAIR.text in judge and "Write English" in ask
    assert "a.md" not in ask + judge and "How fast do you deliver?" in judge
    assert "never an instruction" in server.requests[0]["messages"][0]["content"]


@pytest.mark.parametrize(("count", "judge", "expected"), [(1, True, (1, 2)), (3, False, (3, 1)), (2, True, (2, 2))])
def test_as_many_variants_and_requests_as_wanted(
    serve: Any, tmp_path: Path, count: int, judge: bool, expected: tuple[int, int]
) -> None:
    server = serve(model([1, 2, 3]))
    written = writer(server, tmp_path, variants_per_pair=count, judge=judge)
    assert (len(written.variants(PAIR)), len(server.requests)) == expected


def test_a_reworded_question_that_is_not_new_is_counted(serve: Any, tmp_path: Path) -> None:
    server = serve(model([1, 2, 3], ["What about delivery?", "What about  delivery?!"]))
    written = writer(server, tmp_path)
    assert len(written.variants(PAIR)) == 2  # the dialog, and the same question once with its file
    figures = written.selection.figures()
    assert figures["found"] == figures["written"] + sum(figures["dropped"].values()) == 4
    assert sum(figures["dropped"].values()) == 1


def test_a_judge_without_an_answer_lets_nothing_pass(serve: Any, tmp_path: Path) -> None:
    written = writer(serve(model([])), tmp_path)
    assert written.variants(PAIR) == [] and written.selection.figures()["dropped"] == {"not_supported": 3}
    written = writer(serve(json.dumps({"questions": ["Fast?"]}), "no idea"), tmp_path)
    assert written.variants(PAIR) == [] and written.not_extended == 1
    figures = written.selection.figures()
    assert (figures["found"], figures["written"], figures["dropped"]) == (2, 1, {"not_judged": 1})


def test_when_the_requests_are_spent_the_rest_stays_as_it_is(serve: Any, tmp_path: Path) -> None:
    server = serve(model([1, 2, 3]))
    written = writer(server, tmp_path, max_requests=2)
    assert len(written.variants(PAIR)) == 3 and not written.is_spent
    other = question("docs", "a.md", "Payment", "What about payment?", "You pay when the goods are there.")
    assert written.variants(other) == [] and written.is_spent and written.variants(other) == []
    assert (written.figures()["not_extended"], len(server.requests)) == (2, 2)
    written.selection = Selection(written.config)
    assert len(written.variants(PAIR)) == 3  # remembered answers cost nothing


@pytest.mark.parametrize(
    "answer",
    ['{"questions": [1, null, " "]}', '{"dialogs": [[{"role": "system", "content": "x"}]]}', '{"dialogs": 1}', "{}"],
)
def test_variants_that_are_none_are_asked_for_again(serve: Any, tmp_path: Path, answer: str) -> None:
    server = serve(answer, json.dumps({"questions": ["Fast?"]}), '{"supported": [1]}')
    assert [pair.question for pair in writer(server, tmp_path).variants(PAIR)] == ["Fast?"]


def test_the_preview_is_what_is_then_sent(serve: Any, tmp_path: Path) -> None:
    server = serve(model([1, 2, 3]))
    written = writer(server, tmp_path)
    before = written.preview([PAIR])
    assert (before.sections, before.requests, before.remembered, len(server.requests)) == (1, 2, 0, 0)
    written.variants(PAIR)
    assert len(server.requests) == before.requests
    sent = sum(len(message["content"]) for request in server.requests for message in request["messages"])
    assert 0.6 < before.prompt_tokens / (sent / 3) < 1.6
    after = written.preview([PAIR])
    assert (after.requests, after.remembered, after.prompt_tokens) == (0, 2, 0)
    assert writer(server, tmp_path, max_requests=1, variants_per_pair=5).preview([PAIR] * 10).requests == 1


def test_ready_made_dialogs_are_not_extended() -> None:
    assert can_be_extended(PAIR)
    assert not can_be_extended(Pair("sales", "a.md", "x", [("user", "a"), ("assistant", "b")]))
    assert not can_be_extended(question("escalation", "a.json", "x", "a", "b"))
