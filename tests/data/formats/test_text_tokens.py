"""Texts as bytes and as characters, and where they are cut."""

import numpy as np
import pytest
import torch

from gradcli.data.formats.text_tokens import read_text
from gradcli.errors import UserError

TEXT = "Grüße, 東京 🙂\r\nzweite Zeile\n" * 5


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(TEXT.encode())
    return path


def joined(tokens):
    return torch.cat([tokens.train, tokens.val, tokens.test])


def test_bytes_are_those_of_the_file(path):
    tokens = read_text(path)
    assert tokens.train.dtype == torch.uint8
    assert bytes(joined(tokens).tolist()) == TEXT.encode()
    assert tokens.vocabulary is None


def test_characters_spell_the_text(path):
    tokens = read_text(path, level="character")
    assert tokens.train.dtype == torch.int16
    assert tokens.vocabulary == tuple(sorted(set(TEXT)))
    assert "".join(tokens.vocabulary[token] for token in joined(tokens).tolist()) == TEXT


def test_a_byte_order_mark_is_no_character_but_three_bytes(path):
    path.write_bytes(b"\xef\xbb\xbf" + TEXT.encode())
    assert len(joined(read_text(path, level="character"))) == len(TEXT)
    assert len(joined(read_text(path))) == 3 + len(TEXT.encode())


def test_many_characters_take_wider_tokens(path):
    text = "".join(chr(0x4E00 + number) for number in range(20_000))
    text += "".join(chr(0x20000 + number) for number in range(20_000))
    path.write_text(text, encoding="utf-8")
    tokens = read_text(path, level="character")
    assert tokens.train.dtype == torch.int32
    assert joined(tokens).tolist() == list(range(40_000))


@pytest.mark.parametrize(
    ("val", "test", "counts"),
    [
        (0.1, 0.1, (80, 10, 10)),
        (0, 0, (100, 0, 0)),
        (0.29, 0, (71, 29, 0)),  # 0.29 * 100 is less than 29
        (0.005, 0.3, None),
    ],
)
def test_parts_are_cut_by_position(path, val, test, counts):
    content = np.arange(100, dtype=np.uint8).tobytes()
    path.write_bytes(content)
    if counts is None:
        with pytest.raises(UserError, match="Of 100 tokens, none is left for the part val"):
            read_text(path, val=val, test=test)
        return
    tokens = read_text(path, val=val, test=test)
    assert (len(tokens.train), len(tokens.val), len(tokens.test)) == counts
    assert joined(tokens).tolist() == list(range(100))


@pytest.mark.parametrize(("val", "test"), [(0.5, 0.5), (0.6, 0.7)])
def test_something_must_be_left_to_train_on(path, val, test):
    with pytest.raises(UserError, match="none is left for the part train"):
        read_text(path, val=val, test=test)


@pytest.mark.parametrize("fraction", [-0.1, 1, 2, float("nan"), float("inf")])
def test_what_is_no_fraction(path, fraction):
    with pytest.raises(UserError, match="is not a fraction of the text") as caught:
        read_text(path, test=fraction)
    assert caught.value.where == "data.test_fraction"


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_invalid_utf8_is_told_with_its_offset(path, mark):
    path.write_bytes(mark + "äß\nab".encode() + b"\xe4 bc")
    with pytest.raises(UserError) as caught:
        read_text(path, level="character")
    offset = len(mark) + 7
    assert f"byte 0xe4 at offset {offset}, in line 2" in caught.value.problem
    assert caught.value.where == f"{path}:2"
    assert "data.level=byte" in caught.value.hint
    assert len(joined(read_text(path, val=0, test=0))) == offset + 4


@pytest.mark.parametrize("level", ["byte", "character"])
def test_an_empty_file(path, level):
    path.write_bytes(b"")
    with pytest.raises(UserError, match="Of 0 tokens, none is left for the part train"):
        read_text(path, level=level)


def test_files_that_cannot_be_opened(tmp_path):
    with pytest.raises(UserError, match="cannot be read: No such file"):
        read_text(tmp_path / "absent")
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        read_text(tmp_path)
