"""One page in one round trip, and what a policy needs to know asked once a statement instead of once a row.

Danger: a shorter way to the rows that forgets somebody who is restricted. Principle: the rules stay what they were (0030), only how
often they are asked changes. Mechanism: ``privacy.few_restricted`` gives the policies the restricted students as a list while they
are few; beyond that every row asks ``privacy.is_restricted`` as before. tests/core/privacy/test_restricted.py holds both ways.
"""

from alembic import op

from migrations import rights

revision = "0046"
down_revision = "0045"
branch_labels = None
depends_on = None

MY_COHORT = "cohort_id = any ((select staff.my_cohorts())::uuid[])"
PROGRAM_STAFF = "(select staff.my_role()) = 'program_staff'"
OFFICER = "(select staff.my_role()) = 'privacy_officer'"
OPEN_CASE = "id in (select r.{0}_id from privacy.request r where r.closed_at is null)"
FREE = (
    "case when (select privacy.few_restricted_{who}s()) is not null then {id} <> all ((select privacy.few_restricted_{who}s())::uuid[])"
    " else not privacy.is_restricted{asked}({id}) end"
)

FEW = """
-- The restricted students (visitors), if at most 50 restrictions are in force; null when they are more, which is then asked row by row.
create function privacy.few_restricted_students() returns uuid[]
language plpgsql stable parallel safe security definer set search_path = '' as $$
begin
    if (select count(*) from (select from privacy.restriction r where r.until is null limit 51) capped) > 50 then
        return null;
    end if;
    return (select coalesce(pg_catalog.array_agg(s.id), '{}') from privacy.restriction r
            join platform.student s on s.email_hash = r.email_hash where r.until is null);
end $$;

create function privacy.few_restricted_visitors() returns uuid[]
language plpgsql stable parallel safe security definer set search_path = '' as $$
begin
    if (select count(*) from (select from privacy.restriction r where r.until is null limit 51) capped) > 50 then
        return null;
    end if;
    return (select coalesce(pg_catalog.array_agg(v.id), '{}') from privacy.restriction r
            join platform.visitor v on v.email_hash = r.email_hash where r.until is null);
end $$;
"""

LISTS = """
-- As in 0030; the student is joined only where the student is asked about. The callers write FROM, this WHERE.
create or replace function platform.enrollment_filter(
    p_text text, p_program uuid, p_cohort uuid, p_status text[], p_level text, p_unconfirmed boolean, p_from timestamptz, p_to timestamptz
) returns text language plpgsql stable security definer set search_path = '' as $$
begin
    return case when staff.my_role() = 'program_staff' then 'true' else 'e.cohort_id = any ($11)' end
        || case when exists (select from privacy.restriction r where r.until is null) then
                ' and e.student_id not in (select privacy.restricted_students())' else '' end
        || case when p_text is null then '' else ' and lower(s.name) || '' '' || lower(s.email) like $1' end
        || case when p_program is null then '' else ' and e.program_id = $2' end
        || case when p_cohort is null then '' else ' and e.cohort_id = $3' end
        || case when p_status is null then ''
                when cardinality(p_status) = 1 then ' and e.status = ($4)[1]' -- so that the index gives the order
                else ' and e.status = any ($4)' end
        || case when p_level is null then '' else ' and s.experience_level = $5' end
        || case when p_unconfirmed then ' and e.confirmed_at is null' else '' end
        || case when p_from is null then '' else ' and e.enrolled_at >= $6' end
        || case when p_to is null then '' else ' and e.enrolled_at < $7' end;
end $$;

-- As in 0003.
create or replace function platform.find_enrollments(
    p_text text, p_program uuid, p_cohort uuid, p_status text[], p_level text, p_unconfirmed boolean, p_from timestamptz, p_to timestamptz,
    p_sort text, p_after_value text, p_after_id uuid, p_limit int
) returns table (id uuid, sort_value text) language plpgsql stable security definer set search_path = '' rows 50 as $$
declare
    value text := case p_sort when 'name' then 'lower(s.name)' when 'newest' then 'e.enrolled_at' when 'oldest' then 'e.enrolled_at' end;
    backwards boolean := p_sort = 'newest';
begin
    if value is null then
        raise exception 'unknown order %', p_sort;
    end if;
    return query execute 'select e.id, ' || value || '::text from platform.enrollment e'
        || case when p_text is null and p_level is null and p_sort <> 'name' then ''
                else ' join platform.student s on s.id = e.student_id' end
        || ' where ' || platform.enrollment_filter(p_text, p_program, p_cohort, p_status, p_level, p_unconfirmed, p_from, p_to)
        || case when p_after_id is null then '' else ' and (' || value || ', e.id) ' || case when backwards then '<' else '>' end
            || case when p_sort = 'name' then ' ($8, $9)' else ' ($8::timestamptz, $9)' end end
        || ' order by ' || value || case when backwards then ' desc, e.id desc' else ', e.id' end || ' limit $10'
    using '%' || lower(p_text) || '%', p_program, p_cohort, p_status, p_level, p_from, p_to, p_after_value, p_after_id,
        p_limit, staff.my_cohorts();
end $$;

-- As in 0003.
create or replace function platform.count_enrollments(
    p_text text, p_program uuid, p_cohort uuid, p_status text[], p_level text, p_unconfirmed boolean, p_from timestamptz, p_to timestamptz,
    p_cap int
) returns bigint language plpgsql stable security definer set search_path = '' as $$
declare
    found bigint;
begin
    execute 'select count(*) from (select from platform.enrollment e'
        || case when p_text is null and p_level is null then '' else ' join platform.student s on s.id = e.student_id' end
        || ' where ' || platform.enrollment_filter(p_text, p_program, p_cohort, p_status, p_level, p_unconfirmed, p_from, p_to)
        || ' limit $10) capped'
    into found
    using '%' || lower(p_text) || '%', p_program, p_cohort, p_status, p_level, p_from, p_to, null::text, null::uuid,
        p_cap, staff.my_cohorts();
    return found;
end $$;
"""

