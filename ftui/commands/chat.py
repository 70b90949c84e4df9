"""`ftui llm chat`: the base model and adapters, side by side."""

from __future__ import annotations

import contextlib
from typing import Annotated

from cyclopts import Parameter

from engines.config.chat import ChatConfig
from engines.contract.errors import EXIT_OK, UserError
from engines.llm import LLMEngine
from engines.servers import kept_conversations
from engines.servers.chat import open_model
from engines.servers.conversation import BAD, GOOD, Conversation
from engines.weights.adapters import Adapter
from ftui.clean import clean
from ftui.commands.llm import merged
from ftui.commands.sweeps import llm
from ftui.console import Common, note, say, say_json, table
from ftui.conversation_table import HEADINGS, cells

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
    local: Annotated[bool, Parameter(help="Not through a running server", negative="")] = False,
    show_list: Annotated[
        bool, Parameter(name="--list", help="Only list the conversations that are kept", negative="")
    ] = False,
    go_on: Annotated[
        str | None,
        Parameter(name="--continue", help="Go on with a kept one: its id, the beginning of it, or `last`"),
    ] = None,
    flags: Annotated[ChatConfig | None, Parameter(name="*")] = None,
    common: Common | None = None,
) -> int:
    """Talk to the active adapter, to several ones, to the base model, or to all of them side by side.

    A running server answers if it serves that base model (`ftui serve-llm status`), else a process
    of its own that loads the model once. The conversation is kept in finetune/conversations/.
    An empty line ends; Ctrl+C breaks an answer off, and ends when none comes. /good, /bad and
    /send DATASET rate answers and keep the good ones.

    For example:

      ftui llm chat
      ftui llm chat --base --adapter me-v1 --adapter me-v2 --temperature 0.7 --seed 3
      ftui llm chat --adapter me-v2 --prompt "How was your day?" --json
      ftui llm chat --continue last
    """
    common = common or Common()
    engine = common.engine()
    if show_list:
        return _list(engine, common)
    if common.json and prompt is None:
        raise UserError("usage", "--json needs --prompt", "A conversation cannot be one JSON document.")
    kept = kept_conversations.get(engine.workspace, go_on) if go_on is not None else None
    if kept is not None and (adapter or base):
        raise UserError("usage", f"{kept.id} has its partners already", "Leave out --adapter and --base.")
    config = merged(kept.config if kept else ChatConfig(), None, flags)
    partners = kept.adapters(engine.adapters) if kept else _partners(engine, adapter or [], base, common)
    source = kept.base_model if kept and base_model == "auto" else base_model
    model = open_model(engine, partners, source, local=local)
    try:
        if not common.json:
            note(f"{model.where} answers; loading …" if prompt is not None else f"{model.where} answers. {HELP}")
        model.wait_until_ready()
        earlier = (kept.id, kept.turns) if kept else None
        talk = Conversation(engine.workspace, model, partners, config, earlier)
        if prompt is None:
            _show_earlier(talk)
            return _converse(engine, talk)
        _answer(talk, prompt, quiet=common.json)
        if common.json:
            answers = [
                {"adapter": partner.name if partner else None, "answer": answer}
                for partner, answer in zip(partners, talk.turns[-1].answers, strict=True)
            ]
            say_json({"prompt": prompt, "answered_by": model.where, "answers": answers, "conversation": str(talk.path)})
        return EXIT_OK
    finally:
        model.close()


def _partners(engine: LLMEngine, named: list[str], base: bool, common: Common) -> list[Adapter | None]:
    active = engine.adapters.active()
    names = named or ([active] if active and not base else [])
    if not names and not base and not common.json:
        note("no adapter is active: this is the base model")
    return [*([None] if base or not names else []), *(engine.adapters.get(name) for name in names)]


def _list(engine: LLMEngine, common: Common) -> int:
    found = kept_conversations.all_of(engine.workspace)
    if common.json:
        say_json([kept.as_dict() for kept in found])
    else:
        table(HEADINGS, [cells(kept) for kept in found], "no conversation is kept yet; begin one: ftui llm chat")
    return EXIT_OK


def _show_earlier(talk: Conversation) -> None:
    for turn in talk.turns:
        say(f"> {turn.question}")
        for number, answer in enumerate(turn.answers):
            who = f"[{number + 1} {talk.titles[number]}] " if len(talk.partners) > 1 else ""
            say(f"{who}{'–' if answer is None else answer}")


def _converse(engine: LLMEngine, talk: Conversation) -> int:
    """Until an empty line. The exit code is that of the last question."""
    code = EXIT_OK
    while line := _read_line():
        try:
            if line.startswith("/"):
                _order(engine, talk, line.split())
            else:
                code = EXIT_OK
                _answer(talk, line)
        except UserError as error:
            note(f"✗ {error.cause}. {error.next_step}".rstrip(" ."))
            code = code if line.startswith("/") else error.exit_code
        except KeyboardInterrupt:
            note("\n(broken off; what was said is kept)")
    return code


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
    with contextlib.closing(talk.ask(question)) as coming:
        for number, piece in coming:
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
    except (EOFError, KeyboardInterrupt):
        return ""
