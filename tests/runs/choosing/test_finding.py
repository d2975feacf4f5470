"""Which run or comparison a target names."""

import pytest

from gradcli.errors import DamagedFileError, UserError
from gradcli.runs import (
    ComparisonDirectory,
    Run,
    find_any,
    find_comparison,
    find_run,
    find_to_remove,
    list_any,
    list_rows,
)

ONE, TWO, THREE = (
    "20260101T000000Z-one-aaaa",
    "20260102T000000Z-two-bbbb",
    "20260103T000000Z-x-cccc",
)


@pytest.fixture
def runs(make_run, make_comparison):
    """A run, a comparison and another run, the oldest first, and what is neither."""
    folder = make_run(ONE).parent
    make_comparison(TWO)
    make_run(THREE)
    (folder / "empty").mkdir()
    return folder


def test_runs_and_comparisons_are_listed_the_newest_first(runs):
    assert [(one.name, type(one)) for one in list_any(runs)] == [
        (THREE, Run),
        (TWO, ComparisonDirectory),
        (ONE, Run),
    ]


def test_what_is_broken_is_no_row_but_an_error(runs):
    (runs / ONE / "run.json").write_text("[]")
    rows, refused = list_rows(runs)
    assert [row.run for row in rows] == [THREE, TWO]
    assert [error.where for error in refused] == [str(runs / ONE / "run.json")]


@pytest.mark.parametrize(
    ("target", "name"),
    [("latest", THREE), (ONE, ONE), ("one", ONE), ("20260102", TWO), ("bbbb", TWO), ("-x-", THREE)],
)
def test_a_target_is_a_name_a_part_of_one_or_latest(runs, target, name):
    assert find_any(target, runs).name == name
    assert find_to_remove(target, runs).name == name


def test_a_directory_is_found_wherever_it_is(runs, tmp_path):
    for name in (ONE, TWO):
        assert find_any(str(runs / name), tmp_path / "elsewhere").path == runs / name
    assert find_run(str(runs / ONE), tmp_path / "elsewhere").name == ONE
    assert find_comparison(str(runs / TWO), tmp_path / "elsewhere").name == TWO


@pytest.mark.parametrize("other", ["20260105T000000Z-g2-e1e9", "20260105T000000Z-e9-more-0001"])
def test_a_whole_name_comes_before_a_part_of_another(runs, make_run, other):
    """A random end, too, may be what another run is called: `runs rm` must not mix them up."""
    wanted = "20260104T000000Z-e9-7f9b"
    for name in (wanted, other):
        make_run(name)
    for find in (find_any, find_run, find_to_remove):
        assert find("e9", runs).name == wanted


def test_the_beginning_or_the_end_of_a_name_counts_more_than_its_middle(runs, make_run):
    for name in ("20260104T000000Z-end-xx", "20260105T000000Z-xxx-dddd"):
        make_run(name)
    assert find_any("xx", runs).name == "20260104T000000Z-end-xx"
    make_run("xx")
    assert find_any("xx", runs).name == "xx"


def test_the_last_signs_of_a_random_end_are_no_name(runs, make_run):
    """A run called `b` is not meant by what happens to end in a `b`."""
    for name in ("20260104T000000Z-b-1-0001", "20260105T000000Z-other-388b"):
        make_run(name)
    with pytest.raises(UserError, match="have 'b' in their names"):
        find_any("b", runs)
    assert find_any("388b", runs).name == "20260105T000000Z-other-388b"


def test_a_part_need_only_be_unique_among_its_kind(runs, make_run, make_comparison):
    """The comparison is named like the run, and the other way round."""
    make_comparison("20260104T000000Z-one-dddd")
    assert find_run("one", runs).name == ONE
    assert find_comparison("one", runs).name == "20260104T000000Z-one-dddd"
    with pytest.raises(UserError, match=r"2 runs in .* have 'one' in their names") as error:
        find_any("one", runs)
    assert error.value.choices == ("20260104T000000Z-one-dddd", ONE)
    assert error.value.hint == "more of the name, or `latest`"


def test_of_many_that_match_the_five_newest_are_named(runs, make_run):
    for number in range(6):
        make_run(f"2026020{number}T000000Z-many-eeee")
    with pytest.raises(UserError, match="6 runs") as error:
        find_any("many", runs)
    assert list(error.value.choices) == [
        f"2026020{number}T000000Z-many-eeee" for number in range(5, 0, -1)
    ]


@pytest.mark.parametrize("find", [find_any, find_run, find_comparison, find_to_remove])
@pytest.mark.parametrize("target", ["", "  "])
def test_an_empty_name_is_refused(runs, find, target):
    with pytest.raises(UserError, match="The run name is empty"):
        find(target, runs)


def test_an_unknown_name_comes_with_those_like_it_or_the_three_newest(runs, make_run):
    make_run("20260104T000000Z-y-dddd")
    with pytest.raises(UserError, match="There is no run '20260101T000000Z-one-aaab'") as error:
        find_any("20260101T000000Z-one-aaab", runs)
    assert error.value.choices[0] == ONE
    with pytest.raises(UserError, match="There is no run '~~~~'") as error:
        find_any("~~~~", runs)
    assert error.value.choices == ("20260104T000000Z-y-dddd", THREE, TWO)


@pytest.mark.parametrize("find", [find_any, find_run, find_comparison, find_to_remove])
def test_where_there_are_no_runs_none_is_found(tmp_path, find):
    with pytest.raises(UserError, match="There are no runs in"):
        find("latest", tmp_path)


def test_a_comparison_instead_of_a_run_is_refused_with_the_latest_run(runs):
    for target in (TWO, str(runs / TWO)):
        with pytest.raises(UserError) as error:
            find_run(target, runs)
        assert error.value.problem == (
            f"{runs / TWO} is a comparison, but a run is needed here. The latest run is {THREE}."
        )
        assert error.value.hint == str(runs / THREE)


def test_a_run_instead_of_a_comparison_is_refused_with_the_latest_comparison(runs):
    for target in (THREE, "latest"):
        with pytest.raises(UserError) as error:
            find_comparison(target, runs)
        assert error.value.problem == (
            f"{runs / THREE} is a run, but a comparison is needed here. "
            f"The latest comparison is {TWO}."
        )


def test_without_any_other_the_command_is_named_that_makes_one(tmp_path, make_run, make_comparison):
    with pytest.raises(UserError, match=r"but a comparison is needed here\.\n") as error:
        find_comparison(str(make_run(ONE)), tmp_path / "elsewhere")
    assert error.value.hint == "gradcli compare-optimizers"
    with pytest.raises(UserError, match=r"but a run is needed here\.\n") as error:
        find_run(str(make_comparison(TWO).path), tmp_path / "elsewhere")
    assert error.value.hint == "gradcli train"


def test_what_is_damaged_is_found_only_to_be_removed(runs):
    (runs / ONE / "run.json").write_text("[]")
    assert find_to_remove("one", runs).name == ONE
    for find in (find_any, find_run):
        with pytest.raises(DamagedFileError):
            find("one", runs)
