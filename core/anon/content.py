"""What the hash of a release covers, and the check that everything published is still as it was.

The same hash stands in the audit, whose checkpoints are signed outside the database: rows, hash and audit would all have to
be forged together.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.anon.method import Method, adopted, canonical
from core.anon.workload import cost_so_far
from core.models.anon import LedgerEntry, Release, ReleasedCell

CellRow = tuple[str, str, str, float, float]


@dataclass(frozen=True)
class Check:
    """What a check of all releases found; ``problem`` is "" when everything is as it was published."""

    releases: int
    cells: int
    problem: str

    @property
    def sound(self) -> bool:
        """True when nothing was changed, added or removed."""
        return not self.problem


def content_hash(release: Release, cells: Iterable[CellRow], *, spent: float, total: float) -> str:
    """Return the SHA-256 (hex) of everything a release says. Numbers in their shortest exact form."""
    told = [release.method, release.family, release.period, release.first_day.isoformat(), release.last_day.isoformat()]
    how = [repr(release.sigma), release.mechanism, release.builder, release.published.isoformat()]
    rows = [[marginal, k1, k2, repr(value), repr(se)] for marginal, k1, k2, value, se in sorted(cells)]
    document = ["resocode-release-1", release.id, told, how, repr(spent), repr(total), rows]
    return hashlib.sha256(canonical(document).encode()).hexdigest()


def check(session: Session) -> Check:
    """Recompute the hash of every release, and the ledger from the methods."""
    methods = {method.version: method for method in adopted(session)}
    releases = session.scalars(select(Release).order_by(Release.id)).all()
    ledger = {entry.release_id: entry for entry in session.scalars(select(LedgerEntry))}
    problem, cells = "", 0
    for place, release in enumerate(releases, start=1):
        rows = _cells(session, release.id)
        cells += len(rows)
        problem = problem or _problem(release, place, rows, ledger.get(release.id), methods, releases[:place])
    if not problem and len(ledger) != len(releases):
        problem = "the ledger has a line without a release"
    return Check(len(releases), cells, problem)


def _cells(session: Session, release_id: int) -> list[CellRow]:
    listed = select(ReleasedCell.marginal, ReleasedCell.k1, ReleasedCell.k2, ReleasedCell.value, ReleasedCell.se).where(
        ReleasedCell.release_id == release_id
    )
    return [tuple(row) for row in session.execute(listed)]  # type: ignore[misc]


def _problem(
    release: Release,
    place: int,
    rows: list[CellRow],
    entry: LedgerEntry | None,
    methods: dict[str, Method],
    so_far: Sequence[Release],
) -> str:
    """What is wrong with a release, or ""."""
    name = f"{release.family} {release.period}"
    if release.id != place:
        return f"release {place} is missing"
    if entry is None or entry.seq != place:
        return f"{name} has no line in the ledger"
    if content_hash(release, rows, spent=entry.spent, total=entry.total) != release.content_sha256:
        return f"{name} is not as it was published"
    known = [(methods[each.method].family(each.family), "quarter" if "-" in each.period else "year") for each in so_far]
    if abs(cost_so_far(known) - entry.total) > 1e-9:
        return f"the ledger of {name} does not add up"
    return ""
