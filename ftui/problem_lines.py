"""What of a source could not be read, by file or line, for both faces."""

from __future__ import annotations

from typing import Any


def lines(report: dict[str, Any]) -> list[str]:
    """The first problems, which a preparation keeps."""
    of_project = (report.get("files") or {}).get("problems") or []
    found = [str(problem) for problem in report.get("problems") or []]
    return found + [f"{item['file']} was left out: {item['reason']}" for item in of_project]


def with_files(report: dict[str, Any]) -> list[str]:
    """The same, and the files that were left out."""
    found = lines(report)
    skipped = (report.get("files") or {}).get("skipped") or {}
    told = "\n".join(found)
    return found + [f"{name}: {cause}" for name, cause in skipped.items() if f"{name} was left out" not in told]
