"""Values set in a composed config: the same as if Hydra sets them while it composes."""

import pytest

from gradcli.config import compose_train
from gradcli.config.config_files import ConfigFiles
from gradcli.config.loading import as_plain, compose_with_hydra, with_values
from gradcli.config.overrides import parse_override
from gradcli.errors import UserError

FILES = ConfigFiles()


@pytest.mark.parametrize(
    "words",
    [
        ["max_steps=1", "seed=3", "seed=4"],
        ["model.hidden=[]", "model.hidden=[${seed},2]"],
        ["++optimizer.amsgrad=true", "optimizer.betas=[0.8,0.99]"],
        ["++monitor={every:7}", "checkpoint.seconds=int(3.5)"],
        ["name='x y'", "data.folder=/a/b", "max_steps=null"],
        ["epochs=${batch_size}", "optimizer.lr=inf"],
    ],
    ids=" ".join,
)
def test_they_are_those_of_composing_anew(words):
    base = compose_with_hydra("train", [], FILES)
    before = as_plain(base)
    ours = as_plain(with_values(base, [parse_override(word) for word in words]))
    assert ours == as_plain(compose_with_hydra("train", words, FILES))
    assert ours != before
    assert as_plain(base) == before


def test_a_key_that_is_taken_away_has_the_default_of_its_class():
    assert "lr" in compose_train([]).config.optimizer.arguments
    assert "lr" not in compose_train(["~optimizer.lr", "seed=1"]).config.optimizer.arguments


def test_what_does_not_fit_together_is_the_users_mistake():
    with pytest.raises(UserError, match="merge") as error:
        compose_train(["model.hidden={a:1}"])
    assert error.value.where == "model.hidden"
