"""Canaries among visitors are left out where visitors are counted, and no longer by a policy on the table.

A policy on rows keeps every condition that might tell something about a row ("lower(name) like …", "coalesce(…) <= …") away from the
indexes until it was asked: lists and searches of visitors read all of them. The lists leave canaries out as they leave out everybody who is
restricted; the dashboard's own role keeps its policy.
"""

from alembic import op

from migrations import rights

revision = "0052"
down_revision = "0051"
branch_labels = None
depends_on = None

FUNCTIONS = """
create or replace function platform.visitor_conversion(p_since timestamptz) returns table (asked bigint, converted bigint)
language sql stable security definer set search_path = '' as $$
    select count(distinct v.email_hash), count(distinct v.email_hash) filter (where exists (
        select from platform.student s join platform.enrollment e on e.student_id = s.id
        where s.email_hash = v.email_hash and e.enrolled_at >= v.asked_at))
    from platform.visitor v
    where v.asked_at >= p_since and v.id <> all ((select privacy.canary_forms())::uuid[])
      and (select staff.my_role()) in ('program_staff', 'admin')
$$;

create or replace function privacy.restricted_here(p_cohort uuid) returns table (students bigint, visitors bigint)
language sql stable security definer set search_path = '' as $$
    select
        (select count(distinct s.id) from privacy.restriction r join platform.student s on s.email_hash = r.email_hash
         join platform.enrollment e on e.student_id = s.id
         where r.until is null and (p_cohort is null and (select staff.my_role()) = 'program_staff'
            or e.cohort_id = p_cohort and e.cohort_id = any ((select staff.my_cohorts())::uuid[]) and e.withdrawn_at is null)),
        (select count(distinct v.id) from privacy.restriction r join platform.visitor v on v.email_hash = r.email_hash
         where r.until is null and p_cohort is null and (select staff.my_role()) = 'program_staff'
           and v.id <> all ((select privacy.canary_forms())::uuid[]))
$$;

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
end
$$;
"""


def upgrade() -> None:
    """Apply."""
    op.execute("drop policy count_no_canaries on platform.visitor")
    rights.functions(FUNCTIONS, {})


def downgrade() -> None:
    """There is no way back but a backup."""
    raise NotImplementedError("Restore a backup instead.")
