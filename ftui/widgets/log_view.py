"""The log of a run, all of it, read from disk line by line as it is scrolled through.

Only what is on the screen is ever read, cleaned and drawn: a line more costs eight bytes.
The view follows the end until somebody scrolls up; then it stands still and counts what
is new, until `G`.
"""

from __future__ import annotations

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.cache import LRUCache
from textual.geometry import Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from engines.running.follow import LogFile
from ftui.clean import clean_line
from ftui.format import count

CACHED_LINES = 512
FOUND = Style(reverse=True, bold=True)


class LogView(ScrollView, can_focus=True):
    """Shows a LogFile. Whoever polls the file calls `grew` when it moved."""

    DEFAULT_CSS = """
    LogView {
        overflow-x: hidden; overflow-y: scroll; scrollbar-size-vertical: 1;
        border-title-color: $foreground 70%; border-subtitle-color: $text-warning;
    }
    """

    class Searched(Message):
        """A search has ended at `line`, or nowhere."""

        def __init__(self, needle: str, line: int | None):
            super().__init__()
            self.needle = needle
            self.line = line

    new_lines: reactive[int] = reactive(0, layout=False, repaint=False)
    needle: reactive[str] = reactive("", layout=False)

    def __init__(self, *, id: str | None = None):
        super().__init__(id=id)
        self.log_file: LogFile | None = None
        self.following = True
        self.found: int | None = None
        self._lines: LRUCache[int, str] = LRUCache(CACHED_LINES)
        self._seen = 0
        self._restarts = 0
        self._shift = 0

    # --- what is shown ---

    def show(self, log: LogFile | None) -> None:
        """Another log, from its end."""
        self.log_file = log
        self.following, self.found, self._shift = True, None, 0
        self._forget()
        self.grew()

    def grew(self) -> None:
        """The file has more lines, or others."""
        log = self.log_file
        if log is not None and log.restarts != self._restarts:
            self._forget()
            self.following = True
        total = 0 if log is None else len(log) + bool(log.live)
        self._set_height(total)
        if self.following:
            self._seen = total
            self.new_lines = 0
            self._go_to(self.max_scroll_y)
        else:
            self.new_lines = max(0, total - self._seen)
        self.refresh()

    def _forget(self) -> None:
        self._lines.clear()
        self._seen = 0
        self._restarts = self.log_file.restarts if self.log_file else 0

    def _set_height(self, lines: int) -> None:
        """Grow without a layout of the whole screen, which the size of a scroll view otherwise costs."""
        size = Size(self.size.width, lines)
        if size != self.virtual_size:
            self.set_reactive(ScrollView.virtual_size, size)
            self._scroll_update(size)

    # --- moving ---

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        at_end = new_value >= self.max_scroll_y
        if at_end and not self.following:
            self.new_lines = 0
        if not at_end and self.following:
            self._seen = self.virtual_size.height
        self.following = at_end

    def on_resize(self) -> None:
        self.call_after_refresh(self.grew)  # the end is elsewhere now

    def action_scroll_end(self) -> None:
        self.following = True
        self.grew()

    def action_scroll_home(self) -> None:
        self._go_to(0)

    def action_scroll_up(self) -> None:
        self._go_to(self.scroll_y - 1)

    def action_scroll_down(self) -> None:
        self._go_to(self.scroll_y + 1)

    def action_page_up(self) -> None:
        self._go_to(self.scroll_y - self.size.height)

    def action_page_down(self) -> None:
        self._go_to(self.scroll_y + self.size.height)

    def _go_to(self, line: float) -> None:
        """At once: a movement in steps would be overtaken by the next lines of the log."""
        self.scroll_to(y=max(0, line), animate=False, force=True)

    def action_scroll_left(self) -> None:
        self._shift = max(0, self._shift - 16)
        self.refresh()

    def action_scroll_right(self) -> None:
        self._shift += 16
        self.refresh()

    # --- searching ---

    def search(self, needle: str, *, backwards: bool = False, again: bool = False) -> None:
        """Look for `needle` from here on, in a thread; posts Searched."""
        self.needle = needle
        log = self.log_file
        if not needle or log is None or not len(log):
            self.found = None
            return
        start = self._search_start(len(log), backwards, again)

        def look() -> None:
            line = log.find(needle, start, backwards=backwards)
            if line is None:  # once round
                line = log.find(needle, len(log) - 1 if backwards else 0, backwards=backwards)
            self.post_message(self.Searched(needle, line))

        self.run_worker(look, thread=True, exclusive=True, group="search", exit_on_error=False)

    def _search_start(self, lines: int, backwards: bool, again: bool) -> int:
        if again and self.found is not None:
            return (self.found + (-1 if backwards else 1)) % lines
        return min(lines - 1, int(self.scroll_y) + (self.size.height - 1 if backwards else 0))

    def on_log_view_searched(self, message: Searched) -> None:
        if message.needle != self.needle:
            return
        self.found = message.line
        if message.line is not None and not self.scroll_y <= message.line < self.scroll_y + self.size.height:
            self._go_to(message.line - self.size.height // 2)
        self.refresh()

    # --- drawing ---

    def render_line(self, y: int) -> Strip:
        index = int(self.scroll_y) + y
        style = self.rich_style
        text = self._text(index)[self._shift :]
        if not text:
            return Strip.blank(self.size.width, style)
        if self.needle and self.needle.casefold() in text.casefold():
            segments = self._marked(text, style, index == self.found)
        else:
            segments = [Segment(text, style)]
        return Strip(segments, cell_len(text)).adjust_cell_length(self.size.width, style)

    def _marked(self, text: str, style: Style, chosen: bool) -> list[Segment]:
        """The text with each match reversed, and the chosen line underlined: not by colour alone."""
        plain, wanted = text.casefold(), self.needle.casefold()
        if len(plain) != len(text):  # a letter that folds into two
            return [Segment(text, style + FOUND)]
        base = style + Style(underline=True) if chosen else style
        segments, here = [], 0
        while (at := plain.find(wanted, here)) >= 0:
            segments += [Segment(text[here:at], base), Segment(text[at : at + len(wanted)], base + FOUND)]
            here = at + len(wanted)
        return [segment for segment in [*segments, Segment(text[here:], base)] if segment.text]

    def _text(self, index: int) -> str:
        log = self.log_file
        if log is None or index > len(log):
            return ""
        if index == len(log):
            return clean_line(log.live)
        text = self._lines.get(index)
        if text is None:
            try:
                text = clean_line(log.text(index))
            except (OSError, IndexError):  # replaced a moment ago
                return ""
            self._lines[index] = text
        return text

    @property
    def position(self) -> str:
        """Where the view stands, for the border."""
        if self.new_lines:
            return f"▼ {count(self.new_lines)} new · G follows"
        return "" if self.following else "G follows"
