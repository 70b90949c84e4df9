"""One base model with many adapters in memory, switched in place.

One thread owns the model and does one thing at a time, so no answer can be of two adapters.
Answers wait in a queue; loading and unloading happen between two tokens of whatever is
being answered, so they do not wait for its end. An answer belongs to the adapter that was
asked for, to its last token: a loaded adapter never changes, and its weights are let go of
when the last answer with it is given.
"""

from __future__ import annotations

import copy
import itertools
import queue
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engines.contract.errors import UserError
from engines.weights import adapter_check
from finetune.generate import end_tokens
from finetune.rows import Message


@dataclass(eq=False)
class Loaded:
    """An adapter in memory. `slot` is its name inside peft, never used twice; `users` counts answers to come."""

    name: str
    path: Path
    slot: str
    rank: int
    users: int = 0
    leaving: bool = False


@dataclass(eq=False)
class Answer:
    """What is asked for, and what came of it when `done` is set. Lengths in tokens."""

    messages: list[Message]
    adapter: Loaded | None
    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 0.95
    repetition_penalty: float = 1.0
    seed: int | None = None
    on_text: Callable[[str], None] = lambda text: None
    cancelled: bool = False
    prompt_tokens: int = 0
    tokens: int = 0
    cut: bool = False  # by max_new_tokens
    done: Future[str] = field(default_factory=Future)


