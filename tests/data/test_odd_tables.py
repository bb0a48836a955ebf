"""Tables as people have them: each is read right, or refused by one line with the likely cause."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from docs.make_odd_tables import PAGE, page
from tests.data.odd_tables import HIDDEN, NAN, READ, ROWS, Content, columns, written
from tests.data.refused_tables import REFUSED
from tests.helpers import assert_one_line
from tfp_aevb.data import load_dataset
from tfp_aevb.data.cells import Form
from tfp_aevb.data.columns import Column
from tfp_aevb.data.table_files import read_cells
from tfp_aevb.data.tables import Others, encode, infer, load_table, read_table


@pytest.mark.parametrize("case", READ)
def test_odd_files_are_read_right(case: str, tmp_path: Path) -> None:
    content, name, kinds, first = READ[case]
    columns, x = read_table(written(tmp_path, content, name))
    found = {column.name: column.kind for column in columns}
    assert {key: found[key] for key in kinds} == kinds
    np.testing.assert_allclose(x[0, : len(first)], np.float32(first), rtol=1e-5)


@pytest.mark.parametrize("case", REFUSED)
def test_odd_files_are_refused_with_the_likely_cause(case: str, tmp_path: Path) -> None:
    content, parts, name = (*REFUSED[case], "t.csv")[:3]
    path = written(tmp_path, content, name)
    assert_one_line(lambda: read_table(path), ValueError, name, *parts)


def test_the_page_of_odd_files_is_what_the_program_says() -> None:
    assert len(READ) + len(REFUSED) >= 60
    assert PAGE.read_text() == page(), "run `python docs/make_odd_tables.py`"


def test_what_is_refused_is_read_when_it_is_stated(tmp_path: Path) -> None:
    def first(content: str | bytes, kinds: str | None = None, **form) -> float:
        return float(read_table(written(tmp_path, content), kinds, form=Form(**form)).x[0, 0])

    assert first("a,b\n1.5,é\n2,x\n-1,x\n".encode("latin-1"), encoding="latin-1") == 1.5
    thousands = 'a,b\n"1,234",1\n"5,678",2\n"2,345",3\n'
    assert first(thousands, thousands=",") == 1234
    assert first(thousands, decimal=",") == np.float32(1.234)
    assert first("a\n1 234\n5 678\n9 123\n", thousands=" ") == 1234
    assert np.isnan(first("a\n?\n1\n2\n3\n", missing_values=("?",)))
    assert np.isnan(first("a\n-999.0\n1\n2\n3\n", missing_values=("-999",)))
    assert first("a;b\n1\n2\n3\n4\n", separator=",") == 1
    assert first("a,x;b\n1,5;2\n3,4;1\n7,2;0\n", separator=";") == 1.5
    assert first("7,0.27\n6,0.3\n8,0.28\n", header=False) == 7
    assert first("id,a\n1,2\n2,5\n3,7\n", "id:ignore") == 2


def test_numbers_of_other_marks_are_not_read_as_stated(tmp_path: Path) -> None:
    for content, form in (
        ("a;b\n1,5;1\n2.5;2\n3,5;4\n", Form(decimal=",")),
        ('a,b\n"1,23",1\n"2,345",2\n3,4\n', Form(thousands=",")),
    ):
        path = written(tmp_path, content)
        assert_one_line(lambda p=path, f=form: read_table(p, form=f), ValueError, "no number")
    for wrong, part in (
        ({"separator": "ab"}, "--separator"),
        ({"decimal": ";"}, "--decimal"),
        ({"thousands": "x"}, "--thousands"),
        ({"decimal": ",", "thousands": ","}, "--thousands"),
    ):
        assert_one_line(lambda w=wrong: Form(**w), ValueError, part)
    path = written(tmp_path, ROWS)
    form = Form(encoding="latin-99")
    assert_one_line(lambda: read_table(path, form=form), ValueError, "--encoding")


@pytest.mark.parametrize("suffix", ["parquet", "feather"])
def test_binary_files_are_read(suffix: str, tmp_path: Path) -> None:
    import pandas as pd

    frame = pd.DataFrame(
        {
            "r": [1.5, None, -2.0, 3.0],
            "n": pd.array([4, 0, None, 3], "Int64"),
            "k": pd.Categorical(["x", "y", None, "z"]),
            "b": [True, False, True, False],
            "d": pd.to_datetime(["1970-01-02", "2024-12-31", None, "2020-02-29"]),
            "f": np.array([0.1, 0.2, 0.3, 0.4], np.float32),
        }
    )
    path = tmp_path / f"t.{suffix}"
    getattr(frame, f"to_{suffix}")(path)
    columns, x = read_table(str(path))
    kinds = [column.kind for column in columns]
    assert kinds == ["real", "count", "categorical", "binary", "date", "real"]
    np.testing.assert_array_equal(x[0], np.float32([1.5, 4, 0, 1, 1, 0.1]))
    np.testing.assert_array_equal(np.isnan(x[:, :5]).sum(axis=0), [1, 1, 1, 0, 1])
    frame["c"] = 7
    getattr(frame, f"to_{suffix}")(path)
    assert_one_line(lambda: read_table(str(path)), ValueError, "'c'", "c:ignore")
    path.write_bytes(b"no such file")
    assert_one_line(lambda: read_table(str(path)), ValueError, f"t.{suffix}", "cannot be read")


@pytest.mark.parametrize("seed", range(5))
def test_forty_poisson_columns_are_counts(seed: int, tmp_path: Path) -> None:
    counts = np.random.default_rng(seed).poisson(4, size=[500, 40])
    text = ",".join(f"n{j}" for j in range(40)) + "\n"
    text += "".join(",".join(map(str, row)) + "\n" for row in counts)
    columns, _ = read_table(written(tmp_path, text))
    assert {column.kind for column in columns} == {"count"}


def test_whole_numbers_that_vary_little_are_real(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    years = rng.integers(1990, 2020, size=100)
    stars = rng.choice([3, 4, 5, 6, 7], size=100)
    text = "".join(f"{a},{b}\n" for a, b in zip(years, stars, strict=True))
    columns, _ = read_table(written(tmp_path, "year,stars\n" + text))
    assert [column.kind for column in columns] == ["real", "real"]
    assert [column.decode(4.4) for column in columns] == ["4", "4"]


def test_each_column_has_a_line_with_its_reason(tmp_path: Path) -> None:
    text = "id,a,n,k\n" + "".join(
        f"{i},{h:.3f},{i % 6},{'uvw'[i % 3]}\n" for i, h in enumerate(HIDDEN)
    )
    dataset = load_dataset(written(tmp_path, text), columns="id:ignore,n:count")
    assert len(dataset.notes) == 4
    for line, parts in zip(
        dataset.notes,
        [
            ("'id'", "ignore", "stated"),
            ("'a'", "real"),
            ("'n'", "count", "stated"),
            ("'k'", "categorical", "3"),
        ],
        strict=True,
    ):
        assert all(part in line for part in parts), line
    assert dataset.record["ignored_columns"] == ["id"]
    assert [column["name"] for column in dataset.record["columns"]] == ["a", "n", "k"]


def test_recorded_kinds_are_used_again(tmp_path: Path) -> None:
    path = written(tmp_path, "a,b\n" + "".join(f"{i % 5},{h:.3f}\n" for i, h in enumerate(HIDDEN)))
    old = [Column("a", "real"), Column("b", "real")]  # an earlier version's choice
    assert [column.kind for column in load_table(path, old).columns] == ["real", "real"]
    assert [column.kind for column in load_table(path, None).columns] == ["count", "real"]


def test_other_tables_are_refused_unless_it_is_stated(tmp_path: Path) -> None:
    columns = [Column("a", "real"), Column("k", "categorical", ("1", "2", "x"))]

    def read(text: str, **others) -> np.ndarray:
        path = written(tmp_path, text)
        return read_table(path, columns=columns, others=Others(**others)).x

    extra, absent, unseen = "a,k,z\n1.5,x,7\n", "a\n1.5\n", "a,k\n1.5,q\n"
    for text, flag, column in (
        (extra, "--extra_columns=ignore", "'z'"),
        (absent, "--absent_columns=missing", "'k'"),
        (unseen, "--unknown_category=missing", "'q'"),
    ):
        assert_one_line(lambda t=text: read(t), ValueError, flag, column)
    np.testing.assert_array_equal(read(extra, extra_columns="ignore"), [[1.5, 2]])
    np.testing.assert_array_equal(read(extra, ignored=("z",)), [[1.5, 2]])
    np.testing.assert_array_equal(read(absent, absent_columns="missing"), [[1.5, NAN]])
    np.testing.assert_array_equal(read(unseen, unknown_category="missing"), [[1.5, NAN]])
    nothing = {"absent_columns": "missing", "extra_columns": "ignore"}
    assert_one_line(lambda: read("z\n1\n", **nothing), ValueError, "none of the columns")
    # A wrong number is not an unknown category.
    wrong = {"unknown_category": "missing"}
    assert_one_line(lambda: read("a,k\nq,x\n", **wrong), ValueError, "'q'", "no number")
    # Categories compare as values.
    np.testing.assert_array_equal(read("a,k\n1,1.0\n1,2e0\n")[:, 1], [0, 1])


def test_positive_ordinal_and_date_columns_are_stated(tmp_path: Path) -> None:
    path = written(tmp_path, "p,o,d\n1,low,2024-12-31\n2.5,high,2024-01-01\n4,mid,1970-01-01\n")
    columns, x = read_table(path, "p:positive,o:ordinal(low<mid<high),d:date")
    assert columns[1].categories == ("low", "mid", "high")
    np.testing.assert_array_equal(x[:, 1], [0, 2, 1])
    assert columns[0].shift == pytest.approx(np.log([1, 2.5, 4]).mean())
    assert [columns[2].decode(float(v)) for v in x[:, 2]] == [
        "2024-12-31",
        "2024-01-01",
        "1970-01-01",
    ]
    assert_one_line(lambda: read_table(path, "o:ordinal"), ValueError, "order")
    assert_one_line(lambda: read_table(path, "o:ordinal(low<mid)"), ValueError, "'high'")
    zero = written(tmp_path, "p\n0\n1\n2\n", "zero.csv")
    assert_one_line(lambda: read_table(zero, "p:positive"), ValueError, "line 2", "above 0")


def test_the_line_of_a_cell_counts_blank_and_quoted_lines(tmp_path: Path) -> None:
    text = 'a,b\n\n1,"x\ny"\n\n2,z\nq,z\n3,w\n4,w\n'
    assert_one_line(lambda: read_table(written(tmp_path, text)), ValueError, "line 7", "'q'")


def test_a_large_file_of_quoted_lines_is_read_whole(tmp_path: Path) -> None:
    text = "a,b\n" + "".join(f'{i % 7},"one\ntwo {i % 5}"\n' for i in range(120_000))
    cells = read_cells(written(tmp_path, text))
    assert cells.num_rows == 120_000
    x = encode(cells, [each.column for each in infer(cells, None) if each.column])
    np.testing.assert_array_equal(x[:, 0], np.arange(120_000) % 7)
    np.testing.assert_array_equal(x[:, 1], np.arange(120_000) % 5)


def test_the_reader_is_imported_when_a_table_is_read() -> None:
    heavy = "{'pandas', 'pyarrow', 'tensorflow'}"
    code = f"import sys, tfp_aevb.data.tables; print({heavy} & set(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert re.fullmatch(r"set\(\)\s*", result.stdout), result.stdout


def test_a_stated_kind_is_never_refused_for_what_cells_look_like(tmp_path: Path) -> None:
    def kind(content: Content, kinds: str, name: str = "t.csv") -> str:
        return read_table(written(tmp_path, content, name), kinds).columns[0].kind

    assert kind("a\n1.5\n-999\n2\n3.5\n", "a:real") == "real"
    assert kind("a\n12%\n13%\n20%\n", "a:categorical") == "categorical"
    assert kind("a\nyes\nYes\nno\n", "a:categorical") == "categorical"
    assert kind("a\n20240101\n20240215\n20231231\n", "a:real") == "real"
    assert kind("k\nx\ny\nx\nTotal\n", "k:categorical") == "categorical"
    assert kind("7,0.27\n6,0.3\n8,0.28\n", "7:real") == "real"
    assert kind(columns(a=[[1], [2, 3]], b=[1.5, 2, -1][:2]), "a:ignore,b:real", "t.parquet")


def test_columns_of_a_run_may_have_names_that_are_numbers(tmp_path: Path) -> None:
    """Earlier versions took the first row of such a file for names: those runs go on."""
    path = written(tmp_path, "7,0.27\n6,0.3\n8,0.28\n")
    old = [Column("7", "real"), Column("0.27", "real")]
    np.testing.assert_array_equal(
        read_table(path, columns=old).x, np.float32([[6, 0.3], [8, 0.28]])
    )
    path = written(tmp_path, "7,0.27\n" + "".join(f"{h:.3f},{-h:.2f}\n" for h in HIDDEN))
    assert load_table(path, old).ignored == ()


def test_columns_of_lists_are_refused_where_a_run_has_them(tmp_path: Path) -> None:
    path = written(tmp_path, columns(a=[[1], [2, 3]], b=[1.5, 2]), "t.parquet")
    old = [Column("a", "real"), Column("b", "real")]
    assert_one_line(lambda: read_table(path, columns=old), ValueError, "'a'", "list")
    np.testing.assert_array_equal(read_table(path, "a:ignore,b:real").x[:, 0], [1.5, 2])


def test_truth_is_the_same_in_text_and_binary_files(tmp_path: Path) -> None:
    text = read_table(written(tmp_path, "a\nTrue\nFalse\nTrue\n"))
    path = written(tmp_path, columns(a=[False, True, None]), "t.parquet")
    np.testing.assert_array_equal(read_table(path, columns=text.columns).x[:, 0], [0, 1, NAN])
    large = Column("a", "binary", ("9007199254740992", "9007199254740993"))
    assert [large.encode(text) for text in large.categories] == [0, 1]


def test_whole_numbers_beyond_float64_are_told_apart(tmp_path: Path) -> None:
    big = [2**60 + 1, 2**60 + 2, 2**60 + 3]
    path = written(tmp_path, columns(a=big), "t.parquet")
    assert_one_line(lambda: read_table(path), ValueError, "'a'", "float32 cannot tell")
    two = read_table(written(tmp_path, columns(a=[*big[:2], None]), "t.parquet"))
    assert two.columns[0].categories == (str(big[0]), str(big[1]))
    np.testing.assert_array_equal(two.x[:, 0], [0, 1, NAN])
