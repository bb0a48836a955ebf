"""Tables from .csv files: kinds, missing cells, and what is refused."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.helpers import assert_one_line
from tfp_aevb.data import load_dataset
from tfp_aevb.data.columns import Column, as_columns
from tfp_aevb.data.table_files import read_cells
from tfp_aevb.data.tables import read_table, write_table

TEXT = """age,sex,visits,income,town,year
31,f,0,-12.5,Oslo,2001
47,m,14,3e2,"Paris, TX",2003
NA,f,,100,Oslo,2002
52, m ,3,nan,Rome,2001
"""


def written(folder: Path, text: str | bytes, name: str = "table.csv") -> str:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def test_kinds_are_inferred_and_cells_become_numbers(tmp_path: Path) -> None:
    columns, x = read_table(written(tmp_path, TEXT))
    kinds = {column.name: (column.kind, column.categories) for column in columns}
    assert kinds == {
        "age": ("count", ()),
        "sex": ("binary", ("f", "m")),
        "visits": ("count", ()),
        "income": ("real", ()),
        "town": ("categorical", ("Oslo", "Paris, TX", "Rome")),
        "year": ("real", ()),  # its variance is far below its mean
    }
    expected = [
        [31, 0, 0, -12.5, 0, 2001],
        [47, 1, 14, 300, 1, 2003],
        [np.nan, 0, np.nan, 100, 0, 2002],
        [52, 1, 3, np.nan, 2, 2001],
    ]
    np.testing.assert_array_equal(x, np.array(expected, np.float32))


def test_constants_are_means_and_deviations_of_what_is_seen(tmp_path: Path) -> None:
    columns = {column.name: column for column in read_table(written(tmp_path, TEXT)).columns}
    income, visits = np.array([-12.5, 300, 100]), np.log1p([0, 14, 3])
    for name, values in (("income", income), ("visits", visits)):
        assert columns[name].shift == pytest.approx(values.mean())
        assert columns[name].scale == pytest.approx(values.std())
    assert (columns["sex"].shift, columns["sex"].scale) == (0.0, 1.0)


def test_stated_kinds_take_the_place_of_inferred_ones(tmp_path: Path) -> None:
    path = written(tmp_path, TEXT.replace("age", '"a,b:c"'))
    columns, x = read_table(path, 'year:categorical,"a,b:c:real"')
    assert columns[0] == Column("a,b:c", "real", (), columns[0].shift, columns[0].scale, whole=True)
    assert columns[5].categories == ("2001", "2002", "2003")
    np.testing.assert_array_equal(x[:, 5], [0, 2, 1, 0])


def test_numeric_categories_are_in_the_order_of_numbers(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, "a\n10\n9\n2\n9\n"), "a:categorical")
    assert table.columns[0].categories == ("2", "9", "10")


def test_other_files_of_the_same_columns_are_read_by_them(tmp_path: Path) -> None:
    columns = read_table(written(tmp_path, TEXT)).columns
    other = "town,year,age,sex,visits,income\nRome,1999,0,m,,NaN\n"
    table = read_table(written(tmp_path, other, "other.csv"), columns=columns)
    assert table.columns == columns
    np.testing.assert_array_equal(table.x, np.array([[0, 1, np.nan, np.nan, 2, 1999]], np.float32))


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, TEXT))
    write_table(tmp_path / "again.csv", table.columns, table.x)
    again = read_table(str(tmp_path / "again.csv"), columns=table.columns)
    np.testing.assert_array_equal(again.x, table.x)
    values = np.array([[3.6, 0.7, -2.0, 1.5, 9.0, 0.25]])
    write_table(tmp_path / "drawn.csv", table.columns, values)
    assert read_cells(str(tmp_path / "drawn.csv")).rows == [["4", "m", "0", "1.5", "Rome", "0"]]


def test_real_values_are_written_with_all_the_digits_of_float32(tmp_path: Path) -> None:
    values = np.array([16777215, 1234567.9, -0.1, 1 / 3, 3e-30, 2.5e33, 0.0, 1700000000])
    x = np.stack([values, values], axis=1).astype(np.float32)
    columns = [Column("a", "real"), Column("b", "real")]
    write_table(tmp_path / "all.csv", columns, x)
    again = read_table(str(tmp_path / "all.csv"), columns=columns)
    np.testing.assert_array_equal(again.x, x)
    assert [row[0] for row in read_cells(str(tmp_path / "all.csv")).rows][:3] == [
        "16777215", "1234567.9", "-0.1"
    ]  # fmt: skip


def test_an_offset_that_float32_cannot_hold_is_refused(tmp_path: Path) -> None:
    # float32's numbers from 2^24 to 2^25 are 2 apart: it rounds by up to 1.
    def table(half_width: int) -> str:
        numbers = [2**24 + 2000 + sign * half_width for sign in (-1, 0, 1)]
        return written(tmp_path, "t,a\n" + "".join(f"{t},{t % 7}\n" for t in numbers) + ",1\n")

    deviation = np.sqrt(2 / 3)
    words = ("table.csv", "'t'", "float32", "offset")
    assert_one_line(lambda: read_table(table(int(995 / deviation))), ValueError, *words)
    column = read_table(table(int(1005 / deviation))).columns[0]
    assert column.scale == pytest.approx(1005, rel=2e-3)


def test_one_number_in_two_ways_is_one_value(tmp_path: Path) -> None:
    path = written(tmp_path, "a,b\n1,2\n1.0,3\n1e0,4\n")
    assert_one_line(lambda: read_table(path), ValueError, "'a'", "one value")
    assert_one_line(lambda: read_table(path, "a:categorical"), ValueError, "'a'", "one value")
    path = written(tmp_path, "a\n1\n2.0\n1.0\n2\n3\n")
    columns, x = read_table(path, "a:categorical")
    assert columns[0].categories == ("1", "2", "3")
    np.testing.assert_array_equal(x[:, 0], [0, 1, 0, 1, 2])


def test_a_table_is_a_data_set_with_constants_of_its_train_split(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = "".join(f"{a:.3f},{'xy'[b]}\n" for a, b in zip(rng.normal(size=40), rng.integers(2, size=40), strict=True))  # fmt: skip  # noqa: E501
    dataset = load_dataset(written(tmp_path, "a,b\n" + rows + ",x\n"))
    sizes = dataset.record["split_sizes"]
    assert (sizes["train"], sizes["validation"], sizes["test"]) == (33, 4, 4)
    seen = dataset.train.x[:, 0][~np.isnan(dataset.train.x[:, 0])]
    assert dataset.columns[0].shift == pytest.approx(seen.mean(dtype=float))
    assert as_columns(dataset.record["columns"]) == dataset.columns
    assert (dataset.event_shape, dataset.image_shape, dataset.scale) == ((2,), (), 1.0)


def test_options_that_do_not_suit_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, TEXT)
    assert_one_line(lambda: load_dataset(path, binarize="static"), ValueError, "`binarize`")
    assert_one_line(lambda: load_dataset("mnist_5k", columns="a:real"), ValueError, "`columns`")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ("no rows",)),
        ("a,b\n", ("no rows",)),
        ("a,a\n1,2\n", ("line 1", "'a'")),
        ("a,\n1,2\n", ("line 1", "column 2", "no name")),
        ("a,b\n1,2\n1\n", ("line 3", "1 cells", "2")),
        ("a,b\n1,2\n1,2,3\n", ("line 3", "3 cells")),
        ("a,b\n1,2\n3,\n", ("'b'", "one value")),
        ("a,b\n1,\n3,NA\n", ("'b'", "no values")),
        ("a\n1\n2\n3\n4x\n", ("line 5", "'a'", "'4x'")),
        ('a,b\n1,"2\n', ("line", "table.csv")),
        (b"a,b\n1,\xff\n", ("UTF-8",)),
        ("a\n" + "\n".join(f"w{i}" for i in range(1500)) + "\n", ("'a'", "1,500", "1000")),
    ],
)
def test_what_is_no_table_is_refused_with_its_place(
    text: str | bytes, parts: tuple[str, ...], tmp_path: Path
) -> None:
    path = written(tmp_path, text)
    assert_one_line(lambda: read_table(path), ValueError, "table.csv", *parts)


@pytest.mark.parametrize(
    ("row", "parts"),
    [
        ("5,f,1,2,Bergen,1", ("line 2", "'town'", "'Bergen'", "'Oslo'")),
        ("5,x,1,2,Oslo,1", ("line 2", "'sex'", "'x'")),
        ("5,f,1,2,Oslo,MMXI", ("line 2", "'year'", "'MMXI'", "real")),
        ("5,f,1,inf,Oslo,1", ("line 2", "'income'", "'inf'")),
        ("5,f,1,1e39,Oslo,1", ("line 2", "'income'", "'1e39'")),
        ("1.5,f,1,2,Oslo,1", ("line 2", "'age'", "'1.5'", "whole")),
        ("-1,f,1,2,Oslo,1", ("line 2", "'age'", "'-1'")),
        ("2000000,f,1,2,Oslo,1", ("line 2", "'age'", "1000000")),
        ('5,f,1,2,"a\nb",1', ("line 3", "'town'", "a\\nb")),
    ],
)
def test_cells_that_are_not_of_their_column_are_refused(
    row: str, parts: tuple[str, ...], tmp_path: Path
) -> None:
    columns = read_table(written(tmp_path, TEXT)).columns
    path = written(tmp_path, f"age,sex,visits,income,town,year\n{row}\n", "new.csv")
    assert_one_line(lambda: read_table(path, columns=columns), ValueError, "new.csv", *parts)


def test_files_of_other_columns_are_refused(tmp_path: Path) -> None:
    columns = read_table(written(tmp_path, TEXT)).columns
    for text, part in (("age,sex\n1,f\n", "'visits'"), (TEXT.replace("year", "day"), "'year'")):
        path = written(tmp_path, text, "new.csv")
        assert_one_line(partial(read_table, path, columns=columns), ValueError, "no column", part)
    more = written(tmp_path, TEXT.replace("year", "year,x").replace("200", "1,200"), "more.csv")
    assert_one_line(lambda: read_table(more, columns=columns), ValueError, "'x'")
    missing = str(tmp_path / "none.csv")
    assert_one_line(lambda: read_table(missing), FileNotFoundError, "none.csv")


@pytest.mark.parametrize("kinds", ["age", "age:text", "age:real,age:count", ":real,age"])
def test_kinds_that_are_none_are_refused(kinds: str, tmp_path: Path) -> None:
    path = written(tmp_path, TEXT)
    assert_one_line(lambda: read_table(path, kinds), ValueError, "--columns", "real")


def test_kinds_that_do_not_suit_the_column_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, TEXT)
    for kinds, parts in (
        ("town:real", ("line 2", "'Oslo'")),
        ("town:binary", ("'town'", "3 different")),
        ("income:count", ("line 2", "'-12.5'")),
        ("nome:real", ("'nome'", "--columns")),
    ):
        assert_one_line(partial(read_table, path, kinds), ValueError, *parts)
