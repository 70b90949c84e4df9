"""The app with a real server and real adapters: activate, chat side by side, keep a good answer, see the servers."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from engines.llm import LLMEngine
from engines.workspace import Workspace
from ftui.screens.chat import ChatScreen
from ftui.widgets.list_table import ListTable
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
        await ui.until(lambda: ui.shows("Model servers", "● ready", server.name, f"{active}@"))
        await ui.press("escape", "b")
        await ui.until(lambda: ui.shows("answers with the base model"))
        assert served.serving.state(server).active is None


async def test_a_server_is_started_its_log_shown_and_stopped(served: LLMEngine) -> None:
    before = {server.name for server in served.serving.servers()}
    async with opened(served, (100, 40)) as ui:
        await ui.press("V")
        await ui.until(lambda: ui.shows("s starts one"))
        await ui.press("s")
        await ui.until(lambda: ui.shows("Start a model server", "ftui serve-llm start", "one request at a time"))
        await ui.press("s")
        await ui.until(
            lambda: len(served.serving.servers()) > len(before) and ui.shows("answers at http://127.0.0.1"), 90
        )
        (name,) = {server.name for server in served.serving.servers()} - before
        table = ui.app.screen.query_one(ListTable)
        await ui.until(lambda: name in [key.value for key in table.rows])
        table.choose(name)
        await ui.press("x")
        await ui.until(lambda: name not in {server.name for server in served.serving.servers()}, 30)
        await ui.until(lambda: list(table.rows) == list(before))
        await ui.press("enter")
        await ui.until(lambda: ui.screen.pane == "run" and ui.screen.run_panel.run is not None)
        run = ui.screen.run_panel.run
        assert run is not None and run.name in before
        await ui.until(lambda: ui.shows(f"answers at {run.spec['url']}/v1"))
        await ui.go_to("adapters")  # the next test opens the app where this one leaves it


async def test_a_server_of_somebody_else_is_adopted_and_forgotten(served: LLMEngine, tmp_path: Path) -> None:
    server, other = served.serving.servers()[0], LLMEngine(Workspace(tmp_path / "other"))
    async with opened(other) as ui:
        await ui.press("V")
        await ui.until(lambda: ui.shows("No model server runs"))
        await ui.press("a")
        await ui.until(lambda: ui.shows("Adopt a server that runs"))
        await ui.press("ctrl+u")
        await ui.type("http://example.com:80")
        await ui.press("enter")
        await ui.until(lambda: ui.shows("no address of this machine"))
        await ui.press("ctrl+u")
        await ui.type(server.url)
        await ui.press("enter")
        await ui.until(lambda: ui.shows("● ready", f"{server.url}/v1"))
        await ui.press("x")
        await ui.until(lambda: ui.shows("was not started here"))
        await ui.press("f")
        await ui.until(lambda: ui.shows("No model server runs") and other.serving.servers() == [])


async def test_a_command_is_set_that_runs_after_activations(served: LLMEngine, tmp_path: Path) -> None:
    other = LLMEngine(Workspace(tmp_path / "other"))
    async with opened(other) as ui:
        await ui.press("V", "w")
        await ui.until(lambda: ui.shows("Run after each activation"))
        await ui.type("sh -c 'echo")
        await ui.press("enter")
        await ui.until(lambda: ui.shows("the quotes do not match"))
        await ui.type(" $FTUI_ADAPTER'")
        await ui.press("enter")
        await ui.until(lambda: ui.shows("after each activation: sh -c 'echo $FTUI_ADAPTER'"))
        assert other.serving.on_activate() == ["sh", "-c", "echo $FTUI_ADAPTER"]
        await ui.press("w", "ctrl+u")
        await ui.type("no-such-program")
        await ui.press("enter")
        await ui.until(lambda: ui.shows("there is no program no-such-program"))


async def test_chat_side_by_side_and_keep_the_good_answer(served: LLMEngine) -> None:
    async with opened(served) as ui:
        await ui.go_to("adapters")
        await ui.press("g", "c")
        await ui.until(lambda: isinstance(ui.app.screen, ChatScreen) and ui.shows("answers", "base model"), 60)
        screen = ui.app.screen
        assert isinstance(screen, ChatScreen)
        await ui.type("Who are you?")
        await ui.press("enter")
        await ui.until(lambda: screen.talk is not None and screen.talk.turns and not screen.asking, 60)
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
