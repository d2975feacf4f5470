"""What an error says of an exception."""

from gradcli.errors import exception_in_words


def test_the_frames_in_cpp_of_an_exception_of_torch_are_left_out():
    error = TypeError("an overflow\nException raised from unpack at numbers.h:79\nframe #0: c10")
    assert exception_in_words(error) == "TypeError: an overflow"
    assert exception_in_words(KeyError("a")) == "KeyError: 'a'"
    assert exception_in_words(EOFError()) == "EOFError"
