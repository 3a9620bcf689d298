"""One release: count, add noise, make consistent, write; with its line in the ledger, in the caller's transaction.

Danger: two draws of noise for one period cost twice the budget and can be averaged; a count that is written before its
noise stays in a log or a backup. Principle: one release per family and period, for ever; nothing is written but noisy
numbers. Mechanism: a lock makes builders wait for each other, a unique constraint refuses the second one, and whatever fails
takes the whole transaction with it. A draw that was never committed was never seen.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date

from sqlalchemy import func, insert, select, text
from sqlalchemy.orm import Session

from core.anon import noise
from core.anon.consistency import Estimate, best_total, parts_of
from core.anon.content import CellRow, content_hash
from core.anon.counting import Cell, Counts, Partition, count, partitions
from core.anon.method import Configuration, Method, adopt, adopted, planned
from core.anon.periods import Period, closed_periods, period_named
from core.anon.workload import Family, cost_so_far
from core.errors import AdminError
from core.models.anon import LedgerEntry, Release, ReleasedCell

BUILDER = "1"


class PublishRefused(AdminError):
    """This release cannot be published (not closed, published before, …); nothing was drawn and nothing was written."""


@dataclass(frozen=True)
class Due:
    """A release that waits to be published: ``cells`` figures, for ``cost`` squared mu of an account at most."""

    family: str
    period: Period
    cells: int
    cost: float


@dataclass(frozen=True)
class Published:
    """A release that was written; ``spent`` and ``total`` are squared mu."""

    family: str
    period: str
    cells: int
    spent: float
    total: float
    content_sha256: str


def due_releases(session: Session, file: Configuration, *, today: date) -> list[Due]:
    """Return the releases that wait, in the order in which they are published. Looks at no row about a person.

    Raises MethodRefused or OverBudget when nothing may be published with this configuration.
    """
    method = planned(session, file, today=today)
    known = _published(session)
    return [
        Due(family.name, period, _size(family, period, method), family.cost(period.grain))
        for period in closed_periods(method.first_day, today)
        for family in method.families
        if family.of(period.grain) and (family.name, period.name) not in known
    ]


def publish(session: Session, file: Configuration, *, family: str, period: str, today: date) -> Published:
    """Publish one release as the worker role. Raises PublishRefused, MethodRefused, OverBudget or NoiseFailed."""
    session.execute(text("select pg_advisory_xact_lock(hashtext('resocode releases'))"))
    method = planned(session, file, today=today)
    told, wanted = _family(method, family), period_named(period)
    _check(session, method, told, wanted, today)
    adopt(session, method)
    measured, totals = _measured(session, method, told, wanted), _told_totals(session, told, wanted)
    return _write(session, method, told, wanted, reconciled(method, told, wanted, measured, totals), today)


def _family(method: Method, name: str) -> Family:
    known = {family.name: family for family in method.families}
    if name not in known:
        raise PublishRefused(f"There is no family {name[:40]!r}: {', '.join(known)}.", family=name)
    return known[name]


def _check(session: Session, method: Method, family: Family, period: Period, today: date) -> None:
    """Refuse what may not be published (now, or ever again)."""
    published = _published(session)
    if (family.name, period.name) in published:
        raise PublishRefused(
            f"{family.name} of {period.name} is published. A period is published once, and never again."
        )
    closed = closed_periods(method.first_day, today)
    if period not in closed:
        before = period.first_day < method.first_day
        why = f"the first period begins on {method.first_day}" if before else f"it closes on {period.closes_on}"
        raise PublishRefused(f"{period.name} is not published: {why}. A period closes 14 days after its end.")
    if not family.of(period.grain):
        raise PublishRefused(f"{family.name} is not told by {period.grain} at this site.")
    waiting = [
        each.name
        for each in closed[: closed.index(period)]
        if family.of(each.grain) and (family.name, each.name) not in published
    ]
    if waiting:  # what came late goes into the next period: out of order, all of an older one would
        raise PublishRefused(f"Publish {', '.join(waiting)} first: periods are published in their order.")


def _published(session: Session) -> set[tuple[str, str]]:
    return {(row.family, row.period) for row in session.execute(select(Release.family, Release.period))}


def _size(family: Family, period: Period, method: Method) -> int:
    flows = family.of(period.grain)
    return sum(len(p.cells) for flow in flows for p in partitions(family, flow, period, method.domain))


def _measured(session: Session, method: Method, family: Family, period: Period) -> dict[tuple[str, str, str], int]:
    """Count and add noise; the exact counts end here."""
    counts: Counts = {}
    for flow in family.of(period.grain):
        counts.update(count(session, method, family, flow, period))
    noisy = noise.measure(list(counts.values()), sigma=family.sigma, units=family.units(period.grain))
    if noisy.cost > family.cost(period.grain) + 1e-9:
        raise PublishRefused("OpenDP reckons a higher cost than the method: nothing was published.")
    return dict(zip(counts, noisy.values, strict=True))


def reconciled(
    method: Method,
    family: Family,
    period: Period,
    measured: Mapping[tuple[str, str, str], float],
    told: Mapping[Cell, Estimate],
) -> list[CellRow]:
    """Return the cells that lie closest to what was measured and add up, in key order.

    ``told`` are totals that are published already and cannot change.
    """
    cells: list[CellRow] = []
    for flow in family.of(period.grain):
        for whole, parts in _by_whole(partitions(family, flow, period, method.domain)).items():
            seen = [[float(measured[(part.marginal, *cell)]) for cell in part.cells] for part in parts]
            known = told.get(whole) if flow.name == "experience" else None
            total = known or best_total([(each, family.sigma) for each in seen])
            for part, values in zip(parts, seen, strict=True):
                estimates = parts_of(total, values, family.sigma)
                cells += [
                    (part.marginal, *cell, each.value, each.variance**0.5)
                    for cell, each in zip(part.cells, estimates, strict=True)
                ]
    return sorted(cells)


def _by_whole(parts: Iterable[Partition]) -> dict[Cell, list[Partition]]:
    found: dict[Cell, list[Partition]] = {}
    for part in parts:
        found.setdefault(part.whole, []).append(part)
    return found


def _told_totals(session: Session, family: Family, period: Period) -> dict[Cell, Estimate]:
    """The totals by program of a year's quarters: its levels of experience add up to them."""
    if family.name != "enrollments" or period.grain != "year":
        return {}
    listed = (
        select(ReleasedCell.k1, func.sum(ReleasedCell.value), func.sum(ReleasedCell.se * ReleasedCell.se))
        .join(Release, Release.id == ReleasedCell.release_id)
        .where(Release.family == family.name, Release.period.in_([each.name for each in period.quarters]))
        .where(ReleasedCell.marginal == "program")
        .group_by(ReleasedCell.k1)
    )
    return {(code, ""): Estimate(value, variance) for code, value, variance in session.execute(listed)}


