"""Make a tiny model of the real Qwen3-TTS architecture with random weights: for tests and for the demo.

    python -m tts.tiny_model OUTPUT_FOLDER [--size 1.7B]

It goes through every step of the real thing (codes, training, export, speaking) in seconds on a CPU,
and what it says is noise. 3.5M parameters and a codec of 0.7M; 19 MB; no network. The size chooses which
of the two real shapes it is like: in 0.6B the text is wider than the talker, so that its text projection matters.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from pathlib import Path
from typing import Any

from engines.contract import statefiles
from engines.contract.errors import UserError
from engines.contract.events import emit
from engines.contract.run_protocol import run_script, write_result
from tts import qwen

WIDTHS = {"1.7B": (64, 64, "1b7"), "0.6B": (48, 96, "0b6")}  # talker, text, the name in the config
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tts_pad>", "<tts_text_bos>", "<tts_text_eod>")
LANGUAGES = {
    "chinese": 2055, "english": 2050, "german": 2053, "italian": 2070, "portuguese": 2071,
    "spanish": 2054, "japanese": 2058, "korean": 2064, "french": 2061, "russian": 2069,
}  # fmt: skip
# The package's class takes these alone, and cannot read back what save_pretrained adds to them.
SPEAKER_ENCODER_KEYS = (
    "mel_dim", "enc_dim", "enc_channels", "enc_kernel_sizes", "enc_dilations", "enc_attention_channels",
    "enc_res2net_scale", "enc_se_channels", "sample_rate",
)  # fmt: skip
GENERATION = {
    "do_sample": True, "top_k": 50, "top_p": 1.0, "temperature": 0.9, "repetition_penalty": 1.05,
    "subtalker_dosample": True, "subtalker_top_k": 50, "subtalker_top_p": 1.0, "subtalker_temperature": 0.9,
    "max_new_tokens": 8192,
}  # fmt: skip


def write_text_tokenizer(folder: Path) -> dict[str, int]:
    """A byte-level tokenizer with the special tokens. Returns their ids and the vocabulary's size.

    `assistant` must be one token: a prompt's first three and last five tokens are cut off by position.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import Qwen2TokenizerFast

    qwen.import_qwen()
    from qwen_tts.core.models import Qwen3TTSProcessor

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, show_progress=False, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(["assistant\nuser\n" * 50], trainer)
    parts = folder / "bpe"
    parts.mkdir()
    tokenizer.model.save(str(parts))
    fast = Qwen2TokenizerFast(
        vocab_file=str(parts / "vocab.json"), merges_file=str(parts / "merges.txt"), unk_token="<|endoftext|>",
        eos_token="<|im_end|>", pad_token="<|endoftext|>", additional_special_tokens=list(SPECIAL),
    )  # fmt: skip
    shutil.rmtree(parts)
    assert fast.tokenize("<|im_start|>assistant\n") == ["<|im_start|>", "assistant", "Ċ"]
    Qwen3TTSProcessor(tokenizer=fast).save_pretrained(folder)
    return {**{token: fast.convert_tokens_to_ids(token) for token in SPECIAL}, "size": len(fast)}


def model_config(size: str, tokens: dict[str, int]) -> Any:
    """Few and narrow layers, but the real vocabularies: row 3000 and 2,048 codes must be there."""
    from qwen_tts.core.models import Qwen3TTSConfig

    width, text_width, size_name = WIDTHS[size]
    predictor = {
        "vocab_size": 2048, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "num_code_groups": qwen.CODEBOOKS,
        "max_position_embeddings": 4096,
    }  # fmt: skip
    talker = {
        "vocab_size": 3072, "hidden_size": width, "intermediate_size": 2 * width, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "num_code_groups": qwen.CODEBOOKS,
        "text_hidden_size": text_width, "text_vocab_size": tokens["size"], "rope_theta": 1000000,
        "max_position_embeddings": 4096,
        # the three sections sum to half a head
        "rope_scaling": {"rope_type": "default", "interleaved": True, "mrope_section": [4, 2, 2]},
        "codec_bos_id": 2149, "codec_eos_token_id": 2150, "codec_pad_id": 2148, "codec_think_id": 2154,
        "codec_nothink_id": 2155, "codec_think_bos_id": 2156, "codec_think_eos_id": 2157,
        "spk_id": {}, "spk_is_dialect": {}, "codec_language_id": LANGUAGES, "code_predictor_config": predictor,
    }  # fmt: skip
    speaker_encoder = {
        "mel_dim": 128, "enc_dim": width, "enc_channels": [16, 16, 16, 16, 48], "enc_attention_channels": 8,
        "enc_res2net_scale": 2, "enc_se_channels": 8, "sample_rate": qwen.SAMPLE_RATE,
    }  # fmt: skip
    config = Qwen3TTSConfig(
        talker_config=talker, speaker_encoder_config=speaker_encoder, tokenizer_type="qwen3_tts_tokenizer_12hz",
        tts_model_size=size_name, tts_model_type="base", im_start_token_id=tokens["<|im_start|>"],
        im_end_token_id=tokens["<|im_end|>"], tts_pad_token_id=tokens["<tts_pad>"],
        tts_bos_token_id=tokens["<tts_text_bos>"], tts_eos_token_id=tokens["<tts_text_eod>"],
    )  # fmt: skip
    config.architectures = ["Qwen3TTSForConditionalGeneration"]
    return config


