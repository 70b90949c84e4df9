"""Adapters that were trained with a text template of their own, also for a base model that has no chat template."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from storm import QUESTIONS, TOKENS, loaded

from engines.config.chat import ChatConfig
from engines.contract import fingerprints
from engines.contract.errors import UserError
from engines.llm import LLMEngine
from engines.servers.chat import LocalModel, ServerModel, open_model
from engines.servers.conversation import Conversation
from engines.servers.server import Server, ServerState
from engines.servers.server_fit import check_served
from engines.weights import adapter_versions, chat_template
from finetune.chat_templates import from_text
from tests.serving.conftest import start, stop_all, with_adapters

pytestmark = pytest.mark.model
TEMPLATE = from_text("Q: {user} A: {assistant}")
FILE = "chat_template.jinja"


def without_template(model: Path, folder: Path) -> Path:
    """The same base model as one that was never taught to talk."""
    shutil.copytree(model, folder)
    (folder / FILE).unlink(missing_ok=True)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config.pop("chat_template", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def bare(tiny_model: Path, tmp_path: Path) -> Iterator[LLMEngine]:
    """Adapters a, with a template, and b, without; their base model has none."""
    engine = with_adapters(tmp_path / "home", without_template(tiny_model, tmp_path / "bare"))
    (engine.adapters.get("a").final / FILE).write_text(TEMPLATE)
    yield engine
    stop_all(engine)


def right_answer(model: Path, adapter: Path | None) -> str:
    """By transformers and peft alone."""
    adapted, tokenizer = loaded(model, adapter)
    turns = [{"role": "user", "content": QUESTIONS[1]}]
    prompt = tokenizer.apply_chat_template(
        turns, chat_template=TEMPLATE, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    output = adapted.generate(**prompt, max_new_tokens=TOKENS, do_sample=False, pad_token_id=0, repetition_penalty=1.1)
    said = output[0, prompt["input_ids"].shape[1] :]
    return str(tokenizer.decode(said, skip_special_tokens=True)).strip()


def answers(engine: LLMEngine, *names: str | None, local: bool = False) -> tuple[object, list[str | None]]:
    partners = [engine.adapters.get(name) if name else None for name in names]
    model = open_model(engine, partners, "base", local=local)
    try:
        model.wait_until_ready()
        talk = Conversation(engine.workspace, model, partners, ChatConfig(max_new_tokens=TOKENS))
        list(talk.ask(QUESTIONS[1]))
        return model, talk.turns[0].answers
    finally:
        model.close()


def test_a_base_model_without_a_template_is_served_and_asked_in_the_adapters(bare: LLMEngine) -> None:
    base, folder = bare.workspace.models / "base", bare.adapters.get("a").final
    right = [right_answer(base, folder), right_answer(base, None)]
    with pytest.raises(UserError, match="has no chat template") as refused:
        start(bare)
    assert "text template" in refused.value.next_step
    bare.adapters.activate("a")
    start(bare)
    model, said = answers(bare, "a")
    assert isinstance(model, ServerModel) and said == right[:1]
    model, said = answers(bare, "a", None)  # the server could not ask the base model
    assert isinstance(model, LocalModel) and said == right
    client = bare.serving.servers()[0].client
    with pytest.raises(UserError, match="the base model has no chat template"):
        list(client.chat("base", [{"role": "user", "content": "Hi"}]))
    with pytest.raises(UserError, match="the base model has no chat template"):
        answers(bare, "b", local=True)


def test_beside_ordinary_adapters_each_is_asked_in_its_own_way(served: LLMEngine, tmp_path: Path) -> None:
    """Also one whose weights are those of another: what is loaded is told apart by its template, too."""
    served.adapters.copy("a", "own")
    own = served.adapters.get("own")
    (own.final / FILE).write_text(TEMPLATE)
    plain = adapter_versions.path_of(served.workspace, served.adapters.get("a"))
    version = adapter_versions.path_of(served.workspace, own)
    assert version != plain and (version / FILE).read_text() == TEMPLATE and not (plain / FILE).exists()
    right = right_answer(served.workspace.models / "base", own.final)
    for local in (False, True):
        _, said = answers(served, "a", "own", local=local)
        assert said[1] == right and said[0] not in (right, None)
    assert served.activation.activate("own").done
    served.activation.deactivate()
    served.adapters.delete("own")


def test_servers_with_one_template_for_all_refuse_another(served: LLMEngine) -> None:
    served.adapters.copy("a", "other")
    other, base = served.adapters.get("other"), str(served.workspace.models / "base")
    (other.final / FILE).write_text(TEMPLATE)
    known = served.serving.template_of(base)
    assert known and "im_start" in known
    for kind in ("vllm", "llama-server"):
        server = Server("x", kind, "http://127.0.0.1:1")
        check_served(served.adapters.get("a"), ServerState(server, "ready", base, template=known))
        check_served(other, ServerState(server, "ready", base, template=f"{TEMPLATE}\n"))
        check_served(other, ServerState(server, "ready", base, template=None))
        for template in (known, ""):
            with pytest.raises(UserError, match="a chat template of its own") as refused:
                check_served(other, ServerState(server, "ready", base, template=template))
            assert "light" in refused.value.next_step
    served.adapters.activate("other")
    try:
        with pytest.raises(UserError, match="a chat template of its own"):
            served.serving._fitting(base, "vllm")
    finally:
        served.adapters.deactivate()
        served.adapters.delete("other")


def test_where_a_template_is_found(tmp_path: Path) -> None:
    assert chat_template.of_folder(tmp_path) is None
    config = tmp_path / "tokenizer_config.json"
    config.write_text(
        json.dumps({"chat_template": [{"name": "tools", "template": "t"}, {"name": "default", "template": "d"}]})
    )
    assert chat_template.of_folder(tmp_path) == "d"
    config.write_text(json.dumps({"chat_template": "one"}))
    for name in fingerprints.ADAPTER_FILES:
        (tmp_path / name).write_bytes(b"x")
    before = fingerprints.of_adapter(tmp_path)
    chat_template.write_out(tmp_path)
    assert (tmp_path / FILE).read_text() == "one" and fingerprints.of_adapter(tmp_path) != before
    (tmp_path / FILE).write_text("other")
    chat_template.write_out(tmp_path)
    assert chat_template.of_folder(tmp_path) == "other"


def test_no_server_is_started_for_an_adapter_that_its_kind_cannot_serve(served: LLMEngine) -> None:
    served.adapters.copy("a", "strange")
    final = served.adapters.get("strange").final
    config = json.loads((final / "adapter_config.json").read_text())
    (final / "adapter_config.json").unlink()
    (final / "adapter_config.json").write_text(json.dumps({**config, "trainable_token_indices": [1, 2]}))
    served.adapters.activate("strange")
    try:
        with pytest.raises(UserError, match="tokens trained on their own") as refused:
            served.serving._fitting(str(served.workspace.models / "base"), "llama-server")
        assert "ftui adapters base" in refused.value.next_step
    finally:
        served.adapters.deactivate()
        served.adapters.delete("strange")