def _write(
    session: Session, method: Method, family: Family, period: Period, cells: list[CellRow], today: date
) -> Published:
    """Write the release whole: its line, its cells in key order, its line in the ledger."""
    known = {each.version: each for each in adopted(session)}
    before = session.execute(select(Release.method, Release.family, Release.period)).all()
    so_far = [(known[row.method].family(row.family), period_named(row.period).grain) for row in before]
    spent, total = family.cost(period.grain), cost_so_far([*so_far, (family, period.grain)])
    if total > method.mu**2 + 1e-9:
        raise PublishRefused(
            f"All releases together could cost an account {total:.3f}; {method.mu**2:.3f} is the budget."
        )
    release = Release(
        id=len(before) + 1, method=method.version, family=family.name, period=period.name, first_day=period.first_day,
        last_day=period.last_day, sigma=family.sigma, mechanism=noise.mechanism(), builder=BUILDER, published=today,
        cells=len(cells), content_sha256="",
    )  # fmt: skip
    release.content_sha256 = content_hash(release, cells, spent=spent, total=total)
    session.add(release)
    session.flush()
    names = ("marginal", "k1", "k2", "value", "se")
    rows = [{"release_id": release.id, **dict(zip(names, cell, strict=True))} for cell in cells]
    session.execute(insert(ReleasedCell), rows)
    session.execute(insert(LedgerEntry).values(seq=release.id, release_id=release.id, spent=spent, total=total))
    return Published(family.name, period.name, len(cells), spent, total, release.content_sha256)
