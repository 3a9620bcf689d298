"""The exact counts of one release, bounded per account.

Danger: an exact count that stays anywhere is a copy of whoever is deleted later. Principle: it exists as the answer of one
query in this process, on its way to the noise; no table, temporary table, log line or error text holds it. Mechanism: the
statement that records who is counted (``analytics_contribution``, personal data, erased with the student) is the one that
counts: nobody can be counted without a free slot, and what is counted is exactly what was recorded.

A flow finds *touches*: (student, key, when, the cell). A key is counted once in an account's life. What came late (an import,
a correction) goes into the period that is published next; what lies before the first period is never counted.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.anon.method import Domain, Method
from core.anon.people import COUNTED
from core.anon.periods import Period, quarter_of
from core.anon.workload import MILESTONES, Family, Flow

Cell = tuple[str, str]
Counts = dict[tuple[str, str, str], int]


@dataclass(frozen=True)
class Partition:
    """The cells of one marginal that together make one whole (the months of a program in a quarter)."""

    marginal: str
    whole: Cell
    cells: tuple[Cell, ...]


def partitions(family: Family, flow: Flow, period: Period, domain: Domain) -> list[Partition]:
    """Return the cells of a flow's marginals: every cell of the public domain, whoever is in it.

    Cells with the same ``whole`` in several marginals are parts of the same number.
    """
    if family.name == "enrollments" and flow.name == "program":
        wholes = [(marginal, (code, "")) for code in domain.programs for marginal in flow.marginals]
        return [Partition(marginal, whole, _parts(marginal, whole, period)) for marginal, whole in wholes]
    if family.name == "enrollments" and flow.name == "experience":
        cells = {code: tuple((code, level) for level in domain.experience) for code in domain.programs}
        return [Partition("experience", (code, ""), cells[code]) for code in domain.programs]
    first = {
        "program": tuple(domain.programs),
        "cohort": domain.cohorts_of(period.name),
        "experience": domain.experience,
    }[flow.name]
    second = MILESTONES if family.name == "milestones" else ("",)
    singles = [(k1, k2) for k1 in first for k2 in second]
    return [Partition(marginal, cell, (cell,)) for marginal in flow.marginals for cell in singles]


def _parts(marginal: str, whole: Cell, period: Period) -> tuple[Cell, ...]:
    return tuple((whole[0], month) for month in period.months) if marginal == "month" else (whole,)


def count(session: Session, method: Method, family: Family, flow: Flow, period: Period) -> Counts:
    """Record who is counted in a release and return the exact counts by (marginal, k1, k2), zeros included.

    Needs the worker role. The caller adds noise and forgets them.
    """
    # Everything here joins in bulk. Right after a first release the server knows no statistics of who was counted, takes it for
    # one row and walks through nested loops: minutes at 100,000 students instead of seconds. A loop that is unavoidable then counts
    # as so dear that the server would compile the statement, for longer than it runs.
    for line in ("enable_nestloop = off", "jit = off"):
        session.execute(text(f"set local {line}"))
    rows = session.execute(text(statement(family, flow)), parameters(method, family, flow, period)).all()
    for name in ("enable_nestloop", "jit"):
        session.execute(text(f"set local {name} to default"))
    told: dict[Cell, int] = {(row.k1, row.k2): row.people for row in rows}
    return _dense(told, partitions(family, flow, period, method.domain))


def statement(family: Family, flow: Flow) -> str:
    """Return the SQL that records who is counted in a flow and counts them."""
    return _RECORD_AND_COUNT.format(touches=_TOUCHES[family.name, flow.name], counted=COUNTED)


def parameters(method: Method, family: Family, flow: Flow, period: Period) -> dict[str, object]:
    """Return what the SQL of a flow asks for."""
    return {
        "flow": f"{family.name}/{flow.name}",
        "at_most": family.at_most,
        "period": period.name,
        "first": quarter_of(method.first_day).start,
        "start": period.start,
        "end": period.end,
        "programs": list(method.domain.programs),
        "cohorts": list(method.domain.cohorts_of(period.name)),
        "levels": list(method.domain.experience),
        "quarters": [quarter.name for quarter in period.quarters],
        "source": f"{family.name}/program",
    }


def _dense(told: Mapping[Cell, int], parts: list[Partition]) -> Counts:
    """The counts of every cell; a whole is the sum of what is below it."""
    sums: Counter[Cell] = Counter(told)
    for (k1, k2), people in told.items():
        if k2:
            sums[k1, ""] += people
    return {(part.marginal, *cell): sums[cell] for part in parts for cell in part.cells}


_RECORD_AND_COUNT = """
    with found as ({touches}),
    fresh as (
        select f.*, row_number() over (partition by f.student_id order by f.happened, f.key)
            + (select count(*) from platform.analytics_contribution c where c.student_id = f.student_id and c.flow = :flow) as slot
        from found f join platform.student s on s.id = f.student_id
        where {counted}
          and not exists (
            select from platform.analytics_contribution c
            where c.student_id = f.student_id and c.flow = :flow and c.key = f.key
          )
    ),
    kept as materialized (select * from fresh where slot <= :at_most),
    recorded as (
        insert into platform.analytics_contribution (student_id, flow, slot, key, period)
        select student_id, :flow, slot, key, :period from kept
    )
    select k.k1, k.k2, count(*) as people from kept k group by k.k1, k.k2
