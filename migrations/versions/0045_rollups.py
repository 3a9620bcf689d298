"""Roll-ups: how many enrollments and visitors by day and month, counted again by the worker where something changed.

Danger: a figure that is fast and wrong: it misses a change, keeps somebody who was erased, or is old and does not say so. Principle: a
roll-up is counted from the rows, never added to; whatever changes a row says in the same transaction which month has to be counted
again; what waits for that is known and told. Mechanism: triggers on the two tables write ``platform.rollup_change``;
``platform.refresh_rollup`` takes these lines away first and counts the month afterwards, under a lock of its own, so that no change
falls between two workers. The dashboard reads sums through functions that take its scope inside; whoever teaches is counted live.
"""

import sqlalchemy as sa
from alembic import op

from migrations import rights

revision = "0045"
down_revision = "0044"
branch_labels = None
depends_on = None

COUNTING = """
-- The changed rows of a statement, as the months that have to be counted again.
create function platform.note_enrollment_change() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
    if tg_op = 'INSERT' then
        insert into platform.rollup_change (id, what, month, at)
        select pg_catalog.gen_random_uuid(), m.what, m.month, pg_catalog.clock_timestamp() from (
            select 'enrolled' as what, pg_catalog.date_trunc('month', a.enrolled_at at time zone 'UTC')::date as month from added a
            union select 'withdrawn', pg_catalog.date_trunc('month', a.withdrawn_at at time zone 'UTC')::date from added a) m
        where m.month is not null;
    elsif tg_op = 'DELETE' then
        insert into platform.rollup_change (id, what, month, at)
        select pg_catalog.gen_random_uuid(), m.what, m.month, pg_catalog.clock_timestamp() from (
            select 'enrolled' as what, pg_catalog.date_trunc('month', g.enrolled_at at time zone 'UTC')::date as month from gone g
            union select 'withdrawn', pg_catalog.date_trunc('month', g.withdrawn_at at time zone 'UTC')::date from gone g) m
        where m.month is not null;
    else
        insert into platform.rollup_change (id, what, month, at)
        with changed as (
            (select g.id, g.enrolled_at, g.withdrawn_at, g.program_id, g.status, g.started_at is null as started from gone g
             except select a.id, a.enrolled_at, a.withdrawn_at, a.program_id, a.status, a.started_at is null from added a)
            union all
            (select a.id, a.enrolled_at, a.withdrawn_at, a.program_id, a.status, a.started_at is null as started from added a
             except select g.id, g.enrolled_at, g.withdrawn_at, g.program_id, g.status, g.started_at is null from gone g))
        select pg_catalog.gen_random_uuid(), m.what, m.month, pg_catalog.clock_timestamp() from (
            select 'enrolled' as what, pg_catalog.date_trunc('month', c.enrolled_at at time zone 'UTC')::date as month from changed c
            union select 'withdrawn', pg_catalog.date_trunc('month', c.withdrawn_at at time zone 'UTC')::date from changed c) m
        where m.month is not null;
    end if;
    return null;
end $$;

create function platform.note_visitor_change() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
    if tg_op = 'INSERT' then
        insert into platform.rollup_change (id, what, month, at)
        select pg_catalog.gen_random_uuid(), 'asked', m.month, pg_catalog.clock_timestamp() from (
            select distinct pg_catalog.date_trunc('month', a.asked_at at time zone 'UTC')::date as month from added a) m;
    elsif tg_op = 'DELETE' then
        insert into platform.rollup_change (id, what, month, at)
        select pg_catalog.gen_random_uuid(), 'asked', m.month, pg_catalog.clock_timestamp() from (
            select distinct pg_catalog.date_trunc('month', g.asked_at at time zone 'UTC')::date as month from gone g) m;
    else
        insert into platform.rollup_change (id, what, month, at)
        select pg_catalog.gen_random_uuid(), 'asked', m.month, pg_catalog.clock_timestamp() from (
            select pg_catalog.date_trunc('month', x.asked_at at time zone 'UTC')::date as month from (
                select g.id, g.asked_at, g.program_id from gone g except select a.id, a.asked_at, a.program_id from added a) x
            union select pg_catalog.date_trunc('month', y.asked_at at time zone 'UTC')::date from (
                select a.id, a.asked_at, a.program_id from added a except select g.id, g.asked_at, g.program_id from gone g) y) m;
    end if;
    return null;
end $$;

-- Counts one month of one kind again; returns how many days' rows changed. Each statement here sees what was committed before it, so the
-- count knows at least every change whose line was taken away. Only what differs is written: most of a month stays as it is.
create function platform.refresh_rollup(p_what text, p_month date) returns int
language plpgsql security definer set search_path = '' as $$
declare
    since timestamptz := p_month::timestamp at time zone 'UTC';
    until timestamptz := (p_month + interval '1 month')::timestamp at time zone 'UTC';
    next_month date := (p_month + interval '1 month')::date;
    this_year date := pg_catalog.date_trunc('year', p_month)::date;
    changed int;
begin
    perform pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('resocode roll-up'), pg_catalog.hashtext(p_what || this_year::text));
    delete from platform.rollup_change c where c.what = p_what and c.month = p_month;
    with counted as materialized (
        select (e.enrolled_at at time zone 'UTC')::date as begins, e.program_id, e.status, e.started_at is not null as started, count(*)::int as number
        from platform.enrollment e where p_what = 'enrolled' and e.enrolled_at >= since and e.enrolled_at < until group by 1, 2, 3, 4
        union all
        select (e.withdrawn_at at time zone 'UTC')::date, e.program_id, null, null, count(*)::int
        from platform.enrollment e where p_what = 'withdrawn' and e.withdrawn_at >= since and e.withdrawn_at < until group by 1, 2
        union all
        select (v.asked_at at time zone 'UTC')::date, v.program_id, null, null, count(*)::int
        from platform.visitor v where p_what = 'asked' and v.asked_at >= since and v.asked_at < until group by 1, 2
    ), kept as materialized (
        select r.begins, r.program_id, r.status, r.started, r.number from platform.rollup r
        where r.what = p_what and r.grain = 'day' and r.begins >= p_month and r.begins < next_month
    ), gone as (
        select k.begins, k.program_id, k.status, k.started from kept k
        except select c.begins, c.program_id, c.status, c.started from counted c
    ), dropped as (
        delete from platform.rollup r using gone g
        where r.what = p_what and r.grain = 'day' and r.begins = g.begins and r.program_id is not distinct from g.program_id
          and r.status is not distinct from g.status and r.started is not distinct from g.started
        returning 1
    ), written as (
        insert into platform.rollup (id, what, grain, begins, program_id, status, started, number)
        select pg_catalog.gen_random_uuid(), p_what, 'day', n.* from (select * from counted except select * from kept) n
        on conflict (what, grain, begins, program_id, status, started) do update set number = excluded.number
        returning 1
    )
    select (select count(*) from dropped) + (select count(*) from written) into changed;
    if changed > 0 then
        delete from platform.rollup r
        where r.what in (p_what, case p_what when 'enrolled' then 'began' end)
          and (r.grain = 'month' and r.begins = p_month or r.grain = 'year' and r.begins = this_year);
        insert into platform.rollup (id, what, grain, begins, program_id, status, started, number)
        select pg_catalog.gen_random_uuid(), p_what, 'month', p_month, r.program_id, r.status, r.started, sum(r.number)
        from platform.rollup r
        where r.what = p_what and r.grain = 'day' and r.begins >= p_month and r.begins < next_month
        group by r.program_id, r.status, r.started;
        insert into platform.rollup (id, what, grain, begins, program_id, status, started, number)
        select pg_catalog.gen_random_uuid(), p_what, 'year', this_year, r.program_id, r.status, r.started, sum(r.number)
        from platform.rollup r
        where r.what = p_what and r.grain = 'month' and r.begins >= this_year and r.begins < this_year + interval '1 year'
        group by r.program_id, r.status, r.started;
        insert into platform.rollup (id, what, grain, begins, program_id, number)
        select pg_catalog.gen_random_uuid(), 'began', 'month', p_month, r.program_id, sum(r.number)
        from platform.rollup r
        where p_what = 'enrolled' and r.what = p_what and r.grain = 'month' and r.begins = p_month
        group by r.program_id;
    end if;
    return changed;
end $$;
"""

