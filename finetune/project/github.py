"""A public repository: cloned into a temporary folder, read as documents and code, gone again.

Nothing of the repository is run and git asks nobody: no hooks, submodules, symbolic links,
large-file filters, settings, passwords; https alone, one commit, with limits of time and size.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from engines.contract.errors import UserError
from engines.running.processes import RUN_MARK
from finetune.plain_text import harmless
from finetune.project import code, docs
from finetune.project.context import Context
from finetune.project.pair import Pair

MAX_SECONDS = 300.0
MAX_BYTES = 512 << 20
LOOK_SECONDS = 0.1
KEPT_VARIABLES = (
    "PATH", "TMPDIR", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO",
    RUN_MARK,  # so that git ends with the run
)  # fmt: skip
SETTINGS = (
    "core.hooksPath=/dev/null", "core.symlinks=false", "core.fsmonitor=false", "protocol.file.allow=never",
    "credential.helper=", "submodule.recurse=false", "filter.lfs.smudge=", "filter.lfs.required=false",
)  # fmt: skip


class Repository:
    """A context: the cloned repository is in `folder` until it ends.

    protocol: only tests, which clone a folder of their own, say anything but https.
    """

    def __init__(
        self, url: str, branch: str, tick: Callable[[], None], *,
        seconds: float = MAX_SECONDS, max_bytes: int = MAX_BYTES, protocol: str = "https",
    ):  # fmt: skip
        if not url.startswith(f"{protocol}://"):
            raise UserError("usage", f"{url[:200]} is not an {protocol} URL", "Name a public repository.")
        self.url = url
        self.branch = branch
        self.tick = tick
        self.seconds = seconds
        self.max_bytes = max_bytes
        self.protocol = protocol

    def __enter__(self) -> Repository:
        self._temporary = tempfile.TemporaryDirectory(prefix="ftui-clone-", ignore_cleanup_errors=True)
        self.folder = Path(self._temporary.name) / "repository"
        try:
            self._clone()
            self.commit = self._git("rev-parse", "HEAD")
        except BaseException:
            self._temporary.cleanup()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._temporary.cleanup()

    @property
    def name(self) -> str:
        """`owner/name`, as the URL ends."""
        return "/".join(self.url.rstrip("/").removesuffix(".git").rsplit("/", 2)[-2:])

    def _clone(self) -> None:
        settings = [word for setting in SETTINGS for word in ("-c", setting)]
        branch = ["--branch", self.branch] if self.branch else []
        argv = [
            "git", "clone", "--quiet", "--depth", "1", *branch, "--single-branch", "--no-tags",
            "--no-recurse-submodules", "--template=", *settings, "--", self.url, str(self.folder),
        ]  # fmt: skip
        said = Path(self._temporary.name) / "said"
        with open(said, "wb") as errors:
            try:
                process = subprocess.Popen(
                    argv, env=self._environment(), stdin=subprocess.DEVNULL, stdout=errors, stderr=errors,
                    start_new_session=True,
                )  # fmt: skip
            except FileNotFoundError:
                raise UserError("not_ready", "git is not installed", "Install it and try again.") from None
        try:
            self._watch(process)
        finally:
            _end(process)
        if process.returncode:
            lines = harmless(said.read_text(encoding="utf-8", errors="replace")).split("\n")
            cause = next((line for line in lines if line.startswith("fatal:")), "fatal: git failed")
            raise UserError(
                "failed",
                f"{self.name} cannot be cloned: {cause.removeprefix('fatal: ')[:300].rstrip('.')}",
                "Check the URL, the branch and the network; the repository must be public.",
            )

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        """Until git has ended. Raises UserError for a repository that is too large or too slow."""
        deadline = time.monotonic() + self.seconds
        while True:
            ended = process.poll() is not None
            self.tick()
            if _bytes_in(self.folder) > self.max_bytes:
                size = f"{self.max_bytes >> 20:,} MB"
                raise UserError("bad_input", f"{self.name} is larger than {size}", "Clone it and name its folder.")
            if ended:
                return
            if time.monotonic() > deadline:
                raise UserError(
                    "failed", f"{self.name} was not cloned within {self.seconds:.0f} s", "Try again, or clone it first."
                )
            try:
                process.wait(LOOK_SECONDS)
            except subprocess.TimeoutExpired:
                pass

    def _git(self, *words: str) -> str:
        argv = ["git", "-c", "core.hooksPath=/dev/null", "-C", str(self.folder), *words]
        done = subprocess.run(argv, env=self._environment(), capture_output=True, timeout=30, stdin=subprocess.DEVNULL)
        return done.stdout.decode("ascii", "replace").strip()

    def _environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
        return {
            **kept,
            "HOME": self._temporary.name,  # where there are no passwords for other servers
            "LC_ALL": "C",
            "GIT_ALLOW_PROTOCOL": self.protocol,
            "GIT_ASKPASS": "/bin/false",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_LFS_SKIP_SMUDGE": "1",
            "GIT_TERMINAL_PROMPT": "0",
        }


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill git and what it has started, if it still runs."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
    process.wait()


def _bytes_in(folder: Path) -> int:
    """What a folder takes on the disk; files may go while it is counted."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(path, name)).st_size
            except OSError:
                pass
    return total


def read(context: Context, repository: Repository) -> Iterator[Pair]:
    """The pairs of a cloned repository, all of the kind github."""
    inner = Context(repository.folder, context.config, context.tick, repository.name)
    for pair in docs.find(inner):
        yield replace(pair, kind="github")
    yield from code.find(inner, "github")
    for path, reason in ((item["file"], item["reason"]) for item in inner.unread):
        context.cannot_read(path, reason)
    context.unread_count += inner.unread_count - len(inner.unread)
    context.repository = {"url": repository.url, "commit": repository.commit, "files": inner.files.figures()}


def find(context: Context) -> Iterator[Pair]:
    config = context.config
    if config.github_url:
        with Repository(config.github_url, config.github_branch, context.tick) as repository:
            yield from read(context, repository)
