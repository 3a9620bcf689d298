"""Closed accounts are closed to those who teach; visitors who want no call are not offered; one admin can end a review.

Danger: a list that looks harmless keeps showing somebody who asked to be left alone. Principle: the database leaves them
out, so that no screen, file or search can forget to. Mechanism: one function for each kind of person to leave out, asked
once per statement by the policies and filters.
"""

import sqlalchemy as sa
from alembic import op

from migrations import rights

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

MY_COHORT = "cohort_id = any ((select staff.my_cohorts())::uuid[])"
NOT_CLOSED = "enrollment_id <> all ((select staff.my_closed())::uuid[])"
PROGRAM_STAFF = "(select staff.my_role()) = 'program_staff'"
LEARNING = (
    "module_progress",
    "submission",
    "code_review",
    "result",
    "certificate",
    "usage_event",
    "help_note",
    "review_claim",
)

CLOSED_ACCOUNTS = """
-- The enrollments of my cohorts whose student has closed the account: they are not taught any more, and wait for their
-- erasure or their return. Few, found by a partial index.
create function staff.my_closed() returns uuid[]
language plpgsql stable parallel safe security definer set search_path = '' as $$
declare
    mine uuid[] := staff.my_cohorts();
begin
    if mine = '{}' then
        return mine;
    end if;
    return (
        select coalesce(pg_catalog.array_agg(e.id), '{}') from platform.student s
        join platform.enrollment e on e.student_id = s.id
        where s.account_status = 'closed' and e.cohort_id = any (mine)
    );
end $$;
"""

VISITORS = """
-- The keyed addresses of people who are not to be contacted: they object, want no mail, a restriction or a deletion, and
-- that is not decided yet, or was done.
create function platform.not_to_contact() returns bytea[]
language sql stable security definer set search_path = '' as $$
    select coalesce(pg_catalog.array_agg(distinct coalesce(s.email_hash, v.email_hash)), '{}')
    from privacy.request r
    left join platform.student s on s.id = r.student_id
    left join platform.visitor v on v.id = r.visitor_id
    where r.kind in ('object', 'opt_out', 'restrict', 'delete') and coalesce(s.email_hash, v.email_hash) is not null
      and (r.closed_at is null or (r.state = 'answered' and r.kind <> 'delete'))
$$;

-- Those of these visitors who are not to be contacted, for whoever follows visitors up; never why.
create function platform.quiet_visitors(p_visitors uuid[]) returns setof uuid
language sql stable security definer set search_path = '' as $$
    select v.id from platform.visitor v
    where v.id = any (p_visitors) and v.email_hash = any ((select platform.not_to_contact())::bytea[])
      and (select staff.my_role()) = 'program_staff'
$$;

create function platform.check_contact() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
    if session_user <> 'resocode_worker' and new.email_hash = any (platform.not_to_contact()) then
        raise exception 'this person is not to be contacted' using errcode = 'insufficient_privilege';
    end if;
    return new;
end $$;

-- Owners who do not work on programs any more: what is theirs is nobody's.
create function staff.gone_owners() returns uuid[]
language sql stable security definer set search_path = '' as $$
    select coalesce(pg_catalog.array_agg(m.id), '{}') from staff.staff_member m
    where (m.disabled_at is not null or m.role <> 'program_staff')
      and exists (select from platform.visitor v where v.owner_id = m.id)
$$;

-- As in 0013; nobody's are also those of owners who are gone, and lists of whom to contact leave out who wants none.
create or replace function platform.visitor_filter(
    p_text text, p_program uuid, p_no_program boolean, p_level text, p_status text[], p_owner text, p_due text,
    p_became text, p_from timestamptz, p_to timestamptz
) returns text language sql stable security definer set search_path = '' as $$
    select 'platform.visitor v where '
        || case when staff.my_role() = 'program_staff' then 'true' else 'false' end
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

STAFF = """
-- As in 0011; the command line is the operator of the machine: what it proposes is in force, and marked as "alone".
create or replace function staff.propose(
    p_id uuid, p_kind text, p_staff uuid, p_after text, p_reason text, p_now timestamptz
) returns boolean language plpgsql security definer set search_path = '' as $$
declare
    who staff.staff_member;
    alone boolean := staff.single_admin() or session_user = 'resocode_worker';
begin
    perform staff.demand('{admin}', true, p_now);
    who := staff.existing(p_staff);
    if p_staff = staff.my_id() then
        perform staff.refuse('RS001', 'Nobody changes their own rights. Ask another admin.');
    elsif coalesce(p_reason, '') = '' then
        perform staff.refuse('RS002', 'A reason is needed.');
    elsif exists (select from staff.proposal p where p.staff_id = p_staff and p.decided_at is null) then
        perform staff.refuse('RS002', 'Another proposal for this person waits already. Decide that one first.');
    elsif p_kind = 'role' and who.role = p_after then
        perform staff.refuse('RS002', 'This person has that role already.');
    elsif p_kind = 'role' and who.disabled_at is not null then
        perform staff.refuse('RS002', 'This account is disabled. Enable it first.');
    elsif p_kind = 'enable' and who.disabled_at is null then
        perform staff.refuse('RS002', 'This account is enabled already.');
    elsif p_kind = 'full reset' and who.disabled_at is not null then
        perform staff.refuse('RS002', 'This account is disabled. Enable it first.');
    end if;
    insert into staff.proposal (id, kind, staff_id, before, after, reason, proposed_by, proposed_at)
    values (p_id, p_kind, p_staff, case when p_kind <> 'account' then who.role end, p_after, p_reason, staff.my_id(), p_now);
    if alone then
        perform staff.carry_out(p_id, 'approved', true, p_now);
    end if;
    return alone;
