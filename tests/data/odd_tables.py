"""Tables as people have them that are read, and what each is read as.

`tests/data/test_odd_tables.py` reads them, and `docs/make_odd_tables.py` lists them.
"""

import decimal
import gzip
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import feather, parquet

NAN = np.nan
Content = str | bytes | Callable[[Path], object]
AB = {"a": "real", "b": "binary"}
ROWS = "a,b\n1.5,x\n-2,y\n0.25,x\n"
HIDDEN = np.random.default_rng(0).normal(size=60)
BERLIN = pa.timestamp("us", "Europe/Berlin")


def written(folder: Path, content: Content, name: str = "t.csv") -> str:
    """Writes a file, returns its path."""
    path = folder / name
    if callable(content):
        content(path)
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def columns(**arrays: object) -> Callable[[Path], object]:
    """Returns what writes columns as a parquet or feather file."""

    def write(path: Path) -> None:
        table = pa.table({name: pa.array(values) for name, values in arrays.items()})
        (feather.write_feather if path.suffix == ".feather" else parquet.write_table)(
            table, str(path)
        )

    return write


def parquet_bytes() -> bytes:
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.table({"a": [1.5, 2]}), sink)
    return sink.getvalue().to_pybytes()


def archive(path: Path) -> None:
    """Writes a .zip archive, as an Excel file is one."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("xl/workbook.xml", "<workbook/>")


def lines(header: str, *rows: str) -> str:
    return "\n".join([header, *rows]) + "\n"


def numbered(text: str, num: int = 40) -> str:
    return "".join(text.format(i=i, h=HIDDEN[i]) + "\n" for i in range(num))


def numbered_counts() -> str:
    return "".join(f"{i * 1000}\n" for i in range(42))


# What is in the file, its name, what the columns are, and the first row as numbers.
READ: dict[str, tuple] = {
    "plain": (ROWS, "t.csv", AB, [1.5, 0]),
    "semicolons": (ROWS.replace(",", ";"), "t.csv", AB, [1.5, 0]),
    "pipes": (ROWS.replace(",", "|"), "t.csv", AB, [1.5, 0]),
    "tabs": (ROWS.replace(",", "\t"), "t.csv", AB, [1.5, 0]),
    "tsv": (ROWS.replace(",", "\t"), "t.tsv", AB, [1.5, 0]),
    "gzip": (gzip.compress(ROWS.encode()), "t.csv.gz", AB, [1.5, 0]),
    "gzip by its bytes": (gzip.compress(ROWS.encode()), "t.csv", {"a": "real"}, [1.5]),
    "tsv, gzip": (
        gzip.compress(ROWS.replace(",", "\t").encode()),
        "t.tsv.gz",
        {"a": "real"},
        [1.5],
    ),
    "upper case suffix": (ROWS, "T.CSV", AB, [1.5, 0]),
    "byte order mark": ("\ufeff" + ROWS, "t.csv", AB, [1.5, 0]),
    "UTF-16": (ROWS.encode("utf-16"), "t.csv", AB, [1.5, 0]),
    "Windows lines": (ROWS.replace("\n", "\r\n"), "t.csv", AB, [1.5, 0]),
    "blank lines": (ROWS.replace("\n", "\n\n"), "t.csv", AB, [1.5, 0]),
    "no last newline": (ROWS.rstrip(), "t.csv", AB, [1.5, 0]),
    "spaces": ("a , b\n 1.5, x\n-2 ,y \n0.25,x\n", "t.csv", AB, [1.5, 0]),
    "quotes": ('"a","b"\n"1.5","x"\n"-2","y"\n"0.25","x"\n', "t.csv", {"a": "real"}, [1.5]),
    "quoted separators": (
        'a,b\n1.5,"x,1"\n-2,"y;2"\n0.25,"x,1"\n',
        "t.csv",
        AB,
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
        AB,
        [1.5, 0],
    ),
    "decimal commas": (
        "a;b\n1,5;x\n-2;y\n0,25;x\n",
        "t.csv",
        AB,
        [1.5, 0],
    ),
    "decimal commas in quotes": (
        'a,b\n"1,5",x\n-2,y\n"0,25",x\n',
        "t.csv",
        AB,
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
    "old Mac lines": (ROWS.replace("\n", "\r"), "t.csv", AB, [1.5, 0]),
    "lines of three kinds": ("a,b\r\n1.5,x\n-2,y\r0.25,x\n", "t.csv", AB, [1.5, 0]),
    "UTF-16 of the other order": (
        b"\xfe\xff" + ROWS.encode("utf-16-be"),
        "t.csv",
        AB,
        [1.5, 0],
    ),
    "UTF-32": (ROWS.encode("utf-32"), "t.csv", AB, [1.5, 0]),
    "the end of DOS": (ROWS + "\x1a", "t.csv", AB, [1.5, 0]),
    "Excel's line of the separator": (
        "sep=;\n" + ROWS.replace(",", ";"),
        "t.csv",
        AB,
        [1.5, 0],
    ),
    "a line end in a name": ('"a\nb",c\n1.5,2\n3,4.5\n-5,6\n', "t.csv", {"a\nb": "real"}, [1.5]),
    "inches": ('a,b\n1.5,5" pipe\n2,6" pipe\n', "t.csv", {"b": "binary"}, [0, 0]),
    "spaces that do not break": ("a\n\u00a01.5\n2\u00a0\n3\n", "t.csv", {"a": "real"}, [1.5]),
    "a comma in a text of a semicolon file": (
        "a;b\n1.5;x,y\n2;y,z\n3;x,y\n",
        "t.csv",
        AB,
        [1.5, 0],
    ),
    "names that differ in case": ("a,A\n1.5,2\n3,4.5\n-5,6\n", "t.csv", {"A": "real"}, [1.5, 2]),
    "wavelengths as names": (
        "400.5,401.5,402.5\n1.5,2,3.5\n2,3,4\n-1,2.5,1\n",
        "t.csv",
        {"400.5": "real"},
        [1.5],
    ),
    "a label, and numbers as names": (
        "label,1,2\nx,2,3.5\ny,3,4\nx,2.5,1\n",
        "t.csv",
        {"label": "binary", "1": "real"},
        [0, 2],
    ),
    "true in any case": ("a\nTrue\ntrue\nFALSE\nfalse\n", "t.csv", {"a": "binary"}, [1]),
    "true and 1": ("a\nTrue\n0\n1\nFalse\n", "t.csv", {"a": "binary"}, [1]),
    "Y and N, with a gap": ("a\nY\nN\n\nY\n", "t.csv", {"a": "binary"}, [1]),
    "unknown among texts": (
        "a\nmarried\nunknown\nsingle\n",
        "t.csv",
        {"a": "categorical"},
        [0],
    ),
    "ranges of ages": ("a\n18-24\n25-34\n65+\n", "t.csv", {"a": "categorical"}, [0]),
    "codes with letters": ("a\n1a\n2b\n3c\n1a\n", "t.csv", {"a": "categorical"}, [0]),
    "names of genes": ("a\nMARCH1\nSEPT2\nDEC1\n", "t.csv", {"a": "categorical"}, [1]),
    "versions": ("a\n1.2.3\n1.2.4\n2.0.0\n", "t.csv", {"a": "categorical"}, [0]),
    "99999 in a wide column": (
        "a\n" + numbered_counts() + "99999\n",
        "t.csv",
        {"a": "count"},
        [0],
    ),
    "times of zones": (
        "a\n1970-01-02T12:00:00Z\n2024-12-31T06:00:00+02:00\n2020-02-29T00:00:00+0000\n",
        "t.csv",
        {"a": "date"},
        [1.5],
    ),
    "underflow": ("a\n1e-400\n2\n-3.5\n", "t.csv", {"a": "real"}, [0]),
    "a cell of 200,000 letters": (
        f"a,b\n{'x' * 200_000},1.5\ny,2\ny,3\n",
        "t.csv",
        {"b": "real"},
        [0, 1.5],
    ),
    "parquet: decimals": (
        columns(a=[decimal.Decimal("1.50"), decimal.Decimal("2.25"), decimal.Decimal(-3)]),
        "t.parquet",
        {"a": "real"},
        [1.5],
    ),
    "parquet: whole numbers with gaps": (
        columns(a=pa.array([4, None, 3, 5])),
        "t.parquet",
        {"a": "count"},
        [4],
    ),
    "parquet: a dictionary": (
        columns(a=pa.array(["x", "y", "x", "z"]).dictionary_encode()),
        "t.parquet",
        {"a": "categorical"},
        [0],
    ),
    "parquet: a dictionary of numbers": (
        columns(a=pa.array([1, 2, 1, 4]).dictionary_encode()),
        "t.parquet",
        {"a": "count"},
        [1],
    ),
    "parquet: times of a zone": (
        columns(a=pa.array([129_600_000_000, 10**15, 10**12], BERLIN)),
        "t.parquet",
        {"a": "date"},
        [1.5],
    ),
    "parquet: times in nanoseconds": (
        columns(a=pa.array([129_600_000_000_001, 10**18, 10**15], pa.timestamp("ns", "UTC"))),
        "t.parquet",
        {"a": "date"},
        [1.5],
    ),
    "parquet: days": (
        columns(a=pa.array([2, 20_000, None, 500], pa.date32())),
        "t.parquet",
        {"a": "date"},
        [2],
    ),
    "parquet: truth with gaps": (
        columns(a=[True, None, False]),
        "t.parquet",
        {"a": "binary"},
        [1],
    ),
    "parquet: short floats": (
        columns(a=np.float16([1.5, 2.5, -3])),
        "t.parquet",
        {"a": "real"},
        [1.5],
    ),
    "parquet: numbers as names, in any order": (
        columns(**{"3": [1.5, 2, -3], "1": [1, 2.5, 4]}),
        "t.parquet",
        {"3": "real", "1": "real"},
        [1.5, 1],
    ),
    "parquet: spaces around a name": (
        columns(**{" a ": [1.5, 2, -3]}),
        "t.parquet",
        {"a": "real"},
        [1.5],
    ),
    "feather": (columns(a=[1.5, 2, -3]), "t.feather", {"a": "real"}, [1.5]),
}