# A period [d0, d1) as the fewest rows: whole years as years, whole months as months, what is cut off at the ends as days.
ENDS = """d0 date := coalesce(platform.whole_day(p_from), '-infinity'::date);
    d1 date := coalesce(platform.whole_day(p_to), 'infinity'::date);
    m0 date := (pg_catalog.date_trunc('month', d0 - 1) + interval '1 month')::date;
    m1 date := pg_catalog.date_trunc('month', d1)::date;
    y0 date := (pg_catalog.date_trunc('year', d0 - 1) + interval '1 year')::date;
    y1 date := pg_catalog.date_trunc('year', d1)::date;"""
DAYS = "r.grain = 'day' and (r.begins >= d0 and r.begins < least(m0, d1) or r.begins >= greatest(m1, d0) and r.begins < d1)"
IN_PERIOD = f"""(r.grain = 'year' and r.begins >= y0 and r.begins < y1
              or r.grain = 'month' and (r.begins >= m0 and r.begins < least(y0, m1) or r.begins >= greatest(y1, m0) and r.begins < m1)
              or {DAYS})"""
LIVE = """(p_from is null or e.enrolled_at >= p_from) and (p_to is null or e.enrolled_at < p_to)
              and (p_program is null or e.program_id = p_program)"""

READING = f"""
-- Since when a change waits to be counted; null when the roll-ups are as the rows are.
create function platform.rollup_waits_since() returns timestamptz
language sql stable security definer set search_path = '' as $$
    select min(c.at) from platform.rollup_change c where (select staff.my_role()) is not null
$$;

-- Enrollments that began in a period by what became of them; for those who may know how many there are without seeing who. Whole days
-- (UTC) of all cohorts come from the roll-up; one cohort, and the cohorts of whoever teaches, are counted as they are.
create or replace function platform.enrollment_counts(p_from timestamptz, p_to timestamptz, p_program uuid, p_cohort uuid)
returns table (status text, started boolean, enrollments bigint)
language plpgsql stable security definer set search_path = '' set plan_cache_mode = force_custom_plan as $$
declare
    whole boolean := coalesce(staff.my_role() in ('program_staff', 'admin'), false);
    mine uuid[] := case when whole then '{{}}' else staff.my_cohorts() end;
    {ENDS}
begin
    if whole and p_cohort is null then
        return query select r.status, r.started, sum(r.number)::bigint from platform.rollup r
            where r.what = 'enrolled' and (p_program is null or r.program_id = p_program) and {IN_PERIOD} group by 1, 2;
    elsif whole then
        return query select e.status, e.started_at is not null, count(*) from platform.enrollment e
            where e.cohort_id = p_cohort and {LIVE} group by 1, 2;
    elsif mine <> '{{}}' then
        return query select e.status, e.started_at is not null, count(*) from platform.enrollment e
            where e.cohort_id = any (mine) and (p_cohort is null or e.cohort_id = p_cohort) and {LIVE} group by 1, 2;
    end if;
end $$;

-- The same by program and month (UTC) in which they began: of the p_series programs with the most, or of one program less and the sum of
-- all others (null).
create function platform.enrollment_trend(p_from timestamptz, p_to timestamptz, p_program uuid, p_cohort uuid, p_series int)
returns table (program_id uuid, month date, enrollments bigint)
language plpgsql stable security definer set search_path = '' set plan_cache_mode = force_custom_plan as $$
#variable_conflict use_column
declare
    whole boolean := coalesce(staff.my_role() in ('program_staff', 'admin'), false);
    mine uuid[] := case when whole then '{{}}' else staff.my_cohorts() end;
    {ENDS}
begin
    if whole and p_cohort is null then
        return query
            with summed as materialized (
                select b.program_id, b.month, sum(b.number)::bigint as enrollments from (
                    select r.program_id, r.begins as month, r.number from platform.rollup r
                    where r.what = 'began' and r.grain = 'month' and r.begins >= m0 and r.begins < m1
                    union all
                    select r.program_id, pg_catalog.date_trunc('month', r.begins)::date, r.number from platform.rollup r
                    where r.what = 'enrolled' and {DAYS}) b
                where p_program is null or b.program_id = p_program
                group by 1, 2
            ), ranked as (
                select s.program_id, row_number() over (order by sum(s.enrollments) desc, p.title) as place, count(*) over () as programs
                from summed s join platform.program p on p.id = s.program_id group by s.program_id, p.title
            )
            select case when k.programs <= p_series or k.place < p_series then s.program_id end, s.month, sum(s.enrollments)::bigint
            from summed s join ranked k on k.program_id = s.program_id group by 1, 2;
    else
        return query select e.program_id, pg_catalog.date_trunc('month', e.enrolled_at at time zone 'UTC')::date, count(*)
            from platform.enrollment e
            where (p_cohort is null or e.cohort_id = p_cohort) and (whole or e.cohort_id = any (mine)) and {LIVE} group by 1, 2;
    end if;
end $$;

-- Visitors who asked in a period, for the same roles.
create function platform.visitor_count(p_from timestamptz, p_to timestamptz, p_program uuid) returns bigint
language plpgsql stable security definer set search_path = '' set plan_cache_mode = force_custom_plan as $$
declare
    {ENDS}
begin
    if coalesce(staff.my_role() in ('program_staff', 'admin'), false) then
        return (select coalesce(sum(r.number), 0) from platform.rollup r
                where r.what = 'asked' and (p_program is null or r.program_id = p_program) and {IN_PERIOD});
    end if;
    return 0;
end $$;

-- The day that begins at an instant. A roll-up knows nothing shorter than a day.
create function platform.whole_day(p_at timestamptz) returns date language plpgsql immutable set search_path = '' as $$
begin
    if p_at <> (p_at at time zone 'UTC')::date::timestamp at time zone 'UTC' then
        raise exception 'not the beginning of a day: %', p_at;
    end if;
    return (p_at at time zone 'UTC')::date;
end $$;

-- As in 0003, from the roll-up.
create or replace function platform.weekly_counts(p_monday date, p_weeks int)
returns table (week date, enrolled bigint, withdrawn bigint, visitors bigint)
language plpgsql stable security definer set search_path = '' as $$
begin
    if coalesce(staff.my_role() in ('program_staff', 'admin'), false) then
        return query
            select w.monday, coalesce(sum(r.number) filter (where r.what = 'enrolled'), 0)::bigint,
                coalesce(sum(r.number) filter (where r.what = 'withdrawn'), 0)::bigint,
                coalesce(sum(r.number) filter (where r.what = 'asked'), 0)::bigint
            from (select p_monday + 7 * n as monday from pg_catalog.generate_series(0, p_weeks - 1) as n) w
            left join platform.rollup r on r.what in ('enrolled', 'withdrawn', 'asked') and r.grain = 'day'
                and r.begins >= w.monday and r.begins < w.monday + 7
            group by 1 order by 1;
    end if;
end $$;
"""

