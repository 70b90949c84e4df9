"""What can be started, stopped and looked at from the language-model screen."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from textual.content import Content

from engines.running.runs import Run
from ftui import command_line
from ftui.screens import confirm
from ftui.screens.dialog import TextDialog
from ftui.screens.run_jobs import RunJobs

if TYPE_CHECKING:
    from engines.config.generate import GenerateConfig
    from engines.config.job import JobConfig
    from engines.llm import LLMEngine
    from ftui.screens.llm import LLMScreen

DEMO_DATASET = "sample"
SHOWN_ROWS = 5


class Jobs(RunJobs):
    """The actions that concern more than one pane. Each engine call that may take time is in the background."""

    screen: LLMScreen

    def __init__(self, screen: LLMScreen):
        super().__init__(screen)
        self._demo = False  # a preparation that the demo's training waits for
        self._machine_asked = False

    @property
    def engine(self) -> LLMEngine:
        assert self.ftui.engine is not None  # actions are blocked until it is loaded
        return self.ftui.engine

    def again(self) -> dict[str, Callable[[Run], Run]]:
        return {"repeat": self.engine.repeat, "extend": lambda run: self.engine.extend(run, 1.0)}

    # --- datasets ---

    def do_open(self) -> None:
        from ftui.screens.open_file import OpenFileScreen

        self.screen.app.push_screen(OpenFileScreen(Path.cwd()), self._file_chosen)

    def _file_chosen(self, path: Path | None) -> None:
        from engines.config.generate import GenerateConfig
        from engines.config.prepare import PrepareConfig

        if path is None:
            return
        if not path.is_dir():
            self._ask_parameters(path, PrepareConfig)
            return

        def answered(answer: str | None) -> None:
            if answer is not None:
                self._ask_parameters(path, GenerateConfig if answer == "project" else PrepareConfig)

        self.screen.app.push_screen(confirm.folder(path.name), answered)

    def _ask_parameters(self, path: Path, model: type[JobConfig]) -> None:
        from ftui.screens.prepare import PrepareScreen

        taken = set(self.screen.dataset_panel.datasets)
        screen = PrepareScreen(self.ftui.workspace.home, path, self.engine.dataset_name(path), taken, model)
        self.screen.app.push_screen(screen, self._prepare)

    def _prepare(self, wish: tuple[Path, str, JobConfig] | None) -> None:
        from engines.config.prepare import PrepareConfig
        from engines.data.generate import generate

        if wish is None:
            return
        path, name, config = wish

        def work() -> Run:
            if isinstance(config, PrepareConfig):
                return self.engine.prepare(path, config, name=name)
            return generate(self.engine, path, cast("GenerateConfig", config), name=name)

        self.launch("Opening", work, self._preparing)

    def _preparing(self, run: Run) -> None:
        self.screen.go_to("dataset")
        self.screen.dataset_panel.follow(run)

    def prepared(self, run: Run, state: str) -> None:
        """A preparation that this screen followed has ended."""
        demo, self._demo = self._demo, False
        if state == "done":
            self.screen.wanted_dataset = run.name
            if demo:
                self._start_demo()
            elif replaced := run.result().get("replaced"):
                restore = partial(self.engine.datasets.restore, Path(replaced))
                self.ftui.undo_stack.append((f"{run.name} is as before; the newer one is in the trash", restore))
                self.ftui.say(f"✓ {run.name} is ready; the one before is in the trash", "u brings that back.")
            else:
                self.ftui.say(f"✓ {run.name} is ready", "s starts a training with it.")
        elif state == "failed":
            status = run.status()
            self.ftui.say(f"✗ {run.name}: {status.cause}", status.next_step, severity="error")
        self.screen.scan()

    def do_demo(self) -> None:
        if DEMO_DATASET in self.screen.dataset_panel.datasets:
            self._start_demo()
            return
        from engines.config.prepare import PrepareConfig
        from engines.llm import SAMPLE

        self._demo = True
        self.launch(
            "Opening the sample",
            lambda: self.engine.prepare(SAMPLE, PrepareConfig(), name=DEMO_DATASET),
            self._preparing,
        )

    def _start_demo(self) -> None:
        from engines.config.train import preset

        if self.screen.params is not None:
            self.screen.params.use_preset("demo")

        def start() -> Run:
            return self.engine.train(self.engine.datasets.get(DEMO_DATASET), preset("demo"))

        self.launch("Starting the demo", start, self.started)

    # --- trainings ---

    def command(self) -> str:
        """What `s` does, as a command; empty if it cannot be done."""
        params, dataset = self.screen.params, self.screen.dataset_panel.dataset
        if params is None or dataset is None or params.form.problem:
            return ""
        form = params.form
        return command_line.train(
            self.ftui.workspace.home, dataset.name, params.preset, form.differences, params.adapter_name
        )

    def do_preset(self) -> None:
        if self.screen.params is not None:
            self.screen.go_to("params")
            self.screen.params.choose_preset()

    def do_models(self) -> None:
        from ftui.screens.base_models import BaseModelsScreen

        def answered(answer: tuple[str, str] | None) -> None:
            if answer is None or self.screen.params is None:
                return
            what, name = answer
            if what == "fetch":
                self.launch("Fetching", lambda: self.engine.download(name), self.started)
                return
            self.screen.params.form.change("base_model", name)
            self.screen.go_to("params")

        self.screen.app.push_screen(BaseModelsScreen(self.engine.models), answered)

    def do_start(self) -> None:
        params, dataset = self.screen.params, self.screen.dataset_panel.dataset
        config = params.form.config if params else None
        if params is not None and config is not None and dataset is not None:
            name = params.adapter_name or None
            self.launch("Starting", lambda: self.engine.train(dataset, config, name=name), self.started)

    def do_check(self) -> None:
        self._check(probe=False)

    def _check(self, *, probe: bool) -> None:
        """Ask what the training will be, and show it; the answer may change the form, or ask for more."""
        from ftui.screens.preflight import PreflightScreen

        params, dataset = self.screen.params, self.screen.dataset_panel.dataset
        config = params.form.config if params else None
        if params is None or config is None or dataset is None:
            return

        def answered(answer: str | None) -> None:
            if answer == "probe":
                self._check(probe=True)
            elif answer == "fit":
                params.form.fill(params.form.base, config.model_copy(update=found["changes"]))
                self.ftui.say(f"Changed, so that it fits: {' '.join(command_line.flags(found['changes']))}")
                self.screen.go_to("params")

        found: dict[str, Any] = {}

        def show(answer: dict[str, Any]) -> None:
            found.update(answer)
            self.screen.app.push_screen(PreflightScreen(found), answered)

        def phase(text: str) -> None:
            self.ftui.call_from_thread(self.ftui.say, f"{text}…")

        self.ftui.say("Loading the model to measure it…" if probe else "Looking at the dataset and the model…")
        self.launch("Checking", lambda: self.engine.preflight(dataset, config, probe=probe, on_phase=phase), show)

    def started(self, run: Run) -> None:
        self.screen.run_panel.show(run)
        self.screen.go_to("run")

    def run_to_stop(self) -> Run | None:
        preparing = self.screen.dataset_panel.preparing
        return preparing if preparing is not None and self.screen.pane == "dataset" else self.screen.run_panel.run

    def resume(self, run: Run) -> object:
        return self.engine.resume(run)

    def show_run(self, run: Run) -> None:
        self.started(run)
        self.screen.tuning.open(run)

    def running(self) -> Run | None:
        lists = self.screen.lists
        return super().running() or (lists.training if lists is not None and lists.training_active else None)

    # --- a look at the tokens ---

    def do_tokens(self) -> None:
        """The page of dialogs that the preview shows, as a model is trained on it with the parameters of the form."""
        dataset, panel = self.screen.dataset_panel.dataset, self.screen.params
        if dataset is None or panel is None or panel.form.config is None:
            return
        config, first = panel.form.config, self.screen.dataset_panel.first
        self.ftui.say("Reading the tokenizer…")
        from engines.data import looks

        work = partial(looks.show_tokens, self.engine, dataset, config, first, SHOWN_ROWS)
        self.ftui.in_background("tokens", work, self._show_tokens)

    def _show_tokens(self, found: dict[str, Any]) -> None:
        from ftui.widgets.token_view import draw

        self.ftui.push_screen(TextDialog("What is learned", draw(found)))

    # --- the machine ---

    def show_machine_in_pane(self) -> None:
        """What was found here, in the empty Dataset pane."""
        from ftui.widgets.machine import first_run

        panel = self.screen.dataset_panel
        if not self._machine_asked:
            self._machine_asked = True
            panel.show_machine(Content.styled("looking at this machine…", "$foreground-muted"))
        self.ftui.in_background("doctor", self.engine.doctor, lambda found: panel.show_machine(first_run(found)))
