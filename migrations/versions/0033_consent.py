"""Ages and consent: states as data, the trigger that holds them, the history, the queue, and orders to write to many.

Danger: somebody's consent counts because one officer wrote that it does; a birth date of a grown-up is kept for ever; a page shows an
age to whom it does not concern. Principle: a consent moves along the rows of ``privacy.consent_move`` and no other way, whoever
asks; who entered it does not verify it; grown-ups have no birth date here. Mechanism: a trigger on every UPDATE of
``privacy.consent`` reads who acts from ``app.staff_id`` (nobody: the worker as "system") and writes one step of the history.
"""

import sqlalchemy as sa
from alembic import op

from migrations import rights

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None

OFFICER_ROLE, SYSTEM = "privacy_officer", "system"
OFFICER = "(select staff.my_role()) = 'privacy_officer'"
STATES = ("not needed", "missing", "requested", "given", "verified", "refused", "withdrawn", "lapsed")
MINOR = ("missing", "requested", "given", "verified", "refused", "withdrawn")
METHODS = ("signed form", "signed electronically", "video call", "called back on a known number", "in person")
# from, to, role, distinct actor, fresh
MOVES = (
    *((state, "not needed", role, False, False) for state in (*MINOR, "lapsed") for role in (OFFICER_ROLE, SYSTEM)),
    *((state, "missing", role, False, False) for state in ("not needed", "lapsed") for role in (OFFICER_ROLE, SYSTEM)),
    *((state, "requested", OFFICER_ROLE, False, False) for state in ("missing", "refused", "withdrawn")),
    *((state, "given", OFFICER_ROLE, False, False) for state in ("missing", "requested", "refused", "withdrawn")),
    *((state, "refused", OFFICER_ROLE, False, False) for state in ("missing", "requested")),
    ("given", "verified", OFFICER_ROLE, True, True),
    ("given", "refused", OFFICER_ROLE, True, True),
    *((state, "withdrawn", role, False, False) for state in ("requested", "given", "verified")
      for role in (OFFICER_ROLE, SYSTEM)),
    *((state, "lapsed", SYSTEM, False, False) for state in MINOR),
)  # fmt: skip
CHANGED = (
    "birth_date, adult, declared_at, guardian_id, state, requested_at, reminded_at, method, entered_at, entered_by, evidence_id,"
    " evidence_sha256, verified_at, verified_by, version, changed_at, changed_what, changed_reason"
)

