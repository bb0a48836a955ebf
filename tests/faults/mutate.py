"""Mutants of the estimators: one small change each, which a test must notice.

`python -m tests.faults mutate --tries=200` goes on where it stopped: what is known of each mutant
stands in `mutants.csv` in the current folder.
"""

import ast
import csv
import importlib.abc
import importlib.util
import os
import random
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tests.faults.record import Row

ROOT = Path(__file__).parents[2]
RESULTS = Path("mutants.csv")
SECONDS = 900.0
OBJECTIVES = ("test_objectives", "test_importance_weighted", "test_kl_weight")
# Module -> its tests, those most likely to notice first.
TESTS = {
    "objectives/__init__": OBJECTIVES,
    "objectives/sgvb": OBJECTIVES,
    "objectives/importance_weighted": ("test_importance_weighted", "test_objectives"),
    "full_vb": ("test_full_vb",),
    "evaluation/annealing": ("evaluation/test_hmc", "evaluation/test_importance"),
}
SWAPS: dict[type, type] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE,
    ast.LtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.And: ast.Or, ast.Or: ast.And, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
NAMES = {
    "reduce_sum": "reduce_mean", "reduce_mean": "reduce_sum", "reduce_max": "reduce_min",
    "exp": "identity", "log": "identity", "stop_gradient": "identity", "square": "abs",
    "reduce_logsumexp": "reduce_sum", "sqrt": "identity", "maximum": "minimum",
}  # fmt: skip


def modules() -> list[str]:
    """The mutated modules, relative to the package, without suffix."""
    package = ROOT / "tfp_aevb"
    paths = [*(package / "objectives").glob("*.py"), *(package / "evaluation").glob("*.py")]
    return sorted(
        str(p.relative_to(package).with_suffix("")) for p in [*paths, package / "full_vb.py"]
    )


def changes(tree: ast.Module) -> Iterator[tuple[int, str, Callable[[], None]]]:
    """Yields (line, what, how) for each small change of the code in functions."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    seen: set[int] = set()
    for function in functions:
        for statement in function.body:
            if isinstance(statement, ast.Raise):
                continue
            for node in ast.walk(statement):
                if id(node) in seen or not hasattr(node, "lineno"):
                    continue
                seen.add(id(node))
                yield from _changes_of(node)


def _changes_of(node: Any) -> Iterator[tuple[int, str, Callable[[], None]]]:
    if isinstance(node, ast.BinOp | ast.BoolOp) and type(node.op) in SWAPS:
        swap = SWAPS[type(node.op)]
        what = f"{type(node.op).__name__} to {swap.__name__}"
        yield node.lineno, what, partial(setattr, node, "op", swap())
    elif isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPS:
        swap = SWAPS[type(node.ops[0])]
        what = f"{type(node.ops[0]).__name__} to {swap.__name__}"
        yield node.lineno, what, partial(node.ops.__setitem__, 0, swap())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield node.lineno, "minus lost", partial(setattr, node, "op", ast.UAdd())
    elif isinstance(node, ast.Constant):
        old: Any = node.value
        if type(old) in (int, float):
            new = old + 1 if type(old) is int else old * 1.1 + 0.1
            yield node.lineno, f"{old} to {new}", partial(setattr, node, "value", new)
    elif isinstance(node, ast.Attribute) and node.attr in NAMES and _is_tf(node.value):
        name = NAMES[node.attr]
        yield node.lineno, f"{node.attr} to {name}", partial(_rename, node, name)


def _is_tf(node: ast.AST) -> bool:
    return ast.unparse(node) in ("tf", "tf.math")


def _rename(node: ast.Attribute, name: str) -> None:
    node.value, node.attr = ast.Name("tf", ast.Load()), name
    if name in ("abs", "identity", "maximum", "minimum"):
        return
    node.value = ast.parse("tf.math", mode="eval").body


def sample(count: int, seed: int) -> list[tuple[str, int]]:
    """Returns (module, number of the change) of the sampled mutants."""
    everything = []
    for name in modules():
        tree = ast.parse((ROOT / "tfp_aevb" / f"{name}.py").read_text())
        everything += [(name, number) for number, _ in enumerate(changes(tree))]
    random.Random(seed).shuffle(everything)
    return everything[:count]


def mutate(tries: int, seed: int, folder: Path) -> list[Row]:
    """Runs the tests of each mutant's module in a child that has the mutant."""
    from tests.faults.processes import forked

    del folder
    known = _known()
    row = Row("mutants of objectives, evaluation, full_vb", "a test fails", tries)
    for name, number in sample(tries, seed):
        key = f"{name}:{number}"
        if key not in known:
            tree = ast.parse((ROOT / "tfp_aevb" / f"{name}.py").read_text())
            if f"{name}:whole" not in known:  # the tests must pass without a change
                outcome = forked(partial(_tests_fail, name, _compiled(name, tree)), timeout=SECONDS)
                if outcome.code != 0:
                    raise RuntimeError(f"{name} unchanged: {outcome.code} {outcome.stderr[-2000:]}")
                known[f"{name}:whole"] = _note([f"{name}:whole", f"{name}.py", "0", "", "passed"])
            line, what, change = list(changes(tree))[number]
            change()
            outcome = forked(partial(_tests_fail, name, _compiled(name, tree)), timeout=SECONDS)
            verdict = {0: "survived", 1: "killed", 2: "killed"}.get(outcome.code, "killed (crash)")
            known[key] = _note([key, f"{name}.py", str(line), what, verdict])
            print(*known[key][1:], f"{outcome.seconds:.0f} s", flush=True)
        if known[key][-1] == "survived":
            row.err(" ".join(known[key][1:]))
    return [row]


def _compiled(name: str, tree: ast.Module) -> Any:
    return compile(ast.fix_missing_locations(tree), f"{name}.py", "exec")


def _note(line: list[str]) -> list[str]:
    with RESULTS.open("a") as file:
        csv.writer(file).writerow(line)
    return line


def _known() -> dict[str, list[str]]:
    if not RESULTS.exists():
        return {}
    return {line[0]: line for line in csv.reader(RESULTS.read_text().splitlines())}


def _tests_of(name: str) -> list[str]:
    own = f"evaluation/test_{Path(name).name}"
    names = TESTS.get(name, (own,))
    paths = [ROOT / "tests" / f"{test}.py" for test in names]
    found = [str(path) for path in paths if path.exists()]
    return found or [str(ROOT / "tests" / "evaluation")]


def _tests_fail(name: str, code: Any) -> int:
    """Returns pytest's exit code under the mutant: 0 if no test noticed."""
    import pytest

    for loaded in [module for module in sys.modules if module.startswith(("tfp_aevb", "tests."))]:
        del sys.modules[loaded]
    sys.meta_path.insert(
        0, _Mutant(f"tfp_aevb.{name.replace('/', '.').removesuffix('.__init__')}", code)
    )
    os.chdir(ROOT)
    return int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *_tests_of(name)]))


class _Mutant(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from code of ours."""

    def __init__(self, name: str, code: Any) -> None:
        self._name, self._code = name, code

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name != self._name:
            return None
        where = ROOT / f"{name.replace('.', '/')}"
        is_package = where.is_dir()
        spec = importlib.util.spec_from_loader(name, self, is_package=is_package)
        if is_package and spec is not None:
            spec.submodule_search_locations = [str(where)]
        return spec

    def exec_module(self, module: Any) -> None:
        exec(self._code, module.__dict__)
