"""How llama.cpp is built: with a small project that has programs of the same names (`make test-serving` builds it)."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from engines.contract.errors import UserError
from engines.llm import LLMEngine
from engines.setup import llama_cpp

PROJECT = """
cmake_minimum_required(VERSION 3.14)
project(small CXX)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
add_library(words words.cpp)
foreach(name llama-server llama-quantize llama-perplexity)
  add_executable(${name} main.cpp)
  target_link_libraries(${name} words)
endforeach()
"""


def project(folder: Path, says: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "CMakeLists.txt").write_text(PROJECT)
    (folder / "LICENSE").write_text("free")
    (folder / "words.cpp").write_text(f'const char *words() {{ return "{says}"; }}\n')
    (folder / "main.cpp").write_text("#include <cstdio>\nconst char *words();\nint main() { std::puts(words()); }\n")
    return folder


def test_the_build_can_be_moved_and_goes_on_after_a_failure(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CMAKE_BUILD_PARALLEL_LEVEL", raising=False)
    work, place = tmp_path / "work", tmp_path / "made"
    work.mkdir()
    source = project(work / "source", 'it runs" + broken')
    with pytest.raises(UserError, match="could not be built"):
        llama_cpp.build(source, work, place)
    assert not place.exists()
    llama_cpp.build(project(source, "it runs"), work, place)
    assert '"event": "progress"' in capfd.readouterr().out
    moved = place.rename(tmp_path / "elsewhere")
    for program in llama_cpp.PROGRAMS:
        assert subprocess.run([moved / program], capture_output=True, text=True, check=True).stdout == "it runs\n"
    assert (moved / "LICENSE").read_text() == "free"


def test_without_a_compiler_nothing_is_started(engine: LLMEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="not built here") as refused:
        llama_cpp.require(engine.workspace)
    assert "ftui setup llama (fetches 77 MB" in refused.value.next_step.replace("`", "")
    monkeypatch.setenv("PATH", os.devnull)
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(UserError, match=r"no C\+\+ compiler"):
        llama_cpp.make(engine.workspace)
    assert engine.runs.list() == []
