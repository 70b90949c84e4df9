"""The documents are true: tables made from the models, files and commands that exist.

`FTUI_UPDATE_DOCS=1 pytest tests/test_docs.py` writes docs/parameters.md anew.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from engines.config.chat import ChatConfig
from engines.config.combine import CombineConfig
from engines.config.evaluate import EvaluateConfig
from engines.config.export import AwqConfig, GgufConfig, OnnxConfig
from engines.config.generate import GenerateConfig
from engines.config.job import JobConfig
from engines.config.merge import MergeConfig
from engines.config.prepare import PrepareConfig
from engines.config.samples import SampleConfig, TranscribeConfig
from engines.config.serve import ServeConfig
from engines.config.sweep import SweepConfig
from engines.config.train import PRESETS, TrainConfig
from engines.config.voice import VoiceConfig
from engines.contract.errors import EXIT_CODES

ROOT = Path(__file__).resolve().parent.parent
HEADER = "# Parameters\n\nMade from the models in `engines/config/`; a flag is the name with dashes.\n"


def plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def parameter_table(model: type[JobConfig]) -> str:
    rows = ["| name | default | unit | bounds or choices | meaning |", "|---|---|---|---|---|"]
    for name, schema in model.model_json_schema()["properties"].items():
        default = schema["default"]
        schema = {**schema, **schema.get("anyOf", [{}])[0]}  # of what may be unset
        shown = (
            "unset"
            if default is None
            else "empty"
            if default == ""
            else ", ".join(default)
            if isinstance(default, list)
            else plain(default)
        )
        signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
        bounds = ", ".join(f"{sign} {schema[key]}" for key, sign in signs.items() if key in schema)
        bounds = bounds or ", ".join(map(str, schema.get("enum", [])))
        rows.append(f"| `{name}` | {shown} | {schema.get('unit', '')} | {bounds} | {schema['description']} |")
    return "\n".join(rows)


def preset_table() -> str:
    names = [
        field for field in TrainConfig.model_fields if len({plain(getattr(p, field)) for p in PRESETS.values()}) > 1
    ]
    rows = ["| parameter | " + " | ".join(PRESETS) + " |", "|---|" + "---|" * len(PRESETS)]
    rows += [f"| `{name}` | " + " | ".join(plain(getattr(p, name)) for p in PRESETS.values()) + " |" for name in names]
    return "\n".join(rows)


def test_the_parameter_tables_are_those_of_the_models() -> None:
    text = (
        f"{HEADER}\n## Training (`ftui llm train`)\n\n{parameter_table(TrainConfig)}\n"
        f"\n## Presets, where they differ\n\n{preset_table()}\n"
        f"\n## Preparing a dataset (`ftui llm prepare`)\n\n{parameter_table(PrepareConfig)}\n"
        f"\n## Evaluating (`ftui llm evaluate`)\n\n{parameter_table(EvaluateConfig)}\n"
        f"\n## Talking (`ftui llm chat`)\n\n{parameter_table(ChatConfig)}\n"
        f"\n## Serving (`ftui serve-llm start`)\n\n{parameter_table(ServeConfig)}\n"
        f"\n## Merging (`ftui llm merge`)\n\n{parameter_table(MergeConfig)}\n"
        f"\n## Several adapters into one (`ftui llm combine`)\n\n{parameter_table(CombineConfig)}\n"
        f"\n## Exporting to GGUF (`ftui llm export gguf`)\n\n{parameter_table(GgufConfig)}\n"
        f"\n## Exporting to AWQ or GPTQ (`ftui llm export awq`)\n\n{parameter_table(AwqConfig)}\n"
        f"\n## Exporting to ONNX (`ftui llm export onnx`)\n\n{parameter_table(OnnxConfig)}\n"
        f"\n## Sweeps (`ftui llm sweep`)\n\n{parameter_table(SweepConfig)}\n"
        f"\n## Generating a dataset (`ftui llm generate`)\n\n{parameter_table(GenerateConfig)}\n"
        f"\n## Taking samples in (`ftui tts samples add`)\n\n{parameter_table(SampleConfig)}\n"
        f"\n## Transcripts (`ftui tts transcribe`)\n\n{parameter_table(TranscribeConfig)}\n"
        f"\n## Voices (`ftui tts`, `tts_config.json`)\n\n{parameter_table(VoiceConfig)}\n"
    )
    path = ROOT / "docs" / "parameters.md"
    if os.environ.get("FTUI_UPDATE_DOCS"):
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text, "run FTUI_UPDATE_DOCS=1 pytest tests/test_docs.py"


def test_the_exit_codes_are_documented() -> None:
    text = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    for code in {*EXIT_CODES.values(), 0, 130}:
        assert f"\n| {code} | " in text


def test_every_file_and_link_that_the_documents_name_exists() -> None:
    for document in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        text = document.read_text(encoding="utf-8")
        for link in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (document.parent / link).exists(), f"{document.name}: {link}"
        for path in re.findall(r"`((?:ftui|engines|finetune|tests|benchmarks|docs)/[\w./]+\.\w+)`", text):
            if not path.startswith("finetune/adapters"):
                assert (ROOT / path).exists(), f"{document.name}: {path}"
        for file, test in re.findall(r"`(\w+/test_\w+\.py)::(test_\w+)`", text):
            assert f"def {test}(" in (ROOT / "tests" / file).read_text(encoding="utf-8"), f"{document.name}: {test}"