"""

# The first enrollment of a student in each program.
_ENROLLED = """
    select e.student_id, p.code as key, e.enrolled_at as happened, p.code as k1,
        to_char(greatest(e.enrolled_at, :start) at time zone 'UTC', 'YYYY-MM') as k2
    from platform.enrollment e join platform.program p on p.id = e.program_id
    where e.enrolled_at >= :first and e.enrolled_at < :end and p.code = any(:programs)
      and not exists (
        select from platform.enrollment b
        where b.student_id = e.student_id and b.program_id = e.program_id and (b.enrolled_at, b.id) < (e.enrolled_at, e.id)
      )
"""
# Whoever was counted in the quarters of the year, by the experience they state now.
_ENROLLED_BY_LEVEL = """
    select c.student_id, c.key, c.slot as happened, c.key as k1, s.experience_level as k2
    from platform.analytics_contribution c join platform.student s on s.id = c.student_id
    where c.flow = :source and c.period = any(:quarters) and c.key = any(:programs) and s.experience_level = any(:levels)
"""
_ENROLLED_IN_COHORT = """
    select e.student_id, c.code as key, e.enrolled_at as happened, c.code as k1, '' as k2
    from platform.enrollment e join platform.cohort c on c.id = e.cohort_id
    where c.code = any(:cohorts) and e.enrolled_at < :end
"""
# How far each enrollment is at an instant, of those that matter: modules done, of how many; a certificate means all of it.
_PROGRESS = """
    with size as (
        select c.id as cohort_id, c.code as cohort, p.code as program, count(*) as modules
        from platform.cohort c join platform.program p on p.id = c.program_id
        join platform.module m on m.program_id = c.program_id and (m.cohort_id is null or m.cohort_id = c.id)
        where {which} group by c.id, p.id
    ),
    done as (
        select m.enrollment_id, count(*) filter (where m.done_at < :end) as now,
            count(*) filter (where m.done_at < :first) as before
        from platform.module_progress m
        where m.status = 'done' and m.done_at < :end and m.cohort_id in (select cohort_id from size)
        group by m.enrollment_id
        union all
        select t.enrollment_id, 1000, case when t.issued_at < :first then 1000 else 0 end
        from platform.certificate t where t.issued_at < :end and t.cohort_id in (select cohort_id from size)
    ),
    reached as (
        select d.enrollment_id, z.program, z.cohort, percent.k2, bool_or(100 * d.before >= percent.least * z.modules) as before
        from done d join platform.enrollment e on e.id = d.enrollment_id join size z on z.cohort_id = e.cohort_id
        cross join (values ('50', 50), ('100', 100)) as percent(k2, least)
        where 100 * d.now >= percent.least * z.modules
        group by d.enrollment_id, z.program, z.cohort, percent.k2
    )
    {then}
"""
_REACHED = _PROGRESS.format(
    which="p.code = any(:programs)",
    then="""
    select e.student_id, r.program || '/' || r.k2 as key, 0 as happened, r.program as k1, r.k2
    from reached r join platform.enrollment e on e.id = r.enrollment_id
    group by e.student_id, r.program, r.k2 having not bool_or(r.before)
""",
)
_REACHED_IN_COHORT = _PROGRESS.format(
    which="c.code = any(:cohorts)",
    then="""
    select e.student_id, r.cohort || '/' || r.k2 as key, 0 as happened, r.cohort as k1, r.k2
    from reached r join platform.enrollment e on e.id = r.enrollment_id
""",
)
# One person who reached half of two programs in one year is one person in the cell of their experience.
_REACHED_BY_LEVEL = """
    select c.student_id, split_part(c.key, '/', 2) || '/' || cast(:period as text) as key, min(c.slot) as happened,
        s.experience_level as k1, split_part(c.key, '/', 2) as k2
    from platform.analytics_contribution c join platform.student s on s.id = c.student_id
    where c.flow = :source and c.period = any(:quarters) and s.experience_level = any(:levels)
    group by c.student_id, split_part(c.key, '/', 2), s.experience_level
"""
# Whoever opened a lesson, began or finished a module or handed work in; counted in the program they enrolled in last.
_ACTIVE = """
    select distinct on (e.student_id) e.student_id, cast(:period as text) as key, 0 as happened, p.code as k1, '' as k2
    from (
        select u.enrollment_id from platform.usage_event u where u.at >= :start and u.at < :end
        union
        select m.enrollment_id from platform.module_progress m
        where (m.started_at >= :start and m.started_at < :end) or (m.done_at >= :start and m.done_at < :end)
        union
        select w.enrollment_id from platform.submission w where w.submitted_at >= :start and w.submitted_at < :end
    ) seen
    join platform.enrollment e on e.id = seen.enrollment_id join platform.program p on p.id = e.program_id
    where p.code = any(:programs)
    order by e.student_id, e.enrolled_at desc, p.code
"""
_TOUCHES: Mapping[tuple[str, str], str] = {
    ("enrollments", "program"): _ENROLLED,
    ("enrollments", "cohort"): _ENROLLED_IN_COHORT,
    ("enrollments", "experience"): _ENROLLED_BY_LEVEL,
    ("milestones", "program"): _REACHED,
    ("milestones", "cohort"): _REACHED_IN_COHORT,
    ("milestones", "experience"): _REACHED_BY_LEVEL,
    ("activity", "program"): _ACTIVE,
}
