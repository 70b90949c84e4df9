"""`ftui llm chat`: the base model and adapters, side by side."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from engines.contract.errors import UserError
from engines.llm import LLMEngine
from engines.servers.chat import ChatOptions, open_model
from engines.servers.conversation import BAD, GOOD, Conversation
from ftui.clean import clean
from ftui.commands.sweeps import llm
from ftui.console import Common, note, say, say_json

HELP = (
    "/good [N] and /bad [N] rate the last answer of partner N, /send DATASET keeps the good ones, an empty line ends."
)


@llm.command
def chat(
    *,
    adapter: Annotated[
        list[str] | None, Parameter(help="Default: the active one; may be repeated", negative="")
    ] = None,
    base: Annotated[bool, Parameter(help="The base model too, or alone", negative="")] = False,
    base_model: Annotated[str, Parameter(help="Which base model, with --base")] = "auto",
    prompt: Annotated[str | None, Parameter(help="Ask this one question and end")] = None,
    system: Annotated[str, Parameter(help="A system message before everything")] = "",
    max_new_tokens: int = 200,
    temperature: Annotated[float, Parameter(help="0: the likeliest words each time")] = 0.0,
    seed: Annotated[int, Parameter(help="The same one for all; with a temperature it decides the words")] = 1,
    local: Annotated[bool, Parameter(help="Not through a running server", negative="")] = False,
    common: Common | None = None,
) -> int:
    """Talk to the active adapter, to several ones, to the base model, or to all of them side by side.

    A running server answers if it serves that base model (`ftui serve-llm status`), else a process
    of its own that loads the model once. The conversation is kept in finetune/conversations/.
    An empty line ends; /good, /bad and /send DATASET rate answers and keep the good ones.

    For example:

      ftui llm chat
      ftui llm chat --base --adapter me-v1 --adapter me-v2 --temperature 0.7 --seed 3
      ftui llm chat --adapter me-v2 --prompt "How was your day?" --json
    """
    common = common or Common()
    engine = common.engine()
    if common.json and prompt is None:
        raise UserError("usage", "--json needs --prompt", "A conversation cannot be one JSON document.")
    names = adapter or ([] if base else [name for name in [engine.adapters.active()] if name])
    if not names and not base and not common.json:
        note("no adapter is active: this is the base model")
    partners = [*([None] if base or not names else []), *(engine.adapters.get(name) for name in names)]
    model = open_model(engine, partners, base_model, local=local)
    try:
        if not common.json:
            note(f"{model.where} answers; loading …" if prompt is not None else f"{model.where} answers. {HELP}")
        model.wait_until_ready()
        talk = Conversation(engine.workspace, model, partners, ChatOptions(max_new_tokens, temperature, seed), system)
        if prompt is None:
            return _converse(engine, talk)
        _answer(talk, prompt, quiet=common.json)
        if common.json:
            answers = [
                {"adapter": partner.name if partner else None, "answer": answer}
                for partner, answer in zip(partners, talk.turns[-1].answers, strict=True)
            ]
            say_json({"prompt": prompt, "answered_by": model.where, "answers": answers, "conversation": str(talk.path)})
        return 0
    finally:
        model.close()


def _converse(engine: LLMEngine, talk: Conversation) -> int:
    while line := _read_line():
        if not line.startswith("/"):
            _answer(talk, line)
            continue
        try:
            _order(engine, talk, line.split())
        except UserError as error:
            note(f"✗ {error.cause}. {error.next_step}")
    return 0


def _order(engine: LLMEngine, talk: Conversation, words: list[str]) -> None:
    """/good, /bad and /send. Raises UserError."""
    order, rest = words[0].removeprefix("/"), words[1:]
    if order in (GOOD, BAD) and len(rest) <= 1 and all(word.isdigit() for word in rest):
        number = int(rest[0]) - 1 if rest else 0
        talk.rate(number, order)
        note(f"{talk.titles[number]}: {order}")
    elif order == "send" and len(rest) == 1:
        dataset, rows = talk.send_good(engine.datasets, rest[0])
        note(f"in {dataset.name} now: {rows} more")
    else:
        note(HELP)


def _answer(talk: Conversation, question: str, quiet: bool = False) -> None:
    several, speaking = len(talk.partners) > 1, -1
    for number, piece in talk.ask(question):
        if quiet:
            continue
        if number != speaking:
            if speaking >= 0:
                say()
            if several:
                print(clean(f"[{number + 1} {talk.titles[number]}] "), end="")
            speaking = number
        print(clean(piece), end="", flush=True)
    if not quiet:
        say()


def _read_line() -> str:
    try:
        return input("> ").strip()
    except EOFError:
        return ""
