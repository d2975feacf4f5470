"""Which keywords of a class a config may set."""

import torch

from gradcli.config.targets import accepts, keywords


class Plain(torch.nn.Module):
    def __init__(self, input_shape, classes, activation, width: int, depth=2, *rest, slope=0.1):
        super().__init__()


def test_keywords_are_those_that_a_config_may_set():
    found = keywords(Plain, "model")
    assert list(found) == ["width", "depth", "slope"]
    # A default without an annotation tells the type as well.
    assert [keyword.annotation for keyword in found.values()] == [int, int, float]


def test_an_annotation_that_only_a_type_checker_knows_is_not_held_against_a_class():
    class Lazy(torch.nn.Module):
        def __init__(self, size: "NotImported", scale: float = 1.0):  # noqa: F821
            super().__init__()

    found = keywords(Lazy, "activation")
    assert accepts(found["size"].annotation, [1])
    assert not accepts(found["scale"].annotation, "a")
