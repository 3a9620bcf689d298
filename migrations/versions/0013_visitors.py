"""Following visitors up, finding them among many, and the one search over everything within one's rights.

Program staff may change four columns of a visitor and add steps to its follow-up; nothing else. Both searches propose
ids by the scope of ``app.staff_id``; what they find is read under row-level security (docs/adr/0004-search-proposes.md).
"""

import sqlalchemy as sa
from alembic import op

from migrations import rights

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

PROGRAM_STAFF = "(select staff.my_role()) = 'program_staff'"

TEAM = """
-- Those who follow visitors up, and those who once did: their names stand in lists and histories.
create function staff.program_team() returns table (id uuid, name text, works boolean)
language sql stable security definer set search_path = '' as $$
    select m.id, m.name, m.role = 'program_staff' and m.disabled_at is null
    from staff.staff_member m
    where staff.my_role() = 'program_staff'
      and (m.role = 'program_staff' or exists (select from platform.visitor v where v.owner_id = m.id)
           or exists (select from platform.follow_up f where f.by_id = m.id or f.owner_id = m.id))
$$;

-- A visitor can be given only to somebody who works on programs today.
create function platform.check_owner() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
    if not exists (select from staff.staff_member m
                   where m.id = new.owner_id and m.role = 'program_staff' and m.disabled_at is null) then
        raise exception 'an owner works on programs' using errcode = 'insufficient_privilege';
    end if;
    return new;
end $$;
"""

VISITORS = """
-- The FROM and WHERE that the functions below share: scope first, then only the filters that are set. p_text is escaped
-- for LIKE. Numbers: 1 text, 2 program, 3 level, 4 status, 5 who asks, 6 and 7 asked from and before, 8 waiting since
-- before, 9 today.
create function platform.visitor_filter(
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
        || case p_owner when 'mine' then ' and v.owner_id = $5'
                when 'nobody' then ' and v.owner_id is null' else '' end
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

-- Proposes the visitors of one page, in order; the caller reads them under row-level security, which disposes.
-- EXECUTE plans with the actual values. p_after holds the sort value and the id of the last row seen.
create function platform.find_visitors(
    p_text text, p_program uuid, p_no_program boolean, p_level text, p_status text[], p_owner text, p_due text,
    p_became text, p_from timestamptz, p_to timestamptz, p_waiting timestamptz, p_today date,
    p_sort text, p_after_value text, p_after_id uuid, p_limit int
) returns table (id uuid, sort_value text) language plpgsql stable security definer set search_path = '' as $$
declare
    query text := platform.visitor_filter(
        p_text, p_program, p_no_program, p_level, p_status, p_owner, p_due, p_became, p_from, p_to);
    value text;
    kind text;
    later text := ' > ';
    direction text := '';
begin
    case p_sort
        when 'newest' then
            value := 'v.asked_at'; kind := 'timestamptz'; later := ' < '; direction := ' desc';
        when 'oldest' then
            value := 'v.asked_at'; kind := 'timestamptz';
        when 'next' then
            value := 'coalesce(v.next_contact_on, ''infinity''::date)'; kind := 'date';
        when 'name' then
            value := 'lower(v.name)'; kind := 'text';
        else
            raise exception 'unknown order %', p_sort;
    end case;
    return query execute 'select v.id, ' || value || '::text from ' || query
        || case when p_after_id is null then '' else
            ' and (' || value || ', v.id)' || later || '($10::' || kind || ', $11)' end
        || ' order by ' || value || direction || ', v.id' || direction || ' limit $12'
    using '%' || lower(p_text) || '%', p_program, p_level, p_status, staff.my_id(), p_from, p_to, p_waiting, p_today,
        p_after_value, p_after_id, p_limit;
end $$;

-- How many there are, counted up to p_cap.
create function platform.count_visitors(
    p_text text, p_program uuid, p_no_program boolean, p_level text, p_status text[], p_owner text, p_due text,
    p_became text, p_from timestamptz, p_to timestamptz, p_waiting timestamptz, p_today date, p_cap int
) returns bigint language plpgsql stable security definer set search_path = '' as $$
declare
    found bigint;
begin
    execute 'select count(*) from (select from '
        || platform.visitor_filter(
            p_text, p_program, p_no_program, p_level, p_status, p_owner, p_due, p_became, p_from, p_to)
        || ' limit $10) capped'
    into found
    using '%' || lower(p_text) || '%', p_program, p_level, p_status, staff.my_id(), p_from, p_to, p_waiting, p_today,
        p_cap;
    return found;
end $$;

-- People (not forms) who asked since an instant, and how many of them enrolled after they asked.
create function platform.visitor_conversion(p_since timestamptz) returns table (asked bigint, converted bigint)
language sql stable security definer set search_path = '' as $$
    select count(distinct v.email_hash), count(distinct v.email_hash) filter (where exists (
        select from platform.student s join platform.enrollment e on e.student_id = s.id
        where s.email_hash = v.email_hash and e.enrolled_at >= v.asked_at))
    from platform.visitor v
    where v.asked_at >= p_since and (select staff.my_role()) in ('program_staff', 'admin')
$$;
"""

