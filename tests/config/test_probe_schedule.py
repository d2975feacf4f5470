"""`monitor.probes` and `monitor.probes_at`: names are checked, and moments become steps."""

from __future__ import annotations

import pytest

from gradcli.config import compose_inspection, compose_train, load_config, probe_steps
from gradcli.errors import UserError


@pytest.mark.parametrize(
    ("override", "where", "hint"),
    [
        ("monitor.probes=[nois]", "monitor.probes", "monitor.probes=[noise]"),
        ("monitor.probes=[noise,sharpnes]", "monitor.probes", "monitor.probes=[sharpness]"),
        ("monitor.probes_at=[strat]", "monitor.probes_at", "monitor.probes_at=[start]"),
        ("monitor.probes_at=[epochs]", "monitor.probes_at", "monitor.probes_at=[epoch]"),
        ("monitor.probes_at=[-1]", "monitor.probes_at", "monitor.probes_at=[start,100]"),
    ],
)
def test_a_misspelt_name_is_refused_with_the_nearest(override, where, hint):
    with pytest.raises(UserError) as caught:
        compose_train([override])
    assert caught.value.where == where
    assert caught.value.hint.startswith(hint)


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("monitor.probes=noise", "monitor.probes is 'noise'"),
        ("monitor.probes_at=[1.5]", "monitor.probes_at is"),
        ("monitor.probe=[noise]", "no key 'monitor.probe'"),
    ],
)
def test_anything_but_a_list_of_names_is_refused(override, problem):
    with pytest.raises(UserError, match=problem):
        compose_train([override])


def test_a_saved_config_is_checked_like_a_typed_one():
    saved = compose_train(["monitor.probes=[noise]", "monitor.probes_at=[start,7]"]).yaml()
    assert load_config(saved, where="file").config.monitor.probes_at == ["start", 7]
    with pytest.raises(UserError, match="no probe 'nose'"):
        load_config(saved.replace("- noise", "- nose"), where="file")


def test_a_run_and_an_inspection_look_at_as_many_examples():
    from gradcli.workflows.run_probes import EXAMPLES

    assert compose_inspection().config.examples == EXAMPLES


@pytest.mark.parametrize(
    ("moments", "steps"),
    [
        ([], set()),
        (["start"], {0}),
        (["epoch"], {10, 20, 25}),
        (["end"], {25}),
        (["start", "epoch", "end"], {0, 10, 20, 25}),
        ([0, 3, 25, 26, 1000], {0, 3, 25}),
        ([10, "epoch"], {10, 20, 25}),
    ],
)
def test_moments_are_steps(moments, steps):
    assert probe_steps(moments, steps_per_epoch=10, total_steps=25) == steps


def test_an_epoch_that_is_never_whole_ends_with_the_run():
    assert probe_steps(["epoch"], steps_per_epoch=100, total_steps=5) == {5}
    assert probe_steps(["epoch"], steps_per_epoch=5, total_steps=5) == {5}
