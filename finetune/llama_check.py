"""Does llama.cpp load a GGUF file, and answer as base and adapter do? llama-server is asked, on loopback."""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from engines.contract.errors import UserError
from engines.contract.events import emit
from engines.contract.run_protocol import stop_requested
from finetune import evaluation_sets, export_folder, greedy
from finetune.merge_check import MAX_LENGTH, adapted
from finetune.rows import Message
from finetune.scoring import Stopped

QUESTIONS, NEW_TOKENS = 6, 40
CONTEXT = MAX_LENGTH + NEW_TOKENS
START_SECONDS, ANSWER_SECONDS = 300, 300


@dataclass(frozen=True)
class Answer:
    """What llama-server said. prompt, tokens: ids; logprobs: of the tokens, how likely it found each.

    They end early at a letter that is made of several tokens: it does not tell of all of those.
    """

    text: str
    prompt: list[int]
    tokens: list[int]
    logprobs: list[float]


def compare(arguments: argparse.Namespace, file: Path, precision: str, lora: Path | None = None) -> dict[str, Any]:
    """same_answers, of so many asked: likeliest answers, token by token; same_beginning: mean share of an answer up to
    where the two part; max_logprob_difference: of the tokens that llama.cpp said; answers: the texts. Raises
    UserError, Stopped.

    precision: bf16 or fp32, of base and adapter. lora: an adapter's file, to be used beside the base model in `file`.
    """
    emit("phase", name="ask", text="llama-server and base with adapter answer the same questions")
    tokenizer = export_folder.tokenizer_of(arguments.base, arguments.adapter)
    prompts = questions(arguments, tokenizer)
    with server(arguments.llama, file, lora) as url:
        found = [answer(url, tokenizer, prompt) for prompt in prompts]
    model = adapted(arguments.base, arguments.adapter, precision).eval()
    expected = greedy.answer_all(
        model, tokenizer, prompts, max_new_tokens=NEW_TOKENS, batch_size=QUESTIONS, advance=lambda count: None
    )
    difference = max(_difference(model, said) for said in found)
    pairs = list(zip(prompts, expected, [said.text for said in found], strict=True))
    texts = [{"question": prompt[-1]["content"], "original": one, "llama.cpp": other} for prompt, one, other in pairs]
    alike = [_alike(one, other) / max(1, len(one)) for _, one, other in pairs]
    return {
        "asked": len(pairs), "same_answers": sum(one == other for _, one, other in pairs),
        "same_beginning": round(sum(alike) / len(alike), 3), "max_logprob_difference": round(difference, 4),
        "answers": texts,
    }  # fmt: skip


def _difference(model: Any, said: Answer) -> float:
    """How differently likely the model finds the tokens of an answer, at most."""
    import torch

    tokens = said.tokens[: len(said.logprobs)]
    if not tokens:
        return 0.0
    with torch.inference_mode():
        logits = model(torch.tensor([said.prompt + tokens])).logits[0, len(said.prompt) - 1 : -1].float()
    expected = logits.log_softmax(-1)[torch.arange(len(tokens)), torch.tensor(tokens)]
    return float((expected - torch.tensor(said.logprobs)).abs().max())


def _alike(one: str, other: str) -> int:
    """Characters before the two part."""
    parted = (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return next(parted, min(len(one), len(other)))


def questions(arguments: argparse.Namespace, tokenizer: Any) -> list[list[Message]]:
    """Of held-out rows of the dataset, or else general ones."""
    if arguments.dataset is not None:
        found = evaluation_sets.held_out(arguments.dataset, arguments.eval_share, tokenizer, MAX_LENGTH, QUESTIONS)
    else:
        found = evaluation_sets.general(tokenizer, MAX_LENGTH)
    return [dialog for _, dialog, _ in found.questions(QUESTIONS)]


@contextmanager
def server(llama: Path, file: Path, lora: Path | None) -> Iterator[str]:
    """The address of a llama-server with these files, which ends with the block. Raises UserError, Stopped."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(llama / "llama-server"), "-m", str(file), "--host", "127.0.0.1", "--port", str(port)]
    command += ["--lora", str(lora)] if lora is not None else []
    process = subprocess.Popen(
        [*command, "-c", str(CONTEXT), "--parallel", "1", "--offline"], stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + START_SECONDS
        while not _is_ready(url):
            if process.poll() is not None:
                raise UserError("failed", f"llama-server ended with {process.returncode}", "Read the log.")
            if time.monotonic() > until:
                raise UserError("failed", "llama-server did not get ready", "Read the log.")
            if stop_requested():
                raise Stopped
            time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def answer(url: str, tokenizer: Any, prompt: list[Message]) -> Answer:
    """The likeliest answer. Raises UserError, Stopped."""
    if stop_requested():
        raise Stopped
    text = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    wish = {
        "prompt": ids, "n_predict": NEW_TOKENS, "temperature": 0, "top_k": 1, "cache_prompt": False, "n_probs": 1,
        "return_tokens": True,
    }  # fmt: skip
    request = urllib.request.Request(
        f"{url}/completion", json.dumps(wish).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as reply:
            said = json.load(reply)
            tokens, steps = said["tokens"], said["completion_probabilities"]
            known = takewhile(lambda pair: pair[0] == pair[1]["id"], zip(tokens, steps, strict=False))
            return Answer(str(said["content"]).strip(), ids, tokens, [float(step["logprob"]) for _, step in known])
    except (urllib.error.URLError, OSError, ValueError, KeyError) as error:
        raise UserError("failed", f"llama-server does not answer: {error}", "Read the log.") from error
