"""The two commands and what they install from."""

import os
import re
import subprocess
from importlib.util import cache_from_source, find_spec
from pathlib import Path

import pytest

from core.settings import ROOT
from tests.conftest import NOT_ON_THE_OLDEST, OLDEST


def pins(name: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for package, version in re.findall(r"^([a-z0-9-]+)(?:\[[^\]]*\])?==([^ ;\\]+)", (ROOT / name).read_text(), re.M):
        found.setdefault(package, set()).add(version)
    return found


def wanted(name: str) -> set[str]:
    return {match.lower() for match in re.findall(r"^([A-Za-z][A-Za-z0-9-]*)", (ROOT / name).read_text(), re.M)}


def test_everything_that_is_required_is_pinned() -> None:
    assert wanted("requirements.txt") <= set(pins("requirements.lock"))
    assert wanted("requirements-dev.txt") <= set(pins("requirements-dev.lock"))


def test_both_locks_agree() -> None:
    development = pins("requirements-dev.lock")
    assert {
        name: versions for name, versions in pins("requirements.lock").items() if development.get(name) != versions
    } == {}


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_every_pin_has_its_hashes_and_no_host_is_named(name: str) -> None:
    content = (ROOT / name).read_text()
    entries = re.split(r"^(?=[a-z0-9])", content, flags=re.M)[1:]
    assert [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry] == []
    assert "://" not in content and "--index" not in content


def test_help_lists_every_chore() -> None:
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.M)
    assert phony and [name for name in phony.group(1).split() if f"make {name} " not in listed] == []


def test_run_can_leave_the_seed_out_and_ci_runs_the_tests() -> None:
    shown = subprocess.run(
        ["make", "-n", "run", "SEED=none", "PORT=8600"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert "--seed none" in shown and "--port 8600" in shown
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_libraries_are_compiled_whoever_starts() -> None:
    """Without bytecode a start takes twice as long wherever none may be written. Nothing ever imports this module of Streamlit."""
    found = find_spec("streamlit")
    assert found is not None and found.origin is not None
    never_imported = Path(found.origin).parent / "hello" / "streamlit_app.py"
    assert never_imported.exists() and Path(cache_from_source(str(never_imported))).exists()


def test_without_a_fitting_python_there_is_one_sentence(folder: Path) -> None:
    tools, checkout = folder / "tools", folder / "check out"
    tools.mkdir()
    for tool in ("sh", "dirname", "cat", "cksum", "printf", "sed", "rm"):
        for place in ("/usr/bin", "/bin"):
            if Path(place, tool).exists() and not (tools / tool).exists():
                (tools / tool).symlink_to(Path(place, tool))
    (tools / "python3").write_text("#!/bin/sh\nexit 1\n")
    (tools / "python3").chmod(0o755)
    (checkout / "bin").mkdir(parents=True)
    for name in ("bin/env", "requirements.lock", "requirements-dev.lock"):
        (checkout / name).write_bytes((ROOT / name).read_bytes())
    done = subprocess.run(
        ["/bin/sh", str(checkout / "bin" / "env")],
        env={"PATH": str(tools), "HOME": str(folder)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "needs Python 3.11, 3.12 or 3.13" in done.stderr
    assert not (checkout / ".venv").exists()


def test_nothing_names_a_path_of_one_machine_or_a_registry() -> None:
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("not a git checkout")
    home = re.compile(r"(^|[^A-Za-z0-9_.])/(home|Users|root|work)/|pythonhosted|registry\.npm|deb\.debian")
    named = []
    for name in tracked.stdout.split("\0"):
        file = ROOT / name
        if name and file.is_file() and file.suffix not in (".png",) and name != "tests/test_setup.py":
            named += [f"{name}: {line}" for line in file.read_text(errors="replace").splitlines() if home.search(line)]
    assert named == []
    assert os.sep == "/"


@pytest.mark.parametrize("beginning", OLDEST + NOT_ON_THE_OLDEST)
def test_what_runs_on_the_oldest_server_is_there(beginning: str) -> None:
    file, _, test = beginning.partition("::")
    found = [each for each in (ROOT / "tests" / "core").glob(f"{file}*") if each.is_dir() or each.suffix == ".py"]
    assert found and all(f"def {test}" in each.read_text() for each in found if test)
