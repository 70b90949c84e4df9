"""One base model with many adapters in memory, each answering for itself.

One thread owns the model and does one thing at a time. Answers wait in a queue; loading
happens between two tokens of whatever is being answered, so it does not wait for its end.

An adapter in memory is a copy of the model's layers with the adapter in them; all copies share the weights of
the base model, so one costs little more than its own. No adapter changes what another one or the base model
answers, and one that cannot be loaded leaves nothing behind. Its memory is free when the last answer with it is given.
"""

from __future__ import annotations

import copy
import itertools
import queue
import threading
import traceback
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engines.contract.errors import UserError
from engines.weights import adapter_check, chat_template
from finetune.generate import end_tokens
from finetune.rows import Message

SLOT = "served"  # what peft calls an adapter in its copy of the layers
LONGEST_REASON = 300


@dataclass(eq=False)
class Loaded:
    """An adapter in memory. model: its layers; template: the chat template that it brings, None: the base model's."""

    name: str
    path: Path
    model: Any
    template: str | None


@dataclass(eq=False)
class Answer:
    """What is asked for, and what came of it when `done` is set. Lengths in tokens."""

    messages: list[Message]
    adapter: Loaded | None
    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    seed: int | None = None
    on_text: Callable[[str], None] = lambda text: None
    cancelled: bool = False  # nobody waits for it any more: it ends at the next token
    prompt_tokens: int = 0
    tokens: int = 0
    cut: bool = False  # by max_new_tokens
    done: Future[str] = field(default_factory=Future)