end $$;

-- One admin in all, declared, and no privacy officer: then nobody else is there who could review their rights.
create function staff.reviews_alone() returns boolean language sql stable security definer set search_path = '' as $$
    select staff.single_admin() and not exists (
        select from staff.staff_member m
        where m.role = 'privacy_officer' and m.disabled_at is null and m.password_since is not null)
$$;

-- As in 0011; in that mode the one admin confirms their own rights, and the review says so.
create or replace function staff.decide_right(p_item uuid, p_verdict text, p_now timestamptz) returns boolean
language plpgsql security definer set search_path = '' as $$
declare
    item staff.access_review_item;
    own boolean;
begin
    perform staff.demand('{admin,privacy_officer}', p_verdict = 'removed', p_now);
    select * into item from staff.access_review_item i where i.id = p_item for update;
    own := coalesce(item.staff_id = staff.my_id(), false);
    if item.id is null or p_verdict not in ('confirmed', 'removed') then
        perform staff.refuse('RS004', 'There is no such right in the review.');
    elsif own and not staff.reviews_alone() then
        perform staff.refuse('RS001', 'Nobody reviews their own rights. Another admin or a privacy officer does.');
    elsif own and p_verdict = 'removed' then
        perform staff.refuse('RS001', 'You are the only admin. Make another one first.');
    elsif item.verdict is not null then
        perform staff.refuse('RS002', 'This right was reviewed already.');
    elsif p_verdict = 'removed' and item.assignment_id is null and item.role = 'admin' and not exists (
        select from staff.staff_member m where m.role = 'admin' and m.id <> item.staff_id and m.disabled_at is null
          and m.password_since is not null
    ) then
        perform staff.refuse('RS001', 'This is the only admin. Make another one first.');
    end if;
    update staff.access_review_item i set verdict = p_verdict, decided_by = staff.my_id(), decided_at = p_now
    where i.id = p_item;
    if own then
        update staff.access_review r set confirmed_alone = r.confirmed_alone + 1 where r.id = item.review_id;
    end if;
    if p_verdict = 'removed' and item.assignment_id is not null then
        perform staff.cut_assignment(item.assignment_id, (p_now at time zone 'UTC')::date - 1);
    elsif p_verdict = 'removed' then
        perform staff.take_rights(item.staff_id, p_now);
    end if;
    return staff.settle_reviews(p_now);
end $$;
"""

# As in 0011, and whether the holder of a right decided about it.
REVIEW_ITEMS = """
create function staff.review_items(p_now timestamptz)
returns table (
    id uuid, staff_id uuid, name text, email text, role text, current_role_name text, assignment_id uuid, cohort text,
    starts_on date, ends_on date, verdict text, decided_by text, decided_at timestamptz, mine boolean, decided_alone boolean
) language sql stable security definer set search_path = '' as $$
    select i.id, m.id, m.name, m.email, i.role, m.role, a.id, c.title, a.starts_on, a.ends_on, i.verdict, d.name, i.decided_at,
        coalesce(m.id = staff.my_id(), false), coalesce(i.decided_by = i.staff_id, false)
    from staff.access_review r
    join staff.access_review_item i on i.review_id = r.id
    join staff.staff_member m on m.id = i.staff_id
    left join staff.assignment a on a.id = i.assignment_id
    left join platform.cohort c on c.id = a.cohort_id
    left join staff.staff_member d on d.id = i.decided_by
    where r.completed_at is null and (select staff.my_role()) in ('admin', 'privacy_officer')
    order by lower(m.name), m.id, a.id is not null, c.title, i.id
$$;
"""


def upgrade() -> None:
    """Apply."""
    op.execute("create index ix_student_closed on platform.student (id) where account_status = 'closed'")
    op.add_column(
        "access_review", sa.Column("confirmed_alone", sa.Integer(), server_default="0", nullable=False), schema="staff"
    )
    rights.functions(
        CLOSED_ACCOUNTS + VISITORS + STAFF + "drop function staff.review_items(timestamptz);" + REVIEW_ITEMS,
        {
            "staff.review_items(timestamptz)": "resocode_app",
            "staff.my_closed()": "resocode_app",
            "platform.not_to_contact()": "resocode_definer",
            "platform.quiet_visitors(uuid[])": "resocode_app",
            "platform.check_contact()": "resocode_owner",
            "staff.gone_owners()": "resocode_definer",
            "staff.reviews_alone()": "resocode_app, resocode_worker",
        },
    )
    op.execute(
        "create trigger contact_is_wanted before update of next_contact_on on platform.visitor for each row"
        " when (new.next_contact_on is not null and new.next_contact_on is distinct from old.next_contact_on)"
        " execute function platform.check_contact()"
    )
    _close()


def _close() -> None:
    """An enrollment of a closed account is nobody's to teach: neither it nor what hangs on it. Students follow from it."""
    hidden = NOT_CLOSED.replace("enrollment_id", "id")
    rights.replace_app_reads("platform.enrollment", f"{PROGRAM_STAFF} or ({MY_COHORT} and {hidden})")
    for table in LEARNING:
        rights.replace_app_reads(f"platform.{table}", f"{MY_COHORT} and {NOT_CLOSED}")
    mine = f"{MY_COHORT} and written_by = (select staff.my_id()) and {NOT_CLOSED}"
    op.execute(f"alter policy app_adds on platform.help_note with check ({mine})")


def downgrade() -> None:
    """There is no way back but a backup."""
    raise NotImplementedError("Restore a backup instead.")