FUNCTIONS = """
create function privacy.guard_consent() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
    who uuid := staff.my_id();
    acting text := case when staff.my_id() is not null then staff.my_role()
                        when session_user = 'resocode_worker' then 'system' end;
    rule privacy.consent_move;
begin
    if acting is null or acting not in ('privacy_officer', 'system') then
        raise exception 'a % does not change consent', coalesce(acting, 'nobody') using errcode = 'insufficient_privilege';
    end if;
    if (new.student_id, new.number, new.source) is distinct from (old.student_id, old.number, old.source) then
        raise exception 'a consent record stays with its student';
    end if;
    if acting = 'system' and new.version = old.version then -- an import, or an erasure
        new.changed_at := pg_catalog.now();
        new.changed_what := case when old.guardian_id is not null and new.guardian_id is null then 'guardian erased' else 'imported' end;
        new.changed_reason := '';
    end if;
    if new.changed_at is null or new.changed_what is null or (new.version <> old.version + 1 and acting <> 'system') then
        raise exception 'a change says which version it makes, when, and what it is';
    end if;
    new.version := old.version + 1;
    new.changed_by := who;
    if new.state <> old.state then
        select * into rule from privacy.consent_move m
        where m.from_state = old.state and m.to_state = new.state and m.role = acting;
        if rule.role is null then
            raise exception 'a consent does not go from "%" to "%" by %', old.state, new.state, acting;
        end if;
        if rule.needs_fresh then
            perform privacy.demand_fresh(new.changed_at);
        end if;
        if rule.requires_distinct_actor and old.entered_by = who and not privacy.single_officer() then
            raise exception 'another officer decides about what one entered' using errcode = 'insufficient_privilege';
        end if;
    end if;
    if new.reminded_at is distinct from old.reminded_at and new.reminded_at < old.reminded_at + interval '7 days' then
        raise exception 'nobody is reminded twice within a week';
    end if;
    if acting = 'privacy_officer' then
        if privacy.is_my_own(old.student_id, null) then
            raise exception 'nobody decides about their own record' using errcode = 'insufficient_privilege';
        end if;
        if (new.birth_date, new.adult, new.declared_at) is distinct from (old.birth_date, old.adult, old.declared_at)
           and (new.changed_what <> 'age declared' or new.declared_at is distinct from new.changed_at) then
            raise exception 'an age changes by a declaration only';
        end if;
        if new.guardian_id is distinct from old.guardian_id and old.state in ('given', 'verified') and new.state = old.state then
            raise exception 'a consent stays with the guardian who gave it';
        end if;
        if new.state = 'given' and old.state <> 'given' then
            if new.entered_by is distinct from who or new.entered_at is distinct from new.changed_at or new.method is null
               or new.guardian_id is null then
                raise exception 'a consent is entered in one''s own name, with its guardian and how it came';
            end if;
        elsif (new.entered_by, new.entered_at, new.method) is distinct from (old.entered_by, old.entered_at, old.method)
              and pg_catalog.num_nonnulls(new.entered_by, new.entered_at, new.method) > 0 then
            raise exception 'who entered a consent does not change' using errcode = 'insufficient_privilege';
        end if;
        if new.evidence_id is not null and new.evidence_id is distinct from old.evidence_id and new.entered_by is distinct from who then
            raise exception 'evidence comes from who entered the consent' using errcode = 'insufficient_privilege';
        end if;
        if new.state = 'verified' and old.state <> 'verified' then
            if new.verified_by is distinct from who or new.verified_at is distinct from new.changed_at or new.birth_date is null then
                raise exception 'a consent is verified in one''s own name, and ends on a known birthday';
            end if;
        elsif (new.verified_by, new.verified_at) is distinct from (old.verified_by, old.verified_at)
              and pg_catalog.num_nonnulls(new.verified_by, new.verified_at) > 0 then
            raise exception 'who verified a consent does not change' using errcode = 'insufficient_privilege';
        end if;
    end if;
    insert into privacy.consent_step (student_id, version, what, reason, from_state, to_state, done_at, done_by)
    values (new.student_id, new.version, new.changed_what, new.changed_reason, old.state, new.state, new.changed_at, who);
    return new;
end $$;

create function privacy.keep_consent_step() returns trigger language plpgsql set search_path = '' as $$
begin
    raise exception 'the history of a consent is only added to';
end $$;

-- Everybody whose age or consent is not simply settled, with what is needed next: ids, no person. Days of birth that decide are
-- those of core.policy.age: born on p_adult or before is of age, after p_allowed below the minimum age; p_soon: of age soon.
-- p_silent: whoever was written to before and has not answered is silent, and may be written to (writable).
create function privacy.consent_cases(p_adult date, p_allowed date, p_soon date, p_silent timestamptz, p_now timestamptz)
returns table (student_id uuid, number bigint, state text, need text, rank int, since timestamptz, mine boolean, writable boolean)
language sql stable security definer set search_path = '' as $$
    select k.student_id, k.number, k.state, k.need,
        pg_catalog.array_position(array['below', 'verify', 'missing', 'silent', 'lapsed', 'not answered', 'lapsing', 'requested', 'not asked',
            'asked', 'verified'], k.need),
        coalesce(k.since, '-infinity'), coalesce(k.entered_by = staff.my_id(), false), coalesce(k.last_letter, '-infinity') <= p_silent
    from (
        select c.student_id, c.number, c.state, c.entered_by,
            greatest(c.asked_at, c.requested_at, c.reminded_at) as last_letter,
            case when c.birth_date > p_allowed then 'below'
                when c.state = 'lapsed' or c.birth_date <= p_adult then 'lapsed'
                when c.state = 'given' then 'verify'
                when c.state in ('missing', 'refused', 'withdrawn') then 'missing'
                when c.state = 'requested' then
                    case when coalesce(greatest(c.requested_at, c.reminded_at), '-infinity') <= p_silent then 'silent' else 'requested' end
                when c.state = 'verified' then case when c.birth_date <= p_soon then 'lapsing' else 'verified' end
                when c.asked_at is null then 'not asked'
                when c.answer_by <= p_now then 'not answered'
                else 'asked' end as need,
            case c.state when 'given' then c.entered_at when 'requested' then c.requested_at when 'verified' then c.verified_at
                when 'not needed' then coalesce(c.asked_at, s.registered_at) else coalesce(c.changed_at, c.declared_at) end as since
        from privacy.consent c join platform.student s on s.id = c.student_id
        where c.adult is not true and s.account_status = 'open'
    ) k
    where (select staff.my_role()) = 'privacy_officer' or session_user = 'resocode_worker'
$$;

-- Who the student of a case is, for privacy officers.
create function privacy.consent_person(p_student uuid) returns table (name text, email text, account_status text)
language sql stable security definer set search_path = '' as $$
    select s.name, s.email, s.account_status from platform.student s join privacy.consent c on c.student_id = s.id
    where s.id = p_student and (c.adult is not true or c.version > 1) and (select staff.my_role()) = 'privacy_officer'
$$;

-- Whose address this is, for a privacy officer who records an age: exactly that address, nothing like it.
create function privacy.student_of_address(p_email text) returns table (id uuid, name text, email text)
language sql stable security definer set search_path = '' as $$
    select s.id, s.name, s.email from platform.student s
    where lower(s.email) = lower(p_email) and (select staff.my_role()) = 'privacy_officer'
    limit 1
$$;

-- The consent record of a student whom an officer has found; made when there is none.
create function privacy.open_consent(p_student uuid) returns uuid
language plpgsql security definer set search_path = '' as $$
begin
    if staff.my_role() is distinct from 'privacy_officer' then
        raise exception 'privacy officers see to consent' using errcode = 'insufficient_privilege';
    end if;
    insert into privacy.consent (student_id, state, source)
    select s.id, 'not needed', 'dashboard' from platform.student s where s.id = p_student
    on conflict do nothing;
    return p_student;
end $$;
"""

