"""How long core's reads take beside hand-written SQL on the same database, in the same minute.

    make bench                        the embedded database as it is (seed, OULAD, …)
    RESOCODE_HOME=… make bench        another one

Figures depend on the machine; the ratios are what counts. The floor is run as the worker role, which sees every row
without a policy, and fetches the same rows through the same driver.
"""

import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from core import db, queries
from core.queries import EnrollmentFilter, VisitorFilter

ROUNDS = 15
PAGE = """select e.id, s.name, s.email, e.status, e.enrolled_at, p.title, c.title, c.starts_on
    from (select * from platform.enrollment e {where} order by e.enrolled_at desc, e.id desc limit 51) e
    join platform.student s on s.id = e.student_id join platform.program p on p.id = e.program_id
    join platform.cohort c on c.id = e.cohort_id order by e.enrolled_at desc, e.id desc"""
SEARCH = """select e.id, s.name, s.email, e.status, e.enrolled_at, p.title, c.title, c.starts_on
    from platform.enrollment e join platform.student s on s.id = e.student_id join platform.program p on p.id = e.program_id
    join platform.cohort c on c.id = e.cohort_id where lower(s.name) || ' ' || lower(s.email) like '%ann%'
    order by e.enrolled_at desc, e.id desc limit 51"""
COUNTS = """select program_id, cohort_id, date_trunc('month', enrolled_at)::date, status, count(*)
    from platform.enrollment group by 1, 2, 3, 4"""
CONVERTED = """exists (select from platform.student s join platform.enrollment e on e.student_id = s.id
    where s.email_hash = v.email_hash and e.enrolled_at >= v.asked_at)"""
VISITORS = f"""select v.id, v.name, v.email, v.status, v.asked_at, p.title, {CONVERTED},
        exists (select from platform.student s where s.email_hash = v.email_hash and s.registered_at < v.asked_at),
        exists (select from platform.visitor o where o.email_hash = v.email_hash and o.id <> v.id)
    from (select * from platform.visitor v where {{where}} order by asked_at desc, id desc limit 51) v
    left join platform.program p on p.id = v.program_id order by v.asked_at desc, v.id desc"""
PEOPLE = (
    """select id, name, email from platform.student where lower(name) || ' ' || lower(email) like '%ann%' limit 200"""
)
JOBS: dict[str, tuple[Callable[[Session], object], str]] = {
    "first page": (lambda s: queries.enrollment_page(s, EnrollmentFilter()), PAGE.format(where="")),
    "first page, active": (
        lambda s: queries.enrollment_page(s, EnrollmentFilter(statuses=("active",))),
        PAGE.format(where="where e.status = 'active'"),
    ),
    "search of 3 characters": (lambda s: queries.enrollment_page(s, EnrollmentFilter(search="ann")), SEARCH),
    "total": (lambda s: queries.enrollment_total(s, EnrollmentFilter()), "select count(*) from platform.enrollment"),
    "trend": (queries.monthly_trend, COUNTS),
    "visitors": (
        lambda s: queries.visitor_page(s, VisitorFilter(), now=datetime.now(UTC)),
        VISITORS.format(where="true"),
    ),
    "visitors, converted": (
        lambda s: queries.visitor_page(s, VisitorFilter(converted=True), now=datetime.now(UTC)),
        VISITORS.format(where=CONVERTED),
    ),
    "visitors, search": (
        lambda s: queries.visitor_page(s, VisitorFilter(search="ann"), now=datetime.now(UTC)),
        VISITORS.format(where="lower(v.name) || ' ' || lower(v.email) like '%ann%'"),
    ),
    "search box": (
        lambda s: queries.search(s, "ann"),
        f"({PEOPLE}) union all ({PEOPLE.replace('student', 'visitor')})",
    ),
}


def main() -> None:
    """Measure every job, product and floor by turns, and print medians and ratios."""
    db.prepare()
    with db.transaction("worker") as session:
        who = session.scalar(
            text("select id from staff.staff_member where role = 'program_staff' and disabled_at is null")
        )
        rows = session.scalar(text("select count(*) from platform.enrollment"))
    if who is None:
        raise SystemExit("There is no program staff to ask as. Run `make run` once, or `python -m core staff add`.")
    print(f"{rows:,} enrollments, {datetime.now(UTC):%Y-%m-%d}; medians of {ROUNDS} in ms")
    print(f"{'':<24}{'core':>8}{'SQL':>8}{'ratio':>8}")
    for name, (read, sql) in JOBS.items():
        ours, floor = _by_turns(lambda r=read: _ask(who, r), lambda q=sql: _floor(q))
        print(f"{name:<24}{ours:>8.1f}{floor:>8.1f}{ours / floor:>8.1f}")
    db.release()


def _by_turns(one: Callable[[], float], other: Callable[[], float]) -> tuple[float, float]:
    pairs = [(one(), other()) for _ in range(ROUNDS)]
    return statistics.median(p[0] for p in pairs), statistics.median(p[1] for p in pairs)


def _ask(who: object, read: Callable[[Session], object]) -> float:
    with db.transaction("read", staff_id=who) as session:  # type: ignore[arg-type]
        start = time.perf_counter()
        read(session)
        return (time.perf_counter() - start) * 1000


def _floor(sql: str) -> float:
    with db.transaction("worker") as session:
        start = time.perf_counter()
        session.execute(text(sql)).all()
        return (time.perf_counter() - start) * 1000


if __name__ == "__main__":
    main()
