"""The errors around each limit, as measured."""

from gradcli.diagnosis import limits
from gradcli.diagnosis.calibration import counted_trainings, limit_errors

LIMITS = {name for name, one in vars(limits).items() if isinstance(one, limits.Limit)}


def test_every_limit_has_its_measured_errors_beside_it():
    assert set(limit_errors()) == LIMITS


def test_with_all_limits_as_they_are_the_errors_are_the_same():
    assert len({errors.at_limit for errors in limit_errors().values()}) == 1


def test_no_more_are_wrong_than_were_judged():
    trainings, faults = counted_trainings()
    assert 300 <= faults < trainings
    for errors in limit_errors().values():
        for one in (errors.at_half, errors.at_limit, errors.at_double):
            assert 0 <= one.missed <= faults
            assert 0 <= one.alarms <= trainings


def test_limits_are_where_few_are_wrong():
    """At half of a limit and at twice it, no fewer are wrong: to a tenth of a percent."""
    trainings, _ = counted_trainings()
    for name, errors in limit_errors().items():
        at = errors.at_limit.missed + errors.at_limit.alarms
        for one in (errors.at_half, errors.at_double):
            assert one.missed + one.alarms >= at - max(3, trainings / 200), name
