"""Talking to llama.cpp's server. It takes adapters only when it starts, and knows them by the number of their file.

A server that was started here is watched over by finetune/llama_server.py, which starts it again with other adapters:

    {run}/adapters.json    number, adapters [[name, folder]], active      what is wished
    {run}/served.json      number, problem                                 what has become of it

What it has computed of dialogs it keeps without knowing by which adapter: with its prompt cache in use, a
switch for all requests (POST /lora-adapters) gives answers of the adapter before. So servers are started without
(server_start.py). A request of its own `lora` field is always answered rightly by a server without --cache-ram.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from engines.contract import statefiles
from engines.contract.errors import UserError
from engines.servers.server_clients import CONNECT_SECONDS, Client, Refused, ServerGone

MOST_LOADED = 8  # adapters; each is a few MB, and only one is computed for an answer
RESTART_SECONDS = 660.0


class LlamaClient(Client):
    kind = "llama-server"
    loads_while_it_runs: ClassVar[bool] = False

    def base(self) -> dict[str, Any]:
        try:
            props = self.ask("/props", seconds=CONNECT_SECONDS * 2)
        except Refused as refused:
            if refused.status != 503:
                raise
            raise ServerGone("not_ready", f"the server at {self.url} is loading", "Wait a moment.") from None
        if not isinstance(props, dict) or "model_path" not in props:
            raise UserError("conflict", f"the server at {self.url} is no llama-server", "Start it again.")
        return {"id": "base", "root": self._spec().get("base_model") or props["model_path"]}

    def chat_template(self) -> str | None:
        found = self.ask("/props", seconds=CONNECT_SECONDS * 2).get("chat_template")
        return found if isinstance(found, str) else None

    def _spec(self) -> dict[str, Any]:
        return statefiles.read_object(self.run / "spec.json") if self.run else {}

    def _loaded(self) -> list[tuple[int, str, str, float]]:
        """Number, name, folder, scale of each adapter."""
        files = [(int(item["id"]), Path(item["path"]), float(item["scale"])) for item in self.ask("/lora-adapters")]
        return [(number, file.stem, str(file.parent), scale) for number, file, scale in files]

    def adapters(self) -> dict[str, str]:
        return {name: folder for _, name, folder, _ in self._loaded()}

    def active(self, wanted: Path | None) -> str | None:
        return next((name for _, name, _, scale in self._loaded() if scale), None)

    def load(self, name: str, path: Path) -> None:
        """path/NAME.gguf is there already. Takes a restart, after what is asked of it already is answered."""
        loaded = self._loaded()
        if self.run is None:
            raise UserError(
                "conflict", "llama-server takes a new adapter only when it starts",
                f"Start it again with --lora-scaled {path}/{name}.gguf:0 --no-cache-prompt --cache-ram 0.",
            )  # fmt: skip
        kept = [[known, folder] for _, known, folder, _ in loaded if known != name][1 - MOST_LOADED :]
        number = statefiles.read_object(self.run / "adapters.json").get("number", 0) + 1
        wish = {"number": number, "adapters": [*kept, [name, str(path)]], "active": self.active(None)}
        statefiles.write_json(self.run / "adapters.json", wish)
        deadline = time.monotonic() + RESTART_SECONDS
        while (served := statefiles.read_object(self.run / "served.json")).get("number") != number:
            if time.monotonic() > deadline or (self.run / "stop.json").exists():
                raise UserError("failed", "llama-server did not come back", "Read its log: ftui serve-llm logs.")
            time.sleep(0.1)
        if served["problem"]:
            raise UserError("failed", served["problem"], "It goes on with the adapters that it had.")
        for _ in self.chat(name, [{"role": "user", "content": "."}], max_tokens=1):  # it answers
            pass

    def unload(self, name: str) -> None:
        """It stays in the server's memory until that starts again, and answers nothing."""

    def switch(self, name: str | None) -> None:
        self.ask("/lora-adapters", self._chosen(name))

    def _chosen(self, name: str | None) -> list[dict[str, Any]]:
        """Every adapter is named: an empty list would mean whichever is active."""
        loaded = self._loaded()
        if name is not None and all(known != name for _, known, _, _ in loaded):
            raise Refused(404, f"the adapter {name} is not loaded")
        return [{"id": number, "scale": 1.0 if known == name else 0.0} for number, known, _, _ in loaded]

    def chat(self, model: str, messages: list[dict[str, str]], **options: Any) -> Iterator[str]:
        penalty = options.pop("repetition_penalty", 1.0)
        chosen = self._chosen(None if model == "base" else model)
        yield from super().chat("base", messages, lora=chosen, cache_prompt=False, repeat_penalty=penalty, **options)
