"""The structure holds: imports flow one way, without cycles, at module level, in modules of readable size."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("node_bootstrap", "scheduler", "infra")
MOST_LINES = 400

# The layers of each package, lowest first. A module belongs to the entry with the longest matching name and may import
# its own entry and those of lower layers; entries of one layer do not import each other.
SCHEDULER_LAYERS = (
    (
        "scheduler.errors",
        "scheduler.durations",
        "scheduler.sketch",
        "scheduler.demand",
        "scheduler.model",
        "scheduler.policy",
        "scheduler.catalog",
        "scheduler.settings",
        "scheduler.views",
    ),
    ("scheduler.autoscale", "scheduler.dispatch", "scheduler.formula"),
    ("scheduler.ports", "scheduler.explain", "scheduler.decision_document"),
    ("scheduler.insight",),
    ("scheduler.controller", "scheduler.service", "scheduler.adapters"),
    ("scheduler.app", "scheduler.simulator"),
    ("scheduler.api",),
    ("scheduler.cli",),
    ("scheduler.__main__",),
)
# Within the lowest layer: sketch <- demand <- model <- settings, and policy <- settings, beside the others.
SCHEDULER_LOWEST = {
    "scheduler.errors": set(),
    "scheduler.durations": set(),
    "scheduler.sketch": set(),
    "scheduler.demand": {"scheduler.sketch"},
    "scheduler.model": {"scheduler.demand"},
    "scheduler.policy": set(),
    "scheduler.catalog": set(),
    "scheduler.settings": {"scheduler.errors", "scheduler.model", "scheduler.policy"},
    "scheduler.views": {"scheduler.model"},
}
PURE = (
    "scheduler.errors",
    "scheduler.sketch",
    "scheduler.demand",
    "scheduler.model",
    "scheduler.policy",
    "scheduler.catalog",
    "scheduler.views",
    "scheduler.autoscale",
    "scheduler.explain",
    "scheduler.formula",
)
# What the scheduler may know of the node's side, and what the faithful simulator may.
NODE_SIDE = ("node_bootstrap.protocol",)
RUNNER = tuple(f"node_bootstrap.runner.{part}" for part in ("events", "instructions", "machine"))
# Who may import Azure Batch formulas: they are a tool for people and for the simulator, and no part of the scheduler.
FORMULA_USERS = ("scheduler.formula", "scheduler.cli", "scheduler.simulator")
STANDARD_LIBRARY_ONLY = (
    *PURE,
    "scheduler.dispatch",
    "node_bootstrap.boot_plan",
    "node_bootstrap.codec",
    "node_bootstrap.protocol",
    "node_bootstrap.runner",
)
NEVER_IN_PURE = {"time", "random", "os", "socket", "subprocess", "threading", "logging", "sqlite3", "urllib", "http"}


def modules() -> dict[str, Path]:
    """Every module of ours by its dotted name."""
    found = {}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Every module that a file imports, wherever in it, with the column of the statement."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.col_offset) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import; write the whole name"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield (whole if whole in MODULES else str(node.module)), node.col_offset


GRAPH = {name: {target for target, _ in imports(path)} for name, path in MODULES.items()}


def under(name: str, prefix: str) -> bool:
    """Whether a module is the named one or lies inside it."""
    return name == prefix or name.startswith(prefix + ".")


def layer(name: str) -> tuple[int, str] | None:
    """Level and entry of a scheduler module."""
    for level, entries in enumerate(SCHEDULER_LAYERS):
        for entry in entries:
            if under(name, entry):
                return level, entry
    return None


def reached(start: str) -> set[str]:
    """Every module of ours that importing one loads."""
    seen: set[str] = set()
    stack = [start]
    while stack:
        name = stack.pop()
        if name in seen or name not in GRAPH:
            continue
        seen.add(name)
        stack.extend(GRAPH[name])
    return seen


def test_packages_import_one_way() -> None:
    """node_bootstrap imports neither of the others, scheduler only its protocol, and nothing imports infra.

    The faithful simulator runs the runner's own state machine besides, which is pure.
    """
    wrong = []
    for name, targets in GRAPH.items():
        for target in targets:
            if name.startswith("node_bootstrap") and target.split(".")[0] in {"scheduler", "infra"}:
                wrong.append((name, target))
            if name.startswith("scheduler") and under(target, "infra"):
                wrong.append((name, target))
            if name.startswith("scheduler") and under(target, "node_bootstrap"):
                seen = (*NODE_SIDE, *RUNNER) if under(name, "scheduler.simulator.faithful") else NODE_SIDE
                wrong.extend([(name, target)] if target not in seen else [])
    assert wrong == []


def test_scheduler_layers_import_downwards() -> None:
    """Inside scheduler a module imports only its own entry and lower layers."""
    wrong = []
    for name, targets in GRAPH.items():
        here = layer(name)
        if not name.startswith("scheduler.") or name == "scheduler":
            continue
        assert here is not None, f"{name} belongs to no layer: add it to SCHEDULER_LAYERS"
        for target in targets:
            there = layer(target)
            if there is None or there[1] == here[1] or there[0] < here[0]:
                continue
            if here[0] == there[0] == 0 and there[1] in SCHEDULER_LOWEST[here[1]]:
                continue
            wrong.append((name, target))
    assert wrong == []


def test_formulas_are_used_by_people_and_the_simulator_only() -> None:
    """Nothing that decides or runs anything depends on the language of Azure Batch formulas."""
    users = {name for name, targets in GRAPH.items() if any(under(target, "scheduler.formula") for target in targets)}
    assert [name for name in sorted(users) if not any(under(name, user) for user in FORMULA_USERS)] == []


def test_the_simulator_serves_the_command_line_alone() -> None:
    """What runs in production imports nothing of the simulator, and that imports nothing of the wiring."""
    users = {name for name, targets in GRAPH.items() for target in targets if under(target, "scheduler.simulator")}
    assert [n for n in users if not under(n, "scheduler.simulator") and not under(n, "scheduler.cli")] == []
    wanted = (
        "scheduler.autoscale", "scheduler.dispatch", "scheduler.adapters.memory", "scheduler.adapters.sql",
        "scheduler.controller", "scheduler.sketch", "scheduler.demand",
        "scheduler.model", "scheduler.policy", "scheduler.catalog", "scheduler.errors", "scheduler.simulator",
        "scheduler.ports", "scheduler.formula", "scheduler.settings",
    )  # fmt: skip
    wrong = [
        (name, target)
        for name, targets in GRAPH.items()
        if under(name, "scheduler.simulator")
        for target in targets
        if under(target, "scheduler") and not any(under(target, each) for each in wanted)
    ]
    assert wrong == []


def test_alembic_is_loaded_by_what_opens_the_store_alone() -> None:
    """The store's upgrade imports Alembic, and commands that only speak to a scheduler do not load it."""
    users = {name for name, targets in GRAPH.items() for target in targets if target.partition(".")[0] == "alembic"}
    allowed = ("scheduler.adapters.sql.revisions", "scheduler.adapters.sql.upgrade")
    assert [name for name in users if not any(under(name, each) for each in allowed)] == []
    for command in ("jobs", "tasks", "pools", "nodes", "applications", "why"):
        assert not reached(f"scheduler.cli.{command}") & users, command


