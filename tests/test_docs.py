"""What the docs must name: every setting, command, page, front-door function and table."""

import re
from pathlib import Path

import pytest

from core import privacy_actions, queries
from core.models.base import Base
from core.settings import ROOT

DOCS = {
    file.name: file.read_text() for file in [*(ROOT / "docs").glob("*.md"), ROOT / "README.md"]
}  # README: the first


def settings_in_code() -> set[str]:
    found: set[str] = set()
    for file in [*(ROOT / "core").rglob("*.py"), *(ROOT / "bin").iterdir()]:
        found |= set(re.findall(r"\b(?:RESOCODE_[A-Z_]+|(?:[A-Z]+_)?DATABASE_URL)\b", file.read_text()))
    return {name for name in found if not name.endswith("_")} - {"RESOCODE_KEY"}


@pytest.mark.parametrize("name", sorted(settings_in_code()))
def test_every_setting_is_in_the_runbook(name: str) -> None:
    assert f"`{name}`" in DOCS["runbook.md"]


def commands() -> list[str]:
    from typer.main import get_command

    from core.cli import app

    root = get_command(app)
    found = []
    for name, command in root.commands.items():  # type: ignore[attr-defined]
        found += [f"{name} {sub}" for sub in command.commands] if hasattr(command, "commands") else [name]
    return found


@pytest.mark.parametrize("command", commands())
def test_every_command_is_in_the_runbook(command: str) -> None:
    assert f"python -m core {command}" in DOCS["runbook.md"]


@pytest.mark.parametrize("page", sorted(file.stem for file in (ROOT / "pages").glob("*.py")))
def test_every_page_is_on_the_map(page: str) -> None:
    assert f"`pages/{page}.py`" in DOCS["architecture.md"]


@pytest.mark.parametrize("table", sorted(Base.metadata.tables))
def test_every_table_is_on_the_map(table: str) -> None:
    assert f"`{table.split('.')[1]}`" in DOCS["architecture.md"]


@pytest.mark.parametrize("file", sorted(file.name for file in (ROOT / "core").glob("[a-z]*.py")))
def test_every_file_at_the_top_of_core_is_on_the_map(file: str) -> None:
    assert re.search(rf"\b{re.escape(file)}\b", DOCS["architecture.md"])


@pytest.mark.parametrize("page", sorted(DOCS.keys() - {"README.md"}))
def test_every_page_of_the_docs_is_in_their_index(page: str) -> None:
    assert page in (ROOT / "docs" / "README.md").read_text()


def test_the_front_doors_tell_all_they_offer() -> None:
    for door in (queries, privacy_actions):
        verbs = [name for name in door.__all__ if name.islower()]
        assert [name for name in verbs if name not in (door.__doc__ or "")] == []


def test_the_table_of_audit_lines_is_up_to_date() -> None:
    from core.privacy.audit_export import table_of_events

    assert DOCS["audit.md"] == table_of_events(), "run: python -m core audit events > docs/audit.md"


def test_the_ledger_of_promises_is_up_to_date() -> None:
    from core.policy.promises import ledger_table

    assert ledger_table() in DOCS["privacy.md"], "put there what `python -m core policy ledger` prints"


def anchors(file: Path) -> set[str]:
    """What a link may name behind its #: the headings of a page, as they become addresses."""
    titles = re.findall(r"^#+ (.+)$", file.read_text(), re.M)
    return {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in titles}


def test_links_between_the_docs_lead_somewhere() -> None:
    for file in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")):
        for target, heading in re.findall(r"\]\((?!http)([^)#]*)(?:#([^)]+))?\)", file.read_text()):
            there = file.parent / target if target else file
            assert there.exists(), f"{file.name} → {target}"
            assert not heading or heading in anchors(there), f"{file.name} → {target}#{heading}"


def test_the_make_targets_of_the_readme_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.M))
    for name, content in DOCS.items():
        assert set(re.findall(r"`make ([a-z-]+)", content)) <= targets, name
