"""What anonymized releases cost in time and memory, and how near they are to the truth.

    RESOCODE_HOME=… python -m bench.releases            every period that waits, one after the other; nothing stays
    RESOCODE_HOME=… python -m bench.releases --quarter  the newest quarter only

Everything is rolled back: a draw that nobody saw costs nothing. Exact counts are held in memory, and only medians and shares of
them are printed; run it on synthetic or public records all the same.
"""

import resource
import statistics
import sys
import time
from datetime import UTC, datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from core import db
from core.anon import builder
from core.anon.method import Configuration, configuration_file, read_configuration
from core.anon.reader import Cell, Sum, shown

Told = dict[tuple[str, str], list[tuple[int, float, float, bool]]]


def main() -> None:
    """Publish, measure, roll back."""
    db.prepare()
    file, today = read_configuration(configuration_file()), datetime.now(UTC).date()
    with db.transaction("worker") as session:
        students = session.scalar(text("select count(*) from platform.student"))
        due = builder.due_releases(session, file, today=today)
        print(f"{students:,} students; {len(due)} releases wait")
        told: Told = {}
        last = max((each.period.name for each in due if each.period.quarter), default="")
        for each in due:
            seconds = _publish(session, file, each, today, told)
            if "--quarter" not in sys.argv or each.period.name == last:
                print(f"{each.period.name:<9}{each.family:<13}{each.cells:>6,} cells {seconds:>8.1f} s")
        print(f"at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB in this process")
        _usefulness(told)
        session.rollback()
    db.release()


def _publish(session: Session, file: Configuration, due: builder.Due, today: object, told: Told) -> float:
    exact: dict[tuple[str, str, str], int] = {}
    count = builder.count

    def watched(*arguments: object) -> dict[tuple[str, str, str], int]:
        found = count(*arguments)  # type: ignore[arg-type]
        exact.update(found)
        return found

    builder.count = watched  # type: ignore[assignment]
    try:
        start = time.perf_counter()
        made = builder.publish(session, file, family=due.family, period=due.period.name, today=today)  # type: ignore[arg-type]
        seconds = time.perf_counter() - start
    finally:
        builder.count = count
    rows = text("select c.marginal, c.k1, c.k2, c.value, c.se, r.sigma from anon.cell c join anon.release r on r.id = c.release_id"
                " where r.family = :family and r.period = :period")  # fmt: skip
    for marginal, k1, k2, value, se, sigma in session.execute(rows, {"family": made.family, "period": made.period}):
        figure = shown(Sum((), (Cell(made.period, sigma, marginal, k1, k2, value, se),)))
        told.setdefault((made.family, marginal), []).append(
            (exact[marginal, k1, k2], value, se, figure.value is not None)
        )
    return seconds


def _usefulness(told: Told) -> None:
    """Shown: of the cells that hold anybody, and beside "hide below 10". Errors: of those that are shown, beside exact."""
    print(
        f"{'':<28}{'cells':>7}{'not empty':>11}{'shown':>8}{'beside hide<10':>16}{'median error':>14}{'90 % within':>13}"
    )
    for (family, marginal), cells in told.items():
        some = [each for each in cells if each[0] > 0]
        large = [each for each in cells if each[0] >= 10]
        seen = [each for each in cells if each[3] and each[0] > 0]
        errors = sorted(abs(value - exact) / exact for exact, value, *_ in seen)
        if not seen:
            print(f"{family + ' ' + marginal:<28}{len(cells):>7,}{len(some):>11,}{'none':>8}")
            continue
        print(
            f"{family + ' ' + marginal:<28}{len(cells):>7,}{len(some):>11,}{len(seen) / len(some):>8.0%}"
            f"{len(seen) / max(len(large), 1):>16.0%}{statistics.median(errors):>14.1%}{errors[int(0.9 * len(errors))]:>13.1%}"
        )


if __name__ == "__main__":
    main()
