"""Compare a base model with one or more adapters: how well they foretell, how they answer, what they forgot.

    python -m finetune.evaluate --model FOLDER --adapter NAME=ADAPTER/final [--adapter …] \
        --dataset D_dataset.jsonl [--eval-share 0.1] [--max-length 768] [--also NAME=FILE …] [--config CONFIG.json]

The base model is loaded once; adapters are switched on and off on it. On each set (the held-out
part of the dataset, the general set, others): perplexity and token accuracy of the learned tokens;
BLEU, chrF and ROUGE of generated answers; for rows with labels accuracy and macro-F1 of the
likeliest label. Every figure with a confidence interval, and of every adapter the change against
the base. The report goes to report.json and report.md in the run's folder (engines/quality/figures.py).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engines.config.evaluate import EvaluateConfig
from engines.config.job import load
from engines.contract import statefiles
from engines.contract.errors import UserError
from engines.contract.events import emit
from engines.contract.run_protocol import run_dir, run_script, write_result
from engines.quality import gate
from engines.quality.figures import BASE, Report
from finetune import base_model, evaluation_report, evaluation_sets, greedy, intervals, lm_eval_tasks, rows, scoring
from finetune.evaluation_sets import EvaluationSet
from finetune.scoring import Stopped
from finetune.text_scores import TextScores

EXAMPLES = 5  # answers of each set that the report shows


@dataclass
class Systems:
    """A base model and its adapters, one of them in force at a time."""

    model: Any
    tokenizer: Any
    adapters: dict[str, Path]

    @property
    def names(self) -> list[str]:
        return [BASE, *self.adapters]

    @contextmanager
    def using(self, name: str) -> Iterator[Any]:
        """The model as `name` (base or an adapter)."""
        if name == BASE:
            with self.model.disable_adapter():
                yield self.model
        else:
            self.model.set_adapter(_internal(list(self.adapters).index(name)))
            yield self.model


def _internal(number: int) -> str:
    """What peft calls an adapter; it forbids dots, which our names may have."""
    return f"a{number}"


def load_systems(source: str, adapters: dict[str, Path], config: EvaluateConfig, text_template: str = "") -> Systems:
    """Raises UserError for an adapter that was made for another base."""
    device = base_model.choose_device(config.device)
    precision = base_model.choose_precision(config.precision, device)
    quantization = base_model.choose_quantization(config.quantization, device, source)
    base_model.set_threads()
    emit("phase", name="load", text=f"loading {source} on {device}, {precision}, quantization {quantization}")
    tokenizer = base_model.load_tokenizer(source, text_template)
    model = base_model.load_model(source, device, precision, quantization)
    for number, folder in enumerate(adapters.values()):
        model = load_adapter(model, folder, _internal(number))
    return Systems(model.eval(), tokenizer, adapters)


def load_adapter(model: Any, folder: Path, name: str = "default") -> Any:
    """The model with one more adapter on it. Raises UserError if it was made for another base."""
    from peft import PeftModel

    if not (folder / "adapter_model.safetensors").is_file():
        raise UserError("not_found", f"{folder} has no adapter_model.safetensors", "Train it again, or choose another.")
    try:
        if not isinstance(model, PeftModel):
            return PeftModel.from_pretrained(model, folder, adapter_name=name)
        model.load_adapter(folder, adapter_name=name)
        return model
    except (RuntimeError, ValueError) as error:
        first = str(error).strip().splitlines()[0][:160]
        raise UserError(
            "conflict",
            f"the adapter {folder.parent.name} does not fit this base model: {first}",
            "Use the base model that it was trained on (`ftui adapters list`).",
        ) from error


class Evaluation:
    """Measures all systems on one set after another, and tells how far it is."""

    def __init__(self, systems: Systems, scores: TextScores | None, config: EvaluateConfig, max_length: int):
        self.systems = systems
        self.scores = scores
        self.config = config
        self.max_length = max_length

    def measure(self, chosen: EvaluationSet) -> dict[str, Any]:
        """The figures of one set, as in the report. Raises Stopped."""
        pairs: list[scoring.Row] = []
        conversations: list[str] = []
        for dialog in chosen.dialogs:  # a long text becomes several rows
            encoded = rows.encode([dialog], self.systems.tokenizer, self.max_length)
            pairs += zip(encoded.input_ids, encoded.labels, strict=True)
            conversations += [dialog.conversation] * len(encoded.input_ids)
        samples = [intervals.Sample(self._losses(chosen, pairs), intervals.score_losses, conversations)]
        examples: list[dict[str, Any]] = []
        if chosen.labels:
            sample, examples = self._labels(chosen)
            samples.append(sample)
        elif self.scores is not None and (questions := chosen.questions(self.config.answers)):
            sample, examples = self._answers(chosen, questions, self.scores)
            samples.append(sample)
        entry: dict[str, Any] = {
            "name": chosen.name,
            "kind": "labels" if chosen.labels else "dialogs",
            "rows": len(chosen.dialogs),
            "rows_in_all": chosen.rows_in_all,
            "conversations": len(set(chosen.conversations)),
            "tokens": sum(label != rows.IGNORED for _, labels in pairs for label in labels[1:]),
            "labels": chosen.labels,
            "figures": {name: {} for name in self.systems.names},
            "changes": {name: {} for name in self.systems.adapters},
            "examples": examples,
        }
        for sample in samples:
            figures, changes = sample.summarize(self.config.resamples, self.config.confidence, self.config.seed)
            for where, found in (("figures", figures), ("changes", changes)):
                for who, values in found.items():
                    entry[where][who] |= values
        return entry

    def _losses(self, chosen: EvaluationSet, pairs: list[scoring.Row]) -> dict[str, np.ndarray]:
        def score(model: Any, advance: Any) -> np.ndarray:
            return scoring.score_rows(model, pairs, self.config.batch_size, advance)

        return self._each(f"{chosen.name}: losses", "rows", len(pairs), score)

    def _labels(self, chosen: EvaluationSet) -> tuple[intervals.Sample, list[dict[str, Any]]]:
        def choose(model: Any, advance: Any) -> list[int]:
            return scoring.choose_labels(
                model, self.systems.tokenizer, chosen.dialogs, chosen.labels, self.max_length,
                self.config.batch_size, advance,
            )  # fmt: skip

        total = len(chosen.dialogs) * len(chosen.labels)
        said = self._each(f"{chosen.name}: labels", "labels weighed", total, choose)
        expected = [chosen.labels.index(dialog.label) for dialog in chosen.dialogs]
        statistics = {
            who: intervals.label_statistics(expected, places, len(chosen.labels)) for who, places in said.items()
        }
        wrong = [n for n, right in enumerate(expected) if any(places[n] != right for places in said.values())]
        examples = [
            {
                "prompt": chosen.dialogs[number].messages[-2]["content"],
                "expected": chosen.labels[expected[number]],
                "answers": {who: chosen.labels[places[number]] for who, places in said.items()},
            }
            for number in evaluation_sets.spread(wrong, EXAMPLES)
        ]
        return intervals.Sample(statistics, intervals.score_labels, chosen.conversations), examples

    def _answers(
        self, chosen: EvaluationSet, questions: list[tuple[int, list[rows.Message], str]], scores: TextScores
    ) -> tuple[intervals.Sample, list[dict[str, Any]]]:
        said = self.answer(f"{chosen.name}: answers", [messages for _, messages, _ in questions])
        expected = [answer for _, _, answer in questions]
        statistics = {who: scores.statistics(answers, expected) for who, answers in said.items()}
        conversations = [chosen.dialogs[number].conversation for number, _, _ in questions]
        examples = [
            {
                "prompt": questions[place][1][-1]["content"],
                "expected": expected[place],
                "answers": {who: answers[place] for who, answers in said.items()},
            }
            for place in evaluation_sets.spread(range(len(questions)), EXAMPLES)
        ]
        return intervals.Sample(statistics, scores.score, conversations), examples

    def answer(self, title: str, prompts: list[list[rows.Message]]) -> dict[str, list[str]]:
        """Every system's answers to dialogs that end with the user's turn."""

        def generate(model: Any, advance: Any) -> list[str]:
            return greedy.answer_all(
                model, self.systems.tokenizer, prompts, max_new_tokens=self.config.max_new_tokens,
                batch_size=self.config.batch_size, advance=advance,
            )  # fmt: skip

        return self._each(title, "answers", len(prompts), generate)

    def _each(self, title: str, unit: str, amount: int, work: Any) -> dict[str, Any]:
        """`work(model, advance)` of every system, with its progress."""
        emit("phase", name="evaluate", text=title)
        done, found = 0, {}

        def advance(count: int) -> None:
            nonlocal done
            done += count
            emit("progress", done=done, total=amount * len(self.systems.names), unit=unit)

        for name in self.systems.names:
            with self.systems.using(name) as model:
                found[name] = work(model, advance)
        return found


def evaluate(arguments: argparse.Namespace) -> None:
    config = load(EvaluateConfig, arguments.config)
    lm_eval_tasks.check(config)  # what is missing shows before anything is loaded
    scores = TextScores() if config.answers else None
    systems = load_systems(arguments.model, arguments.adapter, config, arguments.text_template)
    evaluation = Evaluation(systems, scores, config, arguments.max_length)
    report: Report = {"model": arguments.model, "adapters": list(systems.adapters), "confidence": config.confidence}
    report["sets"] = [evaluation.measure(chosen) for chosen in wanted_sets(arguments, config, systems.tokenizer)]
    report["sets"] += lm_eval_tasks.run(systems, config)
    prompts = [[{"role": "user", "content": prompt}] for prompt in config.prompt]
    said = evaluation.answer("questions", prompts) if prompts else {}
    report["answers"] = [
        {"prompt": prompt, "answers": {who: answers[number] for who, answers in said.items()}}
        for number, prompt in enumerate(config.prompt)
    ]
    report["gate"] = {"expressions": config.fail_if, "failures": gate.check(config.fail_if, report)}
    finish(report)


def wanted_sets(arguments: argparse.Namespace, config: EvaluateConfig, tokenizer: Any) -> list[EvaluationSet]:
    """All of them are read before the first is measured: a fault in the last one shows at once."""
    length, most = arguments.max_length, config.max_rows
    sets = [evaluation_sets.held_out(arguments.dataset, arguments.eval_share, tokenizer, length, most)]
    if config.general:
        sets.append(evaluation_sets.general(tokenizer, length, most))
    sets += [evaluation_sets.whole(name, file, tokenizer, length, most) for name, file in arguments.also.items()]
    return sets


def finish(report: Report) -> None:
    """Keep the report beside the run; the run's last word says where it is and whether the gate held."""
    folder = run_dir()
    if folder is None:
        print(evaluation_report.markdown(report))
    else:
        statefiles.write_json(folder / "report.json", report)
        statefiles.write_bytes(folder / "report.md", evaluation_report.markdown(report).encode("utf-8", "replace"))
    write_result("done", adapters=report["adapters"], gate=report["gate"])


def named_path(text: str) -> tuple[str, Path]:
    name, _, path = text.partition("=")
    if not name or not path:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PATH")
    return name, Path(path)


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare a base model with adapters.")
    parser.add_argument("--model", required=True, help="folder, GGUF file or hub name")
    parser.add_argument("--adapter", type=named_path, action="append", required=True, metavar="NAME=FOLDER")
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--eval-share", type=float, default=0.1, help="as the adapter was trained with")
    parser.add_argument("--max-length", type=int, default=768, help="tokens; longer rows are left out and counted")
    parser.add_argument("--text-template", default="", help="as the adapter was trained with")
    parser.add_argument("--also", type=named_path, action="append", default=[], metavar="NAME=FILE")
    parser.add_argument("--config", type=Path)
    arguments = parser.parse_args()
    arguments.adapter, arguments.also = dict(arguments.adapter), dict(arguments.also)
    try:
        evaluate(arguments)
    except Stopped:
        write_result("stopped")


if __name__ == "__main__":
    run_script(main)
