"""Restrictions, objections and opt-outs: what stands about a person, whoever imports or syncs what.

Danger: a wish that is a column of the person's record is gone with the next import; one that waits for somebody's click is no right.
Principle: a decision is a row of its own, in force from the moment it is written, and it holds for the person by the keyed hash of
their address, so for every form and account of theirs. An opt-out and an objection hold from their filing on, because they harm
nobody; a restriction from an officer's decision on. Mechanism: triggers on ``privacy.request`` write and end the rows; a trigger
on the rows asks who acts and, before a restriction that was asked for ends, whether the person was told (GDPR 18(3)).
"""

import sqlalchemy as sa
from alembic import op

from migrations import rights

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

OFFICER = "(select staff.my_role()) = 'privacy_officer'"
TABLES = ("restriction", "objection", "opt_out")
BASES = {
    "restriction": "'asked', 'consent missing', 'age not declared'",
    "objection": "'asked'",
    "opt_out": "'asked', 'objection'",
}
ENDS = "'lifted', 'rule does not hold any more', 'refused', 'withdrawn', 'the person wants it again'"

ASKING = """
create function privacy.is_restricted(p_student uuid) returns boolean
language sql stable parallel safe security definer set search_path = '' as $$
    select exists (select from platform.student s join privacy.restriction r on r.email_hash = s.email_hash and r.until is null
                   where s.id = p_student)
$$;

create function privacy.is_restricted_visitor(p_visitor uuid) returns boolean
language sql stable parallel safe security definer set search_path = '' as $$
    select exists (select from platform.visitor v join privacy.restriction r on r.email_hash = v.email_hash and r.until is null
                   where v.id = p_visitor)
$$;

create function privacy.has_objected(p_student uuid) returns boolean
language sql stable parallel safe security definer set search_path = '' as $$
    select exists (select from platform.student s join privacy.objection o on o.email_hash = s.email_hash and o.until is null
                   where s.id = p_student)
$$;

-- Here, or by the platform's own flag.
create function privacy.has_opted_out(p_student uuid) returns boolean
language sql stable parallel safe security definer set search_path = '' as $$
    select exists (select from platform.student s join privacy.opt_out o on o.email_hash = s.email_hash and o.until is null
                   where s.id = p_student)
        or exists (select from platform.student_profile f where f.student_id = p_student and f.opted_out_at is not null)
$$;

create function privacy.has_opted_out_visitor(p_visitor uuid) returns boolean
language sql stable parallel safe security definer set search_path = '' as $$
    select exists (select from platform.visitor v join privacy.opt_out o on o.email_hash = v.email_hash and o.until is null
                   where v.id = p_visitor)
$$;

-- All of them, for what looks at everybody.
create function privacy.restricted_students() returns setof uuid
language sql stable parallel safe security definer set search_path = '' as $$
    select s.id from privacy.restriction r join platform.student s on s.email_hash = r.email_hash where r.until is null
$$;

create function privacy.restricted_visitors() returns setof uuid
language sql stable parallel safe security definer set search_path = '' as $$
    select v.id from privacy.restriction r join platform.visitor v on v.email_hash = r.email_hash where r.until is null
$$;

create function privacy.objecting_students() returns setof uuid
language sql stable parallel safe security definer set search_path = '' as $$
    select s.id from privacy.objection o join platform.student s on s.email_hash = o.email_hash where o.until is null
$$;

-- Letters that are not about a request, a right or the account: nobody gets them who does not want them.
create function privacy.is_marketing(p_kind text) returns boolean
language sql immutable parallel safe set search_path = '' as $$
    select p_kind in ('marketing', 'newsletter', 'offer', 'survey', 'event')
$$;

create function privacy.wants_no_marketing(p_student uuid, p_visitor uuid) returns boolean
language sql stable parallel safe security definer set search_path = '' as $$
    select case when p_student is not null then privacy.has_opted_out(p_student) or privacy.is_restricted(p_student)
            or exists (select from platform.student s where s.id = p_student and s.account_status = 'closed')
        else privacy.has_opted_out_visitor(p_visitor) or privacy.is_restricted_visitor(p_visitor) end
$$;
"""

