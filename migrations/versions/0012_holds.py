"""Legal holds, manual steps, and the counts behind a plan.

Danger: a hold that somebody quietly lifts, a step that one person declares done, a count that opens a record. Principle: the
database asks again what the verbs asked: who acts, whether they proved it within five minutes, whether a second person
confirms, whether it is their own record. Mechanism: triggers on both tables; counts come from a definer function that follows
real foreign keys to one person, for the worker and for privacy officers with an open case.
"""

import sqlalchemy as sa
from alembic import op

from migrations import rights

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

OFFICER = "(select staff.my_role()) = 'privacy_officer'"

FUNCTIONS = """
-- Whether the person is whoever asks, by e-mail.
create function privacy.is_my_own(p_student uuid, p_visitor uuid) returns boolean
language sql stable security definer set search_path = '' as $$
    select exists (
        select from staff.staff_member m
        where m.id = staff.my_id() and lower(m.email) in (
            select lower(s.email) from platform.student s where s.id = p_student
            union all select lower(v.email) from platform.visitor v where v.id = p_visitor))
$$;

create function privacy.demand_fresh(p_moment timestamptz) returns void
language plpgsql stable security definer set search_path = '' as $$
begin
    if not exists (
        select from staff.session s where s.id = staff.my_session() and s.staff_id = staff.my_id()
          and s.ended_at is null and s.confirmed_at >= p_moment - interval '5 minutes') then
        raise exception 'who acts has not proved it within five minutes' using errcode = 'insufficient_privilege';
    end if;
end $$;

create function privacy.guard_hold() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
    acting text := case when staff.my_id() is not null then staff.my_role()
                        when session_user = 'resocode_worker' then 'system' end;
    moment timestamptz;
begin
    if tg_op = 'DELETE' then
        if old.released_at is null or old.released_at > pg_catalog.now() - interval '3 years' then
            raise exception 'a hold is kept for three years after its release';
        end if;
        return old;
    end if;
    if tg_op = 'UPDATE' and acting = 'system' and old.released_at is not null
       and new.student_id is null and new.visitor_id is null and new.reference is null and new.note is null
       and pg_catalog.to_jsonb(new) - '{student_id,visitor_id,reference,note}'::text[]
           = pg_catalog.to_jsonb(old) - '{student_id,visitor_id,reference,note}'::text[] then
        return new; -- the person is erased; that there was a hold stays known
    end if;
    if acting is distinct from 'privacy_officer' and not (tg_op = 'INSERT' and acting = 'system') then
        raise exception 'a % does not hold or release', coalesce(acting, 'nobody') using errcode = 'insufficient_privilege';
    end if;
    if tg_op = 'INSERT' then
        if acting = 'system' then
            return new;
        end if;
        if new.placed_by is distinct from staff.my_id() or new.released_at is not null or new.reviewed_at is not null then
            raise exception 'a hold begins in the name of who places it' using errcode = 'insufficient_privilege';
        end if;
        moment := new.placed_at;
    else
        if old.released_at is not null then
            raise exception 'a released hold does not change';
        end if;
        if pg_catalog.to_jsonb(new) - '{released_at,released_by,release_reason,review_on,reviewed_at,reviewed_by,owner_id}'::text[]
           is distinct from
           pg_catalog.to_jsonb(old) - '{released_at,released_by,release_reason,review_on,reviewed_at,reviewed_by,owner_id}'::text[] then
            raise exception 'what a hold keeps, and why, does not change';
        end if;
        if (new.review_on, new.owner_id) is distinct from (old.review_on, old.owner_id)
           and (new.reviewed_by is distinct from staff.my_id() or new.reviewed_at is not distinct from old.reviewed_at) then
            raise exception 'a review is in the name of who made it' using errcode = 'insufficient_privilege';
        end if;
        moment := new.released_at;
        if moment is not null and new.released_by is distinct from staff.my_id() then
            raise exception 'a release is in the name of who makes it' using errcode = 'insufficient_privilege';
        end if;
    end if;
    if privacy.is_my_own(new.student_id, new.visitor_id) then
        raise exception 'nobody decides about their own record' using errcode = 'insufficient_privilege';
    end if;
    if moment is not null then
        perform privacy.demand_fresh(moment);
    end if;
    return new;
end $$;

create function privacy.guard_manual_step() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
    acting text := case when staff.my_id() is not null then staff.my_role()
                        when session_user = 'resocode_worker' then 'system' end;
begin
    if tg_op = 'DELETE' then
        if old.state <> 'confirmed' or old.confirmed_at > pg_catalog.now() - interval '3 years' then
            raise exception 'a manual step is kept for three years after it was confirmed';
        end if;
        return old;
    end if;
    if tg_op = 'INSERT' then
        if new.state <> 'open' or acting is null or acting not in ('system', 'privacy_officer') then
            raise exception 'a manual step begins open' using errcode = 'insufficient_privilege';
        end if;
        return new;
    end if;
    if acting = 'system' and new.student_id is null and new.visitor_id is null and new.evidence is null
       and pg_catalog.to_jsonb(new) - '{student_id,visitor_id,evidence}'::text[]
           = pg_catalog.to_jsonb(old) - '{student_id,visitor_id,evidence}'::text[] then
        return new; -- the person is erased; the digest of the evidence stays
    end if;
    if acting is distinct from 'privacy_officer' then
        raise exception 'a % does not do manual steps', coalesce(acting, 'nobody') using errcode = 'insufficient_privilege';
    end if;
    if old.state = 'confirmed' then
        raise exception 'a confirmed step does not change';
    end if;
    if (new.id, new.key, new.request_id, new.student_id, new.visitor_id, new.processor, new.what, new.made_at)
       is distinct from (old.id, old.key, old.request_id, old.student_id, old.visitor_id, old.processor, old.what, old.made_at) then
        raise exception 'what was asked for does not change';
    end if;
    if privacy.is_my_own(new.student_id, new.visitor_id) then
        raise exception 'nobody decides about their own record' using errcode = 'insufficient_privilege';
    end if;
    if (old.state, new.state) in (('open', 'attested'), ('attested', 'attested')) then
        if (new.attested_by is distinct from staff.my_id() and new.attested_by is distinct from old.attested_by)
           or new.evidence is null or new.evidence_sha256 is distinct from pg_catalog.sha256(pg_catalog.convert_to(new.evidence, 'UTF8')) then
            raise exception 'evidence is given in one''s own name' using errcode = 'insufficient_privilege';
        end if;
    elsif (old.state, new.state) = ('attested', 'confirmed') then
        if new.confirmed_by is distinct from staff.my_id() or (new.confirmed_by = old.attested_by and not privacy.single_officer())
           or (new.evidence, new.evidence_sha256, new.attested_by, new.attested_at)
              is distinct from (old.evidence, old.evidence_sha256, old.attested_by, old.attested_at) then
            raise exception 'another person confirms what one attested' using errcode = 'insufficient_privilege';
        end if;
        perform privacy.demand_fresh(new.confirmed_at);
    elsif new.state <> old.state and (old.state, new.state) <> ('attested', 'open') then
        raise exception 'a manual step does not go from % to %', old.state, new.state;
    end if;
    return new;
end $$;

-- The condition under which a row "t" of a way's table is about a person. Each link must be a real foreign key.
-- $1: students, $2: visitors.
create function privacy.way_condition(p_way jsonb) returns text
language plpgsql stable security definer set search_path = '' as $$
declare
    whose text := case p_way ->> 'person' when 'student' then '$1' when 'visitor' then '$2' end;
    links jsonb := p_way -> 'links';
    last int := pg_catalog.jsonb_array_length(links) - 1;
    link jsonb;
    condition text;
begin
    if whose is null then
        raise exception 'a way leads to a student or a visitor';
    end if;
    if last < 0 then
        if p_way ->> 'table' is distinct from 'platform.' || (p_way ->> 'person') then
            raise exception 'these rows are no persons';
        end if;
        return 't.id = any (' || whose || ')';
    end if;
    if links -> 0 ->> 0 is distinct from p_way ->> 'table' or links -> last ->> 2 is distinct from 'platform.' || (p_way ->> 'person')
       or links -> last ->> 3 is distinct from 'id' then
        raise exception 'a way begins at its table and ends at a person';
    end if;
    for place in reverse last..0 loop
        link := links -> place;
        if not exists (
            select from pg_catalog.pg_constraint c
            join lateral unnest(c.conkey, c.confkey) as k(here, there) on true
            join pg_catalog.pg_attribute a on a.attrelid = c.conrelid and a.attnum = k.here
            join pg_catalog.pg_attribute b on b.attrelid = c.confrelid and b.attnum = k.there
            where c.contype = 'f' and c.conrelid = pg_catalog.to_regclass(link ->> 0) and a.attname = link ->> 1
              and c.confrelid = pg_catalog.to_regclass(link ->> 2) and b.attname = link ->> 3
        ) or (place < last and links -> place ->> 2 is distinct from links -> (place + 1) ->> 0) then
            raise exception 'no foreign key leads from %.% to %.%', link ->> 0, link ->> 1, link ->> 2, link ->> 3;
        end if;
        condition := case when place = last
            then pg_catalog.format('%I.%I = any (%s)', case place when 0 then 't' else 'l' || place end, link ->> 1, whose)
            else pg_catalog.format('%I.%I in (select %I.%I from %s as %I where %s)', case place when 0 then 't' else 'l' || place end,
                link ->> 1, 'l' || (place + 1), link ->> 3, pg_catalog.to_regclass(link ->> 2), 'l' || (place + 1), condition) end;
    end loop;
    return condition;
end $$;

-- Every record that is this person: their own, and forms left with the same address.
create function privacy.person_records(p_student uuid, p_visitor uuid, out students uuid[], out visitors uuid[])
language sql stable security definer set search_path = '' as $$
    select pg_catalog.array_remove(array[p_student], null), array(
        select v.id from platform.visitor v where v.id = p_visitor or v.email_hash in (
            select s.email_hash from platform.student s where s.id = p_student
            union all select o.email_hash from platform.visitor o where o.id = p_visitor))
$$;

-- How many rows each table has about one person. Ways are those of the labels (core.models.ways).
create function privacy.person_rows(p_ways jsonb, p_student uuid, p_visitor uuid)
returns table (place text, number bigint) language plpgsql stable security definer set search_path = '' as $$
declare
    person record;
    here record;
begin
    if not (session_user = 'resocode_worker' or (staff.my_role() = 'privacy_officer' and exists (
        select from privacy.request r where r.closed_at is null
          and (r.student_id = p_student or r.visitor_id = p_visitor)))) then
        return;
    end if;
    person := privacy.person_records(p_student, p_visitor);
    for here in
        select w ->> 'table' as name, pg_catalog.string_agg(privacy.way_condition(w), ' or ') as condition
        from pg_catalog.jsonb_array_elements(p_ways) w group by 1
    loop
        place := here.name;
        execute pg_catalog.format('select count(*) from %s t where %s', pg_catalog.to_regclass(here.name), here.condition)
            into number using person.students, person.visitors;
        return next;
    end loop;
end $$;

-- Whether a record belongs to a person: to hold what is not theirs would keep nothing.
create function privacy.is_record_of(p_ways jsonb, p_key text, p_record uuid, p_student uuid, p_visitor uuid)
returns boolean language plpgsql stable security definer set search_path = '' as $$
declare
    person record;
    here record;
    found_it boolean := false;
begin
    if staff.my_role() is distinct from 'privacy_officer' and session_user <> 'resocode_worker' then
        return false;
    end if;
    person := privacy.person_records(p_student, p_visitor);
    for here in
        select w ->> 'table' as name, pg_catalog.string_agg(privacy.way_condition(w), ' or ') as condition
        from pg_catalog.jsonb_array_elements(p_ways) w group by 1
    loop
        execute pg_catalog.format('select exists (select from %s t where t.%I = $3 and (%s))',
            pg_catalog.to_regclass(here.name), p_key, here.condition)
            into found_it using person.students, person.visitors, p_record;
        exit when found_it;
    end loop;
    return found_it;
end $$;

-- The standing holds on one person, by whichever of their records they were placed on: the same address is the same person.
create function privacy.standing_holds(p_student uuid, p_visitor uuid)
returns table (id uuid, number bigint, kind text, scope_table text, scope_record uuid, basis text, review_on date)
language sql stable security definer set search_path = '' as $$
    with address as (
        select s.email_hash from platform.student s where s.id = p_student
        union select v.email_hash from platform.visitor v where v.id = p_visitor
    )
    select h.id, h.number, case when h.student_id is null then 'visitor' else 'student' end, h.scope_table, h.scope_record, h.basis,
        h.review_on from privacy.legal_hold h
    where h.released_at is null
      and (h.student_id = p_student or h.visitor_id = p_visitor
           or h.student_id in (select s.id from platform.student s where s.email_hash in (select email_hash from address))
           or h.visitor_id in (select v.id from platform.visitor v where v.email_hash in (select email_hash from address)))
      and ((select staff.my_role()) = 'privacy_officer' or session_user = 'resocode_worker')
    order by h.number
$$;

-- Whom the standing holds are about, for privacy officers: a hold is an open case.
create function privacy.held_persons() returns table (hold_id uuid, kind text, name text, email text)
language sql stable security definer set search_path = '' as $$
    select h.id, case when h.student_id is null then 'visitor' else 'student' end, coalesce(s.name, v.name),
        coalesce(s.email, v.email)
    from privacy.legal_hold h left join platform.student s on s.id = h.student_id left join platform.visitor v on v.id = h.visitor_id
    where h.released_at is null and (select staff.my_role()) = 'privacy_officer'
$$;

-- Whose address this is, for a privacy officer who places a hold: exactly that address, nothing like it.
create function privacy.person_to_hold(p_email text) returns table (kind text, id uuid, name text)
language sql stable security definer set search_path = '' as $$
    select 'student', s.id, s.name from platform.student s
    where lower(s.email) = lower(p_email) and (select staff.my_role()) = 'privacy_officer'
    union all
    select 'visitor', v.id, v.name from platform.visitor v
    where lower(v.email) = lower(p_email) and (select staff.my_role()) = 'privacy_officer'
      and not exists (select from platform.student s where lower(s.email) = lower(p_email))
    limit 1
$$;
"""