FIRST = """
select platform.refresh_rollup(m.what, m.month) from (
    select distinct 'enrolled' as what, pg_catalog.date_trunc('month', e.enrolled_at at time zone 'UTC')::date as month from platform.enrollment e
    union select distinct 'withdrawn', pg_catalog.date_trunc('month', e.withdrawn_at at time zone 'UTC')::date from platform.enrollment e
        where e.withdrawn_at is not null
    union select distinct 'asked', pg_catalog.date_trunc('month', v.asked_at at time zone 'UTC')::date from platform.visitor v) m
"""

CALLERS = {
    "platform.note_enrollment_change()": "resocode_owner",
    "platform.note_visitor_change()": "resocode_owner",
    "platform.refresh_rollup(text, date)": "resocode_worker",
    "platform.whole_day(timestamptz)": "resocode_definer",
    "platform.rollup_waits_since()": "resocode_app",
    "platform.enrollment_counts(timestamptz, timestamptz, uuid, uuid)": "resocode_app",
    "platform.enrollment_trend(timestamptz, timestamptz, uuid, uuid, int)": "resocode_app",
    "platform.visitor_count(timestamptz, timestamptz, uuid)": "resocode_app",
    "platform.weekly_counts(date, int)": "resocode_app",
}  # fmt: skip