APPROVAL_BY_AGE = """
-- Whether the birth date of record says that somebody was below the minimum age at an instant, wherever they are: the birthday had
-- not begun on the clock that is furthest ahead (core.policy.age).
create function privacy.is_below_age(p_student uuid, p_at timestamptz) returns boolean
language sql stable security definer set search_path = '' as $$
    select exists (
        select from privacy.consent c
        cross join lateral (select (p.document -> 'parameters' ->> 'minimum_age')::int as years from privacy.policy_version p
            where p.effective_at <= p_at order by p.effective_at desc limit 1) rule
        where c.student_id = p_student
          and (c.birth_date + pg_catalog.make_interval(years => rule.years))::date
              > ((p_at + interval '14 hours') at time zone 'UTC')::date)
$$;

-- As before; and a rule waives the grace period of somebody below the minimum age, as long as the birth date of record says so.
create or replace function privacy.is_approved(p_request uuid) returns boolean
language sql stable security definer set search_path = '' as $$
    select privacy.approvals_of(r.id, r.plan_fingerprint) >= r.approvals_needed
        or ((not r.early or (r.source = 'age rule' and privacy.is_below_age(r.student_id, r.received_at))) and exists (
            select from privacy.approval a where a.request_id = r.id and a.fingerprint = r.plan_fingerprint
              and a.rule is not null and a.round = privacy.approval_round(r.id)))
    from privacy.request r where r.id = p_request
$$;
"""

