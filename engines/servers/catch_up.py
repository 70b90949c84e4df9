"""A server that was starting while another adapter became active gets that one as soon as it is ready.

    python -m engines.servers.catch_up HOME SERVER

A process of its own, because whoever activated does not wait for it. It ends with the server's start.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from engines.workspace import Workspace

if TYPE_CHECKING:
    from engines.servers.server import Server


def later(workspace: Workspace, server: Server) -> None:
    """Returns at once."""
    argv = [sys.executable, "-m", "engines.servers.catch_up", str(workspace.home), server.name]
    code, none = Path(__file__).resolve().parents[2], subprocess.DEVNULL
    subprocess.Popen(argv, cwd=code, stdin=none, stdout=none, stderr=none, start_new_session=True)


def main() -> None:
    from engines.contract.errors import UserError
    from engines.servers.activation import Activation

    home, name = sys.argv[1:]
    activation = Activation(Workspace(Path(home)))
    try:
        server = activation.serving.get(name)
        if server.run is not None:
            activation.serving.wait_until_ready(server.run)
        activation.catch_up(server)
    except UserError as error:  # `ftui serve-llm status` shows the difference
        sys.exit(error.cause)


if __name__ == "__main__":
    main()
