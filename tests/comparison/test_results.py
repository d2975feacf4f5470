"""The result of a comparison, as plain values."""

import pytest

from gradcli.comparison.results import ComparisonSummary


def summary_of(info, *, trials=(), ranking=(), winner_command=""):
    return ComparisonSummary(
        info=info, status="finished", ranking=ranking, pairs=(), warnings=(), tuning=(),
        trials=trials, failed=0, halving=None, seconds=1.0, winner_command=winner_command,
        extend_command="", retry_command="", resume_command="",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("statuses", "diverged"),
    [
        ([], False),
        (["diverged", "diverged"], True),
        (["diverged", "finished"], False),
        (["failed"], False),
    ],
)
def test_all_diverged_if_every_trial_did(make_comparison_info, make_result, statuses, diverged):
    trials = tuple(make_result(status=one) for one in statuses)
    assert summary_of(make_comparison_info(), trials=trials).all_diverged is diverged


@pytest.mark.parametrize(
    ("edges", "command", "at_edge"),
    [
        ((True, False), "gradcli train", True),
        ((False, True), "gradcli train", False),
        ((True, True), "", False),
    ],
)
def test_the_winner_is_at_an_edge_if_there_is_a_winner(
    make_comparison_info, make_arm, edges, command, at_edge
):
    from gradcli.comparison.summary import compare_results, rank

    arms = [
        make_arm(name, rates=(0.1, 1.0) if edge else (0.1,))
        for name, edge in zip("ab", edges, strict=True)
    ]
    info = make_comparison_info()
    ranking = rank(arms, compare_results(arms, info), make_comparison_info())
    found = summary_of(info, ranking=ranking, winner_command=command)
    assert [one.learning_rate_at_edge for one in ranking] == list(edges)
    assert found.winner_at_edge is at_edge
