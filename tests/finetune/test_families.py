"""The table of families, seen on the parameters of small random models of the real architectures."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engines.config.families import FAMILIES, USUAL, family_of
from engines.config.train import TrainConfig
from engines.contract.errors import UserError
from finetune import base_model, chat_templates, methods, rows

SMALL = {
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "max_position_embeddings": 256,
}


def qwen2() -> Any:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    return Qwen2ForCausalLM(Qwen2Config(**{key: value for key, value in SMALL.items() if key != "head_dim"}))


def qwen3() -> Any:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    return Qwen3ForCausalLM(Qwen3Config(**SMALL))


def llama() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(LlamaConfig(**SMALL))


def small_tower() -> Any:
    from transformers import SiglipVisionConfig

    return SiglipVisionConfig(
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=16,
        patch_size=8,
    )


def gemma3() -> Any:
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    config = Gemma3Config(
        text_config={**SMALL, "sliding_window": 16, "pad_token_id": 0},
        vision_config=small_tower().to_dict(),
        mm_tokens_per_image=4,
    )
    config.image_token_id = config.image_token_index = 299
    return Gemma3ForConditionalGeneration(config)


GEMMA3N_TEXT = {
    **SMALL,
    "vocab_size_per_layer_input": 300,
    "hidden_size_per_layer_input": 8,
    "intermediate_size": [64, 64],
    "num_kv_shared_layers": 0,
    "laurel_rank": 4,
    "altup_num_inputs": 2,
    "layer_types": ["sliding_attention", "full_attention"],
    "activation_sparsity_pattern": [0.0, 0.0],
    "sliding_window": 16,
}


def gemma3n_text() -> Any:
    from transformers import Gemma3nForCausalLM, Gemma3nTextConfig

    return Gemma3nForCausalLM(Gemma3nTextConfig(**GEMMA3N_TEXT))


def gemma3n() -> Any:
    """Its text and audio parts are the real ones. Its vision tower is one of timm, which is not among the packages
    here; a small Siglip stands in its place, under its name.
    """
    from transformers import Gemma3nConfig, Gemma3nForConditionalGeneration

    audio = {
        "vocab_size": 8,
        "hidden_size": 32,
        "conf_num_attention_heads": 2,
        "conf_num_hidden_layers": 1,
        "sscp_conv_channel_size": [8, 4],
        "input_feat_size": 16,
        "vocab_offset": 292,
        "conf_attention_chunk_size": 4,
    }
    config = Gemma3nConfig(text_config=GEMMA3N_TEXT, audio_config=audio)
    vision = small_tower()
    vision.vocab_size, vision.vocab_offset, vision.rms_norm_eps = 8, 284, 1e-6
    object.__setattr__(config, "vision_config", vision)
    return Gemma3nForConditionalGeneration(config)


MODELS: dict[str, Callable[[], Any]] = {
    "qwen2": qwen2,
    "qwen3": qwen3,
    "llama": llama,
    "gemma3": gemma3,
    "gemma3n": gemma3n,
    "gemma3n_text": gemma3n_text,
}


def adapted(model: Any, config: TrainConfig) -> Any:
    from peft import get_peft_model

    family = family_of(model.config.model_type)
    methods.freeze_towers(model, family)
    return get_peft_model(model, methods.adapter_config(config, family))


def trained(model: Any) -> list[str]:
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]


@pytest.mark.parametrize("name", sorted(MODELS))
@pytest.mark.parametrize("targets", [["q_proj", "k_proj", "v_proj"], ["all-linear"]])
def test_adapters_come_to_the_text_part_alone(name: str, targets: list[str]) -> None:
    model = adapted(MODELS[name](), TrainConfig(target_modules=targets))
    names = trained(model)
    assert names and all("lora_" in part for part in names)
    apart = (*FAMILIES.get(name, USUAL).towers, *FAMILIES.get(name, USUAL).sixteen_bit)
    assert not [part for part in names for forbidden in apart if forbidden in part]
    layers = {part.split("layers.")[1].split(".lora")[0] for part in names if "layers." in part}
    wanted = {"q_proj", "k_proj", "v_proj"} if targets != ["all-linear"] else {"q_proj", "o_proj", "up_proj"}
    assert wanted <= {layer.rpartition(".")[2] for layer in layers}
    assert {layer.partition(".")[0] for layer in layers} == {"0", "1"}


@pytest.mark.parametrize("name", ["gemma3", "gemma3n"])
def test_towers_stay_frozen_in_fp32_when_all_weights_are_trained(name: str) -> None:
    import torch

    model = MODELS[name]().to(torch.bfloat16)
    family = family_of(model.config.model_type)
    methods.freeze_towers(model, family)
    seen = set()
    for parameter_name, parameter in model.named_parameters():
        tower = next((tower for tower in family.towers if f"{tower}." in parameter_name), None)
        assert parameter.requires_grad == (tower is None), parameter_name
        assert parameter.dtype == (torch.bfloat16 if tower is None else torch.float32), parameter_name
        seen.add(tower)
    assert seen == {None, *family.towers}


@pytest.mark.parametrize("name", sorted(MODELS))
def test_four_bit_leaves_alone_what_it_would_break(name: str) -> None:
    from transformers import BitsAndBytesConfig
    from transformers.integrations.bitsandbytes import replace_with_bnb_linear

    model = MODELS[name]()
    family = family_of(model.config.model_type)
    skipped = [*family.sixteen_bit, *family.towers] or ["lm_head"]
    model = replace_with_bnb_linear(model, family.apart or ["lm_head"], BitsAndBytesConfig(load_in_4bit=True))
    kinds = {part: type(module).__name__ for part, module in model.named_modules() if "Linear" in type(module).__name__}
    assert not [part for part, kind in kinds.items() if kind == "Linear4bit" and any(name in part for name in skipped)]
    text = [kind for part, kind in kinds.items() if part.endswith(("q_proj", "up_proj")) and "tower" not in part]
    assert len(text) >= 4 and set(text) == {"Linear4bit"}


@pytest.mark.parametrize("name", sorted(MODELS))
def test_one_step_changes_the_adapter_and_nothing_else(name: str) -> None:
    import torch

    torch.manual_seed(0)
    model = adapted(MODELS[name](), TrainConfig(lora_dropout=0.0))
    model.train()
    before = {part: parameter.detach().clone() for part, parameter in model.named_parameters()}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1)
    ids = torch.randint(3, 250, (2, 9))
    inputs = {"input_ids": ids, "labels": ids, "attention_mask": torch.ones_like(ids)}
    loss = model(**inputs).loss
    loss.backward()
    optimizer.step()
    assert torch.isfinite(loss)
    changed = {part for part, parameter in model.named_parameters() if not torch.equal(before[part], parameter)}
    assert changed and changed <= set(trained(model)) and any("lora_B" in part for part in changed)


def test_gemma_3n_computes_in_four_bit(tmp_path: Path) -> None:
    """Its text part alone, as it is loaded for a training; with altup in 4 bit it would fail."""
    import torch

    gemma3n_text().save_pretrained(tmp_path)
    model = base_model.load_model(str(tmp_path), "cpu", "bf16", "nf4")
    model = adapted(model, TrainConfig(target_modules=["all-linear"])).train()
    ids = torch.randint(3, 250, (2, 9))
    loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    assert torch.isfinite(loss) and all(part.grad is not None for part in model.parameters() if part.requires_grad)


def test_packages_that_a_family_needs_are_asked_for_before_anything_is_loaded(tmp_path: Path) -> None:
    from transformers import Gemma3nConfig

    if all(importlib.util.find_spec(name) for name in FAMILIES["gemma3n"].packages):
        pytest.skip("they are here")
    Gemma3nConfig(text_config=GEMMA3N_TEXT).save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not looked at")
    with pytest.raises(UserError, match="needs timm and torchvision beside what ftui installs") as caught:
        base_model.load_model(str(tmp_path), "cpu", "bf16")
    assert caught.value.code == "not_ready" and "-m pip install timm torchvision torch==" in caught.value.next_step


def test_a_package_that_does_not_work_is_no_better_than_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a build for CUDA beside a torch for CPUs."""
    (tmp_path / "timm.py").write_text("raise RuntimeError('operator nms does not exist')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    with pytest.raises(UserError, match="timm does not work: operator nms does not exist"):
        base_model.check_packages("gemma3n", "some/model")
    base_model.check_packages("llama", "some/model")


def test_the_optimizer_of_the_family_is_what_auto_means() -> None:
    assert methods.optimizer_name(TrainConfig(), family_of("gemma3n")) == "paged_adamw_32bit"
    assert methods.optimizer_name(TrainConfig(), family_of("llama")) == "adamw_torch"
    assert methods.optimizer_name(TrainConfig(optimizer="adamw_8bit"), family_of("gemma3n")) == "adamw_8bit"


class TemplateOnly:
    """A tokenizer as far as templates go: one character is one token."""

    eos_token_id = 0
    eos_token = "<eos>"

    def __init__(self, template: str):
        self.chat_template = template

    def apply_chat_template(self, messages: Any, *, chat_template: str | None = None, **options: Any) -> Any:
        from transformers.utils.chat_template_utils import render_jinja_template

        options.pop("tokenize", None)
        text, _ = render_jinja_template(
            [messages],
            chat_template=chat_template or self.chat_template,
            eos_token=self.eos_token,
            bos_token="<bos>",
            **options,
        )
        return text[0]

    def __call__(self, texts: list[str], **_: Any) -> dict[str, Any]:
        return {
            "input_ids": [[ord(letter) for letter in text] for text in texts],
            "offset_mapping": [[(place, place + 1) for place in range(len(text))] for text in texts],
        }


def shipped_template(name: str) -> str:
    import trl.chat_template_utils as templates

    return str((templates._CHAT_TEMPLATES_DIR / f"{name}.jinja").read_text(encoding="utf-8"))


DIALOG = [
    {"role": "user", "content": "first question"},
    {"role": "assistant", "content": "first answer"},
    {"role": "user", "content": "second question"},
    {"role": "assistant", "content": "second answer"},
]


@pytest.mark.parametrize("name", ["qwen2_5", "qwen3", "llama3", "gemma", "gemma3", "phi3"])
def test_both_answers_and_their_ends_are_learned_with_the_template_of_each_family(name: str) -> None:
    tokenizer = TemplateOnly(shipped_template(name))
    encoded = rows.encode([rows.Dialog(DIALOG, "c")], tokenizer, 10_000)
    learned = "".join(chr(label) if label != rows.IGNORED else "\0" for label in encoded.labels[0])
    pieces = [piece for piece in learned.split("\0") if piece]
    assert len(pieces) == 2 and "first answer" in pieces[0] and "second answer" in pieces[1]
    end = {"qwen2_5": "<|im_end|>", "qwen3": "<|im_end|>", "llama3": "<|eot_id|>", "phi3": "<|end|>"}
    assert all(end.get(name, "<end_of_turn>") in piece for piece in pieces)
    assert not any("question" in piece for piece in pieces)


def test_qwen3_is_taught_in_the_form_in_which_it_answers() -> None:
    """Its own template writes `<think>` before the last answer alone, so a dialog does not begin as it grows."""
    tokenizer = TemplateOnly(shipped_template("qwen3"))
    assert chat_templates.for_training(tokenizer) is not None
    assert chat_templates.for_training(TemplateOnly(shipped_template("qwen2_5"))) is None
    template = chat_templates.for_training(tokenizer)
    whole = tokenizer.apply_chat_template(DIALOG, chat_template=template)
    assert whole.startswith(tokenizer.apply_chat_template(DIALOG[:2], chat_template=template))
    one = DIALOG[:2]
    assert tokenizer.apply_chat_template(one, chat_template=template) == tokenizer.apply_chat_template(one)


def test_a_gguf_file_is_not_quantised_once_more_by_itself() -> None:
    assert base_model.choose_quantization("auto", "cuda:0", "owner/name") == "nf4"
    assert base_model.choose_quantization("auto", "cuda:0", "models/Tiny-q8_0.GGUF") == "none"
    assert base_model.choose_quantization("nf4", "cuda:0", "models/tiny.gguf") == "nf4"  # refused when it is loaded
    assert base_model.choose_quantization("auto", "cpu", "owner/name") == "none"
