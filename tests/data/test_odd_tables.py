"""Tables as people have them: each is read right, or refused by one line with the likely cause."""

import gzip
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.helpers import assert_one_line
from tfp_aevb.data import load_dataset
from tfp_aevb.data.cells import Form
from tfp_aevb.data.columns import Column
from tfp_aevb.data.table_files import read_cells
from tfp_aevb.data.tables import Others, encode, infer, load_table, read_table

NAN = np.nan
ROWS = "a,b\n1.5,x\n-2,y\n0.25,x\n"
HIDDEN = np.random.default_rng(0).normal(size=60)


def lines(header: str, *rows: str) -> str:
    return "\n".join([header, *rows]) + "\n"


def numbered(text: str, num: int = 40) -> str:
    return "".join(text.format(i=i, h=HIDDEN[i]) + "\n" for i in range(num))


# What is in the file, its name, what the columns are, and the first row as numbers.
READ = {
    "plain": (ROWS, "t.csv", {"a": "real", "b": "binary"}, [1.5, 0]),
    "semicolons": (ROWS.replace(",", ";"), "t.csv", {"a": "real", "b": "binary"}, [1.5, 0]),
    "pipes": (ROWS.replace(",", "|"), "t.csv", {"a": "real", "b": "binary"}, [1.5, 0]),
    "tabs": (ROWS.replace(",", "\t"), "t.csv", {"a": "real", "b": "binary"}, [1.5, 0]),
    "tsv": (ROWS.replace(",", "\t"), "t.tsv", {"a": "real", "b": "binary"}, [1.5, 0]),
    "gzip": (gzip.compress(ROWS.encode()), "t.csv.gz", {"a": "real", "b": "binary"}, [1.5, 0]),
    "gzip by its bytes": (gzip.compress(ROWS.encode()), "t.csv", {"a": "real"}, [1.5]),
    "tsv, gzip": (
        gzip.compress(ROWS.replace(",", "\t").encode()),
        "t.tsv.gz",
        {"a": "real"},
        [1.5],
    ),
    "upper case suffix": (ROWS, "T.CSV", {"a": "real", "b": "binary"}, [1.5, 0]),
    "byte order mark": ("\ufeff" + ROWS, "t.csv", {"a": "real", "b": "binary"}, [1.5, 0]),
    "UTF-16": (ROWS.encode("utf-16"), "t.csv", {"a": "real", "b": "binary"}, [1.5, 0]),
    "Windows lines": (ROWS.replace("\n", "\r\n"), "t.csv", {"a": "real", "b": "binary"}, [1.5, 0]),
    "blank lines": (ROWS.replace("\n", "\n\n"), "t.csv", {"a": "real", "b": "binary"}, [1.5, 0]),
    "no last newline": (ROWS.rstrip(), "t.csv", {"a": "real", "b": "binary"}, [1.5, 0]),
    "spaces": ("a , b\n 1.5, x\n-2 ,y \n0.25,x\n", "t.csv", {"a": "real", "b": "binary"}, [1.5, 0]),
    "quotes": ('"a","b"\n"1.5","x"\n"-2","y"\n"0.25","x"\n', "t.csv", {"a": "real"}, [1.5]),
    "quoted separators": (
        'a,b\n1.5,"x,1"\n-2,"y;2"\n0.25,"x,1"\n',
        "t.csv",
        {"a": "real", "b": "binary"},
        [1.5, 0],
    ),
    "quoted line ends": (
        'a,b\n1.5,"x\n1"\n-2,"y"\n0.25,"z"\n',
        "t.csv",
        {"a": "real", "b": "categorical"},
        [1.5, 0],
    ),
    "trailing separators, in the header too": (
        "a,b,\n1.5,x,\n-2,y,\n0.25,x,\n",
        "t.csv",
        {"a": "real", "b": "binary"},
        [1.5, 0],
    ),
    "decimal commas": (
        "a;b\n1,5;x\n-2;y\n0,25;x\n",
        "t.csv",
        {"a": "real", "b": "binary"},
        [1.5, 0],
    ),
    "decimal commas in quotes": (
        'a,b\n"1,5",x\n-2,y\n"0,25",x\n',
        "t.csv",
        {"a": "real", "b": "binary"},
        [1.5, 0],
    ),
    "decimal commas and groups": (
        "a;b\n1.001,5;x\n-2;y\n0,25;x\n",
        "t.csv",
        {"a": "real", "b": "binary"},
        [1001.5, 0],
    ),
    "groups of three": (
        'a,b\n"5,061.78",x\n-2.5,y\n"1,001",x\n',
        "t.csv",
        {"a": "real", "b": "binary"},
        [5061.78, 0],
    ),
    "millions": (
        'a,b\n"5,061,000",x\n-2.5,y\n"1,001",x\n',
        "t.csv",
        {"a": "real"},
        [5061000.0],
    ),
    "a real minus sign": (
        "a,b\n\N{MINUS SIGN}1.5,x\n2,y\n0.25,x\n",
        "t.csv",
        {"a": "real"},
        [-1.5],
    ),
    "missing in three ways": (
        "a,b\n,x\nNA,y\nnan,z\n1.5,x\n3,x\n0.1,w\n",
        "t.csv",
        {"a": "real", "b": "categorical"},
        [NAN, 1],
    ),
    "plus signs and exponents": ("a\n+1.5e0\n-2E1\n.5\n", "t.csv", {"a": "real"}, [1.5]),
    "dates": (
        "a,b\n1970-01-03,1\n2024-12-31,2.5\n2020-02-29,3\n",
        "t.csv",
        {"a": "date", "b": "real"},
        [2, 1],
    ),
    "dates with a time": (
        "a\n1970-01-02 12:00\n2024-12-31 06:00\n2020-02-29 00:00\n",
        "t.csv",
        {"a": "date"},
        [1.5],
    ),
    "codes with a 0 before": ("zip\n01234\n90210\n00501\n", "t.csv", {"zip": "categorical"}, [1]),
    "one column": ("a\n1.5\n\n2\n3\n", "t.csv", {"a": "real"}, [1.5]),
    "names of other scripts": (
        "größe,色\n1.5,赤\n2,青\n-1,赤\n",
        "t.csv",
        {"größe": "real"},
        [1.5],
    ),
    "years as names": ("2001,2002\n1.5,2.5\n-1,3\n-2,4\n", "t.csv", {"2001": "real"}, [1.5]),
    "true and false": ("a\ntrue\nfalse\ntrue\n", "t.csv", {"a": "binary"}, [1]),
    "binary numbers": ("a\n1.0\n0\n1\n0.0\n", "t.csv", {"a": "binary"}, [1]),
    "a skewed column": (
        "a\n" + "".join(f"{np.exp(2 * h):.6g}\n" for h in HIDDEN),
        "t.csv",
        {"a": "positive"},
        [np.exp(2 * HIDDEN[0])],
    ),
    "counts above a thousand": ("a\n0\n5000\n20\n", "t.csv", {"a": "count"}, [0]),
    "very large whole numbers": ("a\n0\n5000000\n20\n", "t.csv", {"a": "real"}, [0]),
}