GUARDS = """
create function privacy.guard_standing() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
    acting text := case when staff.my_id() is not null then staff.my_role()
                        when session_user = 'resocode_worker' then 'system' end;
    by_rule boolean := pg_catalog.pg_trigger_depth() > 1; -- written by the request it follows from
begin
    if tg_op = 'DELETE' then
        if acting is distinct from 'system' then
            raise exception 'What stood about a person stays known.' using errcode = 'RS001';
        end if;
        return old; -- an erasure
    end if;
    if tg_op = 'INSERT' then
        new.email_hash := coalesce((select s.email_hash from platform.student s where s.id = new.student_id),
                                   (select v.email_hash from platform.visitor v where v.id = new.visitor_id));
    elsif pg_catalog.to_jsonb(new) - '{until,ended_by,end_reason,announced_at,email_hash}'::text[]
          is distinct from pg_catalog.to_jsonb(old) - '{until,ended_by,end_reason,announced_at,email_hash}'::text[]
       or (old.until is not null and pg_catalog.to_jsonb(new) - 'email_hash' is distinct from pg_catalog.to_jsonb(old) - 'email_hash') then
        raise exception 'What was decided does not change; it ends.' using errcode = 'RS001';
    end if;
    if by_rule then
        return new;
    end if;
    if acting is null or acting not in ('privacy_officer', 'system') then
        raise exception 'Privacy officers decide about restrictions, objections and opt-outs.' using errcode = 'RS001';
    end if;
    if new.end_reason in ('refused', 'withdrawn') then
        raise exception 'What a request set going ends with its own refusal or withdrawal.' using errcode = 'RS001';
    end if;
    if acting = 'privacy_officer' then
        if privacy.is_my_own(new.student_id, new.visitor_id) then
            raise exception 'This is your own record. Another privacy officer has to decide.' using errcode = 'RS001';
        end if;
        if (tg_op = 'INSERT' and (new.made_by is distinct from staff.my_id() or new.until is not null))
           or (tg_op = 'UPDATE' and new.until is not null and new.ended_by is distinct from staff.my_id())
           or (tg_op = 'UPDATE' and new.email_hash is distinct from old.email_hash) then
            raise exception 'A decision is made in one''s own name.' using errcode = 'RS001';
        end if;
    end if;
    if tg_table_name = 'restriction' and tg_op = 'UPDATE' then
        if new.until is not null and new.basis = 'asked' and not exists (
            select from privacy.outbox o where o.dedupe_key = new.id || ' restriction ends' and o.state = 'sent'
              and o.sent_at <= new.until) then
            raise exception 'The person is told before a restriction they asked for ends: send the letter first.' using errcode = 'RS001';
        end if;
    end if;
    return new;
end $$;

-- Whoever gets another address takes along what stands about them.
create function privacy.follow_address() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
    update privacy.restriction set email_hash = new.email_hash where student_id = new.id or visitor_id = new.id;
    update privacy.objection set email_hash = new.email_hash where student_id = new.id or visitor_id = new.id;
    update privacy.opt_out set email_hash = new.email_hash where student_id = new.id or visitor_id = new.id;
    return null;
end $$;

-- What follows at once from a request, whoever files, decides or imports it. Imports bring history: nothing is passed on for it.
create function privacy.follow_request() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
    moment timestamptz := coalesce(new.moved_at, new.filed_at, new.received_at);
    who uuid := staff.my_id();
    made bigint := 0;
begin
    if new.state in ('refused', 'withdrawn') then
        perform privacy.end_request(new, moment, who);
        return null;
    end if;
    if new.kind = 'object' then
        insert into privacy.objection (id, student_id, visitor_id, since, request_id, made_by)
        values (pg_catalog.gen_random_uuid(), new.student_id, new.visitor_id, moment, new.id, who) on conflict do nothing;
        get diagnostics made = row_count;
        if made > 0 and new.source = 'dashboard' then
            perform privacy.plan_step(new.id, 'object', 'MongoDB Atlas', moment);
        end if;
    end if;
    if new.kind in ('object', 'opt_out') then
        insert into privacy.opt_out (id, student_id, visitor_id, basis, since, request_id, made_by)
        values (pg_catalog.gen_random_uuid(), new.student_id, new.visitor_id,
            case new.kind when 'object' then 'objection' else 'asked' end, moment, new.id, who) on conflict do nothing;
        get diagnostics made = row_count;
        if made > 0 and new.source = 'dashboard' then
            perform privacy.plan_step(new.id, 'marketing off', 'MongoDB Atlas', moment);
            perform privacy.plan_step(new.id, 'marketing off', 'SMTP', moment);
        end if;
    elsif new.kind = 'restrict' and new.state = 'answered' then
        insert into privacy.restriction (id, student_id, visitor_id, basis, since, request_id, made_by)
        values (pg_catalog.gen_random_uuid(), new.student_id, new.visitor_id, 'asked', moment, new.id, who) on conflict do nothing;
    end if;
    return null;
end $$;

create function privacy.plan_step(p_request uuid, p_what text, p_processor text, p_now timestamptz) returns void
language sql security definer set search_path = '' as $$
    insert into privacy.propagation (id, request_id, what, processor, planned_at)
    values (pg_catalog.gen_random_uuid(), p_request, p_what, p_processor, p_now) on conflict do nothing
$$;

-- What a request had set going ends with its refusal or withdrawal; what was done elsewhere for it is to be undone there.
create function privacy.end_request(p_request privacy.request, p_at timestamptz, p_who uuid) returns void
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
        where p.request_id = p_request.id and p.state = 'done' and p.what in ('marketing off', 'object', 'restrict')
          and not (p.what = 'marketing off' and p_request.kind = 'object' and p_request.outcome = 'compelling grounds')
    ) d on conflict do nothing;
    update privacy.propagation p set state = 'canceled'
    where p.request_id = p_request.id and p.state = 'planned' and p.planned_at < p_at and p.what in ('marketing off', 'object', 'restrict')
      and not (p.what = 'marketing off' and p_request.kind = 'object' and p_request.outcome = 'compelling grounds');
end $$;

create function privacy.refuse_marketing() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
    if new.state in ('waiting', 'sent') and privacy.wants_no_marketing(new.student_id, new.visitor_id) then
        raise exception 'This person wants no marketing mail, or is restricted: only letters about their rights and their account go out.'
            using errcode = 'RS001';
    end if;
    return new;
end $$;

-- Marketing that waits does not leave any more.
create function privacy.cancel_marketing() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
    update privacy.outbox o set state = 'canceled', address = null
    where o.state = 'waiting' and privacy.is_marketing(o.kind)
      and (o.student_id in (select s.id from platform.student s where s.email_hash = new.email_hash)
           or o.visitor_id in (select v.id from platform.visitor v where v.email_hash = new.email_hash));
    return null;
end $$;

-- An opt-out is not undone by an import or a sync that does not know of it.
create function privacy.keep_opt_out() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
    if exists (select from platform.student s join privacy.opt_out o on o.email_hash = s.email_hash and o.until is null
               where s.id = new.student_id) then
        new.opted_out_at := coalesce(case when tg_op = 'UPDATE' then old.opted_out_at end, (
            select min(o.since) from platform.student s join privacy.opt_out o on o.email_hash = s.email_hash and o.until is null
            where s.id = new.student_id));
    end if;
    return new;
end $$;
"""

