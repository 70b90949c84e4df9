"""A light server of one base model and its adapters, for trying things and for few users.

    python -m finetune.serve --model FOLDER --port 8000 [--device auto] [--precision auto] [--quantization auto] \
        [--adapter NAME=FOLDER]

Speaks OpenAI's chat completions (also streamed) on 127.0.0.1 alone, and vLLM's calls to load
and unload adapters; vLLM itself is for load. Answers are given one at a time, each wholly by
the adapter that it was asked of; adapters come and go between two tokens. The model "active"
is the adapter that was made active last, "base" none.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from engines.contract.errors import UserError
from engines.contract.events import emit
from engines.contract.run_protocol import run_script, stop_requested, write_result
from finetune import base_model
from finetune.chat_request import read_body, read_request
from finetune.model_host import Answer, Loaded, ModelHost

HOST = "127.0.0.1"
BASE, ACTIVE = "base", "active"
MOST_WAITING = 32
STATUS = {"usage": 400, "bad_input": 400, "not_found": 404, "conflict": 400, "not_ready": 503}


class Server:
    """The endpoints. All that is known of adapters is changed on the event loop alone."""

    def __init__(self, host: ModelHost, source: str):
        self.host = host
        self.source = source
        self.adapters: dict[str, Loaded] = {}
        self.active: Loaded | None = None
        self.answered = 0
        self.last_refusal = ""
        default = host.model.generation_config.temperature
        self.temperature = 1.0 if default is None else float(default)
        self.app = Starlette(
            routes=[
                Route("/health", self.health),
                Route("/v1/models", self.models),
                Route("/v1/chat/completions", self.chat, methods=["POST"]),
                Route("/v1/load_lora_adapter", self.load, methods=["POST"]),
                Route("/v1/unload_lora_adapter", self.unload, methods=["POST"]),
                Route("/v1/active_lora_adapter", self.activate, methods=["POST"]),
            ],
            middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])],
            exception_handlers={UserError: self.refused, Exception: _failed},
        )

    # --- what is here ---

    async def health(self, request: Request) -> Response:
        active = self.active.name if self.active else None
        return JSONResponse(
            {"server": "ftui", "active": active, "waiting": self.host.waiting, "answered": self.answered}
        )

    async def models(self, request: Request) -> Response:
        models: list[dict[str, Any]] = [{"id": BASE, "root": self.source, "parent": None}]
        models += [{"id": item.name, "root": str(item.path), "parent": BASE} for item in self.adapters.values()]
        common = {
            "object": "model",
            "created": int(time.time()),
            "owned_by": "ftui",
            "max_model_len": self.host.longest,
        }
        return JSONResponse({"object": "list", "data": [{**common, **model} for model in models]})

    def find(self, model: str) -> Loaded | None:
        """The adapter of a model's name; a name without its version finds the newest of that name. Raises UserError."""
        if model in ("", ACTIVE):
            return self.active
        if model in (BASE, self.source):
            return None
        named = [item for name, item in self.adapters.items() if model in (name, name.rpartition("@")[0])]
        if not named:
            raise UserError("not_found", f"The model `{model[:100]}` does not exist", "See /v1/models.")
        return named[-1]

    # --- adapters come and go ---

    async def load(self, request: Request) -> Response:
        wish = await read_body(request)
        name, path = wish.get("lora_name"), wish.get("lora_path")
        if not isinstance(name, str) or not name or not isinstance(path, str) or not path:
            raise UserError("usage", "Both 'lora_name' and 'lora_path' must be provided.")
        if name in self.adapters or name in (BASE, ACTIVE):
            raise UserError("usage", f"The lora adapter '{name}' has already been loaded.")
        if not Path(path).is_dir():
            raise UserError("not_found", f"No adapter found for {name}: there is no folder {path}")
        began = time.monotonic()
        loaded = await asyncio.wrap_future(self.host.load(name, Path(path)))
        if name in self.adapters:  # somebody else was faster
            raise UserError("usage", f"The lora adapter '{name}' has already been loaded.")
        self.adapters[name] = loaded
        _log(f"loaded {name} in {time.monotonic() - began:.2f} s from {path}")
        return JSONResponse(f"Success: LoRA adapter '{name}' added successfully.")

    async def unload(self, request: Request) -> Response:
        name = (await read_body(request)).get("lora_name")
        adapter = self.adapters.pop(name, None) if isinstance(name, str) else None
        if adapter is None:
            raise UserError("not_found", f"The lora adapter '{name}' cannot be found.")
        if self.active is adapter:
            self.active = None
        _log(f"let go of {name}")  # answers under way hold it until they are given
        return JSONResponse(f"Success: LoRA adapter '{name}' removed successfully.")

    async def activate(self, request: Request) -> Response:
        """{"lora_name": NAME or null}: whom the model "active" stands for from now on."""
        name = (await read_body(request)).get("lora_name")
        if name is not None and name not in self.adapters:
            raise UserError("not_found", f"The lora adapter '{name}' cannot be found.")
        self.active = self.adapters[name] if name is not None else None
        _log(f"active is {name or 'the base model'}")
        return JSONResponse({"active": name})

    # --- answers ---

    async def chat(self, request: Request) -> Response:
        wish = read_request(await read_body(request))
        if self.host.waiting >= MOST_WAITING:
            cause = f"{MOST_WAITING} answers are waited for already"
            return JSONResponse(_error("not_ready", cause), 503, headers={"Retry-After": "1"})
        # From here to the queue nothing is awaited: the adapter that is active now is the one that answers.
        adapter = self.find(wish.model)
        max_tokens = min(wish.max_tokens, self.host.room_after(wish.messages, adapter))
        temperature = self.temperature if wish.temperature is None else wish.temperature
        loop, pieces = asyncio.get_running_loop(), asyncio.Queue[str | None]()

        def hand_on(text: str) -> None:
            loop.call_soon_threadsafe(pieces.put_nowait, text)

        answer = Answer(
            wish.messages, adapter, max_tokens, temperature, wish.top_p, wish.repetition_penalty, wish.seed,
            on_text=hand_on,
        )  # fmt: skip
        # Not to be cancelled from here: a client that hangs up only ends what it has asked for.
        whole = asyncio.shield(asyncio.wrap_future(self.host.answer(answer)))
        whole.add_done_callback(lambda _: pieces.put_nowait(None))
        name = adapter.name if adapter else BASE
        head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": name}
        if wish.stream:
            return _Stream(answer, self._stream(answer, whole, pieces, head))
        watch = asyncio.ensure_future(_gone(request))
        both: list[asyncio.Future[Any]] = [whole, watch]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            watch.cancel()
            answer.cancelled = not whole.done()
        text = await whole
        self.answered += not answer.cancelled
        message = {"role": "assistant", "content": text.strip()}
        choice = {"index": 0, "message": message, "finish_reason": "length" if answer.cut else "stop"}
        return JSONResponse({**head, "object": "chat.completion", "choices": [choice], "usage": _usage(answer)})

    async def _stream(
        self, answer: Answer, whole: asyncio.Future[str], pieces: asyncio.Queue[str | None], head: dict[str, Any]
    ) -> AsyncIterator[str]:
        def line(delta: dict[str, str], reason: str | None = None, **more: Any) -> str:
            choice = {"index": 0, "delta": delta, "finish_reason": reason}
            return f"data: {json.dumps({**head, 'object': 'chat.completion.chunk', 'choices': [choice], **more})}\n\n"

        try:
            yield line({"role": "assistant", "content": ""})
            while (text := await pieces.get()) is not None:
                yield line({"content": text})
            await whole
            self.answered += 1
            yield line({}, "length" if answer.cut else "stop", usage=_usage(answer))
            yield "data: [DONE]\n\n"
        except Exception as error:  # the head is sent already, so the stream says it
            yield f"data: {json.dumps(_error('failed', f'{type(error).__name__}: {error}'))}\n\n"

    # --- what went wrong ---

    def refused(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, UserError)
        text = ". ".join(part for part in (error.cause.removesuffix("."), error.next_step) if part)
        if text != self.last_refusal:  # a client that asks the same again and again does not fill the disk
            self.last_refusal = text
            _log(f"refused {request.url.path}: {text}")
        return JSONResponse(_error(error.code, text), STATUS.get(error.code, 500))