def written(folder: Path, content: str | bytes, name: str = "t.csv") -> str:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


@pytest.mark.parametrize("case", READ)
def test_odd_files_are_read_right(case: str, tmp_path: Path) -> None:
    content, name, kinds, first = READ[case]
    columns, x = read_table(written(tmp_path, content, name))
    found = {column.name: column.kind for column in columns}
    assert {key: found[key] for key in kinds} == kinds
    np.testing.assert_allclose(x[0, : len(first)], np.float32(first), rtol=1e-5)


# What is in the file, what is stated, and parts of the line.
REFUSED = {
    "Latin-1": ("a,b\n1,é\n2,x\n".encode("latin-1"), ("line 2", "UTF-8", "--encoding=latin-1")),
    "zero bytes": (ROWS.encode("utf-16-le"), ("zero byte", "--encoding=utf-16")),
    "percentages": ("a\n12%\n13%\n20%\n", ("line 2", "'12%'", "percentage")),
    "money": ("a\n$3.50\n$4\n$5\n", ("line 2", "'$3.50'", "money")),
    "euros": ("a\n3.50 €\n4 €\n5\n", ("line 2", "money")),
    "units": ("a\n3.50 kg\n4 kg\n5 kg\n", ("line 2", "unit")),
    "brackets": ("a\n(3.50)\n4\n5\n", ("line 2", "brackets")),
    "dates of another order": ("a\n31.12.2020\n1.2.2021\n3.4.2020\n", ("line 2", "2024-12-31")),
    "slashed dates": ("a\n12/31/2020\n1/2/2021\n3/4/2020\n", ("line 2", "2024-12-31")),
    "times": ("a\n12:30\n13:40\n1:15\n", ("line 2", "times")),
    "groups or decimals": (
        'a,b\n"1,234",1\n"5,678",2\n"2,345",3\n',
        ("line 2", "1234", "1.234", "--decimal"),
    ),
    "commas and points": ("a;b\n1,5;0.5\n2,5;1.25\n3,5;1\n", ("line 2", "'1,5'", "--decimal=,")),
    "groups by spaces": ("a;b\n1 234;1\n5 678;2\n9 123;4\n", ("line 2", "--thousands")),
    "groups by apostrophes": ("a\n1'234\n5'678\n9'123\n", ("line 2", "--thousands")),
    "question marks": ("a\n1\n2\n?\n3\n", ("line 4", "--missing_values=?")),
    "NULL among texts": ("a\nx\nNULL\ny\nz\n", ("line 3", "--missing_values=NULL")),
    "a dash among numbers": ("a\n1\n2\n-\n3\n", ("line 4", "--missing_values=-")),
    "a letter among numbers": ("a\n1\n2\n4x\n3\n", ("line 4", "'4x'")),
    "infinities": ("a\n1\n2\ninf\n3\n", ("line 4", "'inf'")),
    "hexadecimal": ("a\n1\n2\n0x10\n3\n", ("line 4", "'0x10'")),
    "two names": ("a,b,a\n1,2,3\n4,5,6\n7,8,9\n", ("line 1", "'a'", "rename")),
    "no header": ("7,0.27,7\n6,0.3,6\n8,0.28,8\n", ("line 1", "--noheader")),
    "no header, all different": ("7,0.27,20\n6,0.3,6\n8,0.28,8\n", ("line 1", "--noheader")),
    "trailing separators": ("a,b\n1,2,\n3,4,\n", ("line 2", "3 cells", "ends with a separator")),
    "a line too short": ("a;b\n1;2\n3\n", ("line 3", "1 cells", "2")),
    "a line too long": ("a;b\n1;2\n3;4;5\n", ("line 3", "3 cells")),
    "a quote not closed": ('a,b\n1,"2\n3,4\n', ("line",)),
    "semicolon in the only name": ("a;b\n1\n2\n3\n", ("line 1", "--separator=,")),
    "two separators": ("a,x;b\n1,5;2\n3,4;1\n", ("line 1", "--separator=;")),
    "unique texts": ("name\n" + numbered("n{i}"), ("'name'", "40", "--columns='name:ignore'")),
    "an index without a name": (
        ",a\n" + numbered("{i},{h:.3f}"),
        ("Unnamed: 0", "--columns='Unnamed: 0:ignore'"),
    ),
    "an index of few rows": (",a\n0,1.5\n1,2\n2,-3\n", ("'Unnamed: 0:ignore'",)),
    "an index with a name": ("n,a\n" + numbered("{i},{h:.3f}"), ("--columns='n:ignore'",)),
    "numbers of customers": (
        "customer_id,a\n" + "".join(f"{(i * 7919) % 100003},{i % 7}\n" for i in range(40)),
        ("customer_id:ignore",),
    ),
    "a constant": ("a,b\n1,2.5\n1,3\n1,-1\n", ("'a'", "one value", "a:ignore")),
    "an empty column": ("a,b\n,2.5\n,3\n,-1\n", ("'a'", "no values", "a:ignore")),
    "two useless columns": ("a,b,c\n1,,2.5\n1,,3\n1,,-1\n", ("--columns='a:ignore,b:ignore'",)),
    "nothing": ("", ("no rows",)),
    "blank lines alone": ("\n\n \n", ("no rows",)),
    "a header alone": ("a;b\n", ("no rows",)),
}


@pytest.mark.parametrize("case", REFUSED)
def test_odd_files_are_refused_with_the_likely_cause(case: str, tmp_path: Path) -> None:
    content, parts = REFUSED[case]
    path = written(tmp_path, content)
    assert_one_line(lambda: read_table(path), ValueError, "t.csv", *parts)


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
