"""Conversations: side by side, through a server or a process of our own; kept, rated, turned into rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from storm import QUESTIONS, TOKENS, expected

from engines.config.chat import ChatConfig
from engines.contract import statefiles
from engines.contract.errors import UserError
from engines.llm import LLMEngine
from engines.servers.chat import LocalModel, ServerModel, open_model
from engines.servers.conversation import Conversation
from tests.serving.conftest import stop_all, with_adapters

pytestmark = pytest.mark.model
OPTIONS = ChatConfig(max_new_tokens=TOKENS)


def test_a_server_and_a_process_of_its_own_answer_for_each_partner(served: LLMEngine) -> None:
    """Also for an adapter that the server has not loaded; afterwards it has what it had before."""
    served.activation.activate("a")
    partners = [None, served.adapters.get("a"), served.adapters.get("b")]
    said = {}
    for local in (False, True):
        model = open_model(served, partners, local=local)
        assert isinstance(model, LocalModel if local else ServerModel)
        model.wait_until_ready()
        talk = Conversation(served.workspace, model, partners, OPTIONS)
        assert {number for number, _ in talk.ask(QUESTIONS[0])} == {0, 1, 2}
        list(talk.ask(QUESTIONS[1]))
        model.close()
        assert talk.titles == ["base", "a", "b"]
        said[local] = [turn.answers for turn in talk.turns]
        kept = statefiles.read_object(talk.path)
        assert [turn["answers"] for turn in kept["turns"]] == said[local] and kept["partners"] == talk.titles
    assert len(set(said[False][0])) == len(set(said[True][0])) == 3
    state = served.serving.state(served.serving.servers()[0])
    assert [name[:2] for name, _ in state.adapters] == ["a@"]


def test_the_first_answers_are_the_adapters_own(served: LLMEngine) -> None:
    folders = {adapter.name: adapter.final for adapter in served.adapters.list()}
    answers = expected(served.workspace.models / "base", folders, QUESTIONS[:1])  # type: ignore[arg-type]
    client = served.serving.servers()[0].client
    model = open_model(served, [served.adapters.get("b")])
    model.wait_until_ready()
    try:
        for name in ("a", "b", None):
            adapter = served.adapters.get(name) if name else None
            message = [{"role": "user", "content": QUESTIONS[0]}]
            assert isinstance(model, ServerModel)
            served_as = model._name(adapter)
            whole = "".join(client.chat(served_as, message, temperature=0, max_tokens=TOKENS))
            assert whole.strip() == answers[name, QUESTIONS[0]]
    finally:
        model.close()


def test_only_runs_of_good_answers_become_rows(served: LLMEngine) -> None:
    partners = [None, served.adapters.get("b")]
    model = open_model(served, partners)
    model.wait_until_ready()
    talk = Conversation(served.workspace, model, partners, OPTIONS.model_copy(update={"system": "Be brief."}))
    for question in QUESTIONS:
        list(talk.ask(question))
    model.close()
    with pytest.raises(UserError, match="no answer is rated good"):
        talk.send_good(served.datasets, "rated")
    for turn, rating in enumerate(("good", "bad", "good", "good")):
        talk.rate(1, rating, turn)
    dataset, rows = talk.send_good(served.datasets, "rated")
    written = [json.loads(line) for line in dataset.path.read_text().splitlines()]
    asked = [(turn.question, turn.answers[1]) for turn in talk.turns]
    assert rows == 2 and [[turn["content"] for turn in row["messages"]] for row in written] == [
        ["Be brief.", *asked[0]],
        ["Be brief.", *asked[2], *asked[3]],
    ]
    assert written[0]["conversation"] == f"chat-{talk.id}"
    with pytest.raises(UserError, match="no answer is rated good"):
        talk.send_good(served.datasets, "rated")
    talk.rate(0, "good")
    dataset, rows = talk.send_good(served.datasets, "rated")
    assert rows == 1 and served.datasets.count_rows(dataset) == 3
    with pytest.raises(UserError, match="no such answer"):
        talk.rate(2, "good")


def test_partners_of_two_base_models_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    from sample_adapters import write_adapter, write_base

    from engines.weights.adapter_transfer import import_adapter

    engine = with_adapters(tmp_path / "home", tiny_model, "a")
    base = write_base(tmp_path / "other")
    import_adapter(engine.adapters, engine.models, write_adapter(tmp_path / "x"), name="x", base_model=str(base))
    with pytest.raises(UserError, match="x was trained on"):
        open_model(engine, [engine.adapters.get("a"), engine.adapters.get("x")])
    stop_all(engine)
