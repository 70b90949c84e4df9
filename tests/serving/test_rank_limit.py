"""An adapter above a server's --max-lora-rank is refused before anything is loaded. The real vLLM: test_vllm.py."""

from __future__ import annotations

import socket
import sys
import time
from pathlib import Path

import pytest
from sample_adapters import write_adapter, write_base

from engines.contract.errors import UserError
from engines.llm import LLMEngine
from engines.weights.adapter_transfer import import_adapter

# What vLLM's server answers, as far as an activation asks; it prints what it is told to load.
SERVER = """
import json, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Server(BaseHTTPRequestHandler):
    loaded = {}

    def do_GET(self):
        models = [{"id": sys.argv[2], "root": sys.argv[2], "parent": None}]
        self.answer({"data": models + [{"id": n, "root": p, "parent": "base"} for n, p in self.loaded.items()]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if "lora_path" in body:
            self.loaded[body["lora_name"]] = body["lora_path"]
            print("loads", body["lora_name"], flush=True)
        self.answer({})

    def answer(self, value):
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

HTTPServer(("127.0.0.1", int(sys.argv[1])), Server).serve_forever()
"""


def test_a_rank_above_the_servers_is_refused_with_the_flag_and_nothing_is_loaded(
    engine: LLMEngine, tmp_path: Path
) -> None:
    base = write_base(engine.workspace.models / "base", width=64)
    for name, rank in (("wide", 32), ("narrow", 16)):
        made = write_adapter(tmp_path / name, str(base), rank=rank, width=64)
        import_adapter(engine.adapters, engine.models, made, name=name, base_model=str(base))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    argv = [sys.executable, "-c", SERVER, str(port), str(base)]
    url = f"http://127.0.0.1:{port}"
    run = engine.runs.create("serve", "vllm", argv, server="vllm", url=url, base_model=str(base), max_lora_rank=16)
    engine.runs.start(run)
    try:
        deadline = time.monotonic() + 30
        while engine.serving.state(engine.serving.servers()[0]).state != "ready":
            assert time.monotonic() < deadline, run.log.read_text()
            time.sleep(0.1)
        with pytest.raises(UserError, match=r"wide has rank 32, .* takes at most 16") as refused:
            engine.activation.activate("wide")
        assert "--max-lora-rank 32" in refused.value.next_step
        assert engine.adapters.active() is None and "loads" not in run.log.read_text()
        assert engine.activation.activate("narrow").done and engine.adapters.active() == "narrow"
        assert "loads narrow" in run.log.read_text()
    finally:
        engine.runs.request_stop(run, 0)
        engine.runs.wait(run, 30)
