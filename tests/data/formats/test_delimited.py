"""Tables of text: how they are split into cells, and what is said of a line that is not right."""

import csv
import io

import numpy as np
import pytest

from gradcli.data.formats import bounded
from gradcli.data.formats.delimited import read_csv
from gradcli.errors import UserError

NAN = float("nan")


@pytest.fixture
def read(tmp_path):
    """Read a table from its text, or bytes."""

    def reader(content, **options):
        path = tmp_path / "table.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_csv(path, **options)

    return reader


def cells(table):
    """The columns by name, with None for what is missing."""
    return {
        column.name: list(column.texts)
        if column.numbers is None
        else [None if np.isnan(one) else one for one in column.numbers]
        for column in table.columns
    }


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiters_line_ends_and_marks(read, delimiter, mark, end):
    lines = ["a,b,c", "1,x y,2.5", "-3,,1e2"]
    text = mark + end.join(lines).replace(",", delimiter) + end
    table = read(text)
    assert cells(table) == {"a": [1, -3], "b": ["x y", None], "c": [2.5, 100]}
    assert [column.kind for column in table.columns] == ["integers", "text", "numbers"]
    assert table.row_numbers.tolist() == [2, 3]


def test_quoted_cells(read):
    table = read('name,"a ""b"", c",z\n"x, y",1,2\n"first\nsecond", 3 ,"4"\nlast,5,6\n')
    assert cells(table) == {
        "name": ["x, y", "first\nsecond", "last"],
        'a "b", c': [1, 3, 5],
        "z": [2, 4, 6],
    }
    assert table.row_numbers.tolist() == [2, 3, 5]


def test_what_python_writes_is_read(read):
    random = np.random.default_rng(0)
    words = ["a", "b,c", 'd"e', "f\ng", "ü; h", "i\tj"]
    rows = [[words[random.integers(6)], random.normal(), int(n)] for n in range(9000)]
    file = io.StringIO(newline="")
    csv.writer(file).writerows([["word", "real", "count"], *rows])
    table = read(file.getvalue())
    assert list(table.columns[0].texts) == [row[0] for row in rows]
    assert table.columns[1].numbers.tolist() == [row[1] for row in rows]
    assert table.columns[2].numbers.tolist() == [row[2] for row in rows]
    text = file.getvalue().replace("\r\n", "\n")
    lines = text.split("\n")
    for row in (0, 4095, 4096, 8999):  # a quoted cell may continue in the next line
        assert lines[table.row_numbers[row] - 1].startswith(('"', rows[row][0][:1]))


def test_empty_lines_are_counted_and_left_out(read):
    table = read("\na,b\n\n1,2\n\n\n3,4\n\n")
    assert table.row_numbers.tolist() == [4, 7]


@pytest.mark.parametrize("word", ["", "NA", "N/A", "nan", "NaN", "null", "NULL", "?", " "])
def test_missing_values(read, word):
    table = read(f"a,b,c\n1,x,0\n{word},{word},0\n")
    assert cells(table)["a"] == [1, None]
    assert cells(table)["b"] == ["x", None]
    assert table.columns[0].kind == "integers"


@pytest.mark.parametrize("word", ["1_000", "0x10", "1,5", "\uff11", "1 2", "--1", "1e", "True"])
def test_what_is_no_number(read, word):
    table = read(f'a,b\n1,2\n"{word}",3\n')
    assert cells(table)["a"] == ["1", word]


@pytest.mark.parametrize("word", ["1.0", "1e0", "1.", "+1"])
def test_whole_numbers_count_as_integers_only_if_written_so(read, word):
    assert read(f"a,b\n1,2\n{word},3\n").columns[0].kind == (
        "integers" if word == "+1" else "numbers"
    )


def test_a_column_that_turns_to_text_late_keeps_its_words(read):
    lines = [f"{number:05},{number}" for number in range(10_000)]
    table = read("\n".join(["id,n", *lines, "x,1"]))
    assert table.columns[0].texts[:2] == ["00000", "00001"]
    assert len(table.columns[0].texts) == len(table) == 10_001


def test_without_a_header(read):
    table = read("5.1,setosa\n4.9,virginica\n", header=False)
    assert cells(table) == {"0": [5.1, 4.9], "1": ["setosa", "virginica"]}
    assert table.row_numbers.tolist() == [1, 2]


def test_a_delimiter_within_names_does_not_mislead(read):
    assert list(cells(read("price (EUR, USD);name\n1,5;x\n"))) == ["price (EUR, USD)", "name"]


def test_a_delimiter_of_ones_own(read):
    assert cells(read("a:b\n1:2\n", delimiter=":")) == {"a": [1], "b": [2]}
    for wrong in ("", "::", '"', "\n"):
        with pytest.raises(UserError, match="one character was expected"):
            read("a,b\n1,2\n", delimiter=wrong)


