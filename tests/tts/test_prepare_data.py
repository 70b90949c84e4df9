"""Codes: the same whatever a clip is batched with, extracted once, and gone on with after a crash."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy
import pytest
from tts_support.clips import tone, write_clips

from engines.contract.errors import UserError
from tts import audio, codes, prepare_data, qwen


def test_codes_do_not_depend_on_the_batch(tiny_base: Path) -> None:
    codec = qwen.load_codec(tiny_base, "cpu")
    sounds = [tone(seconds, 110 + 20 * number) for number, seconds in enumerate((0.5, 1.23, 0.08, 2.0))]
    together = codes.encode(codec, sounds)
    assert [len(frames) for frames in together] == [7, 16, 1, 25]
    for sound, frames in zip(sounds, together, strict=True):
        assert codes.encode(codec, [sound])[0] == frames
        assert all(len(frame) == 16 for frame in frames)


def test_batches_are_of_like_length_and_bounded() -> None:
    lengths = [24_000 * seconds for seconds in (1, 30, 2, 15, 1, 8, 30, 30, 30, 30)] + [24_000] * 70
    found = list(codes.batches(lengths))
    assert sorted(index for batch in found for index in batch) == list(range(80))
    for batch in found:
        assert len(batch) <= codes.BATCH_CLIPS
        assert len(batch) * max(lengths[index] for index in batch) <= codes.BATCH_SECONDS * 24_000
    assert found[0] == [1, 6, 7, 8] and len(found) == 5


def test_a_torn_file_of_codes_goes_on_and_another_codec_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "codes.jsonl"
    first = codes.CodeFile(path, "codec-1")
    first.add("a", [[1] * 16])
    first.add("b", [[2] * 16, [3] * 16])
    first.close()
    path.write_bytes(path.read_bytes()[:-20])  # a crash in the middle of a line
    again = codes.CodeFile(path, "codec-1")
    assert again.known == {"a": [[1] * 16]}
    again.add("c", [[4] * 16])
    again.close()
    assert set(codes.CodeFile(path, "codec-1").known) == {"a", "c"}
    assert codes.CodeFile(path, "codec-2").known == {}


def run(base: Path, clips: Path, output: Path, **values: Any) -> dict[str, Any]:
    config = output.with_suffix(".json")
    config.write_text(json.dumps(values))
    prepare_data.prepare(argparse.Namespace(clips=clips, model=str(base), output=output, config=config))
    return dict(json.loads((output / "dataset.json").read_text()))


def test_a_second_run_extracts_what_is_new_alone(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = write_clips(tmp_path / "clips", 8, 1.1)
    lines = clips.read_text().splitlines()
    clips.write_text("\n".join(lines[:5]))
    first = run(tiny_base, clips, tmp_path / "data")
    clips.write_text("\n".join([*lines, lines[0]]))  # and one of them twice
    encoded: list[int] = []
    encode = codes.encode
    monkeypatch.setattr(codes, "encode", lambda codec, sounds: encoded.append(len(sounds)) or encode(codec, sounds))
    second = run(tiny_base, clips, tmp_path / "data")
    assert sum(encoded) == 3 and (first["clips"], second["clips"]) == (5, 8)
    assert second["left_out"] == {"duplicate": 1}
    rows = [json.loads(line) for line in (tmp_path / "data" / "train.jsonl").read_text().splitlines()]
    raw = [json.loads(line) for line in (tmp_path / "data" / "train_raw.jsonl").read_text().splitlines()]
    assert [{key: row[key] for key in ("audio", "text", "ref_audio")} for row in rows] == raw
    assert all(len(row["audio_codes"][0]) == 16 for row in rows)
    assert len({row["ref_audio"] for row in rows}) == 1
    reference = audio.read(Path(rows[0]["ref_audio"]))
    source = audio.read(tmp_path / "clips" / second["reference"]["clip"])
    numpy.testing.assert_allclose(reference, source, atol=1e-4)


def test_a_stop_keeps_the_codes(tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = write_clips(tmp_path / "clips", 6, 1.1)
    monkeypatch.setattr(codes, "BATCH_CLIPS", 2)
    asked = iter([False, True])
    monkeypatch.setattr(prepare_data, "stop_requested", lambda: next(asked))
    arguments = argparse.Namespace(clips=clips, model=str(tiny_base), output=tmp_path / "data", config=None)
    prepare_data.prepare(arguments)
    assert not (tmp_path / "data" / "dataset.json").exists()
    assert len((tmp_path / "data" / "codes.jsonl").read_text().splitlines()) == 1 + 2


def test_bad_clips_are_left_out_and_counted(tiny_base: Path, tmp_path: Path) -> None:
    clips = write_clips(tmp_path / "clips", 4, 1.1)
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("this is no sound" * 100)
    bad = [{"audio": str(tmp_path / name), "text": "x"} for name in ("empty.wav", "text.wav", "missing.wav")]
    silent = {**json.loads(clips.read_text().splitlines()[0]), "text": "  "}
    clips.write_text(clips.read_text() + "\n".join(json.dumps(entry) for entry in [*bad, silent]))
    figures = run(tiny_base, clips, tmp_path / "data")
    assert figures["clips"] == 4 and figures["left_out"] == {"unreadable": 3, "without_transcript": 1}
    for content, cause in (("", "no clip can be used"), ("{}", "line 1"), ("[1]", "line 1"), ("\xff", "line 1")):
        clips.write_text(content, encoding="utf-8")
        with pytest.raises(UserError, match=cause):
            run(tiny_base, clips, tmp_path / "data")