def upgrade() -> None:
    """Apply."""
    _tables()
    for table in ("platform.rollup", "platform.rollup_change"):
        rights.close(table)
        rights.let_definer(table, "insert", "update", "delete")
    op.execute("set local role resocode_definer")
    op.execute("drop function platform.enrollment_months(timestamptz, timestamptz, uuid, uuid)")
    op.execute("drop function platform.visitor_counts(timestamptz, timestamptz)")
    op.execute("reset role")
    rights.functions(COUNTING + READING, CALLERS)
    for table in ("enrollment", "visitor"):
        for verb, seen in (
            ("insert", "new table as added"),
            ("update", "old table as gone new table as added"),
            ("delete", "old table as gone"),
        ):
            op.execute(f"create trigger rolled_up_{verb} after {verb} on platform.{table} referencing {seen}"
                       f" for each statement execute function platform.note_{table}_change()")  # fmt: skip
    op.execute("set local role resocode_definer")
    op.execute(FIRST)
    op.execute("reset role")
    op.execute("analyze platform.rollup")


def _tables() -> None:
    op.create_table(
        "rollup",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("grain", sa.Text(), nullable=False),
        sa.Column("begins", sa.Date(), nullable=False),
        sa.Column("program_id", sa.UUID(), nullable=True),
        sa.Column("status", sa.Text(), nullable=True),
        sa.Column("started", sa.Boolean(), nullable=True),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.CheckConstraint("what in ('enrolled', 'began', 'withdrawn', 'asked')", name=op.f("ck_rollup_what_known")),
        sa.CheckConstraint("grain in ('day', 'month', 'year')", name=op.f("ck_rollup_grain_known")),
        sa.CheckConstraint("number > 0", name=op.f("ck_rollup_somebody")),
        sa.ForeignKeyConstraint(
            ["program_id"], ["platform.program.id"], name=op.f("fk_rollup_program_id_program")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rollup")),
        sa.UniqueConstraint(
            "what", "grain", "begins", "program_id", "status", "started", name="uq_rollup_key", postgresql_nulls_not_distinct=True
        ),
        schema="platform",
    )  # fmt: skip
    op.create_index(op.f("ix_rollup_program_id"), "rollup", ["program_id"], schema="platform")
    op.create_table(
        "rollup_change",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("what in ('enrolled', 'withdrawn', 'asked')", name=op.f("ck_rollup_change_what_known")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rollup_change")),
        schema="platform",
    )
    op.create_index("ix_rollup_change_month", "rollup_change", ["what", "month"], schema="platform")


def downgrade() -> None:
    """There is no way back but a backup."""
    raise NotImplementedError("Restore a backup instead.")
