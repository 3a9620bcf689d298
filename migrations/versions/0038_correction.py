"""Corrections: entered by one officer, in force once another one confirmed them, and not undone by a stale import.

Danger: whoever gets an address changed gets the account; a correction is gone with the next spreadsheet. Principle: a second person
confirms, with a fresh proof of identity, on a request whose subject is known and confirmed; old values do not come back before
whoever sends them has the new one. Mechanism: a definer function writes the columns that may be corrected, and those only; a
trigger on the tables of people keeps a corrected value where the worker brings the old one, as long as it is being passed on.
"""

import sqlalchemy as sa
from alembic import op

from migrations import rights

revision = "0038"
down_revision = "0037"
branch_labels = None
depends_on = None

OFFICER = "(select staff.my_role()) = 'privacy_officer'"
OPEN_CASE = "{0}_id in (select r.{0}_id from privacy.request r where r.closed_at is null)"
COLUMNS = "(id, request_id, student_id, visitor_id, record_id, field, old_value, new_value, reason, old_hash, new_hash, new_provider_hash," \
          " entered_at, entered_by)"  # fmt: skip

FUNCTIONS = """
-- As labels have it ("correctable"); a test compares.
create function privacy.may_be_corrected(p_field text) returns boolean
language sql immutable parallel safe set search_path = '' as $$
    select p_field in ('platform.student.name', 'platform.student.email', 'platform.student.experience_level',
        'platform.student_profile.phone', 'platform.student_profile.headline', 'platform.student_profile.link',
        'platform.visitor.name', 'platform.visitor.email', 'platform.visitor.phone', 'platform.visitor.experience_level')
$$;

-- Whether an address can become that of a student or visitor: '' or 'taken' (by another student), 'erased'.
create function privacy.address_is_free(p_email text, p_hash bytea, p_student uuid, p_visitor uuid, p_now timestamptz) returns text
language sql stable security definer set search_path = '' as $$
    select case
        when staff.my_role() is distinct from 'privacy_officer' then null
        when p_student is not null and exists (select from platform.student s
            where s.id <> p_student and (s.email_hash = p_hash or lower(s.email) = lower(p_email))) then 'taken'
        when (select (privacy.old_record(p_hash, null, coalesce(s.registered_at, v.asked_at), p_now)).verdict
              from (select 1) one left join platform.student s on s.id = p_student left join platform.visitor v on v.id = p_visitor)
            is not null then 'erased'
        else '' end
$$;

-- Forms that were left with the address of a person: those that a correction may take along.
create function privacy.forms_of(p_student uuid, p_visitor uuid) returns table (id uuid, name text, email text, phone text,
    experience_level text, source text, asked_at timestamptz)
language sql stable security definer set search_path = '' as $$
    select v.id, v.name, v.email, v.phone, v.experience_level, v.source, v.asked_at from platform.visitor v
    where staff.my_role() = 'privacy_officer' and v.id is distinct from p_visitor
      and exists (select from privacy.request r where r.closed_at is null and (r.student_id = p_student or r.visitor_id = p_visitor))
      and v.email_hash in (select s.email_hash from platform.student s where s.id = p_student
                           union all select o.email_hash from platform.visitor o where o.id = p_visitor)
    order by v.asked_at, v.id
$$;

create function privacy.guard_correction() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
    acting text := case when staff.my_id() is not null then staff.my_role()
                        when session_user = 'resocode_worker' then 'system' end;
    asked privacy.request;
begin
    if tg_op = 'DELETE' then
        if acting is distinct from 'system' then
            raise exception 'What was corrected stays known.' using errcode = 'RS001';
        end if;
        return old; -- an erasure
    end if;
    if acting is distinct from 'privacy_officer' and acting is distinct from 'system' then
        raise exception 'Privacy officers correct records.' using errcode = 'RS001';
    end if;
    if tg_op = 'UPDATE' and (pg_catalog.to_jsonb(new) - '{state,decided_at,decided_by}'::text[]
           is distinct from pg_catalog.to_jsonb(old) - '{state,decided_at,decided_by}'::text[] or old.state <> 'proposed') then
        raise exception 'A correction does not change; enter another one.' using errcode = 'RS001';
    end if;
    if tg_op = 'UPDATE' and new.state = 'in force' and pg_catalog.current_setting('app.correction', true) is distinct from old.id::text then
        raise exception 'A correction is in force when it was made, and not before.' using errcode = 'RS001';
    end if;
    select r.* into asked from privacy.request r where r.id = new.request_id;
    if tg_op = 'INSERT' and (asked.kind <> 'correct' or asked.state <> 'verified' or asked.identity <> 'confirmed'
           or (asked.student_id, asked.visitor_id) is distinct from (new.student_id, new.visitor_id)
           or new.state <> 'proposed' or not privacy.may_be_corrected(new.field)) then
        raise exception 'A correction is entered for a request whose person is confirmed.' using errcode = 'RS001';
    end if;
    if acting = 'privacy_officer' then
        if privacy.is_my_own(new.student_id, new.visitor_id) then
            raise exception 'This is your own record. Another privacy officer has to decide.' using errcode = 'RS001';
        end if;
        if (tg_op = 'INSERT' and new.entered_by is distinct from staff.my_id())
           or (tg_op = 'UPDATE' and new.decided_by is distinct from staff.my_id()) then
            raise exception 'A decision is made in one''s own name.' using errcode = 'RS001';
        end if;
    end if;
    return new;
end $$;

-- Writes what was proposed for a request, as a second person; returns how many values. What changed since it was entered is refused.
create function privacy.make_corrections(p_request uuid, p_now timestamptz) returns int
language plpgsql security definer set search_path = '' as $$
declare
    one privacy.correction;
    asked privacy.request;
    stands text;
    many int := 0;
begin
    perform staff.demand(array['privacy_officer'], true, p_now);
    select r.* into asked from privacy.request r where r.id = p_request;
    if asked.id is null or asked.closed_at is not null or asked.state <> 'verified' then
        perform staff.refuse('RS002', 'This request is not open for a correction.');
    end if;
    if privacy.is_my_own(asked.student_id, asked.visitor_id) then
        perform staff.refuse('RS001', 'This is your own record. Another privacy officer has to decide.');
    end if;
    for one in select c.* from privacy.correction c where c.request_id = p_request and c.state = 'proposed' order by c.field, c.id for update loop
        if one.entered_by = staff.my_id() and not privacy.single_officer() then
            perform staff.refuse('RS001', 'You entered this correction. Another privacy officer has to confirm it.');
        end if;
        if one.field like 'platform.student_profile.%' then
            insert into platform.student_profile (student_id) values (one.record_id) on conflict do nothing;
        end if;
        execute pg_catalog.format('select %I from %I.%I where %I = $1', pg_catalog.split_part(one.field, '.', 3), pg_catalog.split_part(one.field, '.', 1),
            pg_catalog.split_part(one.field, '.', 2), case when one.field like '%student_profile%' then 'student_id' else 'id' end)
        into stands using one.record_id;
        if stands is distinct from one.old_value then
            perform staff.refuse('RS002', 'The record has changed since this was entered. Return it, and enter it anew.');
        end if;
        execute pg_catalog.format('update %I.%I set %I = $2 where %I = $1', pg_catalog.split_part(one.field, '.', 1), pg_catalog.split_part(one.field, '.', 2),
            pg_catalog.split_part(one.field, '.', 3), case when one.field like '%student_profile%' then 'student_id' else 'id' end)
        using one.record_id, one.new_value;
        if one.field = 'platform.student.email' then
            update platform.student s set email_hash = one.new_hash, provider_hash = coalesce(one.new_provider_hash, s.provider_hash)
            where s.id = one.record_id;
        elsif one.field = 'platform.visitor.email' then
            update platform.visitor v set email_hash = one.new_hash, provider_hash = coalesce(one.new_provider_hash, v.provider_hash)
            where v.id = one.record_id;
        end if;
        perform pg_catalog.set_config('app.correction', one.id::text, true);
        update privacy.correction c set state = 'in force', decided_at = p_now, decided_by = staff.my_id() where c.id = one.id;
        many := many + 1;
    end loop;
    perform pg_catalog.set_config('app.correction', '', true);
    return many;
exception
    when unique_violation then
        perform staff.refuse('RS002', 'Another student has this e-mail address already.');
    when integrity_constraint_violation then
        perform staff.refuse('RS002', 'Somebody with this e-mail address was erased; an older record cannot take it.');
end $$;

-- The letter about the end of a restriction: name and address stand here only, because a closed request opens no identity.
create function privacy.announce_lifting(p_restriction uuid, p_letter uuid, p_subject text, p_body text, p_version int, p_now timestamptz)
returns boolean language plpgsql security definer set search_path = '' as $$
declare
    one privacy.restriction;
    who text;
    address text;
begin
    perform staff.demand(array['privacy_officer'], false, p_now);
    select r.* into one from privacy.restriction r where r.id = p_restriction and r.until is null and r.basis = 'asked' for update;
    if one.id is null then
        perform staff.refuse('RS004', 'There is no such restriction, or it has ended.');
    end if;
    if privacy.is_my_own(one.student_id, one.visitor_id) then
        perform staff.refuse('RS001', 'This is your own record. Another privacy officer has to decide.');
    end if;
    select p.name, p.email into who, address from (
        select s.name, s.email from platform.student s where s.id = one.student_id
        union all select v.name, v.email from platform.visitor v where v.id = one.visitor_id) p;
    insert into privacy.outbox (id, dedupe_key, request_id, student_id, visitor_id, kind, template_version, address, subject, body,
        not_before, written_at, written_by)
    values (p_letter, one.id || ' restriction ends', one.request_id, one.student_id, one.visitor_id, 'restriction ends', p_version, address,
        replace(p_subject, '{name}', who), replace(p_body, '{name}', who), p_now, p_now, staff.my_id())
    on conflict (dedupe_key) do update set state = 'waiting', address = excluded.address, subject = excluded.subject, body = excluded.body,
        not_before = excluded.not_before, written_at = excluded.written_at, written_by = excluded.written_by
        where outbox.state in ('canceled', 'failed');
    if not found then
        return false;
    end if;
    update privacy.restriction r set announced_at = p_now where r.id = one.id;
    return true;
end $$;

create function privacy.keep_corrections() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
    before jsonb := pg_catalog.to_jsonb(old);
    after jsonb := pg_catalog.to_jsonb(new);
    kept jsonb := '{}';
    name text;
begin
    if session_user <> 'resocode_worker' then
        return new; -- an officer's own correction
    end if;
    for name in
        select f.name from privacy.correction c, lateral (select pg_catalog.split_part(c.field, '.', 3) as name) f
        where c.record_id = coalesce(before ->> 'id', before ->> 'student_id')::uuid and c.state = 'in force'
          and c.field = 'platform.' || tg_table_name || '.' || f.name
          and c.new_value is not distinct from before ->> f.name and lower(c.old_value) is not distinct from lower(after ->> f.name)
          and exists (select from privacy.propagation p where p.request_id = c.request_id and p.what = 'correct'
                      and p.state not in ('done', 'canceled'))
    loop
        kept := kept || pg_catalog.jsonb_build_object(name, before -> name);
        if name = 'email' then
            kept := kept || pg_catalog.jsonb_build_object('email_hash', before -> 'email_hash', 'provider_hash', before -> 'provider_hash');
        end if;
    end loop;
    return case when kept = '{}' then new else pg_catalog.jsonb_populate_record(new, kept) end;
end $$;
"""

