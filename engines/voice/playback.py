"""Playing a sample through the user's own player, where there is something to hear it with.

Over SSH there is not: then the command is given that fetches the file. FTUI_PLAYER names
a player that is not known here.
"""

from __future__ import annotations

import getpass
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from engines.contract.errors import UserError

PLAYERS = (
    ("pw-play",), ("paplay",), ("afplay",), ("aplay", "-q"), ("mpv", "--no-video", "--really-quiet"),
    ("ffplay", "-nodisp", "-autoexit", "-loglevel", "quiet"), ("play", "-q"),
)  # fmt: skip
SOUND_DEVICES = ("/dev/snd", "/mnt/wslg/PulseServer")


class Player:
    """Plays one file at a time."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def play(self, file: Path) -> None:
        """Start playing, instead of what plays now. Raises UserError where nothing can be heard, with what to do."""
        if not can_be_heard():
            raise UserError("not_ready", "there is no sound on this machine", f"On yours: {fetch_command(file)}")
        command = player()
        if command is None:
            names = ", ".join(name for name, *_ in PLAYERS)
            raise UserError("not_ready", f"no player is installed ({names})", "Install one, or set FTUI_PLAYER.")
        self.stop()
        self._process = subprocess.Popen(
            [*command, str(file)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def stop(self) -> bool:
        """End what plays. False if nothing did."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return False
        process.terminate()
        process.wait(5)
        return True

    def wait(self) -> None:
        """Until it has ended."""
        if self._process is not None:
            self._process.wait()


def player() -> list[str] | None:
    chosen = os.environ.get("FTUI_PLAYER")
    if chosen:
        return shlex.split(chosen)
    return next(([*command] for command in PLAYERS if shutil.which(command[0])), None)


def can_be_heard() -> bool:
    """Is there a sound device on the machine that the user sits at?"""
    if os.environ.get("FTUI_PLAYER"):
        return True
    if os.environ.get("SSH_CONNECTION"):
        return bool(os.environ.get("PULSE_SERVER"))
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR", "/nonexistent"))
    servers = (runtime / "pulse" / "native", runtime / "pipewire-0")
    return sys.platform == "darwin" or any(path.exists() for path in (*map(Path, SOUND_DEVICES), *servers))


def fetch_command(file: Path) -> str:
    """What is to be typed on the user's own machine to get a file or a folder; in the home folder the path is short."""
    parts = os.environ.get("SSH_CONNECTION", "").split()
    host = parts[2] if len(parts) == 4 else "HOST"
    host = f"[{host}]" if ":" in host else host
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = "USER"
    home = Path.home()
    place = file.relative_to(home) if file.is_relative_to(home) else file
    return f"scp {'-r ' if file.is_dir() else ''}{shlex.quote(f'{user}@{host}:{place}')} ."
