"""Turn a chat export into a dataset of dialogs: one JSON object per line.

    python -m finetune.prepare_dataset INPUT OUTPUT.jsonl [--config CONFIG.json] [--transcriber WHO.json]
                                       [--home FOLDER]

INPUT is a file of any format in `finetune.formats`, a folder or a zip archive of such
files, or the name of a dataset on the Hugging Face hub. Each line of OUTPUT is
`{"messages": [{"role", "content"}, …], "conversation": "<chat's id>/<when it began>"}`, or
`{"text": "…", …}`; what was read, used and left out stands beside it in
`OUTPUT.report.json`. A run that fails or is stopped leaves neither. CONFIG holds the
parameters of `PrepareConfig`; WHO tells who listens to voice notes (finetune/heard_notes.py).
FOLDER is the workspace that OUTPUT is in: there it is split by default, and a dataset that
it replaces goes to the trash. Elsewhere only a dataset that was made by this is replaced.
"""

from __future__ import annotations

import argparse
import errno
import gc
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engines.config.job import load
from engines.config.prepare import PrepareConfig
from engines.contract.dataset_files import report_path
from engines.contract.errors import UserError
from engines.contract.events import emit
from engines.contract.run_protocol import run_script, write_result
from finetune import inputs, split_files
from finetune.leftovers import remove_leftovers
from finetune.publish import check_place, publish
from finetune.reading import Reading
from finetune.refine import Refiner
from finetune.row_file import Progress, RowFile, Stopped

Report = dict[str, Any]


def prepare(
    source: str, output: Path, config: PrepareConfig, transcriber: Path | None = None, *, home: Path | None = None
) -> Report:
    """Write `output`, its split and its report. Raises UserError, OSError, Stopped.

    home: the workspace that it is in. Returns the report and, as `replaced`, where in the trash the dataset is that was
    there before.
    """
    check_output(Path(source), output, has_parts=bool(config.split), home=home)
    remove_leftovers(output)
    with RowFile(output) as rows, inputs.opened(source, output, config.hub_split) as files:
        progress = Progress(sum(file.size for file in files))
        refiner = Refiner(config, rows.write)
        reading = Reading(config, refiner, progress, rows, transcriber)
        many = len(files) > 1
        reading.members = {file.name: file.path for file in files if file.is_unpacked}
        for file in files:
            reading.read(file.path, file.name, one_of_many=many)
        emit("progress", done=progress.total, total=progress.total, unit="bytes")
        reading.check_not_empty(Path(source).name, refiner.left_out)
        if not refiner.written:
            raise nothing_left(refiner)
        rows.flush()
        in_workspace = home is not None
        parts = split_files.parts_of(rows.temporary, output, config.split, config.split_seed, by_default=in_workspace)
        with parts as (split, made):
            report = {
                "source": Path(source).name,
                "source_path": source_path(source),
                "bytes": progress.total,
                **reading.figures(),
                **refiner.figures(),
                "split": split,
                "config": config.model_dump(),
                "output_sha256": rows.sha256.hexdigest(),
            }
            replaced = publish(rows, report, made, home)
    return {**report, "replaced": str(replaced) if replaced else None}


def nothing_left(refiner: Refiner) -> UserError:
    counted = ", ".join(f"{reason} {count:,}" for reason, count in refiner.left_out.most_common())
    rows = refiner.formed + refiner.windowed
    return UserError("bad_input", f"the filters leave out all {rows:,} rows ({counted})", "Loosen them.")


def source_path(source: str) -> str:
    """What tells whether another dataset is of the same source: its place, or its name on the hub."""
    return str(Path(source).absolute()) if Path(source).exists() else source


def check_output(source: Path, output: Path, *, has_parts: bool, home: Path | None) -> None:
    """Raises UserError where the dataset cannot go, or would replace what it is made from, or somebody's own file."""
    if not output.parent.is_dir():
        raise UserError("not_found", f"the folder {output.parent} does not exist", "Make it, or name another one.")
    if not os.access(output.parent, os.W_OK):
        raise UserError("bad_input", f"the folder {output.parent} may not be written to", "Name another one.")
    for path in (output, report_path(output)):
        if path.is_dir():
            raise UserError("usage", f"{path} is a folder", "Name a file for the dataset.")
        if path.exists() and source.exists() and path.samefile(source):
            raise UserError("usage", f"{path.name} is the file to be read", "Give the dataset another name.")
    if home is None:
        check_place(output, has_parts=has_parts)


def read_config(path: Path | None) -> PrepareConfig:
    """Raises UserError for parameters that are none, out of bounds, or do not fit together."""
    config = load(PrepareConfig, path)
    if config.min_dialog_messages > config.max_dialog_length // 2 * 2:
        raise UserError(
            "usage",
            f"no dialog can have at least {config.min_dialog_messages} and at most {config.max_dialog_length} turns",
            "Raise max_dialog_length or lower min_dialog_messages.",
        )
    if (config.whisper_model or config.language) and not config.transcribe_voice:
        raise UserError(
            "usage",
            "whisper_model and language are those of voice notes, which are not written down",
            "Set transcribe_voice too; rows of some languages alone are kept by languages.",
        )
    return config


def explain(error: OSError) -> UserError:
    """A system error in words."""
    place = Path(os.fsdecode(error.filename)).name if error.filename else "the dataset"
    if isinstance(error, FileNotFoundError):
        return UserError("not_found", f"{place} does not exist", "Check the path.")
    if isinstance(error, IsADirectoryError):
        return UserError("bad_input", f"{place} is a folder", "Give the file in it, such as result.json.")
    if isinstance(error, PermissionError):
        return UserError("bad_input", f"{place} may not be read or written", "Check the permissions.")
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return UserError("failed", f"there is no room left for {place}", "Free some space and try again.")
    return UserError("failed", f"{place} failed: {error.strerror}", "Check the disk and try again.")


def run_job(work: Callable[[], Report]) -> None:
    """Do `work` and say how it ended: with its figures, stopped, or a system error in words."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that temporary files go
    try:
        figures = work()
    except Stopped:
        write_result("stopped")
    except OSError as error:
        raise explain(error) from None
    else:
        write_result("done", **figures)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input", help="a file, a folder, a zip archive, or the name of a dataset on the hub")
    parser.add_argument("output", type=Path)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--transcriber", type=Path)
    parser.add_argument("--home", type=Path, help="the workspace that the output is in")
    arguments = parser.parse_args()
    gc.disable()  # nothing here makes cycles; looking for them costs a tenth of the time
    gc.freeze()  # nor need they be looked for at the end

    def work() -> Report:
        config = read_config(arguments.config)
        report = prepare(arguments.input, arguments.output, config, arguments.transcriber, home=arguments.home)
        return {"output": str(arguments.output), **report}

    run_job(work)


if __name__ == "__main__":
    run_script(main)