class _Stream(StreamingResponse):
    """An answer as it comes. Whoever hangs up ends it, also one that has not begun."""

    def __init__(self, answer: Answer, lines: AsyncIterator[str]):
        super().__init__(lines, media_type="text/event-stream")
        self.answer = answer

    async def __call__(self, *asgi: Any) -> None:
        try:
            await super().__call__(*asgi)
        finally:
            self.answer.cancelled = True


def _log(text: str) -> None:
    """A line of the server's log. Names and paths in it are others' words: they make no lines of their own."""
    print(time.strftime("%H:%M:%S"), " ".join(text.split()), flush=True)


async def _gone(request: Request) -> None:
    """Return when the client has hung up."""
    while not await request.is_disconnected():
        await asyncio.sleep(0.2)


def _usage(answer: Answer) -> dict[str, int]:
    return {
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.tokens,
        "total_tokens": answer.prompt_tokens + answer.tokens,
    }


def _error(code: str, message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": code, "code": STATUS.get(code, 500)}}


def _failed(request: Request, error: Exception) -> Response:
    return JSONResponse(_error("failed", f"{type(error).__name__}: {error}"), 500)


async def serve(server: Server, port: int) -> None:
    """Answer until a stop is asked for; requests under way are answered first."""
    import uvicorn

    class Uvicorn(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            if self.started:
                emit("phase", name="ready", text=f"answers at http://{HOST}:{port}/v1")

    running = Uvicorn(
        uvicorn.Config(server.app, HOST, port, log_level="warning", access_log=False, timeout_graceful_shutdown=30)
    )

    async def watch() -> None:
        while not stop_requested() and server.host.alive:
            await asyncio.sleep(0.25)
        running.should_exit = True

    watching = asyncio.ensure_future(watch())
    try:
        await running.serve()
    except SystemExit:
        raise UserError("not_ready", f"the port {port} cannot be had", "Choose another one with --port.") from None
    finally:
        watching.cancel()
    if not server.host.alive:
        raise UserError("failed", "the thread that answers has ended", "Read the log, and start the server again.")


def main() -> None:
    parser = argparse.ArgumentParser(description="A light OpenAI-compatible server of one base model and its adapters.")
    parser.add_argument("--model", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto", choices=["auto", "bf16", "fp16", "fp32"])
    parser.add_argument("--quantization", default="auto", choices=["auto", "nf4", "none"])
    parser.add_argument("--adapter", metavar="NAME=FOLDER", help="load it and make it active")
    arguments = parser.parse_args()
    device = base_model.choose_device(arguments.device)
    precision = base_model.choose_precision(arguments.precision, device)
    quantization = base_model.choose_quantization(arguments.quantization, device, arguments.model)
    base_model.set_threads()
    emit("phase", name="load", text=f"loading {arguments.model} on {device}, {precision}, quantization {quantization}")
    tokenizer = base_model.load_tokenizer(arguments.model, template_needed=False)
    import peft  # noqa: F401  (takes seconds: now, not when the first adapter comes)

    host = ModelHost(base_model.load_model(arguments.model, device, precision, quantization), tokenizer)
    server = Server(host, arguments.model)
    if arguments.adapter:
        name, _, folder = arguments.adapter.partition("=")
        server.adapters[name] = server.active = host.load(name, Path(folder)).result()
    brought = server.active.template if server.active is not None else None
    if tokenizer.chat_template is None and brought is None:
        raise UserError(
            "bad_input",
            f"{arguments.model} has no chat template",
            "Choose an instruct model, or activate an adapter of it that was trained with a text template.",
        )
    asyncio.run(serve(server, arguments.port))
    write_result("stopped" if stop_requested() else "done", answered=server.answered)


if __name__ == "__main__":
    run_script(main)
