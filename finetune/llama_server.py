"""llama.cpp's server with adapters that come and go, watched over: `ftui serve-llm start --kind llama-server`.

    python -m finetune.llama_server MODEL --tools FOLDER --programs FOLDER --cache FOLDER --weights q8_0 --port 8000 \
        [--adapter NAME=FOLDER] [-- FLAGS]

The base model is written as GGUF into the cache once. llama-server takes adapters only when it starts, so when
the file adapters.json in the run's folder changes, it is started again with those, after what it is asked already is
answered; if that fails, with those that it had. served.json says how it went (see engines/servers/llama_client.py).

    python -m finetune.llama_server MODEL --tools FOLDER --write NAME=FOLDER    writes FOLDER/NAME.gguf and ends
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from engines.contract import fingerprints, statefiles
from engines.contract.errors import UserError
from engines.contract.events import emit
from engines.contract.run_protocol import run_dir, run_script, stop_requested, write_result
from finetune.embedded_model import make_if_wanted
from finetune.export_gguf import convert, export_adapter

HOST = "127.0.0.1"
CONVERTED = ("f32", "f16", "bf16", "q8_0")  # by the converter; the others by llama-quantize
START_SECONDS = 600.0
DRAIN_SECONDS = 30.0
TICK = 0.1
Adapters = list[tuple[str, str]]  # name, folder


def base_file(model: Path, weights: str, tools: Path, programs: Path, cache: Path) -> Path:
    """The base model as GGUF; written if it is not in the cache."""
    if model.suffix == ".gguf":
        return model
    make_if_wanted(model)
    statefiles.make_private_dir(cache)
    made = cache / f"{fingerprints.of_model(str(model))}-{weights}.gguf"
    if made.is_file():
        return made
    emit("phase", name="convert", text=f"writing {model.name} as {weights}, once")
    partial = cache / f".{made.stem}.{os.getpid()}.gguf"
    whole = partial.with_name(f"{partial.stem}.bf16.gguf")
    try:
        if weights in CONVERTED:
            convert(tools, "convert_hf_to_gguf.py", model, partial, "--outtype", weights)
        else:
            convert(tools, "convert_hf_to_gguf.py", model, whole, "--outtype", "bf16")
            done = subprocess.run([programs / "llama-quantize", whole, partial, weights], stdin=subprocess.DEVNULL)
            if done.returncode:
                raise UserError("failed", f"llama-quantize cannot write {weights}", "Read the log.")
        os.rename(partial, made)
    finally:
        for file in (partial, whole):
            file.unlink(missing_ok=True)
    return made


def adapter_file(model: Path, tools: Path, name: str, folder: Path) -> Path:
    """FOLDER/NAME.gguf; names of one adapter share the bytes."""
    named, made = folder / f"{name}.gguf", folder / "adapter.gguf"
    if not made.is_file():
        partial = folder / f".adapter.{os.getpid()}.gguf"
        try:
            export_adapter(model, folder, partial, tools)
            os.rename(partial, made)
        finally:
            partial.unlink(missing_ok=True)
    if not named.exists():
        try:
            os.link(made, named)
        except OSError:  # a file system without hard links
            named.symlink_to(made.name)
    return named


class LlamaServer:
    """The child process."""

    def __init__(self, argv: list[str], port: int):
        self.argv, self.url = argv, f"http://{HOST}:{port}"
        self.child: subprocess.Popen[bytes] | None = None

    def start(self, adapters: Adapters, active: str | None) -> None:
        """Start with these adapters and wait until it answers. Raises UserError."""
        files = [f"{folder}/{name}.gguf:{1 if name == active else 0}" for name, folder in adapters]
        self.child = subprocess.Popen(
            [*self.argv, *(["--lora-scaled", ",".join(files)] if files else [])], stdin=subprocess.DEVNULL
        )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and not stop_requested():
            if self.child.poll() is not None:
                what = f" with {', '.join(name for name, _ in adapters)}" if adapters else ""
                raise UserError(
                    "failed", f"llama-server could not start{what}", "Its log says why: ftui serve-llm logs."
                )
            with contextlib.suppress(OSError):
                if self._ask("/health")["status"] == "ok":
                    return
            time.sleep(TICK)
        if not stop_requested():
            self.child.kill()
            raise UserError("failed", f"llama-server was not ready after {START_SECONDS:.0f} s", "Read its log.")

    def stop(self) -> None:
        """When it is asked nothing, or after a while all the same."""
        assert self.child is not None
        deadline = time.monotonic() + DRAIN_SECONDS
        with contextlib.suppress(OSError):
            while time.monotonic() < deadline and any(slot["is_processing"] for slot in self._ask("/slots")):
                time.sleep(0.01)
        self.child.terminate()
        try:
            self.child.wait(10)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()

    def _ask(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=10) as response:
            return json.load(response)


def watch(server: LlamaServer, adapters: Adapters) -> None:
    """Until a stop is asked for: start again with other adapters whenever they are wished."""
    folder, number = run_dir(), 0
    while not stop_requested():
        assert server.child is not None
        if server.child.poll() is not None:
            raise UserError("failed", "llama-server ended by itself", "Its log says why; start it again.")
        wish = statefiles.read_object(folder / "adapters.json") if folder else {}
        if folder and wish.get("number", 0) != number:
            number, problem = wish["number"], ""
            wished = [(name, path) for name, path in wish["adapters"]]
            emit("phase", name="adapters", text=f"starting again with {', '.join(name for name, _ in wished)}")
            server.stop()
            try:
                server.start(wished, wish["active"])
                adapters = wished
            except UserError as error:
                problem = error.cause
                server.start(adapters, wish["active"])
            statefiles.write_json(folder / "served.json", {"number": number, "problem": problem})
        time.sleep(TICK)


def _pair(text: str) -> tuple[str, str]:
    name, _, folder = text.partition("=")
    return name, folder


def main() -> None:
    parser = argparse.ArgumentParser(description="llama.cpp's server with adapters that come and go.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--tools", type=Path, required=True, help="llama.cpp's converters")
    parser.add_argument("--programs", type=Path, help="the folder of llama-server")
    parser.add_argument("--cache", type=Path, help="where GGUF files of base models are kept")
    parser.add_argument("--weights", default="q8_0")
    parser.add_argument(
        "--base", type=Path, help="the folder that the adapter was made for, where MODEL is a GGUF file"
    )
    parser.add_argument("--port", type=int)
    parser.add_argument("--adapter", metavar="NAME=FOLDER", type=_pair, help="load it and make it active")
    parser.add_argument("--write", metavar="NAME=FOLDER", type=_pair, help="write this adapter as GGUF, and end")
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    arguments, flags = parser.parse_args(sys.argv[1:split]), sys.argv[split + 1 :]
    model, tools = arguments.model, arguments.tools
    if arguments.write:
        name, folder = arguments.write
        write_result("done", file=str(adapter_file(model, tools, name, Path(folder))))
        return
    file = base_file(model, arguments.weights, tools, arguments.programs, arguments.cache)
    adapters: Adapters = [arguments.adapter] if arguments.adapter else []
    for name, folder in adapters:
        adapter_file(arguments.base or model, tools, name, Path(folder))
    argv = [str(arguments.programs / "llama-server"), "--model", str(file), "--host", HOST]
    server = LlamaServer([*argv, "--port", str(arguments.port), *flags], arguments.port)
    try:
        server.start(adapters, adapters[0][0] if adapters else None)
        emit("phase", name="ready", text=f"answers at {server.url}/v1")
        watch(server, adapters)
    finally:
        server.stop()
    write_result("stopped" if stop_requested() else "done")


if __name__ == "__main__":
    run_script(main)
