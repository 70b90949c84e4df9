"""What is done with one adapter from the Adapters pane: its card, in and out, talking to it, serving it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual.content import Content

from engines.contract.errors import UserError
from engines.weights.adapters import Adapter
from engines.workspace import check_name
from ftui.adapter_table import card
from ftui.clean import clean, clean_line
from ftui.screens.ask_text import AskText
from ftui.screens.dialog import Question

if TYPE_CHECKING:
    from engines.running.runs import Run
    from ftui.screens.llm import LLMScreen
    from ftui.screens.llm_jobs import Jobs

TITLE_WIDTH = 12
WRITTEN = [
    ("z", "Zip archive or folder: for peft, vLLM and others", "archive"),
    ("g", "GGUF: llama.cpp, Ollama, LM Studio", "gguf"),
    ("a", "AWQ or GPTQ: vLLM, in 4 bit", "awq"),
    ("o", "ONNX: onnxruntime-genai, several adapters on one base", "onnx"),
]


class AdapterJobs:
    """Each engine call is in the background; the disk is looked at again afterwards."""

    def __init__(self, screen: LLMScreen, jobs: Jobs):
        self.screen = screen
        self.jobs = jobs

    @property
    def adapter(self) -> Adapter | None:
        return self.screen.adapter_panel.adapter

    def _do(self, work: Callable[[], Any], said: str, then: Callable[[Any], None] | None = None) -> None:
        def done(value: Any) -> None:
            self.jobs.ftui.say(said)
            if then is not None:
                then(value)
            self.screen.scan()

        self.jobs.ftui.in_background("adapter", work, done)

    def _ask(self, dialog: AskText, answered: Callable[[str], None]) -> None:
        def closed(text: str | None) -> None:
            if text is not None:
                answered(text)

        self.screen.app.push_screen(dialog, closed)

    # --- the card ---

    def do_card(self) -> None:
        adapter = self.adapter
        if adapter is None:
            return
        rows = [(f"{title:<{TITLE_WIDTH}}", clean(value)) for title, value in card(adapter)]
        text = Content("\n").join(Content.assemble((title, "$foreground-muted"), value) for title, value in rows)
        answers = [
            ("n", "Note: write one on the card", "note"),
            ("t", "Tags: put on and take off", "tags"),
            ("y", "Copy: a second adapter with the same weights", "copy"),
        ]
        question = Question(clean_line(adapter.name), Content.assemble(text, "\n"), answers)
        self.screen.app.push_screen(question, partial(self._card_answered, adapter))

    def _card_answered(self, adapter: Adapter, answer: str | None) -> None:
        adapters, name = self.jobs.engine.adapters, adapter.name
        if answer == "note":
            dialog = AskText(
                f"Note on {name}", "What is worth knowing about it; empty removes the note.", adapter.notes
            )
            self._ask(dialog, lambda text: self._do(partial(adapters.note, name, text), f"Noted on {name}"))
        elif answer == "tags":
            dialog = AskText(f"Tags of {name}", "Words with spaces between them.", " ".join(adapter.tags), _check_tags)
            self._ask(dialog, lambda text: self._do(partial(self._tag, adapter, text.split()), f"{name} has its tags"))
        elif answer == "copy":
            dialog = AskText(
                f"Copy {name}", "The name of the copy.", adapters.free_name(name), self.jobs.engine.adapters.check_free
            )
            self._ask(dialog, lambda new: self._do(partial(adapters.copy, name, new), f"{new} is a copy of {name}"))

    def _tag(self, adapter: Adapter, tags: list[str]) -> Adapter:
        gone = [tag for tag in adapter.tags if tag not in tags]
        return self.jobs.engine.adapters.tag(adapter.name, tags, gone)

    def do_rename(self) -> None:
        if self.adapter is None:
            return
        activation, before = self.jobs.engine.activation, self.adapter.name

        def renamed(adapter: Adapter) -> None:
            back = partial(activation.rename, adapter.name, before)
            self.jobs.ftui.undo_stack.append((f"{before} has its name back", back))

        dialog = AskText(f"Rename {before}", "Its new name.", before, self.jobs.engine.adapters.check_free)
        self._ask(
            dialog, lambda new: self._do(partial(activation.rename, before, new), f"{before} is now {new}", renamed)
        )

    # --- in and out ---

    def do_export(self) -> None:
        """Ask for which program: an archive is written at once, the others are jobs with a form."""
        if self.adapter is None:
            return
        question = Question(f"Write {clean_line(self.adapter.name)}", Content("For which program?"), WRITTEN)
        self.screen.app.push_screen(question, self._export_answered)

    def _export_answered(self, answer: str | None) -> None:
        if answer == "archive":
            self._write_archive()
        elif answer:
            self.screen.export_jobs.ask(answer)

    def _write_archive(self) -> None:
        from engines.weights.adapter_transfer import export_adapter

        if self.adapter is None:
            return
        adapter = self.adapter
        hint = "A new folder, or a new file that ends with .zip, which peft, vLLM and others load as it is."
        dialog = AskText(f"Write {adapter.name}", hint, str(Path.cwd() / f"{adapter.name}.zip"))
        self._ask(
            dialog,
            lambda path: self._do(
                partial(export_adapter, adapter, Path(path).expanduser().absolute()), f"{adapter.name} is in {path}"
            ),
        )

    def do_take_in(self) -> None:
        from ftui.screens.open_file import OpenFileScreen

        def chosen(path: Path | None) -> None:
            if path is not None:
                self._take_in(path, None)

        self.screen.app.push_screen(OpenFileScreen(Path.cwd(), "Import an adapter: its folder or archive"), chosen)

    def _take_in(self, path: Path, base_model: str | None) -> None:
        """Import; where the base model is not known here, ask for it."""
        from engines.weights.adapter_transfer import import_adapter

        engine = self.jobs.engine

        def failed(error: Exception) -> None:
            if not isinstance(error, UserError) or "--base-model" not in error.next_step:
                self.jobs.ftui.show_error(error)
                return
            dialog = AskText("Which base model?", f"{error.cause}. A folder, or owner/name on the hub.")
            self._ask(dialog, lambda base: self._take_in(path, base) if base else None)

        told: list[str] = []

        def done(adapter: Adapter) -> None:
            self.jobs.ftui.say(f"✓ {adapter.name} is here", "enter activates it.")
            for text in told:
                self.jobs.ftui.say(f"! {text}", severity="warning")
            self.screen.go_to("adapters")
            self.screen.scan()

        work = partial(import_adapter, engine.adapters, engine.models, path, base_model=base_model, tell=told.append)
        self.jobs.ftui.in_background("adapter", work, done, failed)

    # --- talking and serving ---

    def do_chat(self) -> None:
        """The base model, the chosen adapter and, if it is another one of the same base, the active one."""
        from ftui.screens.chat import ChatScreen

        panel = self.screen.adapter_panel
        active = next((adapter for adapter in panel.found if adapter.active), None)
        chosen = panel.adapter if panel.adapter is not None and panel.adapter.complete else active
        partners: list[Adapter | None] = [None]
        if chosen is not None:
            partners.append(chosen)
        if active and chosen and active.name != chosen.name and active.base_model == chosen.base_model:
            partners.append(active)
        self.screen.app.push_screen(ChatScreen(partners, panel.found))

    def do_servers(self) -> None:
        from ftui.screens.servers import ServersScreen

        def chosen(run: Run | None) -> None:
            if run is not None:
                self.jobs.show_run(run)

        self.screen.app.push_screen(ServersScreen(self.jobs.engine.serving), chosen)


def _check_tags(text: str) -> None:
    for tag in text.split():
        check_name(tag, "a tag")
