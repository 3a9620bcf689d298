"""What "restricted" and "objects" mean on every screen: the database leaves people out, so that no list can forget to.

Danger: a restriction that one screen, file or search does not know of. Principle: who is restricted is kept and not used: rows of theirs
open to privacy officers with an open request and to the worker, to nobody else; counts of groups stay. Whoever objects is not ordered
by need of help. Mechanism: the policies of every table of people ask ``privacy.is_restricted``; those who teach lose the enrollment,
and with it all that hangs on it, as with a closed account; lists propose nobody whom the policies would hide.
"""

from alembic import op

from migrations import rights

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None

MY_COHORT = "cohort_id = any ((select staff.my_cohorts())::uuid[])"
PROGRAM_STAFF = "(select staff.my_role()) = 'program_staff'"
OFFICER = "(select staff.my_role()) = 'privacy_officer'"
OPEN_CASE = "id in (select r.{0}_id from privacy.request r where r.closed_at is null)"

TEACHING = """
-- As in 0019, and those of students who are restricted: the enrollments of my cohorts that are nobody's to teach for now.
create or replace function staff.my_closed() returns uuid[]
language plpgsql stable parallel safe security definer set search_path = '' as $$
declare
    mine uuid[] := staff.my_cohorts();
begin
    if mine = '{}' then
        return mine;
    end if;
    return (
        select coalesce(pg_catalog.array_agg(found.id), '{}') from (
            select e.id from platform.student s join platform.enrollment e on e.student_id = s.id
            where s.account_status = 'closed' and e.cohort_id = any (mine)
            union
            select e.id from privacy.restriction r join platform.student s on s.email_hash = r.email_hash
            join platform.enrollment e on e.student_id = s.id
            where r.until is null and e.cohort_id = any (mine)
        ) found
    );
end $$;

-- The enrollments of my cohorts whose student objects: they are taught, and not ordered by need of help.
create function staff.my_objecting() returns uuid[]
language plpgsql stable parallel safe security definer set search_path = '' as $$
declare
    mine uuid[] := staff.my_cohorts();
begin
    if mine = '{}' then
        return mine;
    end if;
    return (
        select coalesce(pg_catalog.array_agg(distinct e.id), '{}') from privacy.objection o
        join platform.student s on s.email_hash = o.email_hash join platform.enrollment e on e.student_id = s.id
        where o.until is null and e.cohort_id = any (mine)
    );
end $$;
"""

TOLD = """
-- How many people a list leaves out because they are restricted: students of one of my cohorts, or for program staff all who are
-- enrolled, and visitors. A number, nobody's name.
create function privacy.restricted_here(p_cohort uuid) returns table (students bigint, visitors bigint)
language sql stable security definer set search_path = '' as $$
    select
        (select count(distinct s.id) from privacy.restriction r join platform.student s on s.email_hash = r.email_hash
         join platform.enrollment e on e.student_id = s.id
         where r.until is null and (p_cohort is null and (select staff.my_role()) = 'program_staff'
            or e.cohort_id = p_cohort and e.cohort_id = any ((select staff.my_cohorts())::uuid[]) and e.withdrawn_at is null)),
        (select count(distinct v.id) from privacy.restriction r join platform.visitor v on v.email_hash = r.email_hash
         where r.until is null and p_cohort is null and (select staff.my_role()) = 'program_staff')
$$;

-- Whether a record is closed to whoever asks because of a restriction, and for nothing else.
create function privacy.hidden_by_restriction(p_student uuid, p_visitor uuid) returns boolean
language sql stable security definer set search_path = '' as $$
    select coalesce(case
        when p_visitor is not null then staff.my_role() = 'program_staff' and privacy.is_restricted_visitor(p_visitor)
        when staff.my_role() = 'program_staff' then privacy.is_restricted(p_student)
        else privacy.is_restricted(p_student) and exists (
            select from platform.enrollment e where e.student_id = p_student and e.cohort_id = any ((select staff.my_cohorts())::uuid[]))
    end, false)
$$;

-- As in 0019, by what stands; a deletion and a restriction from their request on, before anybody decided.
create or replace function platform.not_to_contact() returns bytea[]
language sql stable security definer set search_path = '' as $$
    select coalesce(pg_catalog.array_agg(distinct quiet.email_hash), '{}') from (
        select r.email_hash from privacy.restriction r where r.until is null
        union all select o.email_hash from privacy.objection o where o.until is null
        union all select o.email_hash from privacy.opt_out o where o.until is null
        union all select coalesce(s.email_hash, v.email_hash) from privacy.request r
            left join platform.student s on s.id = r.student_id left join platform.visitor v on v.id = r.visitor_id
            where r.kind in ('restrict', 'delete') and r.closed_at is null
    ) quiet
    where quiet.email_hash is not null
$$;
"""