CALLERS = {
    "privacy.guard_consent()": "resocode_owner",
    "privacy.keep_consent_step()": "resocode_owner",
    "privacy.consent_cases(date, date, date, timestamptz, timestamptz)": "resocode_app, resocode_worker",
    "privacy.consent_person(uuid)": "resocode_app",
    "privacy.student_of_address(text)": "resocode_app",
    "privacy.open_consent(uuid)": "resocode_app",
    "privacy.is_below_age(uuid, timestamptz)": "resocode_definer",
    "privacy.is_approved(uuid)": "resocode_app, resocode_worker",
}


def upgrade() -> None:
    """Apply."""
    _make_tables()
    _forget_birth_dates_of_adults()
    _add_rules()
    _open_tables()
    rights.functions(FUNCTIONS + APPROVAL_BY_AGE, CALLERS)
    op.execute(
        "create trigger guard before update on privacy.consent for each row execute function privacy.guard_consent()"
    )
    op.execute(
        "create trigger keep before update on privacy.consent_step for each row execute function privacy.keep_consent_step()"
    )


def _staff(table: str, column: str) -> None:
    op.create_foreign_key(
        op.f(f"fk_{table}_{column}"), table, "staff_member", [column], ["id"], source_schema="privacy", referent_schema="staff"
    )  # fmt: skip
    op.create_index(op.f(f"ix_{table}_{column}"), table, [column], unique=False, schema="privacy")