class ModelHost:
    """A model and its adapters. `load`, `unload` and `answer` may be called from any one thread; they do not block."""

    def __init__(self, model: Any, tokenizer: Any):
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.waiting = 0  # answers asked for and not given yet
        self._counting = threading.Lock()  # of `waiting` and `users`, which two threads change
        self._counter = copy.deepcopy(tokenizer)  # a tokenizer serves one thread
        self._peft: Any = None
        self._slots = itertools.count(1)
        self._current: Loaded | None = None
        self._inbox: queue.SimpleQueue[Callable[[], None] | Answer] = queue.SimpleQueue()
        self._answers: deque[Answer] = deque()
        threading.Thread(target=self._work, daemon=True, name="model").start()

    @property
    def longest(self) -> int:
        """Tokens of a prompt and its answer together."""
        return int(getattr(self.model.config, "max_position_embeddings", 0) or 1 << 20)

    def load(self, name: str, path: Path) -> Future[Loaded]:
        """Bring an adapter into memory. The future raises UserError if it does not fit this model."""
        return self._do(lambda: self._load(name, path))

    def unload(self, adapter: Loaded) -> Future[None]:
        """Let go of an adapter as soon as every answer that was asked of it is given."""
        adapter.leaving = True
        return self._do(lambda: self._drop(adapter))

    def answer(self, wanted: Answer) -> Future[str]:
        """Queue an answer; its pieces go to `on_text` on the model's thread. The future holds the whole."""
        self._count(wanted, 1)
        self._inbox.put(wanted)
        return wanted.done

    def _count(self, wanted: Answer, by: int) -> None:
        with self._counting:
            self.waiting += by
            if wanted.adapter is not None:
                wanted.adapter.users += by

    def count_prompt(self, messages: list[Message]) -> int:
        """Tokens of a dialog as the model reads it."""
        ids = self._counter.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)
        return len(ids["input_ids"])

    # --- on the model's thread ---

    def _do(self, change: Callable[[], Any]) -> Future[Any]:
        future: Future[Any] = Future()

        def run() -> None:
            try:
                future.set_result(change())
            except BaseException as error:
                future.set_exception(error)

        self._inbox.put(run)
        return future

    def _work(self) -> None:
        while True:
            self._take(block=not self._answers)
            if self._answers:
                self._give(self._answers.popleft())

    def _take(self, block: bool) -> None:
        """Carry out what changes there are; answers line up."""
        try:
            while True:
                item = self._inbox.get(block=block)
                block = False
                self._answers.append(item) if isinstance(item, Answer) else item()
        except queue.Empty:
            pass

    def _give(self, wanted: Answer) -> None:
        try:
            text = "" if wanted.cancelled else self._generate(wanted)
            result: Callable[[], None] = lambda: wanted.done.set_result(text)  # noqa: E731
        except BaseException as error:
            failure = error
            result = lambda: wanted.done.set_exception(failure)  # noqa: E731
        self._count(wanted, -1)
        if wanted.adapter is not None:
            self._drop(wanted.adapter)
        result()

    def _generate(self, wanted: Answer) -> str:
        import torch
        from transformers import StoppingCriteria, TextStreamer

        host, pieces = self, []

        class Pieces(TextStreamer):
            def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
                if text and not wanted.cancelled:
                    pieces.append(text)
                    wanted.on_text(text)

        class BetweenTokens(StoppingCriteria):
            def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
                host._take(block=False)
                host._use(wanted.adapter)
                return torch.full((input_ids.shape[0],), wanted.cancelled, dtype=torch.bool, device=input_ids.device)

        prompt = self.tokenizer.apply_chat_template(
            wanted.messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        wanted.prompt_tokens = int(prompt["input_ids"].shape[1])
        sampling: dict[str, Any] = {"do_sample": False}
        if wanted.temperature > 0:
            sampling = {"do_sample": True, "temperature": wanted.temperature, "top_p": wanted.top_p}
        if wanted.seed is not None:
            torch.manual_seed(wanted.seed)
        ends = end_tokens(self.model, self.tokenizer)
        self._use(wanted.adapter)
        with torch.no_grad():  # not inference mode: adapters are loaded in between
            output = self.model.generate(
                **prompt.to(self.model.device),
                **sampling,
                streamer=Pieces(self.tokenizer, skip_prompt=True, skip_special_tokens=True),
                stopping_criteria=[BetweenTokens()],
                max_new_tokens=wanted.max_new_tokens,
                repetition_penalty=wanted.repetition_penalty,
                pad_token_id=self.tokenizer.pad_token_id,
                eos_token_id=ends,
            )
        wanted.tokens = int(output.shape[1]) - wanted.prompt_tokens
        wanted.cut = int(output[0, -1]) not in ends
        return "".join(pieces)

    def _use(self, adapter: Loaded | None) -> None:
        """Let the model answer with `adapter`, or without any."""
        if adapter is self._current or self._peft is None:
            return
        if adapter is None:
            self._peft.base_model.disable_adapter_layers()
        else:
            if self._current is None:
                self._peft.base_model.enable_adapter_layers()
            self._peft.set_adapter(adapter.slot, inference_mode=True)
        self._current = adapter

    def _load(self, name: str, path: Path) -> Loaded:
        import torch
        from peft import PeftConfig, PeftModelForCausalLM

        shape = adapter_check.check_folder(path)
        self._check_fit(shape)
        before, slot = self._current, f"a{next(self._slots)}"
        config = PeftConfig.from_pretrained(str(path))
        config.inference_mode = True
        devices = [self.model.device] if self.model.device.type == "cuda" else []
        try:
            with torch.random.fork_rng(devices=devices):  # an answer that is being sampled goes on undisturbed
                if self._peft is None:
                    self._peft = PeftModelForCausalLM(self.model, config, adapter_name=slot)
                result = self._peft.load_adapter(str(path), adapter_name=slot, is_trainable=False)
            missing = [key for key in (getattr(result, "missing_keys", None) or []) if f".{slot}." in key]
            strange = list(getattr(result, "unexpected_keys", None) or [])
            if missing or strange:
                raise _does_not_fit(name, f"{(missing + strange)[0]} is not in both")
            loaded = Loaded(name, path, slot, shape.rank)
            self._check_answers(loaded)
        except (RuntimeError, ValueError, KeyError) as error:
            self._forget(slot)
            raise _does_not_fit(name, str(error).strip().splitlines()[0][:200]) from error
        except UserError:
            self._forget(slot)
            raise
        finally:
            self._settle(before)
        return loaded

    def _check_answers(self, adapter: Loaded) -> None:
        """One token through the new adapter: a damaged one is found now and not by whoever asks first."""
        import torch

        self._settle(adapter)
        with torch.no_grad():  # not inference mode: adapters are loaded in between
            logits = self.model(input_ids=torch.tensor([[0]], device=self.model.device)).logits
        if not torch.isfinite(logits).all():
            raise UserError("bad_input", f"{adapter.name} holds numbers that are none", "Train it again.")

    def _check_fit(self, shape: adapter_check.AdapterShape) -> None:
        """Before anything is changed: has this model these layers, of these sizes?"""
        modules = dict(self.model.named_modules())
        for layer, (inputs, outputs) in shape.layers.items():
            module = modules.get(layer)
            there = (getattr(module, "in_features", inputs), getattr(module, "out_features", outputs))
            if module is None or there != (inputs, outputs):
                raise _does_not_fit("the adapter", f"{layer} is {outputs} × {inputs}")

    def _settle(self, adapter: Loaded | None) -> None:
        """Whatever peft has switched meanwhile, go on with `adapter`."""
        if self._peft is None:
            return
        if adapter is None:
            self._peft.base_model.disable_adapter_layers()
        else:
            self._peft.base_model.enable_adapter_layers()
            self._peft.set_adapter(adapter.slot, inference_mode=True)
        self._current = adapter

    def _drop(self, adapter: Loaded) -> None:
        if adapter.leaving and adapter.users == 0 and self._forget(adapter.slot):
            self._settle(None if self._current is adapter else self._current)

    def _forget(self, slot: str) -> bool:
        if self._peft is None or slot not in self._peft.peft_config:
            return False
        self._peft.delete_adapter(slot)
        return True


def _does_not_fit(name: str, why: str) -> UserError:
    return UserError(
        "conflict", f"{name} does not fit the base model: {why}", "Use the base model that it was trained on."
    )
