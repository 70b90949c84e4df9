"""The program `ftui`: with no command the app, else the command line."""

from __future__ import annotations

import os
import sys


def main() -> None:
    if sys.argv[1:] in (["--version"], ["version"]):  # answered before anything is imported
        from importlib.metadata import version

        print(version("finetune-tui"))
        return
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # of other packages: slow to find, and some report
    from ftui.cli import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
