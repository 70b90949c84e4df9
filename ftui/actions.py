"""Every action of the app, once: its key, its words, where it is valid and why it may be disabled.

Keys, the footer, the help and the command palette are made from `ACTIONS`. A screen
carries out the action `name` with its method `do_<name>`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

PANES = {
    "dataset": "Dataset", "params": "Parameters", "run": "Run", "adapters": "Adapters",
    "samples": "Samples", "voice_params": "Voice parameters", "voice_run": "Voice run", "voices": "Voices",
}  # fmt: skip
LLM = ("dataset", "params", "run", "adapters")
TTS = ("samples", "voice_params", "voice_run", "voices")
ALL = (*LLM, *TTS)
VOICE_FORM = ("voice_params",)
SAMPLES = ("samples",)
FORMS = ("params", *VOICE_FORM)
START_PANES = ("dataset", "params")
RUNS = ("run", "voice_run")
DELETES = ("dataset", "adapters", "samples", "voices")
ADAPTERS = ("adapters",)
CHAT = ("params", "run", "adapters")  # in Dataset its key counts tokens
FOOTER_LIMIT = 7


@dataclass(frozen=True)
class Facts:
    """What decides whether an action can be done now."""

    place: str = "llm"
    pane: str = "dataset"
    loaded: bool = True  # the engine is there
    busy: str = ""  # what is being started
    dataset: str | None = None
    preparing: bool = False
    problem: str = ""  # what is wrong with the parameters
    run: str | None = None
    run_kind: str = ""
    run_state: str = ""
    adapters: int = 0  # all there are, also those that a filter hides
    adapter: str | None = None
    adapter_complete: bool = False
    active_adapter: str | None = None
    undo: str = ""
    searching: bool = False
    samples: int = 0
    transcribed: int = 0
    sample: str | None = None
    voice: str | None = None

    @property
    def run_active(self) -> bool:
        return self.run_state in ("queued", "running", "stopping", "orphan")


def _always(facts: Facts) -> str:
    return ""


def _start(facts: Facts) -> str:
    if not facts.loaded or facts.busy:
        return facts.busy or "Still loading"
    if facts.dataset is None:
        return "No dataset yet: press o to open a chat export, or D for the demo"
    return facts.problem


def _launch(facts: Facts) -> str:
    return facts.busy or ("" if facts.loaded else "Still loading")


def _open(facts: Facts) -> str:
    return "A dataset is being prepared: wait, or press x to stop it" if facts.preparing else _launch(facts)


def _demo(facts: Facts) -> str:
    if facts.run_active:
        return f"{facts.run} is running: press x to stop it first"
    return _open(facts)


def _stop(facts: Facts) -> str:
    if facts.pane == "dataset" and facts.preparing:
        return ""
    if facts.run is None:
        return "Nothing runs: press s to start"
    if facts.run_state == "stopping":
        return f"{facts.run} is stopping already"
    return "" if facts.run_active else f"{facts.run} is not running"


def _resume(facts: Facts) -> str:
    if facts.run is None:
        return "No run yet: press s to start one"
    if facts.run_active:
        return f"{facts.run} is running"
    if facts.run_state == "done":
        return f"{facts.run} is finished: press s to start a new training"
    if facts.run_kind not in ("train", "voice"):
        return "Only a training can be resumed: press t to choose one"
    return _launch(facts)


def _needs_run(facts: Facts) -> str:
    return "" if facts.run else "No run yet: press s to start one"


def _needs_search(facts: Facts) -> str:
    return "" if facts.searching else "Nothing is searched for: press /"


def _needs_dataset(facts: Facts) -> str:
    return "" if facts.dataset else "No dataset yet: press o"


def _change(facts: Facts) -> str:
    return _needs_dataset(facts) or _launch(facts)


def _tokens(facts: Facts) -> str:
    return _needs_dataset(facts) or ("" if facts.loaded else "The parameters are still loading")


def _activate(facts: Facts) -> str:
    if facts.adapter is None:
        return "No adapter yet: press s to train one"
    if facts.adapter == facts.active_adapter:
        return f"{facts.adapter} is active already"
    return "" if facts.adapter_complete else f"{facts.adapter} is incomplete: train it again"


def _needs_adapters(facts: Facts) -> str:
    return "" if facts.adapters else "No adapter yet: press s to train one"


def _needs_adapter(facts: Facts) -> str:
    if not facts.adapters:
        return "No adapter yet: press s to train one, or I to import one"
    return "" if facts.adapter else "No adapter holds these words: press / to change them"


def _base(facts: Facts) -> str:
    return "" if facts.active_adapter else "No adapter is active: the base model is used"


def _delete(facts: Facts) -> str:
    if facts.pane == "samples":
        return _needs_sample(facts)
    if facts.pane == "voices":
        return _needs_voice(facts)
    if facts.pane == "dataset":
        return "" if facts.dataset else "There is no dataset to delete"
    return "" if facts.adapter else "There is no adapter to delete"


def _evaluate(facts: Facts) -> str:
    if facts.adapter is None:
        return "No adapter yet: press s to train one"
    if not facts.adapter_complete:
        return f"{facts.adapter} is incomplete: train it again"
    return f"{facts.run} is running: wait, or press x" if facts.run_active else _launch(facts)


def _undo(facts: Facts) -> str:
    return "" if facts.undo else "Nothing to undo: nothing was deleted, renamed or merged in this session"


def _needs_sample(facts: Facts) -> str:
    return "" if facts.sample else "No sample yet: press o to add recordings"


def _needs_voice(facts: Facts) -> str:
    return "" if facts.voice else "No voice yet: train one in Voice parameters with s"


def _compare(facts: Facts) -> str:
    return _needs_voice(facts) or _launch(facts)


def _transcribe(facts: Facts) -> str:
    return _launch(facts) or _needs_sample(facts)


def _voice_demo(facts: Facts) -> str:
    return f"{facts.run} is running: press x to stop it first" if facts.run_active else _launch(facts)


def _verify(facts: Facts) -> str:
    if not facts.transcribed:
        return "No sample has a text yet: press s in Samples" if facts.samples else _needs_sample(facts)
    return facts.problem


def _train_voice(facts: Facts) -> str:
    return _launch(facts) or _verify(facts)


def _answers(facts: Facts) -> str:
    return _needs_run(facts) or ("" if facts.run_kind == "train" else "Only a training of a language model has answers")


@dataclass(frozen=True)
class Action:
    """One thing that can be done.

    label: for help and palette; short: for the footer; panes: where it is valid, all if empty;
    footer: the panes whose footer shows it; blocked: why it cannot be done now, "" if it can.
    """

    name: str
    key: str
    label: str
    short: str = ""
    panes: tuple[str, ...] = ()
    footer: tuple[str, ...] = ()
    blocked: Callable[[Facts], str] = _always


ACTIONS = (
    Action("llm", "1", "Language model", "LLM"),
    Action("tts", "2", "Voice", "Voice"),
    Action("open", "o", "Open chats, a dataset file or a folder", "Open", LLM, ("dataset",), _open),
    Action("demo", "D", "Run the demo: a small training on a sample chat", "Demo", LLM, ("dataset",), _demo),
    Action("preset", "p", "Choose a preset", "Preset", LLM, ("params",), _launch),
    Action("models", "B", "Base models: choose one, fetch one from the hub", "Models", LLM, (), _launch),
    Action("edit", "enter", "Edit the parameter", "Edit", FORMS, FORMS),
    Action("reset", "backspace", "Back to the preset's value", "Reset", FORMS),
    Action("start", "s", "Start training", "Start", LLM, START_PANES, _start),
    Action("check", "v", "Verify before training: memory, time, mask", "Verify", START_PANES, ("params",), _start),
    Action("read", "enter", "Read the dialogs", "Read", ("dataset",), ("dataset",), _needs_dataset),
    Action("problems", "e", "List what could not be read, by line", "Problems", ("dataset",), (), _needs_dataset),
    Action("previous_page", "[", "Previous dialogs", "Previous", ("dataset",), (), _needs_dataset),
    Action("next_page", "]", "Next dialogs", "Next", ("dataset",), (), _needs_dataset),
    Action("tokens", "m", "See what is learned, token by token", "Mask", ("dataset",), ("dataset",), _tokens),
    Action("count", "c", "Count all tokens exactly, by source", "Count", ("dataset",), (), _tokens),
    Action("rename", "R", "Rename the dataset", "Rename", ("dataset",), (), _needs_dataset),
    Action("merge", "M", "Merge datasets into one", "Merge", ("dataset",), (), _change),
    Action("export", "w", "Write the dataset for another program", "Write", ("dataset",), (), _change),
    Action("add_samples", "o", "Add recordings: a file, a folder, a zip, an export", "Add", TTS, ("samples",), _launch),
    Action("voice_demo", "D", "Run the demo: the whole way with a tiny model", "Demo", TTS, (), _voice_demo),
    Action("transcribe", "s", "Write down what is said", "Write down", ("samples",), ("samples",), _transcribe),
    Action("play", "enter", "Play the sample", "Play", ("samples",), ("samples",), _needs_sample),
    Action("edit_text", "e", "Edit what is said in it", "Edit", ("samples",), ("samples",), _needs_sample),
    Action("view", "v", "Show the doubtful ones, those without a text, all", "View", ("samples",), (), _needs_sample),
    Action("replace", "f", "Find and replace in all transcripts", "Replace", ("samples",), (), _needs_sample),
    Action("rename_sample", "R", "Rename the sample", "Rename", ("samples",), (), _needs_sample),
    Action("export_samples", "w", "Write all samples for another program", "Write", ("samples",), (), _needs_sample),
    Action("take_texts", "I", "Take transcripts in: CSV, JSONL, metadata.csv", "Texts", SAMPLES, (), _needs_sample),
    Action("reference", "p", "Make it the voice's reference clip, or not", "Reference", SAMPLES, (), _needs_sample),
    Action("check_voice", "v", "Verify before training: memory, disk, time", "Verify", VOICE_FORM, VOICE_FORM, _verify),
    Action("rows", "m", "See the dataset: what will be trained", "Dataset", VOICE_FORM),
    Action("train_voice", "s", "Train a voice of the samples", "Start", VOICE_FORM, VOICE_FORM, _train_voice),
    Action("say", "enter", "Let the voice speak", "Speak", ("voices",), ("voices",), _needs_voice),
    Action("epochs", "v", "Show its epochs and what was heard", "Epochs", ("voices",), ("voices",), _needs_voice),
    Action("compare", "c", "All epochs speak, for a page to listen to", "Compare", ("voices",), ("voices",), _compare),
    Action("export_voice", "w", "Write the voice as an archive", "Write", ("voices",), (), _needs_voice),
    Action("stop", "x", "Stop: save a checkpoint, then end", "Stop", ALL, RUNS, _stop),
    Action("resume", "r", "Resume from the last checkpoint", "Resume", ALL, RUNS, _resume),
    Action("find", "/", "Search in the log", "Find", RUNS, RUNS, _needs_run),
    Action("next_match", "n", "Next match", "Next", RUNS, (), _needs_search),
    Action("previous_match", "N", "Previous match", "Previous", RUNS, (), _needs_search),
    Action("log_scale", "l", "Loss chart: logarithmic or linear", "Log scale", RUNS, (), _needs_run),
    Action("answers", "a", "Sample answers, evaluation by evaluation", "Answers", ("run",), (), _answers),
    Action("filter", "/", "Filter the adapters by words", "Filter", ADAPTERS, (), _needs_adapters),
    Action("sort", "O", "Order the adapters by the next column", "Sort", ADAPTERS, (), _needs_adapter),
    Action("card", "v", "View the adapter's card; note, tag or copy it", "Card", ADAPTERS, (), _needs_adapter),
    Action("rename", "R", "Rename the adapter", "Rename", ADAPTERS, (), _needs_adapter),
    Action("export", "w", "Write the adapter: archive, GGUF, AWQ, ONNX", "Write", ADAPTERS, (), _needs_adapter),
    Action("take_in", "I", "Import an adapter: a folder or a zip archive", "Import", LLM, (), _launch),
    Action("chat", "c", "Chat: the base model and adapters side by side", "Chat", CHAT, ADAPTERS, _launch),
    Action("servers", "V", "Model servers: start, stop, adopt, see the log", "Servers", LLM, (), _launch),
    Action("activate", "enter", "Activate the adapter", "Activate", ("adapters",), ("adapters",), _activate),
    Action("base", "b", "Back to the base model", "Base", ("adapters",), ("adapters",), _base),
    Action("merge_adapter", "M", "Merge: into the base model, or adapters into one", "Merge", ADAPTERS, (), _evaluate),
    Action("evaluate", "e", "Evaluate: base against adapter", "Evaluate", ("adapters",), ("adapters",), _evaluate),
    Action("delete", "d", "Delete (to the trash)", "Delete", DELETES, ("adapters", "samples", "voices"), _delete),
    Action("undo", "u", "Undo the last delete, rename, merge or edit", "Undo", ALL, ("voices",), _undo),
    Action("copy", "y", "Copy the command shown", "Copy", LLM, ("params",), _needs_dataset),
    Action("copy", "y", "Copy the command shown", "Copy", VOICE_FORM, VOICE_FORM),
    Action("runs", "t", "All runs", "Runs", ALL, RUNS, _launch),
    Action("sweeps", "S", "Sweeps: search for good parameters", "Sweeps", LLM, (), _launch),
    Action("machine", "i", "What this machine has", "Machine", ALL, (), _launch),
    Action("zoom", "z", "Zoom the pane", "Zoom", ALL, VOICE_FORM),
    Action("next_pane", "tab", "Next pane"),
    Action("previous_pane", "shift+tab", "Previous pane"),
    Action("down", "j", "Down"),
    Action("up", "k", "Up"),
    Action("top", "g", "First line"),
    Action("bottom", "G", "Last line; a log follows again", "Follow", footer=RUNS),
    Action("back", "escape", "One level out"),
    Action("palette", ":", "Command palette (also ctrl+p)", "Palette"),
    Action("help", "?", "Help: all keys", "Help", footer=ALL),
    Action("quit", "q", "Quit; a training goes on", "Quit", footer=ALL),
)  # fmt: skip

KEYS = tuple(dict.fromkeys(action.key for action in ACTIONS))


def find(key: str, pane: str) -> Action | None:
    """The action of `key` in `pane`."""
    return next((action for action in ACTIONS if action.key == key and valid(action, pane)), None)


def valid(action: Action, pane: str) -> bool:
    return not action.panes or pane in action.panes


def elsewhere(key: str, pane: str) -> str:
    """Why a key does nothing in `pane`: where it is valid."""
    here = TTS if pane in TTS else LLM
    panes = [PANES[name] for action in ACTIONS if action.key == key for name in action.panes if name in here]
    if panes:
        return f"That key is for {' and '.join(dict.fromkeys(panes))}: press tab"
    return "That key belongs to the language model: press 1" if here is TTS else "That key belongs to voices: press 2"


def for_footer(pane: str) -> list[Action]:
    return [action for action in ACTIONS if pane in action.footer][:FOOTER_LIMIT]
