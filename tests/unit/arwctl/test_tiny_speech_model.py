from __future__ import annotations

from pathlib import Path

import pytest

from arwctl.model_digests import ModelDigests
from arwctl.model_file import checked, measured
from arwctl.tiny_speech_model import main, mel_filters, write
from node_agent.runtimes.ggml import GgmlHead, read_head


def test_the_file_is_a_ggml_model_that_hears_english_only(tmp_path: Path) -> None:
    path = write(tmp_path / "deep" / "tiny.bin")
    assert read_head(path) == GgmlHead(multilingual=False, audio_layers=4, size_bytes=path.stat().st_size)
    assert checked(path) == path
    assert measured(path, lambda _done, _total: None, ModelDigests(tmp_path)).message().format == "ggml"
    assert list(path.parent.iterdir()) == [path], "no unfinished file is left"


def test_the_same_sentence_gives_the_same_bytes_and_another_gives_others(tmp_path: Path) -> None:
    first, second = (write(tmp_path / name).read_bytes() for name in ("a", "b"))
    assert first == second
    assert write(tmp_path / "c", text="One two.").read_bytes() != first


def test_a_sentence_that_its_decoder_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at most 28 words"):
        write(tmp_path / "long.bin", text="word " * 29)
    assert not list(tmp_path.iterdir())


def test_the_filters_are_triangles_that_cover_the_speech_band() -> None:
    filters = mel_filters()
    assert filters.shape == (80, 201)
    assert (filters.max(axis=1) > 0).all()
    assert (filters[:, 1:-1].max(axis=0) > 0).all()
    assert filters.min() == 0


def test_the_command_writes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "tiny.bin"), "--text", "One two."]) == 0
    assert capsys.readouterr().out.endswith(" MB\n")
