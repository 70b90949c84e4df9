"""Errors that a person can act on: a cause in one line, a next step, and an exit code."""

from __future__ import annotations

from typing import Any

# The process exit codes of the command line, documented in docs/command-line.md.
EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_BAD_INPUT = 3
EXIT_NOT_FOUND = 4
EXIT_NOT_READY = 5
EXIT_CONFLICT = 6
EXIT_STOPPED = 7
EXIT_INTERRUPTED = 130

EXIT_CODES = {
    "failed": EXIT_FAILED,
    "usage": EXIT_USAGE,
    "bad_input": EXIT_BAD_INPUT,
    "not_found": EXIT_NOT_FOUND,
    "not_ready": EXIT_NOT_READY,
    "conflict": EXIT_CONFLICT,
    "stopped": EXIT_STOPPED,
    "interrupted": EXIT_INTERRUPTED,
}


class UserError(Exception):
    """Something the user can mend.

    code: a key of `EXIT_CODES`; cause: one line, no full stop; next_step: one sentence
    that says what to do. Faces print both; `--json` prints the three as an object.
    """

    def __init__(self, code: str, cause: str, next_step: str = ""):
        super().__init__(cause)
        self.code = code
        self.cause = cause
        self.next_step = next_step

    @property
    def exit_code(self) -> int:
        return EXIT_CODES.get(self.code, EXIT_FAILED)

    def as_dict(self) -> dict[str, Any]:
        return {"error": self.code, "cause": self.cause, "next_step": self.next_step}
