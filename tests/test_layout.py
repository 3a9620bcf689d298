"""Imports point one way, and the few things that the code must never do."""

import ast
from pathlib import Path

import pytest

from core.settings import ROOT

# A file may import what stands in a layer below its own. The first prefix that fits names the layer.
LAYERS = [
    ("dashboard", 9), ("pages", 8), ("ui", 7), ("core.cli", 6), ("core.__main__", 6), ("core.demo", 5), ("core.demo_cases", 6), ("core.worker", 6),
    ("core.jobs", 6), ("core.companion", 6), ("core.drill", 6), ("core.canary", 5), ("core.canary_rows", 5), ("core.canary_outside", 5), ("core.canary_reader", 5), ("core.importers", 5), ("core.leases", 3),
    ("core.queries", 5), ("core.backup", 5), ("core.privacy_actions", 5), ("core.reads", 4), ("core.privacy.mail_kinds", 2), ("core.privacy.age_letters", 2), ("core.privacy", 4), ("core.processors", 3), ("core.anon", 3),
    ("core.policy", 3), ("core.db", 2), ("core.replica", 3), ("core.roles", 2), ("core.embedded", 2), ("core.models", 2), ("core.signing", 2), ("core.certified", 2), ("core.append_only", 1), ("core.keys", 1), ("core.words", 1),
    ("core.settings", 1), ("core.cells", 1), ("core.links", 1), ("core.errors", 0), ("core", 0),
]  # fmt: skip
FILES = [f for folder in ("core", "ui", "pages") for f in sorted((ROOT / folder).rglob("*.py"))] + [
    ROOT / "dashboard.py"
]


def name_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts)


def layer(module: str) -> int:
    return next(level for prefix, level in LAYERS if module == prefix or module.startswith(prefix + "."))


def imported(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | (
                {f"{node.module}.{a.name}" for a in node.names}
                if node.module in ("core", "ui", "core.models")
                else set()
            )
    return found


def faults(module: str, source: str) -> list[str]:
    names = imported(ast.parse(source))
    ours = {n for n in names if n.split(".")[0] in ("core", "ui", "pages", "dashboard") and n not in ("core", "ui")}
    found = [f"{module} imports {n}" for n in ours if layer(n) > layer(module)]
    if module.startswith("core") and any(n.split(".")[0] == "streamlit" for n in names):
        found.append(f"{module} imports streamlit")
    for one, other in (("core.reads", "core.privacy"), ("core.privacy", "core.reads")):
        if module.startswith(one + "."):
            found += [f"{module} imports {n}" for n in ours if n == other or n.startswith(other + ".")]
    if module.startswith("pages"):
        allowed = (
            "core.queries",
            "core.privacy_actions",
            "core.errors",
            "core.settings",
            "core.words",
            "core.models",
            "core.policy",
            "core.db",
            "ui",
        )
        found += [f"{module} imports {n}" for n in ours if not n.startswith(allowed)]
    return found


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_imports_point_one_way(file: Path) -> None:
    assert faults(name_of(file), file.read_text()) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [("core.reads.x", "import streamlit"), ("core.reads.x", "from core.privacy.audit import append"), ("core.privacy.x", "from core.reads import students"),
     ("core.models.x", "from core import queries"), ("core.policy.x", "from core.privacy import audit"), ("ui.x", "import pages.overview"),
     ("pages.x", "from core.reads import students")],
)  # fmt: skip
def test_a_planted_import_is_found(module: str, source: str) -> None:
    assert faults(module, source)


def test_one_constant_script_and_no_html_anywhere_else() -> None:
    used = []
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            if (
                isinstance(node, ast.Attribute)
                and node.attr in ("html", "download_button")
                and ast.unparse(node.value) == "st"
            ):
                used.append((name_of(file), node.attr))
            if isinstance(node, ast.keyword) and node.arg in ("unsafe_allow_html", "unsafe_allow_javascript"):
                used.append((name_of(file), node.arg))
    assert sorted(used) == [("ui.signin", "html"), ("ui.signin", "unsafe_allow_javascript")]


def test_only_one_place_commits_and_only_the_edges_read_the_clock() -> None:
    commits, clocks = [], []
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in ("commit", "rollback"):
                commits.append(name_of(file))
            if isinstance(node, ast.Attribute) and ast.unparse(node) in (
                "datetime.now",
                "datetime.utcnow",
                "date.today",
            ):
                clocks.append(name_of(file))
    assert set(commits) <= {"core.db"}
    assert set(clocks) == {"core.cli.base", "core.timekeeping", "ui.clock"}, (
        "timekeeping judges clocks, it hands out no time"
    )
