"""A table of things on disk that can be filled again and again without losing one's place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.text import Text
from textual.widgets import DataTable
from textual.widgets.data_table import RowKey

from ftui.clean import clean_line

Row = tuple[str, Sequence[str]]  # key, cells


class ListTable(DataTable[Text]):
    """Rows with a key each. All cells are plain text, made harmless."""

    DEFAULT_CSS = "ListTable { height: auto; background: transparent; }"

    def __init__(self, headings: Sequence[str], *, id: str | None = None):
        super().__init__(id=id, cursor_type="row", zebra_stripes=False, cell_padding=1)
        self.headings = headings
        self._rows: list[Row] = []

    def on_mount(self) -> None:
        for heading in self.headings:
            self.add_column(Text(heading), key=heading)

    def fill(self, rows: Sequence[Row]) -> None:
        """Show `rows`. The cursor stays on its row; only cells that differ are drawn again."""
        rows = [(key, tuple(clean_line(cell) for cell in cells)) for key, cells in rows]
        if rows == self._rows:
            return
        if [key for key, _ in rows] == [key for key, _ in self._rows]:
            self._update(rows)
        else:
            self._fill_anew(rows)
        self._rows = rows

    def _update(self, rows: list[Row]) -> None:
        for (key, cells), (_, before) in zip(rows, self._rows, strict=True):
            for heading, cell, old in zip(self.headings, cells, before, strict=True):
                if cell != old:
                    self.update_cell(key, heading, Text(cell), update_width=True)

    def _update_dimensions(self, new_rows: Iterable[RowKey]) -> None:
        """Columns may be wider now; rows that were drawn before would stay cut as they were (Textual keeps them)."""
        super()._update_dimensions(new_rows)
        self._clear_caches()
        self.refresh()

    def _fill_anew(self, rows: list[Row]) -> None:
        chosen = self.chosen
        self.clear()
        for key, cells in rows:
            self.add_row(*(Text(cell) for cell in cells), key=key)
        self.choose(chosen)

    @property
    def chosen(self) -> str | None:
        """The key of the row under the cursor."""
        if not self.row_count:
            return None
        return self.coordinate_to_cell_key(self.cursor_coordinate).row_key.value

    def choose(self, key: str | None) -> None:
        """Put the cursor on the row `key`, if it is there."""
        if key is not None and key in self.rows:
            self.move_cursor(row=self.get_row_index(key), animate=False)
