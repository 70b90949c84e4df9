"""The same storm against a real vLLM. `make test-serving` installs it and sets FTUI_VLLM to its Python."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from storm import TOKENS, Storm, expected, largest_gap, quiet_answers

from engines.contract.errors import UserError
from engines.llm import LLMEngine
from tests.serving.conftest import start, stop_all, with_adapters

TIE = 0.1  # logits

pytestmark = [
    pytest.mark.skipif(not os.environ.get("FTUI_VLLM"), reason="needs vLLM: make test-serving"),
    pytest.mark.timeout(1500),
]


@pytest.fixture(scope="module")
def vllm(embedded_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LLMEngine]:
    engine = with_adapters(tmp_path_factory.mktemp("vllm") / "home", embedded_model)
    engine.environments.choose("vllm", Path(os.environ["FTUI_VLLM"]))
    start(engine, kind="vllm", max_model_len=512)
    yield engine
    stop_all(engine)


def test_a_hundred_switches_under_requests_and_no_wrong_answer(vllm: LLMEngine) -> None:
    folders: dict[str | None, Path] = {adapter.name: adapter.final for adapter in vllm.adapters.list()}
    answers = expected(vllm.workspace.models / "base", folders)
    client = vllm.serving.servers()[0].client

    def ask(text: str) -> tuple[str | None, str, float]:
        loaded = list(client.adapters())  # a client of vLLM asks for the adapter by its name there
        model = loaded[-1] if loaded else "base"
        asked = time.monotonic()
        pieces = client.chat(
            model, [{"role": "user", "content": text}], temperature=0, max_tokens=TOKENS, repetition_penalty=1.0
        )
        return (None if model == "base" else model.partition("@")[0]), "".join(pieces), asked

    quiet = quiet_answers(vllm, ask)
    for key, text in quiet.items():  # rounding of another program: said, not judged
        if text != answers[key]:
            print(f"with nobody else asking {key} says {text!r}, peft {answers[key]!r}")
    storm = Storm(vllm, quiet, ask).run(switches=100, clients=6)
    print(f"answers {dict(storm.given)}, {storm.switched_meanwhile} with a switch under way, "
          f"asked again {storm.missed} times, slowest {storm.slowest} s")  # fmt: skip
    assert storm.wrong == []
    for (adapter, question, text), times in storm.others.items():
        gaps = {
            name: largest_gap(vllm.workspace.models / "base", folders.get(name), question, text)
            for name in (None, "a", "b")
        }
        print(f"{adapter} {times} times {text!r}: gaps {gaps}")
        assert gaps[adapter] < TIE and min(gaps[name] for name in gaps if name != adapter) > 10 * TIE
    assert set(storm.given) == {None, "a", "b"} and storm.switched_meanwhile > 20


def test_a_rank_above_the_servers_is_refused_with_the_flag(vllm: LLMEngine) -> None:
    from sample_adapters import strong_adapter

    from engines.weights.adapter_transfer import import_adapter

    base = vllm.workspace.models / "base"
    made = strong_adapter(base, vllm.workspace.home / "made" / "wide", 5, rank=32)
    import_adapter(vllm.adapters, vllm.models, made, name="wide", base_model=str(base))
    with pytest.raises(UserError, match="has rank 32") as refused:
        vllm.activation.activate("wide")
    assert "--max-lora-rank 32" in refused.value.next_step


def test_a_vllm_of_somebody_else_says_itself_what_it_cannot(vllm: LLMEngine, tmp_path: Path) -> None:
    """An adopted one does not tell its limits: its own refusal is shown, with the flag to add, and nothing changes."""
    other = with_adapters(tmp_path / "home", vllm.workspace.models / "base", "")
    base = vllm.workspace.models / "base"
    from sample_adapters import strong_adapter

    from engines.weights.adapter_transfer import import_adapter

    import_adapter(
        other.adapters, other.models, strong_adapter(base, tmp_path / "wide", 5, rank=32), base_model=str(base)
    )
    other.serving.adopt(vllm.serving.servers()[0].url)
    outcome = other.activation.activate("wide")
    assert not outcome.done and other.adapters.active() is None
    assert "--max-lora-rank" in outcome.results[0].text