VISITORS = """
alter function platform.find_visitors(text, uuid, boolean, text, text[], text, text, text, timestamptz, timestamptz, timestamptz, date,
    text, text, uuid, int) rows 50;

-- What stands beside each visitor in the list (core.reads.visitors says what it means); for those who may read them. Nothing here depends
-- on a student who is restricted: then the visitor of the same address is, too.
create function platform.visitor_marks(p_visitors uuid[])
returns table (id uuid, became boolean, before boolean, again boolean, quiet boolean)
language plpgsql stable security definer set search_path = '' rows 50 as $$
declare
    unasked bytea[];
begin
    if staff.my_role() is distinct from 'program_staff' then
        return;
    end if;
    unasked := platform.not_to_contact();
    return query select v.id,
        exists (select from platform.student s join platform.enrollment e on e.student_id = s.id
                where s.email_hash = v.email_hash and e.enrolled_at >= v.asked_at),
        exists (select from platform.student s where s.email_hash = v.email_hash and s.registered_at < v.asked_at),
        exists (select from platform.visitor o where o.email_hash = v.email_hash and o.id <> v.id),
        v.email_hash = any (unasked)
    from platform.visitor v where v.id = any (p_visitors);
end $$;

-- As in 0013; LIMIT makes the planner look by the index for each member of staff, instead of reading every visitor once.
create or replace function staff.program_team() returns table (id uuid, name text, works boolean)
language sql stable security definer set search_path = '' rows 20 as $$
    select m.id, m.name, m.role = 'program_staff' and m.disabled_at is null
    from staff.staff_member m
    where (select staff.my_role()) = 'program_staff'
      and (m.role = 'program_staff'
           or (select true from platform.visitor v where v.owner_id = m.id limit 1)
           or (select true from platform.follow_up f where f.by_id = m.id limit 1)
           or (select true from platform.follow_up f where f.owner_id = m.id limit 1))
$$;
"""

CALLERS = {f"privacy.few_restricted_{who}s()": "resocode_app" for who in ("student", "visitor")} | {
    "platform.visitor_marks(uuid[])": "resocode_app"
}


def upgrade() -> None:
    """Apply."""
    op.execute("create index ix_cohort_starts on platform.cohort (starts_on desc, title)")
    op.execute("create index ix_cohort_title on platform.cohort (title)")
    op.execute(
        "create index ix_enrollment_unconfirmed on platform.enrollment (enrolled_at desc, id desc) where confirmed_at is null"
    )
    rights.functions(FEW + LISTS + VISITORS, CALLERS)
    hidden = "id <> all ((select staff.my_closed())::uuid[])"
    student, visitor = ({"who": "student", "asked": ""}, {"who": "visitor", "asked": "_visitor"})
    rights.replace_app_reads("platform.enrollment",
        f"({PROGRAM_STAFF} and {FREE.format(id='student_id', **student)}) or ({MY_COHORT} and {hidden})")  # fmt: skip
    rights.replace_app_reads("platform.student",
        f"({PROGRAM_STAFF} and {FREE.format(id='id', **student)}) or exists (select from platform.enrollment e"
        f" where e.student_id = student.id and e.{MY_COHORT}) or ({OFFICER} and {OPEN_CASE.format('student')})")  # fmt: skip
    rights.replace_app_reads("platform.student_profile",
        f"({PROGRAM_STAFF} and {FREE.format(id='student_id', **student)}) or ({OFFICER} and student_{OPEN_CASE.format('student')})")  # fmt: skip
    rights.replace_app_reads("platform.visitor",
        f"({PROGRAM_STAFF} and {FREE.format(id='id', **visitor)}) or ({OFFICER} and {OPEN_CASE.format('visitor')})")  # fmt: skip
    rights.replace_app_reads("platform.follow_up", f"{PROGRAM_STAFF} and {FREE.format(id='visitor_id', **visitor)}")


def downgrade() -> None:
    """There is no way back but a backup."""
    raise NotImplementedError("Restore a backup instead.")
