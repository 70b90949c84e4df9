"""`ftui serve-llm …`: model servers on this machine that follow the active adapter."""

from __future__ import annotations

import shlex
from typing import Annotated

from cyclopts import App, Parameter

from engines.config.job import refuse_foreign
from engines.config.serve import ServeConfig
from engines.contract.errors import EXIT_NOT_READY
from engines.llm import LLMEngine
from engines.running.runs import Run
from engines.servers.server import ServerState
from ftui import format
from ftui.commands.llm import ConfigFile, merged
from ftui.console import Common, note, say, say_json, show_log, table
from ftui.server_table import HEADINGS, MARKS, cells

serve_llm = App(
    name="serve-llm",
    help="Model servers on this machine: OpenAI-compatible, on 127.0.0.1 alone, following the active adapter.",
    help_format="plaintext",
)
ServerName = Annotated[str | None, Parameter(help="A server's name or address; default: the only one")]


@serve_llm.command
def start(
    *,
    detach: Annotated[bool, Parameter(help="Return at once; the server gets ready by itself", negative="")] = False,
    config_file: ConfigFile = None,
    flags: Annotated[ServeConfig | None, Parameter(name="*")] = None,
    common: Common | None = None,
) -> int:
    """Start a server with the active adapter. It runs on without this terminal.

    The light server answers one request at a time and is for trying things; vLLM is for load, llama-server
    for a machine without a GPU and for base models in 4 to 8 bit.

    For example:

      ftui serve-llm start
      ftui serve-llm start --kind vllm --port 8000 --max-model-len 4096
      ftui serve-llm start --kind llama-server --gguf-weights q4_k_m
      curl http://127.0.0.1:8000/v1/chat/completions -H 'Content-Type: application/json' \\
        -d '{"model": "active", "messages": [{"role": "user", "content": "Hello"}]}'
    """
    common = common or Common()
    engine = common.engine()
    config = merged(ServeConfig(), config_file, flags)
    refuse_foreign(config, flags.model_fields_set if flags is not None else ())
    state = engine.serving.running(config)
    if state is not None and not common.json:
        going = "runs" if state.state == "ready" else "is starting"
        note(f"it {going} already; with --port another one is started")
    if state is None or state.state == "starting":
        run = engine.serving.start(config) if state is None or state.server.run is None else state.server.run
        if not detach:
            _wait(engine, run, quiet=common.json)
            engine.activation.catch_up(engine.serving.get(run.name))
        state = engine.serving.state(engine.serving.get(run.name))
    if common.json:
        say_json(state.as_dict())
        return 0
    _say(state)
    if state.server.kind == "light":
        say("It answers one request at a time; for load start vLLM: ftui serve-llm start --kind vllm")
    say(f"Stop it: ftui serve-llm stop {state.server.name}")
    return 0


def _wait(engine: LLMEngine, run: Run, *, quiet: bool) -> None:
    if not quiet:
        note(f"starting {run.name} with {run.spec['base_model']}; its log: {run.log}")
    try:
        engine.serving.wait_until_ready(run)
    except KeyboardInterrupt:
        note(f"{run.name} goes on starting; see: ftui serve-llm status")
        raise


@serve_llm.command
def stop(name: ServerName = None, /, *, common: Common | None = None) -> int:
    """Stop a server that was started here; what it is asked already it still answers."""
    common = common or Common()
    engine = common.engine()
    server = engine.serving.get(name)
    engine.serving.stop(server)
    assert server.run is not None
    status = engine.runs.wait(server.run, timeout=60)
    say_json(server.run.as_dict()) if common.json else say(f"{format.STATE_MARKS[status.state]}  {server.name}")
    return 0


@serve_llm.command
def status(*, common: Common | None = None) -> int:
    """All servers: where they are, what they serve, which adapters they have loaded. Exit code 5 if none is ready."""
    common = common or Common()
    serving = common.engine().serving
    states = [serving.state(server) for server in serving.servers()]
    if common.json:
        say_json({"servers": [state.as_dict() for state in states], "on_activate": serving.on_activate()})
    else:
        table(HEADINGS, [cells(state) for state in states], "no server; start one: ftui serve-llm start")
        active = serving.adapters.active()
        for state in states:
            if not state.follows:
                step = f"ftui adapters activate {active}" if active else "ftui adapters base"
                say(f"{state.server.name} does not answer with {active or 'the base model'}, which is active: {step}")
        if serving.on_activate():
            say(f"after each activation: {shlex.join(serving.on_activate())}")
    return 0 if any(state.state == "ready" for state in states) else EXIT_NOT_READY


def _say(state: ServerState) -> None:
    say(f"{MARKS[state.state]}  {state.server.name}  {state.server.url}/v1  {state.active or 'base model'}")


@serve_llm.command
def logs(
    name: ServerName = None,
    /,
    *,
    follow: Annotated[bool, Parameter(name=["--follow", "-f"], help="Go on until it ends", negative="")] = False,
    common: Common | None = None,
) -> int:
    """Print the log of a server that was started here; without a name of the newest that runs, else of the newest."""
    common = common or Common()
    engine = common.engine()
    named = [run for run in engine.runs.list("serve") if name in (None, run.name, run.spec["url"])]
    run = next((run for run in named if run.status().active), named[0] if named else None)
    run = run or engine.serving.get(name).run
    if run is None:
        say("that server was not started here; its log is where it was started")
        return 0
    show_log(run, following=follow, as_json=common.json)
    return 0


@serve_llm.command
def adopt(
    url: Annotated[str, Parameter(help="Its address on this machine, such as http://127.0.0.1:8000")],
    /,
    *,
    name: Annotated[str | None, Parameter(help="What it is called here")] = None,
    common: Common | None = None,
) -> int:
    """Take a server that runs already into the list, so that it follows the active adapter.

    vLLM must have been started with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1,
    llama-server with --no-cache-prompt --cache-ram 0.

    For example:

      ftui serve-llm adopt http://127.0.0.1:8000 --name bot
    """
    common = common or Common()
    serving = common.engine().serving
    state = serving.state(serving.adopt(url, name))
    say_json(state.as_dict()) if common.json else _say(state)
    return 0


@serve_llm.command
def forget(name: ServerName = None, /, *, common: Common | None = None) -> int:
    """Take an adopted server out of the list; it runs on."""
    common = common or Common()
    serving = common.engine().serving
    server = serving.get(name)
    serving.forget(server)
    say_json({"forgotten": server.name}) if common.json else say(f"{server.name} is not followed any more")
    return 0


@serve_llm.command(name="on-activate")
def on_activate(
    *command: Annotated[
        str, Parameter(help="Program and arguments, after --; none: do nothing", allow_leading_hyphen=True)
    ],
    common: Common | None = None,
) -> int:
    """Run a command after each activation; it finds FTUI_ADAPTER, FTUI_ADAPTER_PATH and FTUI_BASE_MODEL set.

    If it fails, the adapter that was active before is active again. No shell reads the
    command unless it is one.

    For example:

      ftui serve-llm on-activate -- systemctl --user restart my-bot
      ftui serve-llm on-activate -- sh -c 'echo "$FTUI_ADAPTER" >> activations.txt'
      ftui serve-llm on-activate
    """
    common = common or Common()
    serving = common.engine().serving
    serving.set_on_activate(list(command))
    said = f"after each activation: {shlex.join(command)}" if command else "nothing is run after an activation"
    say_json({"on_activate": list(command)}) if common.json else say(said)
    return 0