def test_the_program_knows_nothing_of_the_local_azure() -> None:
    """What `pulumi up` runs imports nothing of infra.local, so that there can be no local branch in it."""
    seen = reached("infra.program")
    assert [name for name in seen if under(name, "infra.local")] == []
    assert len(seen) > 5


def test_no_import_cycles() -> None:
    """No module reaches itself through imports."""
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"an import cycle: {' -> '.join([*path[path.index(name) :], name])}"
        if name in done or name not in GRAPH:
            return
        for target in sorted(GRAPH[name]):
            visit(target, (*path, name))
        done.add(name)

    for name in sorted(GRAPH):
        visit(name, ())


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_stand_at_module_level(name: str) -> None:
    """No import hides inside a function or a conditional block."""
    assert [target for target, column in imports(MODULES[name]) if column > 0] == []


@pytest.mark.parametrize("name", sorted(MODULES))
def test_modules_are_of_readable_size(name: str) -> None:
    """A module does one thing, so it stays short."""
    assert len(MODULES[name].read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def test_decisions_are_pure() -> None:
    """Model, policy, autoscale and formulas reach no clock, randomness, environment, thread, log or network."""
    wrong = [
        (name, target)
        for name, targets in GRAPH.items()
        if any(under(name, prefix) for prefix in PURE)
        for target in targets
        if target.split(".")[0] in NEVER_IN_PURE
    ]
    assert wrong == []


def test_node_code_and_decisions_need_the_standard_library_only() -> None:
    """What runs on nodes, and what decides, imports no third-party package."""
    allowed = set(__import__("sys").stdlib_module_names) | set(PACKAGES)
    wrong = [
        (name, target)
        for name, targets in GRAPH.items()
        if any(under(name, prefix) for prefix in STANDARD_LIBRARY_ONLY)
        for target in targets
        if target.split(".")[0] not in allowed
    ]
    assert wrong == []


def test_no_module_has_an_empty_name() -> None:
    """Modules are named for what they are."""
    banned = {"utils", "util", "helpers", "common", "misc", "base"}
    assert [name for name in MODULES if name.split(".")[-1] in banned] == []
