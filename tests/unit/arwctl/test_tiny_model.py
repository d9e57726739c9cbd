from __future__ import annotations

from pathlib import Path

import gguf
import pytest

from arwctl.model_digests import ModelDigests
from arwctl.model_file import checked, measured
from arwctl.tiny_model import SENTENCE, Recipe, Shape, main, symbols, vocabulary, write


def test_the_file_is_gguf_with_a_chat_template_and_the_sentence_in_its_vocabulary(tmp_path: Path) -> None:
    path = write(tmp_path / "deep" / "tiny.gguf")
    reader = gguf.GGUFReader(path)
    tokens = reader.get_field("tokenizer.ggml.tokens")
    assert tokens is not None
    assert {symbols(piece) for piece in Recipe().pieces} <= set(tokens.contents())
    assert reader.get_field("tokenizer.chat_template") is not None
    assert len(reader.tensors) == 3 + 9 * Shape().layers
    assert checked(path) == path
    assert measured(path, lambda _done, _total: None, ModelDigests(tmp_path)).size_bytes == path.stat().st_size
    assert list(path.parent.iterdir()) == [path], "no unfinished file is left"


def test_the_same_recipe_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = (write(tmp_path / name).read_bytes() for name in ("a", "b"))
    assert first == second


def test_padding_grows_the_file_by_about_that_much(tmp_path: Path) -> None:
    plain, padded = write(tmp_path / "a"), write(tmp_path / "b", Recipe(pad_mb=4))
    assert padded.stat().st_size - plain.stat().st_size == pytest.approx(4e6, rel=0.15)


def test_every_byte_has_its_own_symbol_and_merges_build_each_piece() -> None:
    words = vocabulary(Recipe().pieces)
    assert len(set(words.tokens)) == len(words.tokens)
    assert all(symbols(piece) in words.index for piece in Recipe(text=SENTENCE).pieces)
    assert all("".join(merge.split(" ")) in words.index for merge in words.merges)


def test_the_command_writes_both_styles(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "random.gguf"), "--style", "random"]) == 0
    assert main([str(tmp_path / "cycle.gguf"), "--text", "One two."]) == 0
    assert capsys.readouterr().out.count(" MB\n") == 2
    assert (tmp_path / "random.gguf").read_bytes() != (tmp_path / "cycle.gguf").read_bytes()
