"""Can a base model be written as GGUF by these converters? Asked before a training, so that it is not learned after it.

    python -m finetune.gguf_check BASE_FOLDER --tools FOLDER

--tools: llama.cpp's converters, see engines/setup/gguf_tools.py. They look at architecture, tokenizer and the names of
all tensors, read no weights and write nothing: 4 CPU seconds for a model of any size.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from engines.contract.errors import UserError
from engines.contract.run_protocol import run_script, write_result
from finetune.export_gguf import run_tool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("base", type=Path)
    parser.add_argument("--tools", type=Path, required=True)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        converter = [sys.executable, str(arguments.tools / "convert_hf_to_gguf.py"), str(arguments.base.absolute())]
        why = ""
        try:
            run_tool([*converter, "--dry-run", "--outfile", f"{folder}/x.gguf"], arguments.tools, None)
        except UserError as error:
            why = error.cause
    write_result("done", converts=not why, why=why)


if __name__ == "__main__":
    run_script(main)
