"""What a batch costs, aligned as generation is: position p predicts what stands at p + 1, once shifted.

The talker's hidden state at p predicts codebook 1 of the frame at p + 1; the same state, with that code, begins the
sub-talker's prediction of the frame's codebooks 2 to 16, in which input i predicts codebook i + 1. Both are plain
cross-entropies over those predictions. (Labels that are shifted by hand and by the model once more teach the frame
after the next, and speech gets faster with each epoch.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tts.layout import IGNORED, SPEAKER_POSITION
from tts.qwen import CODEBOOKS


@dataclass(frozen=True)
class Loss:
    """Sums over a batch's predictions, and how many there were. Scalar tensors, nats."""

    talker: Any
    sub_talker: Any
    talker_count: int
    sub_talker_count: int

    def means(self) -> tuple[Any, Any]:
        """Nats per prediction: (talker, sub-talker)."""
        return self.talker / max(1, self.talker_count), self.sub_talker / max(1, self.sub_talker_count)


def embed(model: Any, batch: dict[str, Any], speaker: Any) -> Any:
    """The rows' input embeddings, [B, L, D]. speaker: [D], at its position in each row."""
    talker = model.talker
    text = talker.text_projection(talker.model.text_embedding(batch["text"])) * batch["text_mask"].unsqueeze(-1)
    codec = talker.model.codec_embedding(batch["first"]) * batch["codec_mask"].unsqueeze(-1)
    codec[:, SPEAKER_POSITION] = speaker.to(codec.dtype)
    frames, found = batch["codes"][batch["frame_mask"]], batch["frame_mask"]
    others = talker.code_predictor.get_input_embeddings()
    rest = others[0](frames[:, 1])
    for book in range(2, CODEBOOKS):
        rest = rest + others[book - 1](frames[:, book])
    return (text + codec).index_put((found,), rest.to(codec.dtype), accumulate=True)


def batch_loss(model: Any, batch: dict[str, Any], speaker: Any) -> Loss:
    """The cross-entropies of one batch (see layout.collate); speaker: [D]."""
    from torch.nn.functional import cross_entropy

    talker = model.talker
    hidden = talker.model(
        inputs_embeds=embed(model, batch, speaker),
        attention_mask=batch["attention_mask"],
        use_cache=False,
    ).last_hidden_state
    before, labels = hidden[:, :-1], batch["labels"][:, 1:]
    learned = labels != IGNORED
    logits = talker.codec_head(before[learned])
    frames = batch["codes"][batch["frame_mask"]]
    rest = sub_talker_logits(talker, frames, before[batch["frame_mask"][:, 1:]])
    return Loss(
        cross_entropy(logits.float(), labels[learned], reduction="sum"),
        cross_entropy(rest.flatten(0, 1).float(), frames[:, 1:].flatten(), reduction="sum"),
        int(learned.sum()),
        frames[:, 1:].numel(),
    )


def sub_talker_logits(talker: Any, frames: Any, hidden: Any) -> Any:
    """Predictions of codebooks 2 to 16, [N, 15, 2048], from frames [N, 16] and the state before each, [N, D]."""
    import torch

    predictor = talker.code_predictor
    embeddings = [hidden, talker.model.codec_embedding(frames[:, 0])]
    embeddings += [predictor.get_input_embeddings()[book - 1](frames[:, book]) for book in range(1, CODEBOOKS - 1)]
    inputs = predictor.small_to_mtp_projection(torch.stack(embeddings, dim=1))
    states = predictor.model(inputs_embeds=inputs, use_cache=False).last_hidden_state
    # input 0 is the talker's state; from input 1 on each predicts the next codebook with a head of its own
    return torch.stack([predictor.lm_head[i - 1](states[:, i]) for i in range(1, CODEBOOKS)], dim=1)
