"""`ftui llm chat` as a real process: broken off, gone on with, bounded; the same words wherever they are drawn."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from storm import QUESTIONS

from engines.config.chat import ChatConfig
from engines.contract import statefiles
from engines.contract.errors import UserError
from engines.llm import LLMEngine
from engines.servers import kept_conversations
from engines.servers.chat import LocalModel, ServerModel, open_model
from engines.servers.conversation import folder
from engines.servers.server_clients import LightClient, ServerGone
from tests.serving.test_commands import as_json, ftui

pytestmark = pytest.mark.model


class Talk:
    """The command, its standard input and its output as it comes."""

    def __init__(self, home: Path, *flags: str):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ftui", "llm", "chat", *flags, "--home", str(home)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ},
        )  # fmt: skip
        self.output = b""

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def until(self, text: bytes, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while text not in self.output:
            assert time.monotonic() < deadline, self.output
            self.read()

    def read(self) -> None:
        assert self.process.stdout is not None
        if select.select([self.process.stdout], [], [], 0.2)[0]:
            piece = os.read(self.process.stdout.fileno(), 4096)
            assert piece, self.output
            self.output += piece


@pytest.mark.parametrize("flags", [[], ["--local"]], ids=["server", "local"])
def test_ctrl_c_breaks_an_answer_off_and_the_conversation_goes_on(served: LLMEngine, flags: list[str]) -> None:
    talk = Talk(served.workspace.home, "--adapter", "a", "--max-new-tokens", "450", *flags)
    talk.until(b"an empty line ends")
    talk.say("Tell me everything.")
    before = len(talk.output)
    while len(talk.output) < before + 20:  # words of the answer
        talk.read()
    talk.process.send_signal(signal.SIGINT)
    talk.until(b"what was said is kept")
    talk.say("And shortly?")
    talk.say("/good")
    talk.until(b"a: good")
    talk.say("")
    assert talk.process.wait(30) == 0 and b"Traceback" not in talk.output
    kept = kept_conversations.get(served.workspace, "last")
    first, second = kept.turns
    assert first.question == "Tell me everything." and first.answers[0] and second.answers[0]
    assert len(first.answers[0]) < len(second.answers[0]) and second.ratings == ["good"]


def test_ctrl_c_at_the_prompt_ends(served: LLMEngine) -> None:
    talk = Talk(served.workspace.home, "--base", "--base-model", "base")
    talk.until(b"> ")
    time.sleep(1)  # until it reads: what comes in between Python sees only with the next line
    talk.process.send_signal(signal.SIGINT)
    assert talk.process.wait(30) == 0 and b"Traceback" not in talk.output


def test_kept_conversations_are_listed_and_gone_on_with(served: LLMEngine) -> None:
    home = served.workspace.home
    begun = ["--base", "--adapter", "a", "--max-new-tokens", "6", "--system", "Be brief.", "--seed", "7"]
    first = as_json(home, "llm", "chat", *begun, "--prompt", "First question?")
    id = Path(first["conversation"]).stem
    listed = as_json(home, "llm", "chat", "--list")
    assert listed[0]["id"] == id and listed[0]["partners"] == ["base", "a"] and listed[0]["turns"] == 1
    assert f"{id}" in ftui(home, "llm", "chat", "--list") and "First question?" in ftui(home, "llm", "chat", "--list")
    again = as_json(home, "llm", "chat", "--continue", "last", "--prompt", "Second?", "--max-new-tokens", "3")
    assert again["conversation"] == first["conversation"]
    document = statefiles.read_object(Path(first["conversation"]))
    assert [turn["question"] for turn in document["turns"]] == ["First question?", "Second?"]
    assert document["options"] == {"max_new_tokens": 3, "temperature": 0.0, "seed": 7, "system": "Be brief."}
    shown = ftui(home, "llm", "chat", "--continue", id[:-1], said="Third?\n")
    assert "> First question?" in shown and "[2 a]" in shown
    assert len(statefiles.read_object(Path(first["conversation"]))["turns"]) == 3
    assert "has its partners already" in ftui(home, "llm", "chat", "--continue", "last", "--base", code=2)
    assert "there is no conversation nothing" in ftui(home, "llm", "chat", "--continue", "nothing", code=4)


def test_what_is_kept_is_read_as_far_as_it_makes_sense(served: LLMEngine) -> None:
    place = folder(served.workspace)
    older = {
        "partners": ["base", "a"], "options": {"max_new_tokens": 5, "temperature": 0.5, "seed": 2}, "system": "Old.",
        "turns": [{"question": "Q", "answers": ["A"], "ratings": ["good", "no such"], "sent": 1}, "x"],
    }  # fmt: skip
    statefiles.write_json(place / "20200101-000000-aaaa.json", older)
    for number, damaged in enumerate(({"partners": 1}, [], {"partners": ["a"], "turns": [], "options": {"seed": -4}})):
        statefiles.write_json(place / f"20200101-00000{number}-bbbb.json", damaged)
    kept = kept_conversations.get(served.workspace, "20200101")
    assert kept.config == ChatConfig(max_new_tokens=5, temperature=0.5, seed=2, system="Old.")
    (turn,) = kept.turns
    assert (turn.question, turn.answers, turn.ratings, turn.sent) == ("Q", ["A", None], ["good", None], [False, False])
    assert kept.adapters(served.adapters)[0] is None and kept.base_model == "auto"


def test_the_same_seed_draws_the_same_words_here_and_through_a_server(served: LLMEngine) -> None:
    """Both in 32 bit; what is drawn from depends on the share of likely words that is drawn from, too."""
    client = served.serving.servers()[0].client
    turns = [{"role": "user", "content": QUESTIONS[0]}]
    model = open_model(served, [None], "base")
    assert isinstance(model, ServerModel)
    model.wait_until_ready()
    differ = 0
    for seed in range(1, 6):
        said = "".join(model.ask(None, turns, ChatConfig(max_new_tokens=20, temperature=1.5, seed=seed)))
        alike = {"max_tokens": 20, "temperature": 1.5, "seed": seed, "repetition_penalty": 1.1}
        assert said == "".join(client.chat("base", turns, top_p=0.95, **alike))
        differ += said != "".join(client.chat("base", turns, **alike))
    assert differ
    model.close()


@pytest.mark.parametrize("flag", [("--max-new-tokens", "-5"), ("--temperature", "-1"), ("--seed", "-1")])
def test_bounds_are_the_same_with_and_without_a_server(served: LLMEngine, flag: tuple[str, str]) -> None:
    for where in ([], ["--local"]):
        said = ftui(
            served.workspace.home,
            "llm",
            "chat",
            "--base",
            "--base-model",
            "base",
            "--prompt",
            "Hi",
            *flag,
            *where,
            code=2,
        )
        assert f"{flag[0].removeprefix('--').replace('-', '_')}: input should be greater than or equal to" in said


@pytest.mark.parametrize("local", [False, True])
def test_a_dialog_longer_than_the_model_takes_is_refused_and_the_next_one_answered(
    served: LLMEngine, local: bool
) -> None:
    model = open_model(served, [None], "base", local=local)
    model.wait_until_ready()
    try:
        assert isinstance(model, LocalModel) == local
        with pytest.raises(UserError, match="the model takes 512"):
            list(model.ask(None, [{"role": "user", "content": "long " * 600}], ChatConfig()))
        nearly = [{"role": "user", "content": "long " * 400}]  # room for a few tokens alone
        assert "".join(model.ask(None, nearly, ChatConfig(max_new_tokens=500))) is not None
        short = [{"role": "user", "content": QUESTIONS[0]}]
        broken_off = model.ask(None, short, ChatConfig(max_new_tokens=450))
        next(broken_off)
        broken_off.close()
        first, second = ("".join(model.ask(None, short, ChatConfig(max_new_tokens=12))) for _ in range(2))
        assert first == second != ""
    finally:
        model.close()


def test_closing_ends_an_answer_that_another_thread_waits_for(served: LLMEngine) -> None:
    partners = [None, served.adapters.get("a"), served.adapters.get("b")]
    model = open_model(served, partners)
    model.wait_until_ready()
    client, ended = served.serving.servers()[0].client, []

    def ask() -> None:
        try:
            for partner in partners:
                list(model.ask(partner, [{"role": "user", "content": "Go on."}], ChatConfig(max_new_tokens=450)))
        except UserError as error:
            ended.append(error)

    def keep_it_busy() -> None:
        list(LightClient(client.url).chat("base", [{"role": "user", "content": "x"}], max_tokens=450))

    others = [threading.Thread(target=keep_it_busy) for _ in range(6)]
    for other in others:
        other.start()
    while client.ask("/health")["waiting"] < 6:
        time.sleep(0.01)
    asking = threading.Thread(target=ask)
    asking.start()
    while client.ask("/health")["waiting"] < 7 and others[-1].is_alive():
        time.sleep(0.01)
    began = time.monotonic()
    model.close()
    asking.join(5)
    assert not asking.is_alive() and time.monotonic() - began < 5 and isinstance(ended[0], ServerGone)
    for other in others:
        other.join(60)
    with pytest.raises(UserError, match="the conversation is closed"):
        list(model.ask(None, [{"role": "user", "content": "Hi"}], ChatConfig()))
    active = served.adapters.active()
    assert all(name.rpartition("@")[0] == active for name in client.adapters())
