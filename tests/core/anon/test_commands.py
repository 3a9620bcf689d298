"""Publishing as a person and as the worker do it."""

from datetime import UTC, date, datetime
from pathlib import Path

import pytest
import yaml
from sqlalchemy import text

from core import db
from core.anon.method import SHIPPED, read_configuration
from core.errors import AdminError, BadInput
from core.jobs import JOBS
from core.privacy import releases
from core.settings import ROOT
from tests.anon.world import Person, Place, Setting, build
from tests.core.test_cli import run

NOW = datetime(2026, 2, 1, tzinfo=UTC)
JOB = next(job for job in JOBS if job.kind == "anonymized releases")


@pytest.fixture
def site(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A database with a small world, configured; its configuration file."""
    file = tmp_path / "analytics.yaml"
    Setting().write(tmp_path)
    monkeypatch.setattr(releases, "configuration_file", lambda: file)
    with db.transaction("worker") as session:
        build(session, [Person("one", (Place("A", 1, date(2025, 2, 1)),))])
    return file


def count(table: str) -> int:
    with db.transaction("worker") as session:
        return session.scalar(text(f"select count(*) from {table}")) or 0


def test_a_dry_run_counts_nothing_and_draws_nothing(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from core.anon import builder

    monkeypatch.setattr(builder, "count", lambda *_a: pytest.fail("counted"))
    said = run("analytics", "publish", "--dry-run")
    assert "would be published" in said and "at most 0.375" in said
    assert count("anon.release") == count("anon.method") == count("platform.analytics_contribution") == 0


def test_what_waits_is_published_once_and_verified(site: Path) -> None:
    assert "releases were published" in run("analytics", "publish")
    made = count("anon.release")
    assert made > 3
    assert "No period waits" in run("analytics", "publish")
    assert count("anon.release") == made
    assert f"All {made} releases" in run("analytics", "verify")
    with pytest.raises(BadInput, match="Nothing of 2026 waits"):
        run("analytics", "publish", "--period", "2026")


def test_verify_fails_when_something_was_changed(site: Path, cluster: object, database: str) -> None:
    import psycopg

    run("analytics", "publish")
    with psycopg.connect(cluster.conninfo(database)) as admin:  # type: ignore[attr-defined]
        admin.execute("set session_replication_role = replica")
        admin.execute("update anon.cell set value = value + 1 where release_id = 1")
    with pytest.raises(AdminError, match="not as they were published"):
        run("analytics", "verify")


def test_the_draft_is_a_configuration(site: Path, tmp_path: Path) -> None:
    draft = tmp_path / "draft.yaml"
    draft.write_text(run("analytics", "domain"))
    assert yaml.safe_load(draft.read_text())["programs"]["A"]["cohorts"] == ["A-1", "A-2", "A-3", "A-4"]
    assert read_configuration(draft).programs["A"] == ("Program A", ("A-1", "A-2", "A-3", "A-4"))


def test_the_worker_publishes_in_order_and_stops_when_nothing_waits(site: Path) -> None:
    done = []
    for _ in range(20):
        with db.transaction("worker") as session:
            keys = JOB.due(session, NOW)
            assert len({key.split()[0] for key in keys}) == len(keys)
            done += [(key, JOB.run(session, key, NOW)["cells"]) for key in keys]
        if not keys:
            break
    assert done[0] == ("activity 2025-Q1", 3) or done[0][0].endswith("2025-Q1")
    assert [key for key, _ in done if key.startswith("enrollments")] == [f"enrollments {each}" for each in ("2025-Q1", "2025-Q2", "2025-Q3", "2025-Q4", "2025")]  # fmt: skip
    with db.transaction("worker") as session:
        assert JOB.run(session, "enrollments 2025-Q1", NOW) == {"cells": 0}


def test_a_site_that_configured_nothing_publishes_nothing(database: str) -> None:
    with db.transaction("worker") as session:
        assert JOB.due(session, NOW) == []


def test_a_refused_configuration_fails_aloud(site: Path) -> None:
    with db.transaction("worker") as session:
        for key in JOB.due(session, NOW):
            JOB.run(session, key, NOW)
    Setting(programs=("A",)).write(site.parent)
    with pytest.raises(AdminError, match="Give it a new version"), db.transaction("worker") as session:
        JOB.due(session, NOW)


def test_the_shipped_configuration_is_about_the_whole_seed() -> None:
    import csv

    known = read_configuration(SHIPPED)
    with (ROOT / "data" / "seed" / "cohorts.csv").open(encoding="utf-8") as handle:
        cohorts = list(csv.DictReader(handle))
    assert {(row["program"], row["code"]) for row in cohorts} == {(program, code) for program, (_, codes) in known.programs.items() for code in codes}  # fmt: skip
    assert known.capacity == sum(int(row["seats"]) for row in cohorts)
