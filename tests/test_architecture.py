"""The floors of the package: imports only go down, and never in a circle."""

import ast
from pathlib import Path

import tfp_aevb

PACKAGE = Path(tfp_aevb.__file__).parent
# From the ground up; what stands in a room may import what stands in the same or a lower one.
ROOMS = (
    # 1. Maths and plain tools: no Keras model, no run folder, no flag.
    *("utils", "distributions", "objectives", "data", "figures"),
    # 2. Keras: what is trained, and how.
    *("layers", "training", "models", "old_names"),
    # 3. Uses of a fitted model: none knows a folder or a flag.
    *("evaluation", "imputation", "export", "sklearn"),
    # 4. A run on disk, the paper, the command line.
    *("runs.settings", "runs", "runs.report", "reproduction", "commands", "__main__"),
)


def imports(path: Path) -> set[str]:
    """Returns the package's modules that a file imports anywhere, also for types alone."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tfp_aevb"):
            for name in (f"{node.module}.{alias.name}" for alias in node.names):
                found.add(name if name in MODULES else str(node.module))
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name in MODULES}
    return found


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def floor(module: str) -> int:
    """Returns the place of a module's room in `ROOMS`: the one with the longest name."""
    name = module.removeprefix("tfp_aevb.")
    return ROOMS.index(max((r for r in ROOMS if f"{name}.".startswith(f"{r}.")), key=len))


FILES = sorted(PACKAGE.rglob("*.py"))
MODULES = {module_name(path) for path in FILES}
ARROWS = {module_name(path): imports(path) for path in FILES}


def test_every_module_has_a_room() -> None:
    for module in MODULES - {"tfp_aevb"}:
        floor(module)


def test_imports_only_go_down() -> None:
    up = [
        f"{module} -> {target}"
        for module, targets in ARROWS.items()
        for target in targets
        if "tfp_aevb" not in (module, target) and floor(target) > floor(module)
    ]
    assert not up


def test_imports_make_no_circle() -> None:
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path, module))
        if module not in done:
            for target in ARROWS.get(module, ()):
                # A package's own list of names imports what stands in it.
                if not module.startswith(f"{target}."):
                    visit(target, (*path, module))
            done.add(module)

    for module in MODULES - {"tfp_aevb"}:
        visit(module, ())


def test_no_room_is_larger_than_fifteen_percent_of_the_house() -> None:
    lines = {path: len(path.read_text().splitlines()) for path in FILES}
    for room in {path.relative_to(PACKAGE).parts[0] for path in FILES}:
        inside = sum(n for path, n in lines.items() if path.relative_to(PACKAGE).parts[0] == room)
        assert inside < 0.15 * sum(lines.values()), room


def test_public_names_have_types_where_they_have_homes() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    typed = {
        alias.asname: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level == 0
        for alias in node.names
        if alias.asname
    }
    assert typed == tfp_aevb._HOMES