CALLERS = {
    "privacy.may_be_corrected(text)": "resocode_app, resocode_worker",
    "privacy.address_is_free(text, bytea, uuid, uuid, timestamptz)": "resocode_app",
    "privacy.forms_of(uuid, uuid)": "resocode_app",
    "privacy.make_corrections(uuid, timestamptz)": "resocode_app",
    "privacy.announce_lifting(uuid, uuid, text, text, int, timestamptz)": "resocode_app",
    "privacy.guard_correction()": "resocode_owner",
    "privacy.keep_corrections()": "resocode_owner",
}


def upgrade() -> None:
    """Apply."""
    _table()
    rights.close("privacy.correction")
    rights.app_reads(
        "privacy.correction", f"{OFFICER} and ({OPEN_CASE.format('student')} or {OPEN_CASE.format('visitor')})"
    )
    rights.app_adds("privacy.correction", f"{OFFICER} and entered_by = (select staff.my_id())", COLUMNS)
    rights.app_changes("privacy.correction", OFFICER, "(state, decided_at, decided_by)")
    rights.let_definer("privacy.correction", "update")
    rights.let_definer("platform.student", "update")
    rights.let_definer("platform.visitor", "update")
    rights.let_definer("platform.student_profile", "insert", "update")
    rights.let_definer("privacy.outbox", "insert")
    rights.functions(FUNCTIONS, CALLERS)
    op.execute(
        "create trigger guard before insert or update or delete on privacy.correction"
        " for each row execute function privacy.guard_correction()"
    )
    for table, columns in (
        ("student", "name, email, experience_level"),
        ("student_profile", "phone, headline, link"),
        ("visitor", "name, email, phone, experience_level"),
    ):
        op.execute(
            f"create trigger keep_corrections before update of {columns} on platform.{table} for each row"
            f" when (({_each('old', columns)}) is distinct from ({_each('new', columns)}))"
            " execute function privacy.keep_corrections()"
        )


