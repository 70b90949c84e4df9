"""Many adapters of all kinds in one process: each answers as peft alone says, whatever came before it."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from pathlib import Path

import pytest
from sample_adapters import strong_adapter, write_tensors
from storm import QUESTIONS, TOKENS, expected

from engines.contract.errors import UserError
from finetune import base_model, chat_templates
from finetune.model_host import Answer, Loaded, ModelHost
from finetune.serve import Server, serve

pytestmark = pytest.mark.model
KINDS = {
    "plain": {},
    "dora": {"use_dora": True, "target_modules": "all-linear"},
    "bias": {"bias": "lora_only", "target_modules": "all-linear"},
    "head trained whole": {"modules_to_save": ["lm_head"]},
    "head": {"target_modules": ["q_proj", "lm_head"]},
    "embeddings": {"target_modules": ["v_proj", "embed_tokens"]},
    "tokens": {"trainable_token_indices": list(range(600))},
    "ranks": {"rank_pattern": {"q_proj": 8}, "alpha_pattern": {"v_proj": 32}, "use_rslora": True},
}


@pytest.fixture(scope="module")
def folders(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str | None, Path]:
    made = tmp_path_factory.mktemp("kinds")
    return {
        name: strong_adapter(tiny_model, made / name.replace(" ", "-"), seed, **config)  # type: ignore[arg-type]
        for seed, (name, config) in enumerate(KINDS.items(), 20)
    }


@pytest.fixture
def host(tiny_model: Path) -> ModelHost:
    model = base_model.load_model(str(tiny_model), "cpu", "fp32")
    return ModelHost(model, base_model.load_tokenizer(str(tiny_model)))


def said(host: ModelHost, adapter: Loaded | None, question: str = QUESTIONS[0]) -> str:
    return host.answer(Answer([{"role": "user", "content": question}], adapter, TOKENS)).result(60).strip()


def test_all_kinds_answer_side_by_side_in_any_order(
    host: ModelHost, folders: dict[str | None, Path], tiny_model: Path
) -> None:
    answers = expected(tiny_model, folders, QUESTIONS[:1])
    right = {name: answers[name, QUESTIONS[0]] for name in (None, *folders)}
    for order in (list(folders), list(reversed(folders))):
        loaded: dict[str | None, Loaded | None] = {None: None}
        for name in order:
            loaded[name] = host.load(str(name), folders[name]).result(60)
            assert {name: said(host, loaded[name]) for name in loaded} == {name: right[name] for name in loaded}


def test_what_cannot_be_loaded_says_why_and_leaves_nothing_behind(
    host: ModelHost, folders: dict[str | None, Path], tiny_model: Path, tmp_path: Path
) -> None:
    answers = expected(tiny_model, {"plain": folders["plain"]}, QUESTIONS[:1])
    config = json.loads((folders["plain"] / "adapter_config.json").read_text())
    weights = (folders["plain"] / "adapter_model.safetensors").read_bytes()
    bad = {
        "no lora_alpha that makes sense": {"lora_alpha": None},
        "lora_alpha that makes": {"lora_alpha": "16"},
        "no lora_alpha": {"alpha_pattern": {"q_proj": "x"}},
        "lm_head.weight is missing": {"modules_to_save": ["lm_head"]},
        "holds nothing for .*k_proj": {"target_modules": ["q_proj", "v_proj", "k_proj"]},
        "has no place for|no such|Target modules": {"target_modules": ["nowhere"]},
        "size mismatch for|rank": {"r": 8},
    }
    for number, (reason, change) in enumerate(bad.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "adapter_config.json").write_text(json.dumps({**config, **change}))
        (folder / "adapter_model.safetensors").write_bytes(weights)
        with pytest.raises(UserError, match=reason) as refused:
            host.load("x", folder).result(60)
        assert not refused.value.cause.endswith(":")
        good = host.load("plain", folders["plain"]).result(60)
        assert said(host, good) == answers["plain", QUESTIONS[0]] and said(host, None) == answers[None, QUESTIONS[0]]
    other = tmp_path / "other"
    other.mkdir()
    (other / "adapter_config.json").write_text(json.dumps(config))
    layer = "base_model.model.model.layers.7.self_attn.q_proj"
    write_tensors(
        other / "adapter_model.safetensors", {f"{layer}.lora_A.weight": (4, 32), f"{layer}.lora_B.weight": (32, 4)}
    )
    with pytest.raises(UserError, match=r"x does not fit the base model: model.layers.7"):
        host.load("x", other).result(60)


def test_an_adapter_with_a_template_of_its_own_is_asked_in_it(
    host: ModelHost, folders: dict[str | None, Path], tiny_model: Path, tmp_path: Path
) -> None:
    import shutil

    own = shutil.copytree(folders["plain"], tmp_path / "own")
    (own / "chat_template.jinja").write_text(chat_templates.from_text("Q: {user} A: {assistant}"))
    plain, with_own = (host.load("x", folder).result(60) for folder in (folders["plain"], own))
    dialog = [{"role": "user", "content": "Who are you?"}]
    answer = Answer(dialog, with_own, TOKENS)
    host.answer(answer).result(60)
    assert answer.prompt_tokens == len(host.tokenizer("Q: Who are you? A:")["input_ids"])  # the blank is the answer's
    assert said(host, with_own) != said(host, plain)
    bare = base_model.load_tokenizer(str(tiny_model))
    bare.chat_template = None
    without = ModelHost(host.model, bare)
    assert said(without, without.load("x", own).result(60)) == said(host, with_own)
    with pytest.raises(UserError, match="the base model has no chat template"):
        without.room_after(dialog, None)


def test_an_answer_that_is_given_up_in_the_queue_harms_nobody(host: ModelHost) -> None:
    right = said(host, None)
    first = host.answer(Answer([{"role": "user", "content": "Hi"}], None, 300))
    given_up = host.answer(Answer([{"role": "user", "content": "Hi"}], None, 300))
    assert given_up.cancel()
    loading = host.load("x", Path("/nowhere"))
    loading.cancel()
    host._inbox.put(lambda: 1 / 0)  # a fault of ours
    assert said(host, None) == right and first.done() and host.waiting == 0 and host.alive


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_server_whose_thread_has_ended_ends_and_says_so(host: ModelHost) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    host._inbox.put(sys.exit)
    with pytest.raises(UserError, match="the thread that answers has ended"):
        asyncio.run(asyncio.wait_for(serve(Server(host, "tiny"), port), 30))
