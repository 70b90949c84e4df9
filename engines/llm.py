"""The language-model engine: everything the LLM screen and `ftui llm` can do.

Each job is a run (see runs.py) of one script in finetune/. Nothing here blocks on a job:
a method starts it and returns the run, which any face can follow.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from engines import preflight
from engines.config.job import HUB_NAME, build
from engines.config.prepare import PrepareConfig
from engines.config.train import TrainConfig, check_together
from engines.contract import estimate, fingerprints, statefiles
from engines.contract.errors import UserError
from engines.data.datasets import SUFFIX, Dataset, Datasets
from engines.expected_time import expected_seconds
from engines.running import devices, history
from engines.running.questions import OnPhase
from engines.running.runs import Run, Runs, RunStatus
from engines.servers.activation import Activation
from engines.servers.server_fit import same_base
from engines.setup import doctor, gguf_tools
from engines.setup.environments import Environments
from engines.weights.adapters import Adapter, Adapters
from engines.weights.models import Models
from engines.weights.results import Results
from engines.workspace import Workspace, name_from

SAMPLE = Path(__file__).resolve().parent.parent / "finetune" / "sample" / "result.json"


class LLMEngine:
    """The jobs of the language-model side, on one workspace."""

    def __init__(self, workspace: Workspace):
        self.workspace = workspace
        self.runs = Runs(workspace)
        self.datasets = Datasets(workspace)
        self.adapters = Adapters(workspace)
        self.activation = Activation(workspace)
        self.serving = self.activation.serving
        self.models = Models(workspace)
        self.environments = Environments(workspace)
        self.results = Results(self.runs, self.models, self.adapters)

    # --- datasets ---

    def prepare(
        self, source: Path | str, config: PrepareConfig, *, name: str | None = None, output: Path | str | None = None
    ) -> Run:
        """Turn files of any known format into `messages` JSONL, in the workspace or exactly at `output`.

        source: a file, a folder, a zip archive, or the name of a dataset on the hub (owner/name).
        """
        file = Path(source).expanduser().absolute()
        on_hub = not file.exists() and HUB_NAME.fullmatch(str(source)) is not None
        if not file.exists() and not on_hub:
            raise UserError("not_found", f"there is no file or folder {file}", "Check the path.")
        target = self.datasets.target(name or self.dataset_name(source if on_hub else file), output)
        argv = [sys.executable, "-m", "finetune.prepare_dataset", str(source) if on_hub else str(file), str(target)]
        listener = self._listener(config) if config.transcribe_voice else None
        argv += ["--transcriber", "{run}/transcriber.json"] if listener else []
        argv += [] if output else ["--home", str(self.workspace.home)]
        run = self.runs.create(
            "prepare", target.name.removesuffix(SUFFIX), [*argv, "--config", "{run}/config.json"],
            config=config.model_dump(), source=str(source) if on_hub else str(file), output=str(target),
        )  # fmt: skip
        if listener:
            statefiles.write_json(run.folder / "transcriber.json", listener)
        self.runs.start(run)
        return run

    def _listener(self, config: PrepareConfig) -> dict[str, Any]:
        from engines.voice.transcriber import transcriber  # with all of the voice's engine

        return transcriber(self.workspace, config.whisper_model, config.language)

    def dataset_name(self, source: Path | str) -> str:
        """A name for what is made of `source`, and of nothing else; `result.json` is named after its folder."""
        path = Path(source)
        vague = path.stem in ("result", "_chat", "conversations") and path.parent.name
        stem = path.parent.name if vague else path.stem
        return self.datasets.free_name(name_from(stem.removesuffix("_dataset")), str(source))

    # --- training ---

    def last_config(self) -> TrainConfig | None:
        """The parameters of the last training, if they can be read."""
        saved = statefiles.read_json(self.workspace.training_config)
        try:
            return build(TrainConfig, saved) if isinstance(saved, dict) else None
        except UserError:
            return None

    def family_defaults(self, base_model: str, device: str = "auto") -> dict[str, float]:
        """Parameters of which the family of `base_model` wants others than the presets have; none if it is unknown."""
        try:
            return self.models.family(self.models.resolve(base_model, devices.resolve(device))).defaults
        except UserError:
            return {}

    def check(self, dataset: Dataset, config: TrainConfig) -> list[str]:
        """What is worth knowing before a training starts, as warnings. Raises UserError for what must not start."""
        check_together(config)
        device = devices.resolve(config.device)
        model = self.models.resolve(config.base_model, device)
        warnings = preflight.advice(config, self.models.family(model), device)
        rows = self.datasets.count_rows(dataset)
        if not rows:
            raise UserError("bad_input", f"the dataset {dataset.name} is empty", "Prepare it again.")
        few = estimate.check_steps(max(1, round(rows * (1 - config.eval_share))), config)
        if few:
            warnings.append(few)
        self.environments.require("llm")
        return warnings

    def preflight(
        self, dataset: Dataset, config: TrainConfig, *, probe: bool = False, on_phase: OnPhase | None = None
    ) -> dict[str, Any]:
        """All that can be known of a training before it starts; takes some seconds, see engines/preflight.py.

        on_phase: is told what is being done. Raises UserError for what must not start.
        """
        check_together(config)
        config = self.as_seen_from_here(config)
        device = devices.resolve(config.device)
        model = self.models.resolve(config.base_model, device)
        python, env = self.environments.require("llm"), self._training_variables(config)
        config = config.model_copy(update={"device": device})
        with ThreadPoolExecutor(1) as beside:
            base, tools = self.models.folder_of(model), gguf_tools.folder(self.workspace)
            gguf = beside.submit(preflight.ask_gguf, python, env, base, tools)
            found = preflight.ask(python, env, dataset, model, config, device, probe=probe, on_phase=on_phase)
        time_needed = expected_seconds(self.runs, found, model, config)
        disk = devices.free_disk(self.workspace.home)
        return {
            **found,
            "device": device,
            "seconds": time_needed[0] if time_needed else None,
            "seconds_from": time_needed[1] if time_needed else None,
            "disk_free": disk,
            "fits_disk": found["disk_bytes"] <= disk,
            "gguf": gguf.result(),
            "warnings": [*preflight.advice(config, self.models.family(model), device), *found["warnings"]],
        }

    def train(
        self,
        dataset: Dataset,
        config: TrainConfig,
        *,
        name: str | None = None,
        part_of: dict[str, Any] | None = None,
        after: Run | None = None,
    ) -> Run:
        """Start (or queue, if the device is busy) a training.

        part_of: what the training is a step of, such as a sweep; noted in its spec. after: a run of the same data
        and parameters but the number of epochs, from whose last checkpoint to go on.
        """
        self.check(dataset, config)
        config = self.as_seen_from_here(config)
        device = devices.resolve(config.device)
        model = self.models.resolve(config.base_model, device)
        output = self.results.place(config, name, dataset.name)
        if part_of is None:
            statefiles.write_json(self.workspace.training_config, config.model_dump())
        argv = [
            str(self.environments.require("llm")), "-m", "finetune.train",
            "--dataset", str(dataset.path), "--model", model, "--checkpoints", "{run}/checkpoints",
            "--output", str(output), "--name", output.name, "--config", "{run}/config.json",
        ]  # fmt: skip
        run = self.runs.create(
            "train", output.name, argv,
            device=device, config=config.model_copy(update={"device": device}).model_dump(),
            env=self._training_variables(config), adapter=output.name, dataset=dataset.name, base_model=model,
            dataset_path=str(dataset.path), data_fingerprint=fingerprints.of_dataset(dataset.path),
            code=history.code_state(), packages=self.environments.report("llm").packages,
            after=after.id if after else None,
            **({"part_of": part_of} if part_of else {}),
        )  # fmt: skip
        if after is not None:
            history.copy_checkpoint(after, run)
        self.runs.start(run)
        return run

    def as_seen_from_here(self, config: TrainConfig) -> TrainConfig:
        """With whole paths of the base model and of a loss of one's own: a training runs in another folder."""
        file, _, function = config.loss.rpartition(":")
        loss = f"{Path(file).expanduser().absolute()}:{function}" if file.endswith(".py") else config.loss
        return config.model_copy(update={"base_model": self.models.from_here(config.base_model), "loss": loss})

    def repeat(self, run: Run, *, name: str | None = None, changes: dict[str, Any] | None = None) -> Run:
        """Train once more what `run` trained, with the same parameters, or with `changes` of them."""
        config = build(TrainConfig, {**history.config_of(run).model_dump(), **(changes or {})})
        data = self._data_of_run(run)
        return self.train(data, config, name=name or self.results.free_name(history.name_after(run, "again"), config))

    def extend(self, run: Run, epochs: float, *, name: str | None = None) -> Run:
        """Go on with a finished training for more epochs, as a new run with a result of its own."""
        status = run.status()
        if status.state != "done":
            raise UserError("conflict", f"{run.name} is {status.state}, not done", "Resume it instead.")
        config = history.longer(history.config_of(run), epochs)
        data = self._data_of_run(run)
        name = name or self.results.free_name(history.name_after(run, "longer"), config)
        return self.train(data, config, name=name, after=run)

    def _data_of_run(self, run: Run) -> Dataset:
        """Raises UserError if the data is not what it was."""
        dataset = self.datasets.get(run.spec.get("dataset_path") or run.spec.get("dataset", ""))
        if fingerprints.of_dataset(dataset.path) != run.spec.get("data_fingerprint"):
            raise UserError(
                "conflict",
                f"the dataset {dataset.name} is not what {run.name} was trained on",
                "Start a new training with it.",
            )
        return dataset

    def _training_variables(self, config: TrainConfig) -> dict[str, str]:
        """The environment of a training: the person's own modules can be imported where a loss of theirs is used."""
        variables = self.environments.variables("llm")
        if config.loss:
            places = [variables.get("PYTHONPATH"), os.environ.get("PYTHONPATH"), os.getcwd()]
            variables = {**variables, "PYTHONPATH": os.pathsep.join(place for place in places if place)}
        return {**variables, "WANDB_MODE": "online"} if config.report_to == "wandb" else variables

    def training_run(self, run_id: str | None = None) -> Run:
        """The run named, else the training that runs, else the newest one. Raises UserError if there is none."""
        if run_id:
            return self.runs.get(run_id, "train")
        run = self.runs.newest("train", active=True) or self.runs.newest("train")
        if run is None:
            raise UserError("not_found", "nothing has been trained yet", "Start with `ftui llm train`.")
        return run

    def stop(self, run: Run, grace_seconds: float = 60.0) -> None:
        """Ask a run to save a checkpoint and end; of a sweep's trial the whole sweep, which can be resumed."""
        sweep_id = (run.spec.get("part_of") or {}).get("sweep")
        sweep = next((found for found in self.runs.list("sweep") if found.id == sweep_id), None)
        whole = sweep is not None and sweep.status().active
        self.runs.request_stop(sweep if sweep is not None and whole else run, grace_seconds)

    def resume(self, run: Run) -> RunStatus:
        """Go on with a training from its newest complete checkpoint. Raises UserError for another kind of run."""
        if run.kind != "train":
            raise UserError(
                "usage", f"{run.name} is no training but a run of the kind {run.kind}",
                "Give its command again; sweeps have `ftui sweeps resume`, voices `ftui tts resume`.",
            )  # fmt: skip
        status = run.status()
        if status.state == "done":
            raise UserError("conflict", f"{run.name} is finished", "Start a new training.")
        self.environments.require("llm")
        return self.runs.start(run)

    # --- using it ---

    def data_of(self, adapter: Adapter) -> Dataset:
        """The dataset an adapter was trained on, by its path or, in a moved workspace, by its name."""
        if Path(adapter.dataset_path).is_file():
            return self.datasets.get(adapter.dataset_path)
        return self.datasets.get(adapter.dataset.removesuffix(SUFFIX) or adapter.name)

    def base_of(self, adapter: Adapter, base_model: str | None) -> tuple[str, str]:
        """(model, device) to run an adapter on. Raises UserError if it was made for another base."""
        if not adapter.complete:
            raise UserError("conflict", f"the adapter {adapter.name} is incomplete", "Train it again.")
        device = devices.resolve("auto")
        if base_model is None and adapter.base_model == str(self.models.embedded):
            return adapter.base_model, device  # made again by the script if it was deleted
        model = self.models.resolve(base_model or adapter.base_model, device)
        if adapter.base_model and not same_base(adapter, model):
            raise UserError(
                "conflict",
                f"the adapter {adapter.name} was trained on {adapter.base_model}, not on {model}",
                "Use its own base model, or train an adapter for this one.",
            )
        return model, device

    # --- getting ready ---

    def make_base_model(self) -> Run | None:
        """Start the conversion of the embedded model; None if it is there already."""
        if self.models.embedded_is_ready():
            return None
        argv = [str(self.environments.require("llm")), "-m", "finetune.embedded_model", str(self.models.embedded)]
        run = self.runs.create("model", self.models.embedded.name, argv, env=self.environments.variables("llm"))
        self.runs.start(run)
        return run

    def download(self, name: str, revision: str = "main") -> Run:
        """Start fetching a base model from the hub. Raises UserError for what is no name of one."""
        if not HUB_NAME.fullmatch(name):
            raise UserError("usage", f"{name[:100]!r} is no name on the hub", "Names look like owner/name.")
        argv = [str(self.environments.require("llm")), "-m", "finetune.download_model", name, "--revision", revision]
        run = self.runs.create("download", name.replace("/", "_"), argv, env=self.environments.variables("llm"))
        self.runs.start(run)
        return run

    def doctor(self) -> dict[str, Any]:
        """What this machine and workspace have, as plain data."""
        return doctor.report(self)