class ModelHost:
    """A model and its adapters. `load` and `answer` may be called from any one thread; they do not block."""

    def __init__(self, model: Any, tokenizer: Any):
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.waiting = 0  # answers asked for and not given yet
        self._counting = threading.Lock()  # of `waiting`, which two threads change
        self._counter = copy.deepcopy(tokenizer)  # a tokenizer serves one thread
        self._inbox: queue.SimpleQueue[Callable[[], None] | Answer] = queue.SimpleQueue()
        self._answers: deque[Answer] = deque()
        self._thread = threading.Thread(target=self._work, daemon=True, name="model")
        self._thread.start()

    @property
    def longest(self) -> int:
        """Tokens of a prompt and its answer together."""
        return int(getattr(self.model.config, "max_position_embeddings", 0) or 1 << 20)

    @property
    def alive(self) -> bool:
        """Is there still somebody who answers?"""
        return self._thread.is_alive()

    def load(self, name: str, path: Path) -> Future[Loaded]:
        """Bring an adapter into memory. The future raises UserError if it does not fit this model."""
        return self._do(lambda: self._load(name, path))

    def answer(self, wanted: Answer) -> Future[str]:
        """Queue an answer; its pieces go to `on_text` on the model's thread. The future holds the whole."""
        self._count(1)
        self._inbox.put(wanted)
        return wanted.done

    def room_after(self, messages: list[Message], adapter: Loaded | None) -> int:
        """Tokens that are left for the answer to a dialog. Raises UserError where it cannot be asked."""
        try:
            prompt = len(self._render(self._counter, messages, adapter)["input_ids"])
        except UserError:
            raise
        except Exception as error:  # whatever a chat template raises
            raise UserError("usage", f"The chat template refuses these messages: {str(error)[:200]}") from error
        if prompt >= self.longest:
            cause = f"The messages have {prompt} tokens, the model takes {self.longest} with the answer."
            raise UserError("usage", cause)
        return self.longest - prompt

    def _count(self, by: int) -> None:
        with self._counting:
            self.waiting += by

    def _render(self, tokenizer: Any, messages: list[Message], adapter: Loaded | None, **options: Any) -> Any:
        """The numbers of a dialog's tokens, as the adapter was trained to read it."""
        template = adapter.template if adapter is not None else None
        if template is None and tokenizer.chat_template is None:
            raise UserError(
                "conflict",
                "the base model has no chat template",
                "Ask an adapter that was trained with a text template, or take an instruct model.",
            )
        return tokenizer.apply_chat_template(
            messages, chat_template=template, add_generation_prompt=True, return_dict=True, **options
        )

    # --- on the model's thread ---

    def _do(self, change: Callable[[], Any]) -> Future[Any]:
        future: Future[Any] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():  # from here on nobody can cancel it
                return
            try:
                future.set_result(change())
            except Exception as error:
                future.set_exception(error)

        self._inbox.put(run)
        return future

    def _work(self) -> None:
        while True:
            try:
                self._take(block=not self._answers)
                if self._answers:
                    self._give(self._answers.popleft())
            except Exception:  # a fault of ours; whoever asks next is answered all the same
                traceback.print_exc()

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
        awaited = wanted.done.set_running_or_notify_cancel()  # from here on nobody can cancel it
        result: Callable[[], None] = lambda: None  # noqa: E731
        try:
            text = self._generate(wanted) if awaited and not wanted.cancelled else ""
            if awaited:
                result = lambda: wanted.done.set_result(text)  # noqa: E731
        except Exception as error:
            failure = error
            result = lambda: wanted.done.set_exception(failure)  # noqa: E731
        self._count(-1)
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
                return torch.full((input_ids.shape[0],), wanted.cancelled, dtype=torch.bool, device=input_ids.device)

        prompt = self._render(self.tokenizer, wanted.messages, wanted.adapter, return_tensors="pt")
        wanted.prompt_tokens = int(prompt["input_ids"].shape[1])
        sampling: dict[str, Any] = {"do_sample": False}
        if wanted.temperature > 0:
            sampling = {"do_sample": True, "temperature": wanted.temperature, "top_p": wanted.top_p}
        if wanted.seed is not None:
            torch.manual_seed(wanted.seed)
        ends = end_tokens(self.model, self.tokenizer)
        model = wanted.adapter.model if wanted.adapter is not None else self.model
        with torch.no_grad():  # not inference mode: adapters are loaded in between
            output = model.generate(
                **prompt.to(model.device),
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

    def _load(self, name: str, path: Path) -> Loaded:
        import torch
        from peft import PeftConfig, PeftModelForCausalLM

        shape = adapter_check.check_folder(path)
        self._check_fit(name, shape)
        devices = [self.model.device] if self.model.device.type == "cuda" else []
        try:
            config = PeftConfig.from_pretrained(str(path))
            config.inference_mode = True
            with torch.random.fork_rng(devices=devices):  # an answer that is being sampled goes on undisturbed
                adapted = PeftModelForCausalLM(self._layers(), config, adapter_name=SLOT)
                found = adapted.load_adapter(str(path), adapter_name=SLOT, is_trainable=False)
            loaded = Loaded(name, path, adapted.base_model.model, chat_template.of_folder(path))
            missing = [key for key in found.missing_keys if f".{SLOT}." in f"{key}."]
            problem = f"its file holds nothing for {missing[0]}" if missing else ""
            if found.unexpected_keys:
                problem = f"the base model has no place for {found.unexpected_keys[0]}"
            finite = self._gives_numbers(loaded)
        except Exception as error:  # peft raises nearly anything
            raise _does_not_fit(name, _reason(error)) from error
        if problem:
            raise _does_not_fit(name, problem)
        if not finite:  # found now and not by whoever asks first
            raise UserError("bad_input", f"{name} holds numbers that are none", "Train it again.")
        return loaded

    def _layers(self) -> Any:
        """The base model's layers once more, with the very same weights."""
        weights = itertools.chain(self.model.parameters(), self.model.buffers())
        return copy.deepcopy(self.model, {id(tensor): tensor for tensor in weights})

    def _gives_numbers(self, adapter: Loaded) -> bool:
        """One token through a new adapter."""
        import torch

        with torch.no_grad():  # not inference mode: adapters are loaded in between
            logits = adapter.model(input_ids=torch.tensor([[0]], device=adapter.model.device)).logits
        return bool(torch.isfinite(logits).all())

    def _check_fit(self, name: str, shape: adapter_check.AdapterShape) -> None:
        """Before anything is loaded: has this model these layers, of these sizes?"""
        modules = dict(self.model.named_modules())
        for layer, (inputs, outputs) in shape.layers.items():
            module = modules.get(layer)
            there = (getattr(module, "in_features", inputs), getattr(module, "out_features", outputs))
            if module is None or there != (inputs, outputs):
                raise _does_not_fit(name, f"{layer} is {outputs} × {inputs}")


def _reason(error: Exception) -> str:
    """One line of an error; torch's first one announces the others."""
    if isinstance(error, KeyError) and error.args:
        return f"{error.args[0]} is missing"
    lines = [line.strip() for line in str(error).strip().splitlines()] or [type(error).__name__]
    announced = lines[0].endswith(":") and len(lines) > 1
    return lines[announced][:LONGEST_REASON]


def _does_not_fit(name: str, why: str) -> UserError:
    return UserError(
        "conflict", f"{name} does not fit the base model: {why}", "Use the base model that it was trained on."
    )