SEARCH = """
-- Proposes what the one search box may find for whoever asks: at most p_limit of each kind, names that begin with the
-- text first. Of people who match, 200 are looked at: "ann" finds some of them, not the alphabetically first of a million.
create function platform.search(p_text text, p_limit int) returns table (kind text, id uuid)
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
    of_cohorts text := case
        when who in ('program_staff', 'admin', 'auditor') then 'true'
        when who in ('instructor', 'mentor') then 'c.id = any ($4)' end;
    of_programs text := case when who in ('program_staff', 'admin', 'auditor') then 'true' end;
    of_staff text := case when who = 'admin' then 'true' end;
    people constant text := 'select %L, h.id from (select p.id, lower(p.name) as name from %s p where %s'
        || ' and lower(p.name) || '' '' || lower(p.email) like $1 limit 200) h'
        || ' order by (h.name like $2) desc, h.name, h.id limit $3';
    things constant text := 'select %L, c.id from %s c where %s and (lower(c.title) like $1 or lower(c.code) like $1)'
        || ' order by (lower(c.title) like $2) desc, %s lower(c.title), c.id limit $3';
    query text;
begin
    foreach query in array array[
        case when of_students is not null then format(people, 'student', 'platform.student', of_students) end,
        case when of_visitors is not null then format(people, 'visitor', 'platform.visitor', of_visitors) end,
        case when of_cohorts is not null then format(things, 'cohort', 'platform.cohort', of_cohorts, 'c.starts_on desc,') end,
        case when of_programs is not null then format(things, 'program', 'platform.program', of_programs, '') end,
        case when of_staff is not null then format(people, 'staff', 'staff.staff_member', of_staff) end
    ] loop
        continue when query is null;
        return query execute query using inside, begins, p_limit, staff.my_cohorts();
    end loop;
end $$;
"""

CALLERS = {
    "staff.program_team()": "resocode_app",
    "platform.check_owner()": "resocode_owner",
    "platform.visitor_filter(text, uuid, boolean, text, text[], text, text, text, timestamptz, timestamptz)":
        "resocode_definer",
    "platform.find_visitors(text, uuid, boolean, text, text[], text, text, text, timestamptz, timestamptz, timestamptz,"
    " date, text, text, uuid, int)": "resocode_app",
    "platform.count_visitors(text, uuid, boolean, text, text[], text, text, text, timestamptz, timestamptz, timestamptz,"
    " date, int)": "resocode_app",
    "platform.visitor_conversion(timestamptz)": "resocode_app",
    "platform.search(text, int)": "resocode_app",
}  # fmt: skip


def upgrade() -> None:
    """Apply."""
    _table()
    _indexes()
    rights.close("platform.follow_up")
    rights.app_reads("platform.follow_up", PROGRAM_STAFF)
    rights.app_adds("platform.follow_up", f"{PROGRAM_STAFF} and by_id = staff.my_id()")
    rights.app_changes("platform.visitor", PROGRAM_STAFF, "(status, owner_id, next_contact_on, answered_at)")
    rights.functions(TEAM + VISITORS + SEARCH, CALLERS)
    op.execute(
        "create trigger owner_works before update of owner_id on platform.visitor for each row"
        " when (new.owner_id is not null and new.owner_id is distinct from old.owner_id)"
        " execute function platform.check_owner()"
    )


def _table() -> None:
    op.create_table(
        "follow_up",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("visitor_id", sa.UUID(), nullable=False),
        sa.Column("step", sa.SmallInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("by_id", sa.UUID(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("owner_id", sa.UUID(), nullable=True),
        sa.Column("next_contact_on", sa.Date(), nullable=True),
        sa.Column("status", sa.Text(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "kind in ('contact made', 'owner set', 'next contact set', 'status set')",
            name=op.f("ck_follow_up_kind_known"),
        ),
        sa.CheckConstraint(
            "status in ('new', 'answered', 'in contact', 'lost')", name=op.f("ck_follow_up_status_known")
        ),
        sa.CheckConstraint("char_length(note) <= 1000", name=op.f("ck_follow_up_note_is_short")),
        sa.ForeignKeyConstraint(["visitor_id"], ["platform.visitor.id"], name=op.f("fk_follow_up_visitor_id")),
        sa.ForeignKeyConstraint(["by_id"], ["staff.staff_member.id"], name=op.f("fk_follow_up_by_id")),
        sa.ForeignKeyConstraint(["owner_id"], ["staff.staff_member.id"], name=op.f("fk_follow_up_owner_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_follow_up")),
        sa.UniqueConstraint("visitor_id", "step", name=op.f("uq_follow_up_visitor_id_step")),
        schema="platform",
    )
    for column in ("by_id", "owner_id"):
        op.create_index(op.f(f"ix_follow_up_{column}"), "follow_up", [column], schema="platform")


def _indexes() -> None:
    """One for each order, and for each filter that leaves much out, with the order behind it."""
    for replaced in ("owner_id", "program_id"):
        op.drop_index(op.f(f"ix_visitor_{replaced}"), table_name="visitor", schema="platform")
    newest = "asked_at desc, id desc"
    for name, rows in {
        "ix_visitor_status": f"(status, {newest})",
        "ix_visitor_program": f"(program_id, {newest})",
        "ix_visitor_owner": f"(owner_id, {newest})",
        "ix_visitor_unowned": f"({newest}) where owner_id is null and status in ('new', 'in contact')",
        "ix_visitor_waiting": f"({newest}) where answered_at is null and status = 'new'",
        "ix_visitor_next": "(coalesce(next_contact_on, 'infinity'::date), id)",
        "ix_visitor_name": "(lower(name), id)",
    }.items():
        op.execute(f"create index {name} on platform.visitor {rows}")
    op.execute(
        "create index ix_visitor_search on platform.visitor"
        " using gin ((lower(name) || ' ' || lower(email)) public.gin_trgm_ops)"
    )


def downgrade() -> None:
    """Restore a backup instead."""
    raise NotImplementedError("Restore a backup instead.")