CALLERS = {
    "privacy.is_my_own(uuid, uuid)": "resocode_app, resocode_worker",
    "privacy.demand_fresh(timestamptz)": "resocode_definer",
    "privacy.standing_holds(uuid, uuid)": "resocode_app, resocode_worker",
    "privacy.guard_hold()": "resocode_owner",
    "privacy.guard_manual_step()": "resocode_owner",
    "privacy.way_condition(jsonb)": "resocode_definer",
    "privacy.person_records(uuid, uuid)": "resocode_definer",
    "privacy.person_rows(jsonb, uuid, uuid)": "resocode_app, resocode_worker",
    "privacy.is_record_of(jsonb, text, uuid, uuid, uuid)": "resocode_app, resocode_worker",
    "privacy.held_persons()": "resocode_app",
    "privacy.person_to_hold(text)": "resocode_app",
}


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "legal_hold",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("number", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("form_key", sa.UUID(), nullable=False),
        sa.Column("student_id", sa.UUID(), nullable=True),
        sa.Column("visitor_id", sa.UUID(), nullable=True),
        sa.Column("scope_table", sa.Text(), nullable=True),
        sa.Column("scope_record", sa.UUID(), nullable=True),
        sa.Column("basis", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("owner_id", sa.UUID(), nullable=False),
        sa.Column("review_on", sa.Date(), nullable=False),
        sa.Column("reviewed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reviewed_by", sa.UUID(), nullable=True),
        sa.Column("placed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("placed_by", sa.UUID(), nullable=False),
        sa.Column("released_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("released_by", sa.UUID(), nullable=True),
        sa.Column("release_reason", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "basis in ('court proceedings', 'claim of ours', 'claim of theirs', 'order of an authority', 'tax audit')",
            name=op.f("ck_legal_hold_basis_known"),
        ),
        sa.CheckConstraint(
            "release_reason in ('proceedings ended', 'claim settled', 'order lifted', 'placed by mistake')",
            name=op.f("ck_legal_hold_release_reason_known"),
        ),
        sa.CheckConstraint("num_nonnulls(student_id, visitor_id) <= 1", name=op.f("ck_legal_hold_one_subject")),
        sa.CheckConstraint(
            "num_nulls(released_at, released_by, release_reason) in (0, 3)", name=op.f("ck_legal_hold_released_whole")
        ),
        sa.CheckConstraint(
            "released_at is not null or num_nonnulls(student_id, visitor_id) = 1",
            name=op.f("ck_legal_hold_held_has_subject"),
        ),
        sa.CheckConstraint(
            "scope_record is null or scope_table is not null", name=op.f("ck_legal_hold_record_of_a_table")
        ),
        sa.ForeignKeyConstraint(["owner_id"], ["staff.staff_member.id"], name=op.f("fk_legal_hold_owner_id")),
        sa.ForeignKeyConstraint(["placed_by"], ["staff.staff_member.id"], name=op.f("fk_legal_hold_placed_by")),
        sa.ForeignKeyConstraint(["released_by"], ["staff.staff_member.id"], name=op.f("fk_legal_hold_released_by")),
        sa.ForeignKeyConstraint(["reviewed_by"], ["staff.staff_member.id"], name=op.f("fk_legal_hold_reviewed_by")),
        sa.ForeignKeyConstraint(["student_id"], ["platform.student.id"], name=op.f("fk_legal_hold_student_id")),
        sa.ForeignKeyConstraint(["visitor_id"], ["platform.visitor.id"], name=op.f("fk_legal_hold_visitor_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_legal_hold")),
        sa.UniqueConstraint("form_key", name=op.f("uq_legal_hold_form_key")),
        sa.UniqueConstraint("number", name=op.f("uq_legal_hold_number")),
        schema="privacy",
    )
    op.create_index(op.f("ix_legal_hold_owner_id"), "legal_hold", ["owner_id"], unique=False, schema="privacy")
    op.create_index(
        "ix_legal_hold_placed",
        "legal_hold",
        [sa.literal_column("placed_at desc"), sa.literal_column("id desc")],
        unique=False,
        schema="privacy",
    )
    op.create_index(op.f("ix_legal_hold_placed_by"), "legal_hold", ["placed_by"], unique=False, schema="privacy")
    op.create_index(op.f("ix_legal_hold_released_by"), "legal_hold", ["released_by"], unique=False, schema="privacy")
    op.create_index(op.f("ix_legal_hold_reviewed_by"), "legal_hold", ["reviewed_by"], unique=False, schema="privacy")
    op.create_index(
        "ix_legal_hold_standing",
        "legal_hold",
        ["review_on", "id"],
        unique=False,
        schema="privacy",
        postgresql_where=sa.text("released_at is null"),
    )
    op.create_index(op.f("ix_legal_hold_student_id"), "legal_hold", ["student_id"], unique=False, schema="privacy")
    op.create_index(op.f("ix_legal_hold_visitor_id"), "legal_hold", ["visitor_id"], unique=False, schema="privacy")
    op.create_table(
        "manual_step",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("request_id", sa.UUID(), nullable=True),
        sa.Column("student_id", sa.UUID(), nullable=True),
        sa.Column("visitor_id", sa.UUID(), nullable=True),
        sa.Column("processor", sa.Text(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="open", nullable=False),
        sa.Column("owner_id", sa.UUID(), nullable=True),
        sa.Column("due_on", sa.Date(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attested_by", sa.UUID(), nullable=True),
        sa.Column("evidence", sa.Text(), nullable=True),
        sa.Column("evidence_sha256", sa.LargeBinary(), nullable=True),
        sa.Column("confirmed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("confirmed_by", sa.UUID(), nullable=True),
        sa.Column("returned_for", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "(state = 'confirmed') = (confirmed_at is not null) and num_nulls(confirmed_at, confirmed_by) in (0, 2)",
            name=op.f("ck_manual_step_confirmed_whole"),
        ),
        sa.CheckConstraint(
            "(state = 'open') = (attested_at is null) and num_nulls(attested_at, attested_by, evidence_sha256) in (0, 3)",
            name=op.f("ck_manual_step_attested_whole"),
        ),
        sa.CheckConstraint("state in ('open', 'attested', 'confirmed')", name=op.f("ck_manual_step_state_known")),
        sa.CheckConstraint("what in ('erase', 'export', 'pass on')", name=op.f("ck_manual_step_what_known")),
        sa.CheckConstraint("char_length(evidence) between 1 and 20000", name=op.f("ck_manual_step_evidence_length")),
        sa.CheckConstraint("num_nonnulls(student_id, visitor_id) <= 1", name=op.f("ck_manual_step_one_subject")),
        sa.ForeignKeyConstraint(["attested_by"], ["staff.staff_member.id"], name=op.f("fk_manual_step_attested_by")),
        sa.ForeignKeyConstraint(["confirmed_by"], ["staff.staff_member.id"], name=op.f("fk_manual_step_confirmed_by")),
        sa.ForeignKeyConstraint(["owner_id"], ["staff.staff_member.id"], name=op.f("fk_manual_step_owner_id")),
        sa.ForeignKeyConstraint(["request_id"], ["privacy.request.id"], name=op.f("fk_manual_step_request_id")),
        sa.ForeignKeyConstraint(["student_id"], ["platform.student.id"], name=op.f("fk_manual_step_student_id")),
        sa.ForeignKeyConstraint(["visitor_id"], ["platform.visitor.id"], name=op.f("fk_manual_step_visitor_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_manual_step")),
        sa.UniqueConstraint("key", name=op.f("uq_manual_step_key")),
        schema="privacy",
    )
    op.create_index(op.f("ix_manual_step_attested_by"), "manual_step", ["attested_by"], unique=False, schema="privacy")
    op.create_index(
        op.f("ix_manual_step_confirmed_by"), "manual_step", ["confirmed_by"], unique=False, schema="privacy"
    )
    op.create_index(
        "ix_manual_step_open",
        "manual_step",
        ["due_on", "id"],
        unique=False,
        schema="privacy",
        postgresql_where=sa.text("state <> 'confirmed'"),
    )
    op.create_index(op.f("ix_manual_step_owner_id"), "manual_step", ["owner_id"], unique=False, schema="privacy")
    op.create_index(op.f("ix_manual_step_request_id"), "manual_step", ["request_id"], unique=False, schema="privacy")
    op.create_index(op.f("ix_manual_step_student_id"), "manual_step", ["student_id"], unique=False, schema="privacy")
    op.create_index(op.f("ix_manual_step_visitor_id"), "manual_step", ["visitor_id"], unique=False, schema="privacy")
    for table in ("privacy.legal_hold", "privacy.manual_step"):
        rights.close(table)
        rights.app_reads(table, OFFICER)
        rights.app_adds(table, OFFICER)
    rights.app_changes(
        "privacy.legal_hold",
        OFFICER,
        "(owner_id, review_on, reviewed_at, reviewed_by, released_at, released_by, release_reason)",
    )
    rights.app_changes(
        "privacy.manual_step",
        OFFICER,
        "(state, owner_id, due_on, attested_at, attested_by, evidence, evidence_sha256, confirmed_at, confirmed_by, returned_for)",
    )
    rights.functions(FUNCTIONS, CALLERS)
    for table, guard in (("legal_hold", "guard_hold"), ("manual_step", "guard_manual_step")):
        op.execute(
            f"create trigger {guard} before insert or update or delete on privacy.{table}"
            f" for each row execute function privacy.{guard}()"
        )


def downgrade() -> None:
    """There is no way back but a backup."""
    raise NotImplementedError("Restore a backup instead.")
