"""The app with a real server and real adapters: activate, chat side by side, keep a good answer, see the servers."""

from __future__ import annotations

import time

import pytest

from engines.llm import LLMEngine
from ftui.screens.chat import ChatScreen
from tests.tui.conftest import opened

pytestmark = pytest.mark.model


async def test_activating_shows_what_each_server_did(served: LLMEngine) -> None:
    served.activation.deactivate()
    server = served.serving.servers()[0]
    async with opened(served) as ui:
        await ui.go_to("adapters")
        await ui.press("g", "enter")
        await ui.until(lambda: ui.shows(f"✓ {server.name}: answers with"))
        active = served.adapters.active()
        assert active is not None and (served.serving.state(server).active or "").startswith(f"{active}@")
        await ui.press("V")
        await ui.until(lambda: ui.shows("Model servers", "● ready", f"Stop {server.name}", f"{active}@"))
        await ui.press("escape", "b")
        await ui.until(lambda: ui.shows("answers with the base model"))
        assert served.serving.state(server).active is None


async def test_a_server_is_started_and_stopped(served: LLMEngine) -> None:
    before = {server.name for server in served.serving.servers()}
    async with opened(served, (100, 40)) as ui:
        await ui.press("V")
        await ui.until(lambda: ui.shows("Start one"))
        await ui.press("s")
        await ui.until(lambda: ui.shows("Start a model server", "ftui serve-llm start", "one request at a time"))
        await ui.press("s")
        await ui.until(
            lambda: len(served.serving.servers()) > len(before) and ui.shows("answers at http://127.0.0.1"), 90
        )
        (name,) = {server.name for server in served.serving.servers()} - before
        await ui.press("V")
        await ui.until(lambda: ui.shows(f"Stop {name}"))
        number = [server.name for server in served.serving.servers()].index(name) + 1
        await ui.press(str(number))
        await ui.until(lambda: name not in {server.name for server in served.serving.servers()}, 30)


async def test_chat_side_by_side_and_keep_the_good_answer(served: LLMEngine) -> None:
    async with opened(served) as ui:
        await ui.go_to("adapters")
        await ui.press("g", "c")
        await ui.until(lambda: isinstance(ui.app.screen, ChatScreen) and ui.shows("answers", "base model"), 60)
        screen = ui.app.screen
        assert isinstance(screen, ChatScreen)
        await ui.type("Who are you?")
        await ui.press("enter")
        await ui.until(lambda: screen.talk is not None and screen.talk.turns and screen.asking is None, 60)
        assert screen.talk is not None
        answers = screen.talk.turns[0].answers
        assert len(answers) == 2 and all(answers) and answers[0] != answers[1]
        await ui.until(lambda: ui.shows("> Who are you?"))
        await ui.press("tab", "tab", "plus")
        await ui.until(lambda: ui.shows("+ good"))
        await ui.press("w")
        await ui.until(lambda: ui.shows("Keep the good answers"))
        await ui.press("enter")
        await ui.until(lambda: served.datasets.path("rated").exists() and ui.shows("in rated now: 1 more"))
        await ui.press("escape")
        await ui.until(lambda: not isinstance(ui.app.screen, ChatScreen))
        assert served.datasets.preview(served.datasets.get("rated"))[0][0]["content"] == "Who are you?"


async def test_leaving_while_an_answer_comes_leaves_nothing_behind(served: LLMEngine) -> None:
    client = served.serving.servers()[0].client
    async with opened(served) as ui:
        await ui.go_to("adapters")
        await ui.press("c")
        await ui.until(lambda: isinstance(ui.app.screen, ChatScreen) and ui.app.screen.talk is not None, 60)
        await ui.type("Tell me everything.")
        await ui.press("enter", "escape")
        await ui.until(lambda: not isinstance(ui.app.screen, ChatScreen))
        assert not (served.workspace.home / "ftui-errors.log").exists()
    until = time.monotonic() + 60
    while client.ask("/health")["waiting"] and time.monotonic() < until:
        time.sleep(0.2)
    assert client.ask("/health")["waiting"] == 0