# Of requests that were answered before this migration: what they asked for holds.
CATCH_UP = """
insert into privacy.{table} (id, student_id, visitor_id, email_hash, basis, since, request_id)
select distinct on (r.student_id, r.visitor_id) pg_catalog.gen_random_uuid(), r.student_id, r.visitor_id, coalesce(s.email_hash, v.email_hash),
    {basis}, coalesce(r.filed_at, r.received_at), r.id
from privacy.request r left join platform.student s on s.id = r.student_id left join platform.visitor v on v.id = r.visitor_id
where r.kind in ({kinds}) and ({states}) and pg_catalog.num_nonnulls(r.student_id, r.visitor_id) = 1
order by r.student_id, r.visitor_id, r.received_at
on conflict do nothing
"""

CALLERS = {
    **dict.fromkeys(
        (
            "privacy.is_restricted(uuid)", "privacy.is_restricted_visitor(uuid)", "privacy.has_objected(uuid)",
            "privacy.has_opted_out(uuid)", "privacy.has_opted_out_visitor(uuid)", "privacy.is_marketing(text)",
            "privacy.wants_no_marketing(uuid, uuid)",
        ),
        "resocode_app, resocode_worker",
    ),
    **dict.fromkeys(
        ("privacy.restricted_students()", "privacy.restricted_visitors()", "privacy.objecting_students()"), "resocode_worker"
    ),
    **dict.fromkeys(
        (
            "privacy.guard_standing()", "privacy.follow_address()", "privacy.follow_request()", "privacy.refuse_marketing()",
            "privacy.cancel_marketing()", "privacy.keep_opt_out()",
        ),
        "resocode_owner",
    ),
    "privacy.plan_step(uuid, text, text, timestamptz)": "resocode_definer",
    "privacy.end_request(privacy.request, timestamptz, uuid)": "resocode_definer",
}  # fmt: skip


def upgrade() -> None:
    """Apply."""
    for table in TABLES:
        _table(table)
        rights.close(f"privacy.{table}")
        rights.app_reads(f"privacy.{table}", OFFICER)
        rights.app_adds(f"privacy.{table}", f"{OFFICER} and made_by = (select staff.my_id())",
                        "(id, student_id, visitor_id, basis, since, request_id, made_by)")  # fmt: skip
        more = ", announced_at" if table == "restriction" else ""
        rights.app_changes(f"privacy.{table}", OFFICER, f"(until, ended_by, end_reason{more})")
        rights.let_definer(f"privacy.{table}", "insert", "update")
    rights.let_definer("privacy.propagation", "insert", "update")
    rights.let_definer("privacy.outbox", "update")
    rights.functions(ASKING + GUARDS, CALLERS)
    _catch_up()
    _set_triggers()


