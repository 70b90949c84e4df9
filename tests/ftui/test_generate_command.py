"""`ftui llm generate` as a person or a script uses it: real processes on a small project folder."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from engines.config.generate import GenerateConfig
from engines.data.generate import generate
from engines.llm import LLMEngine

CANARY = "canary_key_0123456789"


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    folder = tmp_path / "My shop"
    folder.mkdir()
    (folder / "README.md").write_text(
        "# Shop\n\nThis shop sells garden tools.\n\n# Is it open?\n\nYes, on working days.\n"
    )
    (folder / "app.py").write_text('def tools():\n    """All tools of the shop, in order."""\n')
    return folder


def test_help_shows_every_parameter_and_examples(ftui: Any) -> None:
    text = ftui("llm", "generate", "--help").stdout
    for field in GenerateConfig.model_fields:
        flag = f"--{field.replace('_', '-')}"
        assert flag[:26] in text, flag
    assert "For example" in text and "--from-project ~/my-shop" in text and "--branch" in text
    assert "generate" in ftui("llm", "--help").stdout and "prepare" in ftui("llm", "--help").stdout


def test_into_the_workspace_and_look_at_it(ftui: Any, shop: Path, engine: LLMEngine) -> None:
    done = ftui("llm", "generate", "--from-project", str(shop), "--no-use-escalation")
    assert "dialogs:  3 (1 code, 1 docs, 1 faq)" in done.stdout and "My_shop_dataset.jsonl" in done.stdout
    (entry,) = json.loads(ftui("data", "list", "--json").stdout)
    assert entry["name"] == "My_shop" and entry["report"]["dialogs"] == 3
    assert "Is it open?" in ftui("data", "show", "My_shop").stdout
    (run,) = json.loads(ftui("runs", "list", "--kind", "generate", "--json").stdout)
    assert run["state"] == "done" and run["name"] == "My_shop"
    assert len(engine.datasets.preview(engine.datasets.get("My_shop"))) == 3


def test_its_tokens_are_counted_by_what_they_were_made_of(ftui: Any, shop: Path, embedded_model: Path) -> None:
    ftui("llm", "generate", "--from-project", str(shop), "--name", "shop", "--no-use-escalation")
    count = ["data", "tokens", "shop", "--all", "--base-model", str(embedded_model)]
    found = json.loads(ftui(*count, "--json").stdout)
    assert {name: part["rows"] for name, part in found["by_source"].items()} == {"code": 1, "docs": 1, "faq": 1}
    assert "of 1 rows from faq" in ftui(*count).stdout


def test_to_an_output_file_as_json_with_flags_over_a_file(ftui: Any, shop: Path, tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(json.dumps({"seed": 1, "use_code": False, "language": "ru"}))
    output = tmp_path / "out.jsonl"
    done = ftui(
        "llm", "generate", "--from-project", str(shop), "--output", str(output), "--config", str(tmp_path / "c.json"),
        "--seed", "7", "--json",
    )  # fmt: skip
    result = json.loads(done.stdout)["result"]
    assert (result["config"]["seed"], result["config"]["language"]) == (7, "ru")
    assert {json.loads(line)["kind"] for line in output.read_text().splitlines()} == {"docs", "faq", "escalation"}
    assert result["written"] == len(output.read_text().splitlines()) and (tmp_path / "out.report.json").is_file()


@pytest.mark.parametrize(
    ("flags", "code", "cause"),
    [
        (["--from-project", "{shop}/none"], 4, "there is no folder"),
        (["--from-project", "{shop}", "--output", "{shop}/no/out.jsonl"], 4, "there is no folder"),
        (["--from-project", "{shop}", "--github", "http://example.org/a/b"], 2, "github_url"),
        (["--from-project", "{shop}", "--github", "https://127.0.0.1:1/a/b", "--branch", "-x"], 2, "branch"),
        (["--from-project", "{shop}", "--github", "https://127.0.0.1:1/a/b"], 1, "a/b cannot be cloned"),
        (["--from-project", "{shop}", "--endpoint", "http://127.0.0.1:1"], 2, "model is not named"),
        (["--from-project", "{shop}", "--variants-per-pair", "0"], 2, "variants"),
        (["--from-project", "{shop}", "--min-answer-characters", "9999"], 3, "no question with an answer"),
        ([], 2, "--from-project"),
    ],
    ids=range(9),
)
def test_errors_are_a_cause_and_an_exit_code(
    ftui: Any, shop: Path, tmp_path: Path, flags: list[str], code: int, cause: str
) -> None:
    words = [flag.replace("{shop}", str(shop)) for flag in flags]
    assert cause in ftui("llm", "generate", *words, code=code).stderr
    assert not list((tmp_path / "home").rglob("*.jsonl"))


@pytest.mark.parametrize("flags", [[], ["--preview"]], ids=["sent", "preview"])
def test_a_key_given_as_a_name_is_not_written_down(ftui: Any, shop: Path, tmp_path: Path, flags: list[str]) -> None:
    named = ["--endpoint", "http://127.0.0.1:1/v1", "--endpoint-model", "m", "--endpoint-api-key-variable", CANARY]
    done = ftui("llm", "generate", "--from-project", str(shop), *named, *flags, code=5)
    assert CANARY not in done.stdout + done.stderr
    assert not [path for path in (tmp_path / "home").rglob("*") if path.is_file() and CANARY in path.read_text()]


class Model(BaseHTTPRequestHandler):
    """Rewords every question in the same way, and supports it."""

    keys: list[str]

    def do_POST(self) -> None:
        self.keys.append(self.headers["Authorization"])
        body = self.rfile.read(int(self.headers["Content-Length"]))
        said = {"supported": [1]} if b"supported" in body else {"questions": ["Which tools are there in the shop?"]}
        data = json.dumps({"choices": [{"message": {"content": json.dumps(said)}}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def model() -> Iterator[tuple[str, list[str]]]:
    """The base URL of an endpoint, and the keys that it was shown."""
    keys: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OneModel", (Model,), {"keys": keys}))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1", keys
    server.shutdown()
    server.server_close()


def test_an_endpoint_is_previewed_and_its_key_is_written_nowhere(
    ftui: Any, shop: Path, tmp_path: Path, model: tuple[str, list[str]]
) -> None:
    url, keys = model
    named = ["--endpoint", url, "--endpoint-model", "small", "--endpoint-api-key-variable", "TEST_ENDPOINT_KEY"]
    command = ["llm", "generate", "--from-project", str(shop), *named]
    done = ftui(*command, "--preview", TEST_ENDPOINT_KEY=CANARY)
    assert "6 requests" in done.stdout and "nothing was sent" in done.stdout and "written:" not in done.stdout
    assert keys == [] and json.loads(ftui("data", "list", "--json").stdout) == []

    done = ftui(*command, TEST_ENDPOINT_KEY=CANARY)
    assert "endpoint: 6 requests" in done.stdout and keys == [f"Bearer {CANARY}"] * 6
    files = [path for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert len(files) > 8 and not [path for path in files if CANARY.encode() in path.read_bytes()]
    assert [path for path in (tmp_path / "home").rglob("*") if path.stat().st_mode & 0o077] == []
    assert "0 requests" in ftui(*command, "--preview", TEST_ENDPOINT_KEY=CANARY).stdout


def test_the_engine_call(engine: LLMEngine, shop: Path) -> None:
    run = generate(engine, shop, GenerateConfig(), name="mine")
    assert engine.runs.wait(run, timeout=30).state == "done"
    assert run.kind == "generate" and engine.datasets.get("mine").dialogs == run.result()["written"]
