"""Talking to the base model and adapters, side by side and streamed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, cast

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from engines.contract.errors import UserError
from engines.weights.adapters import Adapter
from engines.workspace import check_name
from ftui.clean import clean, clean_line
from ftui.screens.ask_text import AskText

if TYPE_CHECKING:
    from engines.config.chat import ChatConfig
    from engines.servers.chat import Model
    from engines.servers.conversation import Conversation
    from engines.servers.kept_conversations import Kept
    from ftui.app import FtuiApp

REDRAW_SECONDS = 0.1
KEYS = (
    "enter asks · tab to an answer: + good, - bad, w keeps the good ones in a dataset · "
    "ctrl+o partners and parameters · ctrl+r earlier ones · esc closes"
)
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
    """A conversation; its model is opened when the screen opens, and closed with it.

    What takes time is done in daemon threads, so that the app can end at any moment.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", show=False, priority=True),
        Binding("tab", "app.focus_next", show=False),
        Binding("shift+tab", "app.focus_previous", show=False),
        Binding("ctrl+o", "settings", show=False, priority=True),
        Binding("ctrl+r", "earlier", show=False, priority=True),
    ]
    DEFAULT_CSS = """
    ChatScreen { background: $background; }
    ChatScreen #chat-state { height: 1; padding: 0 1; color: $foreground-muted; }
    ChatScreen #chat-keys { height: auto; padding: 0 1; color: $foreground-muted; }
    """

    def __init__(
        self,
        partners: list[Adapter | None],
        there: Sequence[Adapter],
        config: ChatConfig | None = None,
        kept: Kept | None = None,
    ):
        """there: all adapters; config: how answers are drawn; kept: a conversation to go on with."""
        super().__init__()
        self.partners = partners
        self.there = there
        self.config = config
        self.kept = kept
        self.columns = [Column(adapter.name if adapter else "base model") for adapter in partners]
        self.model: Model | None = None
        self.talk: Conversation | None = None
        self.asking = False
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
        self.ftui.in_daemon(self._open, self._opened, self._cannot)

    def _open(self) -> Model:
        from engines.servers.chat import open_model

        engine = self.ftui.engine
        assert engine is not None
        model = open_model(engine, self.partners, self.kept.base_model if self.kept else "auto")
        try:
            model.wait_until_ready()
        except UserError:
            model.close()
            raise
        return model

    def _opened(self, model: Model) -> None:
        from engines.config.chat import ChatConfig
        from engines.servers.conversation import Conversation

        if not self.is_attached:
            self.ftui.in_daemon(model.close)
            return
        self.model = model
        self.config = self.config or ChatConfig()
        earlier = (self.kept.id, self.kept.turns) if self.kept else None
        self.talk = Conversation(self.ftui.workspace, model, self.partners, self.config, earlier)
        self._say_who_answers()

    def _cannot(self, error: Exception) -> None:
        self.ftui.show_error(error)
        if self.is_attached:
            self.dismiss(None)

    def _say_who_answers(self) -> None:
        from engines.config.chat import ChatConfig

        if self.model is not None and self.config is not None:
            usual = ChatConfig().model_dump()
            other = [f"{name} {value}" for name, value in self.config.model_dump().items() if value != usual[name]]
            self._say(", ".join([f"{self.model.where} answers", *other]))

    def _say(self, words: str) -> None:
        self.query_one("#chat-state", Static).update(Content(clean_line(words)))

    # --- asking ---

    @on(Input.Submitted, "#chat-question")
    def _asked(self, event: Input.Submitted) -> None:
        question, talk = event.value.strip(), self.talk
        if not question or talk is None or self.asking:
            return
        event.input.value = ""
        self.coming = [""] * len(self.partners)
        self._say("answering …")
        coming = self.coming

        def ask() -> None:
            for number, piece in talk.ask(question):
                coming[number] += piece

        self.asking = True
        self.ftui.in_daemon(ask, lambda _: self._answered(), self._answered)

    def _answered(self, error: Exception | None = None) -> None:
        self.asking = False
        if not self.is_attached:
            return
        self._say_who_answers()
        if error is not None:
            self.ftui.show_error(error)
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

    # --- another conversation ---

    def action_settings(self) -> None:
        """Partners and parameters; with others a new conversation begins, and this one is kept."""
        from ftui.screens.chat_settings import ChatSettingsScreen

        def answered(answer: tuple[list[Adapter | None], ChatConfig] | None) -> None:
            if answer is not None:
                self._begin(ChatScreen(answer[0], self.there, answer[1]))

        if self.config is not None and self._may_begin():
            screen = ChatSettingsScreen(self.ftui.workspace.home, self.partners, self.there, self.config)
            self.app.push_screen(screen, answered)

    def action_earlier(self) -> None:
        """Go on with a conversation that is kept."""
        from ftui.screens.earlier_chats import EarlierChatsScreen

        def answered(kept: Kept | None) -> None:
            if kept is None or self.ftui.engine is None:
                return
            try:
                partners = kept.adapters(self.ftui.engine.adapters)
            except UserError as error:
                self.ftui.show_error(error)
            else:
                self._begin(ChatScreen(partners, self.there, kept.config, kept))

        if self._may_begin():
            self.app.push_screen(EarlierChatsScreen(self.ftui.workspace), answered)

    def _may_begin(self) -> bool:
        if self.asking:
            self.ftui.say("An answer is coming", "Wait for its end, or leave with esc.", severity="warning")
        return self.app.screen is self and not self.asking

    def _begin(self, screen: ChatScreen) -> None:
        self._close_model()
        self.app.switch_screen(screen)

    def action_leave(self) -> None:
        self._close_model()
        self.dismiss(None)

    def _close_model(self) -> None:
        """Also in the middle of an answer: then it is broken off."""
        if self.model is not None:
            model, self.model = self.model, None
            self.ftui.in_daemon(model.close)