@pytest.mark.parametrize(
    ("content", "message", "line"),
    [
        ("a,b\n1,2\n\n1\n", "Line 4 has 1 cells, but the first line has 2", 4),
        ("a,b\n1,2\n1,2,3\n", "Line 3 has 3 cells", 3),
        ('a,b\n"x\ny",2\n1\n', "Line 4 has 1 cells", 4),
        ('a,b\n1,2\n3,"x\ny\n', "record that begins in line 3 cannot be read", 3),
        ('a,b\n1,2\n3,"x"y\n', "record that begins in line 3 cannot be read", 3),
        (b"a,b\n1,2\n\n3,\xe4\n", "byte 0xe4 at offset 11, in line 4", 4),
        (f"a,b\n1,{'x' * 140_000}\n", "line 2 cannot be read: field larger", 2),
        ("1,2\n3,4\n", "first line holds numbers", 1),
        ("abc\n1\n", "first line is one cell", 1),
    ],
)
def test_damage_is_told_with_its_line(read, tmp_path, content, message, line):
    with pytest.raises(UserError, match=message) as caught:
        read(content)
    assert caught.value.where == f"{tmp_path / 'table.csv'}:{line}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "file is empty"),
        ("\n\n", "file is empty"),
        ("a,b\n", "table has no rows"),
        ("a,b,a\n1,2,3\n", "columns 0 and 2, counted from 0, have one name: 'a'"),
        ("a,b, a\n1,2,3\n", "columns 0 and 2"),
        ("a,b\n1,2\n".encode("utf-16"), "zero bytes, as UTF-16"),
        (b"PK\0\0", "zero bytes, as UTF-16 and binary files"),
    ],
)
def test_tables_that_cannot_be_read(read, tmp_path, content, message):
    with pytest.raises(UserError, match=message) as caught:
        read(content)
    assert caught.value.where == str(tmp_path / "table.csv")


def test_files_that_cannot_be_opened(tmp_path):
    with pytest.raises(UserError, match="cannot be read: No such file"):
        read_csv(tmp_path / "absent.csv")


def test_a_file_that_would_not_fit_is_refused_before_it_is_read(read, monkeypatch):
    monkeypatch.setattr(bounded, "MOST_BYTES", 100)
    with pytest.raises(UserError, match="The table would take"):
        read("a,b\n" + "1,2\n" * 10)


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_decimal_commas_are_read_and_told(read, delimiter):
    table = read("a;b;c;d\n3,14;-,5;1;x\n2;1,5e3;;y\n;;7;z\n".replace(";", delimiter))
    assert cells(table) == {
        "a": [3.14, 2, None],
        "b": [-0.5, 1500, None],
        "c": [1, None, 7],
        "d": ["x", "y", "z"],
    }
    assert [column.kind for column in table.columns] == ["numbers", "numbers", "integers", "text"]
    assert table.remarks == ("Commas are decimal points in 'a', 'b': 3,14 is 3.14.",)


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        # A comma before three digits may be one of thousands, unless another column says otherwise.
        ("a;b\n1,234;1\n-2,500;2\n", ["text", "integers"]),
        ("a;b\n1,234;0,5\n2,500;1,5\n", ["numbers", "numbers"]),
        ("a;b;c\n1,234;0,5;1.5\n2,500;1,5;2\n", ["text", "numbers", "numbers"]),
        ("a;b\n1,234;0.5\n2,500;1.5\n", ["text", "numbers"]),
        ("a;b\n0,125;1\n2,500;1\n", ["numbers", "integers"]),
        # These are no decimal commas.
        ("a;b\n1,2,3;1\n", ["text", "integers"]),
        ("a;b\n1.234,5;1\n", ["text", "integers"]),
        ("a;b\n1,5;1\nred;1\n", ["text", "integers"]),
        # Commas that separate cells stand in a cell only within quotes.
        ('a,b\n"1,5",1\n', ["text", "integers"]),
    ],
)
def test_only_unambiguous_decimal_commas_are_read(read, text, kinds):
    table = read(text)
    assert [column.kind for column in table.columns] == kinds


def test_a_comma_that_may_be_one_of_thousands_is_told(read):
    assert read("a;b\n1,234;1\n").remarks == (
        "The column 'a' holds 1,234, which may be 1.234 or 1234: it is taken as text.",
    )


@pytest.mark.parametrize("line", ["0.5,yes", "1,2", "3,,4", "1.5,2,no"])
def test_a_first_line_that_is_an_example_is_not_taken_for_names(read, line):
    with pytest.raises(UserError, match="holds numbers") as caught:
        read(f"{line}\n{line}\n")
    assert "data.header=false" in caught.value.hint


def test_columns_may_be_named_after_years(read):
    assert [one.name for one in read("2023,2024,y\n1,2,3\n").columns][:2] == [
        "2023",
        "2024",
    ]
