"""`make bench` runs every benchmark there is, goes on after one that failed, and says so."""

import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench import chain
from core.settings import ROOT

OTHERS = {
    "__main__",
    "chain",
    "probe",
    "sync_platform",
}  # the reads, which the chain measures itself; the chain; what the others serve with


def test_no_benchmark_is_left_out() -> None:
    runnable = {file.stem for file in (ROOT / "bench").glob("*.py") if '__name__ == "__main__"' in file.read_text(encoding="utf-8")}  # fmt: skip
    known = {bench.split()[0].removeprefix("bench.") for bench in (*chain.OF_A_HOME, *chain.OF_ITS_OWN)}
    assert known | OTHERS == runnable
    assert "bench.chain" in (ROOT / "Makefile").read_text(encoding="utf-8")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What ran, and in which home; nothing does in truth, and the load run fails."""
    seen: list[tuple[str, str]] = []

    def instead(command: list[str], *, env: dict[str, str], **_more: object) -> SimpleNamespace:
        seen.append((" ".join(command[2:]), env.get("RESOCODE_HOME", "").rsplit("/", 1)[-1]))
        return SimpleNamespace(stdout=f"figures of {command[2]}\n", returncode=int("load" in command[2]))

    monkeypatch.setattr(subprocess, "run", instead)
    monkeypatch.setattr(chain, "in_home", lambda _environment: {"Page: read": (1.0, 2.0)})
    monkeypatch.setenv("RESOCODE_HOME", "/somewhere/present")
    return seen


def test_every_size_is_made_once_and_measured_by_all(
    run: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[object] = []
    monkeypatch.setattr(chain, "write_docs", written.append)
    printed = chain.run_all([1_000, 2_000])
    of_a_size = [("core generate --students {}", "home"), *((bench, "home") for bench in chain.OF_A_HOME)]
    expected = [(bench.format(size), home) for size in (1_000, 2_000) for bench, home in of_a_size]
    assert run == expected + [(bench, "present") for bench in chain.OF_ITS_OWN]
    assert written == [{size: {"Page: read": (1.0, 2.0)} for size in (1_000, 2_000)}]
    told = chain.told(printed)
    assert told.count("(**failed**)") == 2 and "| bench.load (**failed**) | 1,000 students |" in told
    assert "figures of bench.notices" in told


def test_one_of_them_alone_on_the_present_home(run: list[tuple[str, str]]) -> None:
    chain.run_all([], ["load", "exports"])
    assert run == [("bench.load", "present"), ("bench.exports", "present")]


def test_a_home_that_is_there_is_not_made_up_and_stays(
    run: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(chain, "write_docs", lambda _figures: None)
    there = tmp_path / "there"
    there.mkdir()
    chain.run_all([1_000], ["load"], {1_000: there})
    assert run == [("bench.load", "there")] and there.is_dir()