def _table(name: str) -> None:
    more = [sa.Column("announced_at", sa.DateTime(timezone=True))] if name == "restriction" else []
    default = {"server_default": "asked"} if name == "objection" else {}
    op.create_table(
        name,
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("student_id", sa.UUID()),
        sa.Column("visitor_id", sa.UUID()),
        sa.Column("email_hash", sa.LargeBinary(), nullable=False),
        sa.Column("basis", sa.Text(), nullable=False, **default),  # type: ignore[arg-type]
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True)),
        sa.Column("request_id", sa.UUID()),
        sa.Column("made_by", sa.UUID()),
        sa.Column("ended_by", sa.UUID()),
        sa.Column("end_reason", sa.Text()),
        *more,
        sa.CheckConstraint(f"basis in ({BASES[name]})", name=op.f(f"ck_{name}_basis_known")),
        sa.CheckConstraint(f"end_reason in ({ENDS})", name=op.f(f"ck_{name}_end_reason_known")),
        sa.CheckConstraint("num_nonnulls(student_id, visitor_id) = 1", name=op.f(f"ck_{name}_one_person")),
        sa.CheckConstraint("(until is null) = (end_reason is null)", name=op.f(f"ck_{name}_ended_why")),
        sa.CheckConstraint("until >= since", name=op.f(f"ck_{name}_ends_later")),
        sa.ForeignKeyConstraint(["student_id"], ["platform.student.id"], name=op.f(f"fk_{name}_student_id")),
        sa.ForeignKeyConstraint(["visitor_id"], ["platform.visitor.id"], name=op.f(f"fk_{name}_visitor_id")),
        sa.ForeignKeyConstraint(["request_id"], ["privacy.request.id"], name=op.f(f"fk_{name}_request_id")),
        sa.ForeignKeyConstraint(["made_by"], ["staff.staff_member.id"], name=op.f(f"fk_{name}_made_by")),
        sa.ForeignKeyConstraint(["ended_by"], ["staff.staff_member.id"], name=op.f(f"fk_{name}_ended_by")),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{name}")),
        schema="privacy",
    )
    for column in ("student_id", "visitor_id", "request_id", "made_by", "ended_by"):
        op.create_index(op.f(f"ix_{name}_{column}"), name, [column], schema="privacy")
    for person in ("student", "visitor"):
        op.create_index(f"uq_{name}_standing_{person}", name, [f"{person}_id", "basis"], unique=True, schema="privacy",
                        postgresql_where=sa.text(f"until is null and {person}_id is not null"))  # fmt: skip
    op.create_index(
        f"ix_{name}_standing", name, ["email_hash"], schema="privacy", postgresql_where=sa.text("until is null")
    )


def _catch_up() -> None:
    """As the role that reads every row: the owner sees none under FORCE row-level security."""
    asked = "r.closed_at is null or r.state = 'answered'"
    op.execute("set local role resocode_definer")
    op.execute(CATCH_UP.format(table="restriction", basis="'asked'", kinds="'restrict'", states="r.state = 'answered'"))
    op.execute(CATCH_UP.format(table="objection", basis="'asked'", kinds="'object'", states=asked))
    op.execute(CATCH_UP.format(table="opt_out", basis="'asked'", kinds="'opt_out'", states=asked))
    op.execute(CATCH_UP.format(table="opt_out", basis="'objection'", kinds="'object'", states=asked))
    op.execute("reset role")


def _set_triggers() -> None:
    for table in TABLES:
        op.execute(
            f"create trigger guard before insert or update or delete on privacy.{table}"
            " for each row execute function privacy.guard_standing()"
        )
        if table != "objection":
            op.execute(
                f"create trigger cancel_marketing after insert on privacy.{table}"
                " for each row execute function privacy.cancel_marketing()"
            )
    for table in ("student", "visitor"):
        op.execute(
            f"create trigger follow_address after update of email_hash on platform.{table} for each row"
            " when (old.email_hash is distinct from new.email_hash) execute function privacy.follow_address()"
        )
    kinds = (
        "new.kind in ('object', 'opt_out', 'restrict') and pg_catalog.num_nonnulls(new.student_id, new.visitor_id) = 1"
    )
    op.execute(
        f"create trigger follow_request after insert or update of state, student_id, visitor_id on privacy.request for each row"
        f" when ({kinds}) execute function privacy.follow_request()"
    )
    op.execute(
        "create trigger refuse_marketing before insert or update of state on privacy.outbox for each row"
        " when (privacy.is_marketing(new.kind)) execute function privacy.refuse_marketing()"
    )
    op.execute(
        "create trigger keep_opt_out before insert or update of opted_out_at on platform.student_profile for each row"
        " when (new.opted_out_at is null) execute function privacy.keep_opt_out()"
    )


def downgrade() -> None:
    """There is no way back but a backup."""
    raise NotImplementedError("Restore a backup instead.")