def _each(row: str, columns: str) -> str:
    return ", ".join(f"{row}.{name.strip()}" for name in columns.split(","))


def _table() -> None:
    op.create_table(
        "correction",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("request_id", sa.UUID(), nullable=False),
        sa.Column("student_id", sa.UUID()),
        sa.Column("visitor_id", sa.UUID()),
        sa.Column("record_id", sa.UUID(), nullable=False),
        sa.Column("field", sa.Text(), nullable=False),
        sa.Column("old_value", sa.Text()),
        sa.Column("new_value", sa.Text()),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="proposed", nullable=False),
        sa.Column("old_hash", sa.LargeBinary()),
        sa.Column("new_hash", sa.LargeBinary()),
        sa.Column("new_provider_hash", sa.LargeBinary()),
        sa.Column("entered_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("entered_by", sa.UUID(), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True)),
        sa.Column("decided_by", sa.UUID()),
        sa.CheckConstraint(
            "reason in ('changed', 'mistyped', 'never theirs')", name=op.f("ck_correction_reason_known")
        ),
        sa.CheckConstraint("state in ('proposed', 'in force', 'returned')", name=op.f("ck_correction_state_known")),
        sa.CheckConstraint("num_nonnulls(student_id, visitor_id) = 1", name=op.f("ck_correction_one_person")),
        sa.CheckConstraint("old_value is distinct from new_value", name=op.f("ck_correction_changes_something")),
        sa.CheckConstraint("(state = 'proposed') = (decided_at is null)", name=op.f("ck_correction_decided_when")),
        sa.ForeignKeyConstraint(["request_id"], ["privacy.request.id"], name=op.f("fk_correction_request_id")),
        sa.ForeignKeyConstraint(["student_id"], ["platform.student.id"], name=op.f("fk_correction_student_id")),
        sa.ForeignKeyConstraint(["visitor_id"], ["platform.visitor.id"], name=op.f("fk_correction_visitor_id")),
        sa.ForeignKeyConstraint(["entered_by"], ["staff.staff_member.id"], name=op.f("fk_correction_entered_by")),
        sa.ForeignKeyConstraint(["decided_by"], ["staff.staff_member.id"], name=op.f("fk_correction_decided_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_correction")),
        schema="privacy",
    )
    for column in ("request_id", "student_id", "visitor_id", "entered_by", "decided_by"):
        op.create_index(op.f(f"ix_correction_{column}"), "correction", [column], schema="privacy")
    op.create_index("uq_correction_proposed", "correction", ["request_id", "field", "record_id"], unique=True, schema="privacy",
                    postgresql_where=sa.text("state = 'proposed'"))  # fmt: skip
    op.create_index("ix_correction_record", "correction", ["record_id", "field"], schema="privacy",
                    postgresql_where=sa.text("state = 'in force'"))  # fmt: skip
    op.create_index("ix_correction_old_hash", "correction", ["old_hash"], schema="privacy",
                    postgresql_where=sa.text("state = 'in force' and old_hash is not null"))  # fmt: skip


def downgrade() -> None:
    """There is no way back but a backup."""
    raise NotImplementedError("Restore a backup instead.")
