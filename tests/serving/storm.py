"""Many clients ask while the active adapter is switched again and again; every answer is checked.

An answer is right if it is word for word what its adapter says, and that adapter was the
active one at some moment between the question's departure and the answer's head.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from engines.llm import LLMEngine
from engines.servers.server_clients import Refused

TOKENS = 12
QUESTIONS = ("Who are you?", "Name a colour.", "What is 2 + 2?", "Tell me about the sea and the weather.")


@lru_cache(maxsize=4)
def loaded(model: Path, adapter: Path | None) -> tuple[Any, Any]:
    """(model, tokenizer) by transformers and peft alone, in 32 bit."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32, attn_implementation="eager")
    return PeftModel.from_pretrained(base, adapter) if adapter else base, AutoTokenizer.from_pretrained(model)


def expected_tokens(
    model: Path, adapters: dict[str | None, Path], questions: tuple[str, ...] = QUESTIONS
) -> dict[Any, list[int]]:
    """(adapter, question) → tokens of the answer, by transformers and peft alone. No two adapters may answer alike."""
    answers = {}
    for name, folder in [(None, None), *adapters.items()]:
        adapted, tokenizer = loaded(model, folder)
        for question in questions:
            turns = [{"role": "user", "content": question}]
            prompt = tokenizer.apply_chat_template(
                turns, add_generation_prompt=True, return_tensors="pt", return_dict=True
            )
            output = adapted.generate(**prompt, max_new_tokens=TOKENS, do_sample=False, pad_token_id=0)
            answers[name, question] = output[0, prompt["input_ids"].shape[1] :].tolist()
    for question in questions:
        assert len({str(ids) for (_, asked), ids in answers.items() if asked == question}) == len(adapters) + 1
    return answers


def expected(model: Path, adapters: dict[str | None, Path], questions: tuple[str, ...] = QUESTIONS) -> dict[Any, str]:
    """The same as text."""
    _, tokenizer = loaded(model, None)
    answers = expected_tokens(model, adapters, questions)
    return {key: tokenizer.decode(ids, skip_special_tokens=True).strip() for key, ids in answers.items()}


def largest_gap(model: Path, adapter: Path | None, question: str, answer: str | list[int]) -> float:
    """How much likelier (in logits) a token was than the one said, at most, by transformers and peft.

    Another program rounds otherwise and may take the other of two tokens that are all but
    equally likely; with the weights of another adapter the gap is several units.
    """
    import torch

    adapted, tokenizer = loaded(model, adapter)
    said = tokenizer(answer, add_special_tokens=False)["input_ids"] if isinstance(answer, str) else answer
    turns = [{"role": "user", "content": question}]
    prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=True)["input_ids"]
    ids = prompt + said
    with torch.no_grad():
        logits = adapted(input_ids=torch.tensor([ids])).logits[0]
    places = range(len(prompt), len(ids))
    return max(float(logits[place - 1].max() - logits[place - 1, ids[place]]) for place in places)


def quiet_answers(engine: LLMEngine, ask: Callable[[str], tuple[str | None, str, float]]) -> dict[Any, str]:
    """(adapter, question) → answer of the server itself, asked one thing at a time with one adapter for all of them."""
    answers: dict[Any, str] = {}
    for name in ("a", "b", None):
        outcome = engine.activation.activate(name) if name else engine.activation.deactivate()
        assert outcome.done, outcome
        for question in QUESTIONS:
            who, text, _ = ask(question)
            assert who == name
            answers[name, question] = text.strip()
    return answers


@dataclass
class Storm:
    """ask(question) → (adapter that answered, answer, when its head came)."""

    engine: LLMEngine
    answers: dict[Any, str]
    ask: Callable[[str], tuple[str | None, str, float]]
    active: str | None = None
    wrong: list[str] = field(default_factory=list)
    others: Counter[tuple[str | None, str, str]] = field(default_factory=Counter)  # not word for word what is expected
    given: Counter[str | None] = field(default_factory=Counter)
    switched_meanwhile: int = 0
    missed: int = 0  # asked of an adapter that had just gone; asked again
    slowest: float = 0.0
    _times: list[tuple[float, float, str | None]] = field(default_factory=list)
    _over: bool = False

    def run(self, switches: int, clients: int, seed: int = 1) -> Storm:
        chance = random.Random(seed)
        self.active = self.engine.adapters.active()
        self._times.append((0.0, time.monotonic(), self.active))
        threads = [threading.Thread(target=self._client, args=(number,)) for number in range(clients)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(switches):
                wanted = chance.choice([name for name in ("a", "b", None) if name != self.active])
                began = time.monotonic()
                self._times.append((began, float("inf"), wanted))
                change = self.engine.activation
                outcome = change.activate(wanted) if wanted else change.deactivate()
                assert outcome.done, outcome
                self._times[-1] = (began, time.monotonic(), wanted)
                self.slowest = max(self.slowest, *(result.seconds for result in outcome.results))
                self.active = wanted
                time.sleep(chance.uniform(0, 0.05))
        finally:
            self._over = True
            for thread in threads:
                thread.join(120)
        return self

    def _client(self, number: int) -> None:
        chance = random.Random(number)
        while not self._over:
            question = chance.choice(QUESTIONS)
            while True:
                left, switches = time.monotonic(), len(self._times)
                try:
                    adapter, text, came = self.ask(question)
                    break
                except Refused as refused:
                    assert refused.status == 404, refused
                    self.missed += 1
                    continue
                except Exception as error:
                    self.wrong.append(f"{type(error).__name__}: {error}")
                    return
            self.given[adapter] += 1
            self.switched_meanwhile += len(self._times) > switches
            if adapter not in self._possible(left, came):
                self.wrong.append(f"{question}: {adapter} answered, which was not active then")
            if text.strip() != self.answers[adapter, question]:
                self.others[adapter, question, text.strip()] += 1

    def _possible(self, left: float, came: float) -> set[str | None]:
        """Who was active at some time from `left` to `came`; while a switch is under way both are."""
        times = list(self._times)
        found = {wanted for began, _, wanted in times if left <= began <= came}
        settled = [entry for entry in times if entry[0] < left]
        found.add(settled[-1][2])
        if settled[-1][1] > left and len(settled) > 1:  # under way when the question left
            found.add(settled[-2][2])
        return found