def write_model(folder: Path, size: str) -> int:
    """Tokenizer, talker, code predictor and speaker encoder. Returns the number of parameters."""
    tokens = write_text_tokenizer(folder)
    from qwen_tts.core.models import Qwen3TTSForConditionalGeneration

    model = Qwen3TTSForConditionalGeneration(model_config(size, tokens))
    model.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    encoder = config["speaker_encoder_config"]
    config["speaker_encoder_config"] = {key: encoder[key] for key in SPEAKER_ENCODER_KEYS if key in encoder}
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    (folder / "generation_config.json").write_text(json.dumps(GENERATION, indent=1))
    return sum(parameter.numel() for parameter in model.parameters())


def write_codec(folder: Path) -> int:
    """Sound to 16 codes a frame and back, 12.5 frames a second. Returns the number of parameters."""
    import torch
    from qwen_tts.core import Qwen3TTSTokenizerV2Config, Qwen3TTSTokenizerV2Model
    from transformers import EncodecFeatureExtractor

    shared = {"codebook_size": 2048, "hidden_size": 32, "num_attention_heads": 2, "num_key_value_heads": 2,
              "head_dim": 16, "intermediate_size": 64, "num_hidden_layers": 1,
              "num_quantizers": qwen.CODEBOOKS}  # fmt: skip
    encoder = {
        **shared, "num_filters": 4, "num_residual_layers": 1, "upsampling_ratios": [8, 6, 5, 4], "codebook_dim": 16,
        "vector_quantization_hidden_dimension": 16, "num_semantic_quantizers": 1, "sampling_rate": qwen.SAMPLE_RATE,
        "frame_rate": qwen.FRAMES_PER_SECOND, "upsample_groups": 32, "use_causal_conv": True, "sliding_window": 250,
        "max_position_embeddings": 8000,
    }  # fmt: skip
    decoder = {**shared, "codebook_dim": 32, "latent_dim": 32, "upsample_rates": [8, 5, 4, 3],
               "upsampling_ratios": [2, 2], "decoder_dim": 32, "sliding_window": 72}  # fmt: skip
    config = Qwen3TTSTokenizerV2Config(
        encoder_config=encoder, decoder_config=decoder, encoder_valid_num_quantizers=qwen.CODEBOOKS,
        input_sample_rate=qwen.SAMPLE_RATE, output_sample_rate=qwen.SAMPLE_RATE,
        decode_upsample_rate=qwen.FRAME_SAMPLES, encode_downsample_rate=qwen.FRAME_SAMPLES,
    )  # fmt: skip
    config.architectures = ["Qwen3TTSTokenizerV2Model"]
    codec = Qwen3TTSTokenizerV2Model(config)
    with torch.no_grad():  # as they are initialised the codebooks are zero and the decoder's output is silence
        for module in codec.decoder.modules():
            if isinstance(module, torch.nn.Conv1d | torch.nn.ConvTranspose1d | torch.nn.Linear):
                module.reset_parameters()
        for name, values in [*codec.named_parameters(), *codec.named_buffers()]:
            if name.endswith(("embed_sum", "embedding_sum")):
                values.normal_(0, 1.0)
            if name.endswith("cluster_usage"):
                values.fill_(1.0)
    codec.save_pretrained(folder)
    EncodecFeatureExtractor(
        feature_size=1, sampling_rate=qwen.SAMPLE_RATE, padding_value=0.0, return_attention_mask=True
    ).save_pretrained(folder)
    return sum(parameter.numel() for parameter in codec.parameters())


def make(output: Path, size: str = "1.7B") -> int:
    """Write the model to `output`, whole or not at all. Returns the number of parameters."""
    import torch

    if (output / "config.json").exists():
        raise UserError("conflict", f"{output} is there already", "Name a folder that is not there yet.")
    torch.manual_seed(0)
    statefiles.make_private_dir(output.parent)
    partial = output.with_name(f".{output.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        parameters = write_model(partial, size) + write_codec(partial / "speech_tokenizer")
        os.rename(partial, output)
        statefiles.sync_dir(output.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return parameters


def main() -> None:
    parser = argparse.ArgumentParser(description="Make a tiny Qwen3-TTS model with random weights.")
    parser.add_argument("output", type=Path)
    parser.add_argument("--size", choices=WIDTHS, default="1.7B")
    arguments = parser.parse_args()
    emit("phase", name="tiny model", text=f"making a tiny model with random weights in {arguments.output}")
    parameters = make(arguments.output.absolute(), arguments.size)
    write_result("done", model=str(arguments.output.absolute()), parameters=parameters)


if __name__ == "__main__":
    run_script(main)
