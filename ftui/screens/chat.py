"""Talking to the base model and adapters, side by side and streamed."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Static
from textual.worker import Worker, WorkerState

from engines.contract.errors import UserError
from engines.weights.adapters import Adapter
from engines.workspace import check_name
from ftui.clean import clean, clean_line
from ftui.screens.ask_text import AskText

if TYPE_CHECKING:
    from engines.servers.chat import Model
    from engines.servers.conversation import Conversation
    from ftui.app import FtuiApp

REDRAW_SECONDS = 0.1
KEYS = "enter asks · tab to an answer: + good, - bad, w keeps the good ones in a dataset · esc closes"
MARKS = {"good": ("  + good", "$text-success"), "bad": ("  - bad", "$text-error")}
DATASET = "rated"


class Column(VerticalScroll, can_focus=True):
    """One partner's side of the conversation. + and - rate its last answer."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("plus,plus_sign", "screen.rate('good')", show=False),
        Binding("minus,hyphen", "screen.rate('bad')", show=False),
        Binding("w", "screen.keep", show=False),
        Binding("j", "scroll_down", show=False),
        Binding("k", "scroll_up", show=False),
    ]
    DEFAULT_CSS = """
    Column { border: round $foreground 30%; padding: 0 1; width: 1fr; height: 1fr; }
    Column:focus { border: heavy $accent; }
    """

    def __init__(self, title: str):
        super().__init__()
        self.border_title = Content(clean_line(title))
        self.text = Static("", markup=False)

    def compose(self) -> ComposeResult:
        yield self.text


class ChatScreen(ModalScreen[None]):
    """A conversation; its model is opened when the screen opens, and closed with it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", show=False, priority=True),
        Binding("tab", "app.focus_next", show=False),
    ]
    DEFAULT_CSS = """
    ChatScreen { background: $background; }
    ChatScreen #chat-state { height: 1; padding: 0 1; color: $foreground-muted; }
    ChatScreen #chat-keys { height: auto; padding: 0 1; color: $foreground-muted; }
    """

    def __init__(self, partners: list[Adapter | None]):
        super().__init__()
        self.partners = partners
        self.columns = [Column(adapter.name if adapter else "base model") for adapter in partners]
        self.model: Model | None = None
        self.talk: Conversation | None = None
        self.asking: Worker[None] | None = None
        self.coming: list[str] = [""] * len(partners)  # what is being answered; written by the thread that asks
        self.drawn: list[str] = []

    @property
    def ftui(self) -> FtuiApp:
        return cast("FtuiApp", self.app)

    def compose(self) -> ComposeResult:
        yield Static("", id="chat-state", markup=False)
        with Horizontal():
            yield from self.columns
        yield Input(placeholder="Ask something", id="chat-question")
        yield Static(KEYS, id="chat-keys", markup=False)

    def on_mount(self) -> None:
        self.query_one(Input).focus()
        self.set_interval(REDRAW_SECONDS, self._redraw)
        self._say("loading the model …")
        self.ftui.in_background("chat", self._open, self._opened, self._cannot)

    def _open(self) -> Model:
        from engines.servers.chat import open_model

        engine = self.ftui.engine
        assert engine is not None
        model = open_model(engine, self.partners)
        try:
            model.wait_until_ready()
        except UserError:
            model.close()
            raise
        return model

    def _opened(self, model: Model) -> None:
        from engines.servers.chat import ChatOptions
        from engines.servers.conversation import Conversation

        if not self.is_attached:
            model.close()
            return
        self.model = model
        self.talk = Conversation(self.ftui.workspace, model, self.partners, ChatOptions())
        self._say(f"{model.where} answers")

    def _cannot(self, error: Exception) -> None:
        self.ftui.show_error(error)
        if self.is_attached:
            self.dismiss(None)

    def _say(self, words: str) -> None:
        self.query_one("#chat-state", Static).update(Content(clean_line(words)))

    # --- asking ---

    @on(Input.Submitted, "#chat-question")
    def _asked(self, event: Input.Submitted) -> None:
        question, talk = event.value.strip(), self.talk
        if not question or talk is None or self.asking is not None:
            return
        event.input.value = ""
        self.coming = [""] * len(self.partners)
        self._say("answering …")
        coming = self.coming

        def ask() -> None:
            for number, piece in talk.ask(question):
                coming[number] += piece

        self.asking = self.run_worker(ask, thread=True, exit_on_error=False)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.worker is not self.asking or event.state not in (WorkerState.SUCCESS, WorkerState.ERROR):
            return
        self.asking = None
        if self.model is not None:
            self._say(f"{self.model.where} answers")
        if event.state is WorkerState.ERROR and isinstance(event.worker.error, Exception):
            self.ftui.show_error(event.worker.error)
        self._redraw()

    def _redraw(self) -> None:
        """Draw what has come since the last time."""
        if self.talk is None:
            return
        texts = [self._text(number) for number in range(len(self.partners))]
        plain = [text.markup for text in texts]
        if plain == self.drawn:
            return
        self.drawn = plain
        for column, text in zip(self.columns, texts, strict=True):
            column.text.update(text)
            column.scroll_end(animate=False)

    def _text(self, number: int) -> Content:
        assert self.talk is not None
        lines: list[Content] = []
        for turn in self.talk.turns:
            answer, rating = turn.answers[number], turn.ratings[number]
            lines.append(Content.styled(f"> {clean(turn.question)}", "bold $text-primary"))
            last = turn is self.talk.turns[-1]
            lines.append(Content(clean(self.coming[number] if answer is None and last else answer or "–")))
            if rating:
                words, style = MARKS[rating]
                lines[-1] = Content.assemble(lines[-1], (words, f"bold {style}"))
            lines.append(Content(""))
        return Content("\n").join(lines)

    # --- what one does with answers ---

    def action_rate(self, rating: str) -> None:
        if self.talk is None or not isinstance(self.focused, Column):
            return
        number = self.columns.index(self.focused)
        try:
            turn = self.talk.turns[-1] if self.talk.turns else None
            self.talk.rate(number, None if turn and turn.ratings[number] == rating else rating)
        except UserError as error:
            self.ftui.show_error(error)
        self._redraw()

    def action_keep(self) -> None:
        def named(name: str | None) -> None:
            talk, engine = self.talk, self.ftui.engine
            if name and talk is not None and engine is not None:
                self.ftui.in_background(
                    "keep",
                    lambda: talk.send_good(engine.datasets, name),
                    lambda sent: self.ftui.say(f"✓ in {sent[0].name} now: {sent[1]} more"),
                )

        hint = "The dataset that the answers rated good are added to; it is made if it is not there."
        check = lambda name: check_name(name, "a dataset")  # noqa: E731
        self.app.push_screen(AskText("Keep the good answers", hint, DATASET, check), named)

    def action_leave(self) -> None:
        if self.model is not None:
            model, self.model = self.model, None
            self.ftui.in_background("chat", model.close, lambda _: None)
        self.dismiss(None)
