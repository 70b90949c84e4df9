"""The registry of datasets: found, previewed, deleted, and clear about what is not there."""

from __future__ import annotations

from pathlib import Path

import pytest
from sample_rows import dialog_rows, write_dataset

from engines.contract.errors import UserError
from engines.llm import LLMEngine


def test_list_preview_count(engine: LLMEngine) -> None:
    write_dataset(engine.datasets.path("talk"), dialog_rows(7))
    (dataset,) = engine.datasets.list()
    assert dataset.name == "talk" and engine.datasets.count_rows(dataset) == 7
    shown = engine.datasets.preview(dataset, first=5, count=10)
    assert len(shown) == 2 and shown[0][1]["role"] == "assistant"


def test_preview_of_texts(engine: LLMEngine) -> None:
    write_dataset(engine.datasets.path("notes"), [{"text": "Low tide at six.", "conversation": "1"}])
    assert engine.datasets.preview(engine.datasets.get("notes")) == [[{"role": "text", "content": "Low tide at six."}]]


def test_preview_survives_broken_rows(engine: LLMEngine) -> None:
    path = write_dataset(engine.datasets.path("talk"), dialog_rows(2))
    with open(path, "ab") as file:
        file.write(b'{"messages": 3}\n{"other": 1}\n[1]\nnot json\n\xff\xfe\n')
    assert len(engine.datasets.preview(engine.datasets.get("talk"))) == 2


def test_a_file_outside_the_workspace_is_taken_by_its_path(engine: LLMEngine, dataset_file: Path) -> None:
    assert engine.datasets.get(str(dataset_file)).name == "talk"


@pytest.mark.parametrize("name", ["nothing", "../talk", "/etc/passwd"])
def test_a_missing_dataset_names_those_that_exist(engine: LLMEngine, name: str) -> None:
    write_dataset(engine.datasets.path("here"), dialog_rows(1))
    with pytest.raises(UserError) as raised:
        engine.datasets.get(name)
    assert raised.value.code in ("not_found", "usage")


def test_delete_goes_to_the_trash(engine: LLMEngine) -> None:
    write_dataset(engine.datasets.path("talk"), dialog_rows(1))
    trashed = engine.datasets.delete("talk")
    assert engine.datasets.list() == [] and trashed.read_text().count("\n") == 1
