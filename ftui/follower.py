"""Following one run: its status, its log and its figures, polled and handed on in steps.

The log is looked at every 250 ms, status and figures once a second. A burst is read in
slices with a pause after each, so that keys are answered in between. A run that has
ended costs one look at its status a second (somebody may resume it) and draws nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from engines.running.follow import LogFile
from engines.running.progress import Progress
from engines.running.runs import Run, RunStatus

LOG_SECONDS = 0.25
FIGURES_SECONDS = 1.0
SLICE_BYTES = 128 * 1024
SLICE_SECONDS = 0.001


@dataclass(frozen=True)
class Move:
    """What moved: lines of the log, or status and figures."""

    status: RunStatus
    lines: bool
    figures: bool


class Follower:
    """A run with its log and its progress. `moves` yields until it is cancelled."""

    def __init__(self, run: Run):
        self.run = run
        self.log = LogFile(run.log)
        self.progress = Progress()
        self.status = run.status()

    async def moves(self) -> AsyncIterator[Move]:
        drawn_at = 0.0
        while True:
            status = self.run.status()  # before the log: an end that is seen has all its lines in the log
            grown, more = await self._read_log()
            now = time.monotonic()
            due = now - drawn_at >= FIGURES_SECONDS - LOG_SECONDS / 2
            changed = status != self.status or not drawn_at
            figures = changed or (status.active and due) or (grown and (due or not status.active))
            self.status = status
            if figures:
                drawn_at = now
            if grown or figures:
                yield Move(status, grown, figures)
            if more:
                await asyncio.sleep(SLICE_SECONDS)
            else:
                await asyncio.sleep(LOG_SECONDS if status.active else FIGURES_SECONDS)

    async def _read_log(self) -> tuple[bool, bool]:
        """Take in what is new, for `LOG_SECONDS` at most. Returns whether the log moved, and whether there is more."""
        before = len(self.log), self.log.restarts, self.log.live
        until = time.monotonic() + LOG_SECONDS
        while True:
            restarts = self.log.restarts
            events, more = self.log.poll(SLICE_BYTES)
            if self.log.restarts != restarts:
                self.progress = Progress()
            for event in events:
                self.progress.apply(event)
            if not more or time.monotonic() > until:
                break
            await asyncio.sleep(SLICE_SECONDS)
        return (len(self.log), self.log.restarts, self.log.live) != before, more
