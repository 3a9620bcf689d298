"""Cohorts and programs found by an index, days of all programs together, and a trend that is ranked from few rows.

What grew with the number of cohorts (search, a cohort for thirty students) and of programs (twelve weeks by program and day) grows no more.
"""

from alembic import op

from migrations import rights

revision = "0055"
down_revision = "0054"
branch_labels = None
depends_on = None

INDEXES = """
create index ix_cohort_search on platform.cohort using gin ((lower(title) || ' ' || lower(code)) public.gin_trgm_ops);
alter table platform.rollup drop constraint ck_rollup_grain_known;
alter table platform.rollup add constraint ck_rollup_grain_known check (grain in ('date', 'day', 'month', 'year'));
"""
FIRST = """
insert into platform.rollup (id, what, grain, begins, number)
select pg_catalog.gen_random_uuid(), r.what, 'date', r.begins, sum(r.number) from platform.rollup r where r.grain = 'day' group by r.what, r.begins
"""

FUNCTIONS = """
-- Cohorts by the trigrams of title and code, latest first. The planner may not look at the statistics of a table with policies: it takes any
-- text for one in twenty-five and reads the whole table. So the ways that do are closed here.
create function platform.find_cohorts(p_inside text, p_cohorts uuid[], p_limit int) returns table (id uuid, title text, starts_on date)
language plpgsql stable security definer set search_path = '' set enable_seqscan = off set enable_indexscan = off rows 6 as $$
begin
    return query select c.id, c.title, c.starts_on from platform.cohort c
        where lower(c.title) || ' ' || lower(c.code) like p_inside and (p_cohorts is null or c.id = any (p_cohorts))
        order by c.starts_on desc, c.title limit p_limit;
end $$;

-- As in 0013. A text that is common among the latest 1,000 cohorts is found there; any other one by its trigrams.
create or replace function platform.search(p_text text, p_limit int) returns table (kind text, id uuid)
language plpgsql stable security definer set search_path = '' as $$
declare
    who text := coalesce(staff.my_role(), '');
    inside text := '%' || lower(p_text) || '%';
    begins text := lower(p_text) || '%';
    of_students text := case
        when who = 'program_staff' then 'true'
        when who in ('instructor', 'mentor') then
            'p.id in (select e.student_id from platform.enrollment e where e.cohort_id = any ($4))'
        when who = 'privacy_officer' then
            'p.id in (select r.student_id from privacy.request r where r.closed_at is null)' end;
    of_visitors text := case
        when who = 'program_staff' then 'true'
        when who = 'privacy_officer' then
            'p.id in (select r.visitor_id from privacy.request r where r.closed_at is null)' end;
    of_programs text := case when who in ('program_staff', 'admin', 'auditor') then 'true' end;
    of_staff text := case when who = 'admin' then 'true' end;
    people constant text := 'select %L, h.id from (select p.id, lower(p.name) as name from %s p where %s'
        || ' and lower(p.name) || '' '' || lower(p.email) like $1 limit 200) h'
        || ' order by (h.name like $2) desc, h.name, h.id limit $3';
    things constant text := 'select %L, h.id from (%s) h order by (lower(h.title) like $2) desc, h.starts_on desc, lower(h.title), h.id limit $3';
    latest constant text := 'select l.* from (select c.id, c.title, c.code, c.starts_on from platform.cohort c'
        || ' order by c.starts_on desc, c.title limit 1000) l where lower(l.title) || '' '' || lower(l.code) like $1';
    programs constant text := 'select c.id, c.title, null::date as starts_on from platform.program c where lower(c.title) || '' '' || lower(c.code) like $1';
    found int;
    query text;
begin
    if who in ('program_staff', 'admin', 'auditor') then
        execute 'select count(*) from (select from (' || latest || ') h limit $2) c' into found using inside, p_limit;
        return query execute format(things, 'cohort', case when found = p_limit then latest
                else 'select * from platform.find_cohorts($1, null, 200)' end)
            using inside, begins, p_limit;
    elsif who in ('instructor', 'mentor') then
        return query execute format(things, 'cohort', 'select * from platform.find_cohorts($1, $4, 200)')
            using inside, begins, p_limit, staff.my_cohorts();
    end if;
    foreach query in array array[
        case when of_students is not null then format(people, 'student', 'platform.student', of_students) end,
        case when of_visitors is not null then format(people, 'visitor', 'platform.visitor', of_visitors) end,
        case when of_programs is not null then format(things, 'program', programs) end,
        case when of_staff is not null then format(people, 'staff', 'staff.staff_member', of_staff) end
    ] loop
        continue when query is null;
        return query execute query using inside, begins, p_limit, staff.my_cohorts();
    end loop;
end $$;

-- As in 0052, and the days of all programs together.
create or replace function platform.refresh_rollup(p_what text, p_month date) returns int
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
        from platform.visitor v where p_what = 'asked' and v.asked_at >= since and v.asked_at < until
          and v.id <> all ((select privacy.canary_forms())::uuid[]) group by 1, 2
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
          and (r.grain = 'month' and r.begins = p_month or r.grain = 'year' and r.begins = this_year
            or r.grain = 'date' and r.begins >= p_month and r.begins < next_month);
        insert into platform.rollup (id, what, grain, begins, number)
        select pg_catalog.gen_random_uuid(), p_what, 'date', r.begins, sum(r.number)
        from platform.rollup r
        where r.what = p_what and r.grain = 'day' and r.begins >= p_month and r.begins < next_month
        group by r.begins;
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
end
$$;

-- As in 0045, from the days of all programs together.
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
            left join platform.rollup r on r.what in ('enrolled', 'withdrawn', 'asked') and r.grain = 'date'
                and r.begins >= w.monday and r.begins < w.monday + 7
            group by 1 order by 1;
    end if;
end $$;

-- As in 0045; ranked by the sum of each program.
create or replace function platform.enrollment_trend(p_from timestamptz, p_to timestamptz, p_program uuid, p_cohort uuid, p_series int)
returns table (program_id uuid, month date, enrollments bigint)
language plpgsql stable security definer set search_path = '' set plan_cache_mode = force_custom_plan as $$
#variable_conflict use_column
declare
    whole boolean := coalesce(staff.my_role() in ('program_staff', 'admin'), false);
    mine uuid[] := case when whole then '{}' else staff.my_cohorts() end;
    d0 date := coalesce(platform.whole_day(p_from), '-infinity'::date);
    d1 date := coalesce(platform.whole_day(p_to), 'infinity'::date);
    m0 date := (pg_catalog.date_trunc('month', d0 - 1) + interval '1 month')::date;
    m1 date := pg_catalog.date_trunc('month', d1)::date;
    y0 date := (pg_catalog.date_trunc('year', d0 - 1) + interval '1 year')::date;
    y1 date := pg_catalog.date_trunc('year', d1)::date;
begin
    if whole and p_cohort is null then
        return query
            with summed as materialized (
                select b.program_id, b.month, sum(b.number)::int as enrollments from (
                    select r.program_id, r.begins as month, r.number from platform.rollup r
                    where r.what = 'began' and r.grain = 'month' and r.begins >= m0 and r.begins < m1
                    union all
                    select r.program_id, pg_catalog.date_trunc('month', r.begins)::date, r.number from platform.rollup r
                    where r.what = 'enrolled' and r.grain = 'day' and (r.begins >= d0 and r.begins < least(m0, d1) or r.begins >= greatest(m1, d0) and r.begins < d1)) b
                where p_program is null or b.program_id = p_program
                group by 1, 2
            ), totals as (
                select s.program_id, sum(s.enrollments) as enrollments from summed s group by 1
            ), ranked as (
                select t.program_id, row_number() over (order by t.enrollments desc, p.title) as place, count(*) over () as programs
                from totals t join platform.program p on p.id = t.program_id
            )
            select case when k.programs <= p_series or k.place < p_series then s.program_id end, s.month, sum(s.enrollments)::bigint
            from summed s join ranked k on k.program_id = s.program_id group by 1, 2;
    else
        return query select e.program_id, pg_catalog.date_trunc('month', e.enrolled_at at time zone 'UTC')::date, count(*)
            from platform.enrollment e
            where (p_cohort is null or e.cohort_id = p_cohort) and (whole or e.cohort_id = any (mine)) and (p_from is null or e.enrolled_at >= p_from) and (p_to is null or e.enrolled_at < p_to)
              and (p_program is null or e.program_id = p_program) group by 1, 2;
    end if;
end $$;
"""


def upgrade() -> None:
    """Apply."""
    op.execute(INDEXES)
    op.execute("set local role resocode_definer")
    op.execute(FIRST)
    op.execute("reset role")
    rights.functions(FUNCTIONS, {"platform.find_cohorts(text, uuid[], int)": "resocode_definer"})


def downgrade() -> None:
    """There is no way back but a backup."""
    raise NotImplementedError("Restore a backup instead.")
