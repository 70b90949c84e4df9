"""The app with a real server and real adapters: activate, chat side by side, keep a good answer, see the servers."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

import pytest

from benchmarks.terminal import Terminal
from engines.llm import LLMEngine
from engines.servers import kept_conversations
from engines.servers.conversation import Conversation
from engines.servers.server_clients import LightClient
from engines.workspace import Workspace
from ftui import settings
from ftui.screens.chat import ChatScreen
from ftui.widgets.config_form import ConfigForm
from ftui.widgets.list_table import ListTable
from tests.tui.conftest import ROOT, Driver, opened

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


async def test_partners_and_parameters_are_chosen_and_a_conversation_is_gone_on_with(served: LLMEngine) -> None:
    def talk(ui: Driver) -> Conversation:
        assert isinstance(ui.app.screen, ChatScreen) and ui.app.screen.talk is not None
        return ui.app.screen.talk

    def ready(ui: Driver) -> bool:
        return isinstance(ui.app.screen, ChatScreen) and ui.app.screen.talk is not None and not ui.app.screen.asking

    async with opened(served, (120, 40)) as ui:
        await ui.go_to("adapters")
        await ui.press("g", "c")
        await ui.until(lambda: ready(ui), 60)
        first = talk(ui)
        await ui.type("Who are you?")
        await ui.press("enter")
        await ui.until(lambda: ready(ui) and first.turns and all(first.turns[0].answers), 60)
        await ui.press("ctrl+o")
        await ui.until(lambda: ui.shows("A new conversation", "Partners", "Temperature", "ftui llm chat --base"))
        await ui.press("enter")
        await ui.press(*["backspace"] * 20)
        await ui.type("a, nobody")
        await ui.until(lambda: ui.shows("nobody is no adapter of this base model"))
        await ui.press(*["backspace"] * 20)
        await ui.type("b, a")
        await ui.press("enter", "j", "j", "enter")
        await ui.press(*["backspace"] * 4)
        await ui.type("0.7")
        await ui.press("enter")
        await ui.until(lambda: ui.shows("--adapter b --adapter a --temperature 0.7"))
        await ui.press("s")
        await ui.until(lambda: ready(ui) and talk(ui) is not first, 60)
        await ui.until(lambda: ui.shows("answers, temperature 0.7"))
        assert talk(ui).titles == ["b", "a"] and talk(ui).config.temperature == 0.7 and talk(ui).turns == []

        await ui.press("ctrl+r")
        await ui.until(lambda: ui.shows("Earlier conversations", first.id, "Who are you?"))
        while ui.app.screen.query_one(ListTable).chosen != first.id:
            await ui.press("j")
        await ui.press("enter")
        await ui.until(lambda: ready(ui) and talk(ui).id == first.id, 60)
        await ui.until(lambda: ui.shows("> Who are you?", "base model"))
        await ui.type("And now?")
        await ui.press("enter")
        await ui.until(lambda: ready(ui) and len(talk(ui).turns) == 2 and talk(ui).turns[1].answers[1], 60)
        kept = kept_conversations.get(served.workspace, first.id)
        assert [turn.question for turn in kept.turns] == ["Who are you?", "And now?"]
        focused = [ui.app.focused]
        for key in ("tab", "tab", "shift+tab", "shift+tab"):
            await ui.press(key)
            focused.append(ui.app.focused)
        assert focused[0] is focused[4] and focused[1] is focused[3] and len(set(focused)) == 3


def test_the_app_ends_at_once_while_answers_are_waited_for(served: LLMEngine) -> None:
    """The server has much to do for others; nobody waits for it, and it does nothing more for who has left."""
    server = served.serving.servers()[0]
    client = server.client

    def keep_it_busy() -> None:
        list(LightClient(client.url).chat("base", [{"role": "user", "content": "x"}], max_tokens=450))

    code = (
        f"from pathlib import Path; from ftui.app import FtuiApp; FtuiApp(Path({str(served.workspace.home)!r})).run()"
    )
    settings.save(served.workspace, settings.AppSettings(pane="adapters"))
    with Terminal([sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT)}) as terminal:
        terminal.wait_for("eval loss")
        terminal.drain(2.0)  # until everything is loaded
        terminal.press("c", "answers")
        others = [threading.Thread(target=keep_it_busy) for _ in range(20)]
        for other in others:
            other.start()
        while client.ask("/health")["waiting"] < 15:
            time.sleep(0.01)
        terminal.press("Tell me everything.\r", "answering")
        os.write(terminal.master, b"\x1b")
        terminal.drain(0.5)
        began = time.monotonic()
        os.write(terminal.master, b"q")
        while terminal.child.poll() is None:
            assert time.monotonic() - began < 5, terminal.tail[-2000:]
            terminal.read(0.1)
        assert others[-1].is_alive(), "the server was not busy"
    for other in others:
        other.join(120)
    assert client.ask("/health")["waiting"] == 0


async def test_the_form_of_a_server_shows_what_its_kind_has(served: LLMEngine) -> None:
    async with opened(served, (110, 40)) as ui:
        await ui.press("V")
        await ui.until(lambda: ui.shows("s starts one"))
        await ui.press("s")
        await ui.until(lambda: ui.shows("Start a model server", "Precision") and not ui.shows("Highest rank"))
        form = ui.app.screen.query_one(ConfigForm)
        form.change("kind", "vllm")
        await ui.until(lambda: ui.shows("Highest rank", "Cache on a CPU") and not ui.shows("GGUF weights"))
        form.change("max_lora_rank", 64)
        form.change("kind", "llama-server")
        await ui.until(lambda: ui.shows("GGUF weights") and not ui.shows("Highest rank"))
        await ui.until(lambda: ui.shows("ftui serve-llm start --kind llama-server") and not ui.shows("--max-lora-rank"))
        await ui.press(*["j"] * 20)  # not onto a row that is hidden
        await ui.until(lambda: (row := form.row()) is not None and row.spec.name == "gguf_weights")


async def test_what_came_of_an_activation_goes_when_one_goes_on(served: LLMEngine) -> None:
    served.activation.deactivate()
    served.serving.set_on_activate(["false"])
    try:
        async with opened(served) as ui:
            await ui.go_to("adapters")
            await ui.press("g", "enter")
            await ui.until(lambda: ui.shows("✗ on_activate: exit code 1"), 30)
            await ui.press("j")
            await ui.until(lambda: not ui.shows("on_activate"))
            await ui.press("enter")
            await ui.until(lambda: ui.shows("✗ on_activate: exit code 1"), 30)
            await ui.press("escape")
            await ui.until(lambda: not ui.shows("on_activate"))
    finally:
        served.serving.set_on_activate([])