ENDING = """
-- As in 0025, with the states that a propagation has now: what a request had set going ends with its refusal or withdrawal; what was done elsewhere for it is to be undone there.
create or replace function privacy.end_request(p_request privacy.request, p_at timestamptz, p_who uuid) returns void
language plpgsql security definer set search_path = '' as $$
begin
    update privacy.restriction r set until = greatest(r.since, p_at), end_reason = p_request.state, ended_by = p_who
    where r.request_id = p_request.id and r.until is null;
    update privacy.objection o set until = greatest(o.since, p_at), end_reason = p_request.state, ended_by = p_who
    where o.request_id = p_request.id and o.until is null;
    -- marketing stays off for whoever objected, whatever the grounds against the rest are (GDPR 21(3))
    update privacy.opt_out o set until = greatest(o.since, p_at), end_reason = p_request.state, ended_by = p_who
    where o.request_id = p_request.id and o.until is null
      and not (o.basis = 'objection' and p_request.outcome = 'compelling grounds');
    insert into privacy.propagation (id, request_id, what, processor, planned_at)
    select pg_catalog.gen_random_uuid(), d.request_id, d.undo, d.processor, p_at from (
        select distinct p.request_id, p.processor, case p.what when 'marketing off' then 'marketing as before'
            when 'object' then 'objection ended' else 'restriction ended' end as undo
        from privacy.propagation p
        where p.request_id = p_request.id and p.state in ('done', 'called') and p.what in ('marketing off', 'object', 'restrict')
          and not (p.what = 'marketing off' and p_request.kind = 'object' and p_request.outcome = 'compelling grounds')
    ) d on conflict do nothing;
    update privacy.propagation p set state = 'canceled'
    where p.request_id = p_request.id and p.state in ('planned', 'waiting') and p.planned_at < p_at and p.what in ('marketing off', 'object', 'restrict')
      and not (p.what = 'marketing off' and p_request.kind = 'object' and p_request.outcome = 'compelling grounds');
    update privacy.manual_step m set state = 'canceled' from privacy.propagation p
    where p.request_id = p_request.id and p.state = 'canceled' and m.key = privacy.propagation_key(p) and m.state in ('open', 'attested');
end $$;

-- As in 0025, for the states that a letter has now: what is on its way when somebody opts out is told as it went.
create or replace function privacy.refuse_marketing() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
    if (new.state in ('waiting', 'sending') or (tg_op = 'UPDATE' and new.state = 'sent' and old.state <> 'sending'))
       and privacy.wants_no_marketing(new.student_id, new.visitor_id) then
        raise exception 'This person wants no marketing mail, or is restricted: only letters about their rights and their account go out.'
            using errcode = 'RS001';
    end if;
    return new;
end $$;
"""

