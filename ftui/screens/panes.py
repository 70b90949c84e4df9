"""A place made of panes: side by side where there is room, else one at a time behind a line of tabs."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.dom import DOMNode
from textual.widget import Widget
from textual.widgets import Static

from ftui import actions
from ftui.screens.place import Place
from ftui.widgets.pane import Pane
from ftui.widgets.pane_tabs import PaneTabs
from ftui.widgets.run_panel import RunPanel
from ftui.widgets.start_bar import StartBar

if TYPE_CHECKING:
    from ftui.widgets.form_panel import FormPanel

WIDE = (110, 34)  # from this size on the panes stand side by side


class PanesPlace(Place):
    """The current pane has the focus and the keys; tab goes round them in the order of `PANES`.

    There are four: what is worked on, the form of the parameters, the run, what comes of it. The form stands once
    the engine is loaded; until then a placeholder takes its room.
    """

    PANES: ClassVar[tuple[str, ...]] = ()
    FORM: ClassVar[str] = ""  # the pane with the form
    params: FormPanel | None = None

    def __init__(self) -> None:
        super().__init__()
        self.tabs = PaneTabs(self.PANES)
        self.placeholder = Static("loading…", id="params-loading", classes="pane", markup=False)
        self.start_bar = StartBar()
        self.zoomed = False

    def content(self) -> ComposeResult:
        worked_on, _, run, made = self.panes.values()
        yield self.tabs
        with Horizontal(id="columns"):
            with Vertical(id="left", classes="column"):
                yield worked_on
                yield self.placeholder
            with Vertical(id="right", classes="column"):
                yield run
                yield made
        yield self.start_bar

    def mount_form(self, panel: FormPanel) -> None:
        """Put the form where its placeholder is; it says when it stands."""
        panel.set_class(self.placeholder.has_class("-hidden"), "-hidden")
        self.query_one("#left").mount(panel, after=self.placeholder)

    def on_form_panel_ready(self, event: FormPanel.Ready) -> None:
        self.params = event.panel
        self.placeholder.remove()
        event.panel.border_title = Content.styled(actions.PANES[self.FORM], "$foreground-muted")
        self.lay_out()
        if self.pane == self.FORM:
            self.focus_pane()
        self.form_changed()

    def on_form_panel_changed(self) -> None:
        self.form_changed()

    def form_changed(self) -> None:
        """Other parameters are about to be used."""
        raise NotImplementedError

    run_panel: RunPanel

    @property
    def panes(self) -> dict[str, Widget]:
        """By name."""
        raise NotImplementedError

    def scan(self) -> None:
        """Look at the disk again; the old lists stay until the new ones are there."""
        raise NotImplementedError

    def begin_panes(self) -> None:
        """Show the pane of last time."""
        remembered = self.ftui.remembered.pane
        self.pane = remembered if remembered in self.PANES else self.PANES[0]
        for name, pane in self.panes.items():
            pane.border_title = Content.styled(actions.PANES[name], "$foreground-muted")
        self.lay_out()

    def lay_out(self) -> None:
        """Side by side where there is room; else, and when zoomed, the current pane alone."""
        stacked = self.zoomed or self.size.width < WIDE[0] or self.size.height < WIDE[1]
        current = self.panes[self.pane]
        self.set_class(stacked, "-stacked")
        changed: list[DOMNode] = []
        for name, pane in self.panes.items():
            if _set_classes(pane, {"-current": pane is current, "-hidden": stacked and pane is not current}):
                changed.append(pane)
                mark, style = ("▸ ", "bold $text-accent") if pane is current else ("", "$foreground-muted")
                pane.border_title = Content.styled(f"{mark}{actions.PANES[name]}", style)
        for column in self.query(".column"):
            if _set_classes(column, {"-hidden": stacked and current not in column.children}):
                changed.append(column)
        self.app.stylesheet.update_nodes(changed)
        self.tabs.show(self.pane)

    @on(PaneTabs.Clicked)
    def _tab_clicked(self, event: PaneTabs.Clicked) -> None:
        self.go_to(event.pane)

    def go_to(self, pane: str) -> None:
        self.enter(pane)
        self.focus_pane()

    def enter(self, pane: str) -> None:
        """Make `pane` the current one."""
        if pane != self.pane:
            self.pane = pane
            self.ftui.remembered.pane = pane
            self.lay_out()
        self.show_footer()

    def focus_pane(self) -> None:
        pane = self.panes[self.pane]
        target = pane.target() if isinstance(pane, Pane) else pane
        self.set_focus(target if target.focusable else None)  # a Run pane without a run has nothing to be focused

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        if event.widget is not self.focused:  # keys that came quickly have gone on from there
            return
        for name, pane in self.panes.items():
            if pane in event.widget.ancestors_with_self:
                self.enter(name)

    def on_resize(self, event: events.Resize) -> None:
        super().on_resize(event)
        self.lay_out()

    def do_next_pane(self) -> None:
        self._step(1)

    def do_previous_pane(self) -> None:
        self._step(-1)

    def _step(self, step: int) -> None:
        self.go_to(self.PANES[(self.PANES.index(self.pane) + step) % len(self.PANES)])

    def do_zoom(self) -> None:
        self.zoomed = not self.zoomed
        self.lay_out()

    def do_back(self) -> None:
        """Out of an editor, a search, a preview; then out of the zoom."""
        pane = self.panes[self.pane]
        if isinstance(pane, Pane) and pane.leave():
            return
        if self.zoomed:
            self.do_zoom()

    def _move(self, where: str) -> None:
        pane = self.panes[self.pane]
        if isinstance(pane, Pane):
            pane.move(where)

    def do_down(self) -> None:
        self._move("down")

    def do_up(self) -> None:
        self._move("up")

    def do_top(self) -> None:
        self._move("top")

    def do_bottom(self) -> None:
        self._move("bottom")


def _set_classes(node: DOMNode, classes: dict[str, bool]) -> bool:
    """Set classes that no child depends on, without a look at the styles of all children. True if any changed."""
    wanted = [(name, present) for name, present in classes.items() if node.has_class(name) != present]
    for name, present in wanted:
        node.set_class(present, name, update=False)
    return bool(wanted)
