"""What scores say, as plain values."""

import pytest

from gradcli.comparison.verdicts import LearningRateSensitivity, Selection, Summary


@pytest.mark.parametrize("selected", [0.95, 0.5, -0.3])
def test_the_optimism_of_a_selection_and_its_interval(selected):
    selection = Selection("a", selected, Summary(3, 0.9, 0.02, (0.88, 0.91)))
    assert selection.optimism == pytest.approx(selected - 0.9)
    assert selection.ci95 == pytest.approx((selected - 0.91, selected - 0.88))


@pytest.mark.parametrize(("low", "high", "decades"), [(0.1, 0.1, 0), (1e-3, 0.1, 2), (2, 20, 1)])
def test_a_range_of_learning_rates_is_measured_in_decades(low, high, decades):
    found = LearningRateSensitivity(low, low, high, best_at_edge=False, open_ended=False)
    assert found.decades == pytest.approx(decades)