def _make_tables() -> None:
    moment = sa.DateTime(timezone=True)
    for column in (
        sa.Column("number", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        *(sa.Column(name, moment) for name in ("asked_at", "answer_by", "requested_at", "reminded_at", "entered_at", "changed_at")),
        *(sa.Column(name, sa.UUID()) for name in ("entered_by", "changed_by", "evidence_id")),
        *(sa.Column(name, sa.Text()) for name in ("method", "evidence_sha256", "changed_what")),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("changed_reason", sa.Text(), server_default="", nullable=False),
    ):  # fmt: skip
        op.add_column("consent", column, schema="privacy")
    op.create_unique_constraint(op.f("uq_consent_number"), "consent", ["number"], schema="privacy")
    op.add_column("guardian", sa.Column("added_at", moment), schema="privacy")
    op.add_column("guardian", sa.Column("added_by", sa.UUID()), schema="privacy")
    for table, column in (("consent", "entered_by"), ("consent", "changed_by"), ("guardian", "added_by")):
        _staff(table, column)
    op.create_table(
        "consent_move",
        sa.Column("from_state", sa.Text(), nullable=False),
        sa.Column("to_state", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("requires_distinct_actor", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("needs_fresh", sa.Boolean(), server_default="false", nullable=False),
        sa.PrimaryKeyConstraint("from_state", "to_state", "role", name=op.f("pk_consent_move")),
        schema="privacy",
    )
    op.create_table(
        "consent_step",
        sa.Column("id", sa.UUID(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("student_id", sa.UUID(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("from_state", sa.Text(), nullable=False),
        sa.Column("to_state", sa.Text(), nullable=False),
        sa.Column("done_at", moment, nullable=False),
        sa.Column("done_by", sa.UUID(), nullable=True),
        sa.ForeignKeyConstraint(["student_id"], ["platform.student.id"], name=op.f("fk_consent_step_student_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_consent_step")),
        schema="privacy",
    )
    op.create_index("ix_consent_step_student_id", "consent_step", ["student_id", "version"], schema="privacy")
    _staff("consent_step", "done_by")
    op.create_table(
        "consent_round",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("answer_by", moment, nullable=True),
        sa.Column("people", sa.Integer(), nullable=False),
        sa.Column("written", sa.Integer(), server_default="0", nullable=False),
        sa.Column("begun_at", moment, nullable=False),
        sa.Column("begun_by", sa.UUID(), nullable=False),
        sa.Column("done_at", moment, nullable=True),
        sa.CheckConstraint("kind in ('ask ages', 'remind')", name=op.f("ck_consent_round_kind_known")),
        sa.CheckConstraint("(kind = 'ask ages') = (answer_by is not null)", name=op.f("ck_consent_round_asked_until")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_consent_round")),
        schema="privacy",
    )
    op.create_index(
        "uq_consent_round_open", "consent_round", ["kind"], unique=True, schema="privacy", postgresql_where=sa.text("done_at is null")
    )  # fmt: skip
    op.create_index(
        "ix_consent_round_begun", "consent_round", ["kind", sa.literal_column("begun_at desc")], schema="privacy"
    )
    _staff("consent_round", "begun_by")


def _forget_birth_dates_of_adults() -> None:
    """Whoever is of age keeps the yes and loses the date; whoever has a birth date and is a minor needs consent.

    As the definer, because row-level security would hide every row from the owner; of age: 18 on every clock of the world.
    """
    grown_up = "birth_date <= ((now() - interval '12 hours') at time zone 'UTC')::date - interval '18 years'"
    op.execute("grant update on privacy.consent to resocode_definer")
    op.execute("set local role resocode_definer")
    op.execute(f"update privacy.consent set adult = true, birth_date = null where {grown_up} and state = 'not needed'")
    op.execute("update privacy.consent set birth_date = null where adult and birth_date is not null")
    op.execute(
        "update privacy.consent set state = 'missing' where state = 'not needed' and (birth_date is not null or adult is false)"
    )
    op.execute("reset role")
    op.execute("revoke update on privacy.consent from resocode_definer")


def _add_rules() -> None:
    op.drop_constraint(op.f("ck_consent_state_known"), "consent", schema="privacy", type_="check")
    for name, rule in {
        "state_known": f"state in ({', '.join(map(repr, STATES))})",
        "method_known": f"method in ({', '.join(map(repr, METHODS))})",
        "adult_without_birth_date": "adult is not true or birth_date is null",
        "minor_needs_consent": "state <> 'not needed' or (birth_date is null and adult is distinct from false)",
        "evidence_until_decided": "evidence_id is null or state = 'given'",
        "asked_until": "(answer_by is null) = (asked_at is null)",
    }.items():
        op.create_check_constraint(op.f(f"ck_consent_{name}"), "consent", rule, schema="privacy")
    for name, columns, rule in (
        ("ix_consent_case", ["state", "student_id"], "state <> 'not needed'"),
        ("ix_consent_silent", ["student_id"], "adult is null and birth_date is null and state = 'not needed'"),
        ("ix_consent_born", ["birth_date"], "birth_date is not null"),
    ):
        op.create_index(name, "consent", columns, unique=False, schema="privacy", postgresql_where=sa.text(rule))


def _open_tables() -> None:
    for from_state, to_state, role, distinct, fresh in MOVES:
        op.execute(
            f"insert into privacy.consent_move values ('{from_state}', '{to_state}', '{role}', {distinct}, {fresh})"
        )
    for table in ("consent_move", "consent_step", "consent_round"):
        rights.close(f"privacy.{table}")
    op.execute("revoke insert, update, delete on privacy.consent_move from resocode_worker")
    op.execute("revoke insert, update on privacy.consent_step from resocode_worker")
    rights.let_definer("privacy.consent_step", "insert")
    rights.let_definer("privacy.consent", "insert")
    rights.app_reads("privacy.consent_move", OFFICER)
    rights.app_reads("privacy.consent_step", OFFICER)
    rights.app_reads("privacy.consent_round", OFFICER)
    rights.app_adds(
        "privacy.consent_round",
        f"{OFFICER} and begun_by = (select staff.my_id()) and done_at is null",
        "(id, kind, answer_by, people, begun_at, begun_by)",
    )
    rights.app_reads("privacy.consent", OFFICER)
    rights.app_changes("privacy.consent", OFFICER, f"({CHANGED})")
    case = "student_id in (select c.student_id from privacy.consent c where c.state <> 'not needed')"
    rights.app_reads("privacy.guardian", f"{OFFICER} and {case}")
    rights.app_adds(
        "privacy.guardian",
        f"{OFFICER} and {case} and added_by = (select staff.my_id())",
        "(id, student_id, name, email, added_at, added_by)",
    )


def downgrade() -> None:
    """There is no way back but a backup."""
    raise NotImplementedError("Restore a backup instead.")