LISTS = """
-- As in 0003, without whoever is restricted: scope first, then only the filters that are set. p_text is escaped for LIKE.
create or replace function platform.enrollment_filter(
    p_text text, p_program uuid, p_cohort uuid, p_status text[], p_level text, p_unconfirmed boolean, p_from timestamptz, p_to timestamptz
) returns text language sql stable security definer set search_path = '' as $$
    select 'platform.enrollment e join platform.student s on s.id = e.student_id where '
        || case when staff.my_role() = 'program_staff' then 'true' else 'e.cohort_id = any ($11)' end
        || case when exists (select from privacy.restriction r where r.until is null) then
                ' and s.id not in (select privacy.restricted_students())' else '' end
        || case when p_text is null then '' else ' and lower(s.name) || '' '' || lower(s.email) like $1' end
        || case when p_program is null then '' else ' and e.program_id = $2' end
        || case when p_cohort is null then '' else ' and e.cohort_id = $3' end
        || case when p_status is null then ''
                when cardinality(p_status) = 1 then ' and e.status = ($4)[1]' -- so that the index gives the order
                else ' and e.status = any ($4)' end
        || case when p_level is null then '' else ' and s.experience_level = $5' end
        || case when p_unconfirmed then ' and e.confirmed_at is null' else '' end
        || case when p_from is null then '' else ' and e.enrolled_at >= $6' end
        || case when p_to is null then '' else ' and e.enrolled_at < $7' end
$$;

-- As in 0019, without whoever is restricted.
create or replace function platform.visitor_filter(
    p_text text, p_program uuid, p_no_program boolean, p_level text, p_status text[], p_owner text, p_due text,
    p_became text, p_from timestamptz, p_to timestamptz
) returns text language sql stable security definer set search_path = '' as $$
    select 'platform.visitor v where '
        || case when staff.my_role() = 'program_staff' then 'true' else 'false' end
        || case when exists (select from privacy.restriction r where r.until is null) then
                ' and v.id not in (select privacy.restricted_visitors())' else '' end
        || case when p_text is null then '' else ' and lower(v.name) || '' '' || lower(v.email) like $1' end
        || case when p_program is null then '' else ' and v.program_id = $2' end
        || case when p_no_program then ' and v.program_id is null' else '' end
        || case when p_level is null then '' else ' and v.experience_level = $3' end
        || case when p_status is null then ''
                when cardinality(p_status) = 1 then ' and v.status = ($4)[1]' -- so that the index gives the order
                else ' and v.status = any ($4)' end
        || case when p_owner = 'mine' then ' and v.owner_id = $5'
                when p_owner = 'nobody' and staff.gone_owners() = '{}' then ' and v.owner_id is null'
                when p_owner = 'nobody' then
                    format(' and (v.owner_id is null or v.owner_id = any (%L::uuid[]))', staff.gone_owners())
                else '' end
        || case when (p_owner = 'nobody' or p_due in ('waiting', 'due')) and platform.not_to_contact() <> '{}' then
                format(' and v.email_hash <> all (%L::bytea[])', platform.not_to_contact()) else '' end
        || case p_due when 'waiting' then ' and v.answered_at is null and v.status = ''new'' and v.asked_at < $8'
                when 'due' then ' and coalesce(v.next_contact_on, ''infinity''::date) <= $9 and v.status <> ''lost'''
                else '' end
        || case p_became when 'yes' then ' and ' when 'no' then ' and not ' else '' end
        || case when p_became in ('yes', 'no') then
            'exists (select from platform.student s join platform.enrollment e on e.student_id = s.id'
            || ' where s.email_hash = v.email_hash and e.enrolled_at >= v.asked_at)' else '' end
        || case when p_from is null then '' else ' and v.asked_at >= $6' end
        || case when p_to is null then '' else ' and v.asked_at < $7' end
$$;
"""

CALLERS = {
    "staff.my_objecting()": "resocode_app",
    "privacy.restricted_here(uuid)": "resocode_app",
    "privacy.hidden_by_restriction(uuid, uuid)": "resocode_app",
}


def upgrade() -> None:
    """Apply."""
    rights.let_definer("privacy.manual_step", "update")
    rights.functions(TEACHING + TOLD + ENDING + LISTS, CALLERS)
    hidden = "id <> all ((select staff.my_closed())::uuid[])"
    rights.replace_app_reads("platform.enrollment",
                             f"({PROGRAM_STAFF} and not privacy.is_restricted(student_id)) or ({MY_COHORT} and {hidden})")  # fmt: skip
    rights.replace_app_reads("platform.student",
        f"({PROGRAM_STAFF} and not privacy.is_restricted(id)) or exists (select from platform.enrollment e where e.student_id = student.id"
        f" and e.{MY_COHORT}) or ({OFFICER} and {OPEN_CASE.format('student')})")  # fmt: skip
    rights.replace_app_reads("platform.student_profile",
        f"({PROGRAM_STAFF} and not privacy.is_restricted(student_id)) or ({OFFICER} and student_{OPEN_CASE.format('student')})")  # fmt: skip
    free = "not privacy.is_restricted_visitor({})"
    rights.replace_app_reads("platform.visitor",
        f"({PROGRAM_STAFF} and {free.format('id')}) or ({OFFICER} and {OPEN_CASE.format('visitor')})")  # fmt: skip
    rights.replace_app_reads("platform.follow_up", f"{PROGRAM_STAFF} and {free.format('visitor_id')}")
    op.execute(f"alter policy app_adds on platform.follow_up with check ({PROGRAM_STAFF} and by_id = staff.my_id()"
               f" and {free.format('visitor_id')})")  # fmt: skip
    mine = f"{PROGRAM_STAFF} and {free.format('id')}"
    op.execute(f"alter policy app_changes on platform.visitor using ({mine}) with check ({mine})")


def downgrade() -> None:
    """There is no way back but a backup."""
    raise NotImplementedError("Restore a backup instead.")
