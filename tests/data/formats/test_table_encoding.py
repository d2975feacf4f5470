"""Tables as examples: which columns become what, and what is said of values that do not fit."""

import numpy as np
import pytest
import torch

from gradcli.data.formats import bounded
from gradcli.data.formats.raw_table import typed
from gradcli.data.formats.table_encoding import TableChoice, encode, learn_encoding
from gradcli.data.formats.tables import read_table, read_tables
from gradcli.errors import UserError

PEOPLE = """age,city,height,group
30,Rome,1.75,b
41,Oslo,1.8,a
22,Rome,,b
"""


@pytest.fixture
def saved(tmp_path):
    """Write a table; return its path."""

    def save(text, name="train.csv"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return save


@pytest.fixture
def read(saved):
    """Read one table as examples."""

    def reader(text, target, **choice):
        return read_tables(saved(text), TableChoice(target, **choice)).train

    return reader


def test_numbers_categories_and_means(read):
    examples = read(PEOPLE, "group", categorical=["city"], missing="mean")
    assert examples.columns == ("age", "city=Oslo", "city=Rome", "height")
    assert examples.inputs.dtype == torch.float32
    expected = [[30, 0, 1, 1.75], [41, 1, 0, 1.8], [22, 0, 1, (1.75 + 1.8) / 2]]
    assert np.array_equal(examples.inputs.numpy(), np.array(expected, dtype=np.float32))
    assert examples.classes == ("a", "b")
    assert examples.targets.dtype == torch.int64
    assert examples.targets.tolist() == [1, 0, 1]


def test_a_regression(read):
    examples = read("x,y\n1,0.5\n2,-3\n", "y")
    assert examples.classes is None
    assert examples.targets.dtype == torch.float32
    assert examples.targets.tolist() == [0.5, -3]


@pytest.mark.parametrize(
    ("choice", "columns"),
    [
        ({"target": "d"}, ("a", "b", "c")),
        ({"target": -1}, ("a", "b", "c")),
        ({"target": 0}, ("b", "c", "d")),
        ({"target": "d", "features": ["c", "a"]}, ("c", "a")),
        ({"target": "d", "features": [1]}, ("b",)),
        ({"target": "d", "leave_out": ["b", -2]}, ("a",)),
        ({"target": "d", "features": ["b", "b"]}, ("b",)),
    ],
)
def test_which_columns_are_inputs(read, choice, columns):
    examples = read("a,b,c,d\n1,2,3,0\n5,6,7,1\n", **choice)
    assert examples.columns == columns
    values = {"a": [1, 5], "b": [2, 6], "c": [3, 7], "d": [0, 1]}
    assert examples.inputs.T.tolist() == [values[name] for name in columns]


def test_integers_are_classes_in_the_order_of_their_values(read):
    examples = read("x,y\n" + 10 * "0,10\n0,9\n0,-1\n", "y")
    assert examples.classes == ("-1", "9", "10")
    assert examples.targets.tolist() == 10 * [2, 1, 0]


@pytest.mark.parametrize(
    ("values", "are_classes"),
    [
        ([0, 1, 0, 1], True),  # counted from 0, each in two rows
        ([1, 2, 3, 3, 2, 1], True),
        ([0, 1, 2], False),  # row numbers
        ([0, 2, 2, 0], False),  # a gap
        ([2, 3, 2, 3], False),  # counted from 2
        (10 * [5, 7], True),
        ([*9 * [5, 7], 5], False),  # 19 rows
        ([12_000 + 3_500 * index for index in range(40)], False),
    ],
)
def test_integers_are_classes_if_they_repeat_as_labels_do(saved, values, are_classes):
    path = saved("x,y\n" + "".join(f"0,{value}\n" for value in values))
    encoding = learn_encoding(read_table(path), TableChoice("y"))
    labels = tuple(map(str, sorted(set(values))))
    assert encoding.classes == (labels if are_classes else None)
    other = "numbers" if are_classes else "classes"
    (remark,) = encoding.remarks
    assert f"'y' holds {len(labels)} different whole numbers in {len(values)} rows" in remark
    assert f"data.target_kind={other}" in remark
    chosen = learn_encoding(read_table(path), TableChoice("y", target_kind=other))
    assert (chosen.classes is None) == are_classes
    assert chosen.remarks == ()


def test_whole_numbers_with_a_decimal_point_are_numbers(saved):
    encoding = learn_encoding(read_table(saved("x,y\n" + 20 * "1,0.0\n2,1.0\n")), TableChoice("y"))
    assert encoding.classes is None
    assert "data.target_kind=classes" in encoding.remarks[0]


def test_text_and_fractions_leave_nothing_to_remark(saved):
    for values in ("a\n1,b", "0.5\n1,2"):
        path = saved(f"x,y\n1,{values}\n")
        assert learn_encoding(read_table(path), TableChoice("y")).remarks == ()


def test_many_labels_are_asked_about(read):
    text = "x,y\n" + 2 * "".join(f"0,{number}\n" for number in range(101))
    with pytest.raises(
        UserError, match="holds 101 different whole numbers in 202 rows, which may be"
    ) as caught:
        read(text, "y")
    assert caught.value.hint == "data.target_kind=numbers, or data.target_kind=classes"
    assert read(text, "y", target_kind="numbers").targets.tolist() == 2 * list(range(101))
    assert read(text, "y", target_kind="classes").classes == tuple(map(str, range(101)))


def test_numbers_with_a_fraction_can_be_classes(read):
    examples = read("x,y\n0,2.0\n0,0.5\n", "y", target_kind="classes")
    assert examples.classes == ("0.5", "2")


def test_categories_of_numbers(read):
    examples = read("code,y\n10,a\n9,b\n10,a\n", "y", categorical=["code"])
    assert examples.columns == ("code=9", "code=10")
    assert examples.inputs.tolist() == [[0, 1], [1, 0], [0, 1]]


def test_what_is_learned_comes_from_the_training_rows_alone(saved):
    train = saved("a,b,y\n1,u,no\n3,v,yes\n,u,no\n")
    test = saved("y,b,a,more\nyes,u,,1\n", "test.csv")
    choice = TableChoice("y", categorical=["b"], missing="mean")
    parts = read_tables(train, choice, val=test, test=test)
    assert parts.test.inputs.tolist() == [[2, 1, 0]]
    assert parts.test.targets.tolist() == [1]
    assert parts.test.columns == parts.train.columns == ("a", "b=u", "b=v")
    assert torch.equal(parts.val.inputs, parts.test.inputs)


def test_rows_of_one_table_are_split_before_anything_is_learned(saved):
    table = read_table(saved("a,b,y\n1,u,0\n3,v,1\n,u,0\n100,u,1\n"))
    encoding = learn_encoding(
        table.rows(slice(0, 3)), TableChoice("y", categorical=["b"], missing="mean")
    )
    assert encode(table.rows(np.array([2, 0])), encoding).inputs.tolist() == [[2, 1, 0], [1, 1, 0]]
    assert encode(table.rows(slice(3, 4)), encoding).inputs.tolist() == [[100, 1, 0]]


@pytest.mark.parametrize(
    ("text", "choice", "message", "line"),
    [
        (PEOPLE, {"leave_out": ["city"]}, "'height' has no value in line 4", 4),
        ("a,group\n1,x\n,x\n3,x\n,x\n", {}, "'a' has no value in line 3 and in 1 more", 3),
        ("a,group\n1,x\n2,\n", {}, "target 'group' has no value in line 3", 3),
        ("a,group\n1,1\n2,\n", {}, "target 'group' has no value in line 3", 3),
        ("a,group\n1,.5\n2,\n", {}, "target 'group' has no value in line 3", 3),
        (PEOPLE, {"missing": "mean"}, "'city' holds 'Rome' in line 2, where a number", 2),
        ("a,group\n,x\nb,y\n", {}, "'a' holds 'b' in line 3", 3),
        ("a,group\n1,x\n12.x,y\n", {}, "'a' holds '12.x' in line 3, where a number", 3),
        (
            "a;group\n1,500;x\n",
            {},
            "'a' holds '1,500' in line 2, where a number with a decimal p",
            2,
        ),
        ("a,group\n1,x\ninf,y\n", {}, "'a' holds inf in line 3, which is not finite", 3),
        ("a,group\n1,x\n1e39,y\n", {"missing": "mean"}, "'a' holds 1e\\+39 in line 3", 3),
        ("a,group\n1,.5\n1,-1e40\n", {}, "'group' holds -1e\\+40 in line 3", 3),
        (
            "a,group\n1,9007199254740993000\n",
            {"target_kind": "classes"},
            "'group' holds 9.0072e\\+18 in line 2",
            2,
        ),
        ("a,group\n1,x\n", {"target_kind": "numbers"}, "'group' holds 'x' in line 2", 2),
        (
            "a,b,group\nx,1,1\n,2,1\n",
            {"categorical": ["a"], "missing": "mean"},
            "'a' has no value in line 3",
            3,
        ),
    ],
)
def test_values_that_cannot_be_used_are_told_with_line_and_column(
    read, tmp_path, text, choice, message, line
):
    with pytest.raises(UserError, match=message) as caught:
        read(text, "group", **choice)
    assert caught.value.where == f"{tmp_path / 'train.csv'}:{line}"
    assert caught.value.hint


@pytest.mark.parametrize(
    ("choice", "message", "choices"),
    [
        ({"target": "gruop"}, "data.target names the column 'gruop'", "group"),
        ({"target": "group", "features": ["hieght"]}, "data.features names .* 'hieght'", "height"),
        ({"target": "group", "leave_out": ["cty"]}, "data.leave_out names .* 'cty'", "city"),
        ({"target": "group", "categorical": ["cty"]}, "data.categorical names .* 'cty'", "city"),
        ({"target": 4}, "data.target is 4, but the table has 4 columns", "3 (group)"),
        ({"target": -5}, "data.target is -5", "0 (age)"),
        (
            {"target": "group", "categorical": ["city"], "leave_out": ["city"]},
            "names 'city', which is not one of the inputs",
            None,
        ),
    ],
)
def test_columns_that_do_not_exist(read, choice, message, choices):
    with pytest.raises(UserError, match=message) as caught:
        read(PEOPLE, **choice)
    assert choices is None or choices in caught.value.choices


def test_the_remedies_work(read):
    with pytest.raises(UserError) as caught:
        read(PEOPLE, "group")
    assert caught.value.hint == (
        "data.categorical=[city] for a 0 or 1 per value; or data.leave_out=[city]"
    )
    with pytest.raises(UserError) as caught:
        read(PEOPLE, "group", leave_out=["city"])
    assert caught.value.hint == "data.missing=mean, or data.leave_out=[height]"
    assert len(read(PEOPLE, "group", leave_out=["city"], missing="mean")) == 3
    assert len(read(PEOPLE, "group", leave_out=["city", "height"])) == 3


@pytest.mark.parametrize(
    ("cells", "says", "hint"),
    [
        (
            [f'"{1000 + i:,}"' for i in range(20)],
            "no separators of thousands",
            "remove the separators in the file: 1000",
        ),
        ([f"{i / 7:.2f}%" for i in range(20)], "without a unit", "remove the % in the file"),
        ([f"{i} €" for i in range(20)], "without a unit", "remove the € in the file"),
        (["2024-01-02", "2024-01-03"] * 10, "not a date", "columns of numbers"),
        ([f"name{i}" for i in range(20)], "a number was", "data.leave_out=[a]"),
        (["x", "y"] * 10, "a number was", "data.categorical=[a] for a 0 or 1 per value"),
    ],
)
def test_what_cells_look_like_decides_the_remedy(read, cells, says, hint):
    rows = "".join(f"{cell},{i % 2}\n" for i, cell in enumerate(cells))
    with pytest.raises(UserError, match=says) as caught:
        read(f"a,t\n{rows}", "t")
    assert hint in caught.value.hint
    assert "data.leave_out=[a]" in caught.value.hint
    assert ("data.categorical" in caught.value.hint) == ("data.categorical" in hint)


def test_a_target_is_no_input(read):
    with pytest.raises(UserError, match="'group' is the target"):
        read(PEOPLE, "group", features=["age", "group"])


def test_no_input_is_left(read):
    with pytest.raises(UserError, match="No column is left"):
        read("a,b\n1,2\n", "b", leave_out=["a"])


def test_a_column_without_values_has_no_mean(read):
    with pytest.raises(UserError, match="'a' has no value in any training row"):
        read("a,b,y\n,1,0\n,2,1\n", "y", missing="mean")


def test_row_numbers_without_a_name_are_no_input(read):
    text = ",a,y\n0,5,no\n1,6,yes\n"
    with pytest.raises(UserError, match="column 0, counted from 0, has no name") as caught:
        read(text, "y")
    assert caught.value.hint == "data.leave_out=[0], or a name in the file"
    assert read(text, "y", leave_out=[0]).columns == ("a",)


@pytest.mark.parametrize(
    ("row", "message", "choice"),
    [
        ("1,Oslp,a", "'b' holds 'Oslp' in line 2, which no training row has", "Oslo"),
        ("1,Oslo,yess", "target 'y' holds 'yess' in line 2, which no training row", "yes"),
    ],
)
def test_values_that_training_does_not_have(saved, row, message, choice):
    train = saved("a,b,y\n1,Oslo,yes\n2,Rome,no\n")
    test = saved(f"a,b,y\n{row}\n", "test.csv")
    with pytest.raises(UserError, match=message) as caught:
        read_tables(train, TableChoice("y", categorical=["b"]), test=test)
    assert caught.value.where == f"{test}:2"
    assert caught.value.choices[0] == choice


def test_a_test_table_that_lacks_a_column(saved):
    train, test = saved("a,b,y\n1,2,0\n"), saved("a,bb,y\n1,2,0\n", "test.csv")
    with pytest.raises(UserError, match="the training table names the column 'b'") as caught:
        read_tables(train, TableChoice("y"), test=test)
    assert caught.value.where == str(test)
    assert caught.value.choices == ("bb",)


def test_files_that_cannot_be_opened(tmp_path):
    with pytest.raises(UserError, match="cannot be read: No such file") as caught:
        read_table(tmp_path / "absent.csv")
    assert caught.value.where == str(tmp_path / "absent.csv")


def test_inputs_that_would_not_fit(read, monkeypatch):
    text = "a,y\n" + "".join(f"w{number},0\n" for number in range(30))
    monkeypatch.setattr(bounded, "MOST_BYTES", 3000)
    with pytest.raises(UserError, match="30 rows of 30 columns would take"):
        read(text, "y", categorical=["a"])


@pytest.mark.parametrize(
    ("names", "word"),
    [
        (["a", "b_2"], "k=[a,b_2]"),
        (["my city"], """'k=["my city"]'"""),
        (['a"b'], """'k=["a\\"b"]'"""),
        (["it's"], """'k=["it'\\''s"]'"""),
        (["1"], """'k=["1"]'"""),
    ],
)
def test_hints_can_be_typed_in_a_shell(names, word, tmp_path):
    import shlex

    from omegaconf import OmegaConf

    assert typed("k", names) == word
    assert OmegaConf.from_dotlist(shlex.split(word)).k == names
