"""Erasures: steps, evidence and brakes; the request becomes "erasing" and "erased" under rules that the database holds.

Danger: "erased" is written by somebody, or believed because a call returned. Principle: the point of no return asks again for
the approvals of this round; "erased" is derived: every step proven by reading back, or not needed for a stated reason; evidence
is only added to. Mechanism: ``privacy.guard_move`` for both moves, triggers on the three tables; the dashboard reads them, and
changes them through two functions: a brake is answered, a dead letter is tried again.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations import rights

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

OFFICER = "(select staff.my_role()) = 'privacy_officer'"

FUNCTIONS = """
-- Whether what would be erased now is approved in this round: by as many officers as it needs, or by a rule of the policy.
create function privacy.is_approved(p_request uuid) returns boolean
language sql stable security definer set search_path = '' as $$
    select privacy.approvals_of(r.id, r.plan_fingerprint) >= r.approvals_needed
        or (not r.early and exists (
            select from privacy.approval a where a.request_id = r.id and a.fingerprint = r.plan_fingerprint
              and a.rule is not null and a.round = privacy.approval_round(r.id)))
    from privacy.request r where r.id = p_request
$$;

create function privacy.guard_erasure() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
    of privacy.erasure;
begin
    if tg_op = 'DELETE' then
        select * into of from privacy.erasure e where e.id = case tg_table_name when 'erasure' then old.id end;
        if tg_table_name <> 'erasure' or of.finished_at is null or of.finished_at > pg_catalog.now() - interval '3 years' then
            raise exception 'erasures are kept for three years after their end';
        end if;
        return old;
    end if;
    if tg_table_name = 'erasure_evidence' and tg_op = 'UPDATE' then
        raise exception 'evidence is only added to';
    end if;
    if tg_table_name = 'erasure' then
        if tg_op = 'UPDATE' and (old.finished_at is not null or (new.id, new.request_id, new.kind, new.made_at)
           is distinct from (old.id, old.request_id, old.kind, old.made_at)) then
            raise exception 'an erasure that is finished does not change, nor whose it is';
        end if;
        return new;
    end if;
    select * into of from privacy.erasure e where e.id = new.erasure_id;
    if of.finished_at is not null then
        raise exception 'an erasure that is finished does not change';
    end if;
    return new;
end $$;

-- Lets what a brake stopped go on, in the name of a privacy officer who has just proved who they are.
create function privacy.answer_brake(p_brake uuid, p_reason text, p_now timestamptz, p_until timestamptz) returns boolean
language plpgsql security definer set search_path = '' as $$
begin
    perform staff.demand(array['privacy_officer'], true, p_now);
    update privacy.brake set answered_at = p_now, answered_by = staff.my_id(), answer = 'go on', reason = p_reason,
        allows = due, until = p_until
    where id = p_brake and answered_at is null;
    return found;
end $$;

-- Gives a step that failed for good all its attempts again; whoever asks sees to it from now on.
create function privacy.retry_erasure_step(p_step uuid, p_now timestamptz) returns boolean
language plpgsql security definer set search_path = '' as $$
begin
    perform staff.demand(array['privacy_officer'], false, p_now);
    update privacy.erasure_step set state = 'to do', attempts = 0, next_at = p_now, waits_for = null, waits_about = '',
        owner_id = staff.my_id()
    where id = p_step and state = 'failed';
    if not found then
        return false;
    end if;
    update privacy.erasure set next_at = p_now
    where id = (select s.erasure_id from privacy.erasure_step s where s.id = p_step);
    return true;
end $$;
"""

CALLERS = {
    "privacy.is_approved(uuid)": "resocode_app, resocode_worker",
    "privacy.guard_erasure()": "resocode_owner",
    "privacy.answer_brake(uuid, text, timestamptz, timestamptz)": "resocode_app",
    "privacy.retry_erasure_step(uuid, timestamptz)": "resocode_app",
}

# The same as before, and the last two moves of a deletion.
GUARD_MOVE = """
create or replace function privacy.guard_move(old privacy.request, new privacy.request, rule privacy.transition) returns void
language plpgsql stable security definer set search_path = '' as $$
declare
    known boolean := new.student_id is not null or new.visitor_id is not null;
    grace interval := (select (p.document -> 'parameters' ->> 'grace_days')::int * interval '24 hours'
                       from privacy.policy_version p where p.version = new.policy_version);
begin
    if new.state in ('verified', 'to approve') and (not known or new.identity <> 'confirmed') and rule.role <> 'system' then
        raise exception 'a person is known and their identity confirmed first';
    end if;
    if new.state = 'withdrawn' and new.account_closed_at is not null then
        raise exception 'a closed account is reactivated, not withdrawn';
    end if;
    if new.state = 'answered' then
        if old.kind = 'delete' and known then
            raise exception 'a deletion of somebody known ends otherwise';
        end if;
        if old.state <> 'verified' and known and old.kind <> 'opt_out' then
            raise exception 'identity is confirmed before a request is answered';
        end if;
    end if;
    if old.state = 'verified' and new.state = 'to approve' then
        if new.student_id is not null and not exists (
            select from platform.student s where s.id = new.student_id and s.account_status = 'closed'
              and s.closed_at = new.account_closed_at and new.grace_ends_at = s.closed_at + grace) then
            raise exception 'the account is closed first, and the grace period runs its whole time';
        end if;
        if new.student_id is null and new.grace_ends_at is distinct from new.moved_at then
            raise exception 'a visitor has no account and no grace period';
        end if;
        if new.plan_fingerprint is null then
            raise exception 'a deletion needs a plan';
        end if;
    elsif new.account_closed_at is distinct from old.account_closed_at then
        raise exception 'the day of closing does not change';
    elsif new.grace_ends_at is distinct from old.grace_ends_at and not (
        rule.requires_distinct_actor and new.early and new.approvals_needed >= 2 and new.grace_ends_at >= new.moved_at) then
        raise exception 'the grace period is shortened by two approvals of an early deletion only';
    end if;
    if rule.requires_distinct_actor then
        if new.approvals_needed < 1 + new.early::int or new.approvals_needed < old.approvals_needed then
            raise exception 'an early deletion needs two approvals';
        end if;
        if new.plan_fingerprint is distinct from old.plan_fingerprint
           or privacy.approvals_of(new.id, new.plan_fingerprint) < new.approvals_needed then
            raise exception 'the plan is not approved by % who may', new.approvals_needed;
        end if;
    end if;
    if new.state = 'erasing' and (new.grace_ends_at is null or new.moved_at < new.grace_ends_at) then
        raise exception 'the grace period has not ended';
    end if;
    if new.state = 'erasing' and not privacy.is_approved(new.id) then
        raise exception 'the plan is not approved by % who may', new.approvals_needed;
    end if;
    if new.state = 'erased' and not exists (
        select from privacy.erasure e where e.request_id = new.id and e.finished_at is not null
          and exists (select from privacy.erasure_step s where s.erasure_id = e.id and s.what = 'database' and s.state = 'proven')
          and not exists (select from privacy.erasure_step s where s.erasure_id = e.id and s.state not in ('proven', 'exempt'))) then
        raise exception 'nothing is erased before it is proven';
    end if;
end $$;
"""


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "brake",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("raised_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due", sa.Integer(), nullable=True),
        sa.Column("people", sa.Integer(), nullable=True),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("answered_by", sa.UUID(), nullable=True),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("allows", sa.Integer(), nullable=True),
        sa.Column("until", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("answer in ('go on', 'passed')", name=op.f("ck_brake_answer_known")),
        sa.CheckConstraint("kind in ('many', 'clock')", name=op.f("ck_brake_kind_known")),
        sa.CheckConstraint("(answered_at is null) = (answer is null)", name=op.f("ck_brake_answered_whole")),
        sa.ForeignKeyConstraint(["answered_by"], ["staff.staff_member.id"], name=op.f("fk_brake_answered_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_brake")),
        schema="privacy",
    )
    op.create_index(op.f("ix_brake_answered_by"), "brake", ["answered_by"], unique=False, schema="privacy")
    op.create_index("ix_brake_raised", "brake", [sa.literal_column("raised_at desc")], unique=False, schema="privacy")
    op.create_index(
        "uq_brake_on", "brake", ["kind"], unique=True, schema="privacy", postgresql_where=sa.text("answered_at is null")
    )
    op.create_table(
        "erasure",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("request_id", sa.UUID(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("person_id", sa.UUID(), nullable=True),
        sa.Column("email_hash", sa.LargeBinary(), nullable=True),
        sa.Column("forms", postgresql.ARRAY(sa.UUID()), nullable=True),
        sa.Column("traces", sa.LargeBinary(), nullable=True),
        sa.Column("fingerprint", sa.Text(), nullable=True),
        sa.Column("waits_for", sa.Text(), nullable=True),
        sa.Column("waits_about", sa.Text(), server_default="", nullable=False),
        sa.Column("waits_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("begun_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("kind in ('student', 'visitor')", name=op.f("ck_erasure_kind_known")),
        sa.CheckConstraint("(waits_for is null) = (waits_since is null)", name=op.f("ck_erasure_waits_since_when")),
        sa.CheckConstraint(
            "finished_at is null or num_nonnulls(person_id, email_hash, forms, traces) = 0",
            name=op.f("ck_erasure_finished_forgets"),
        ),
        sa.ForeignKeyConstraint(["request_id"], ["privacy.request.id"], name=op.f("fk_erasure_request_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_erasure")),
        sa.UniqueConstraint("request_id", name=op.f("uq_erasure_request_id")),
        schema="privacy",
    )
    op.create_index("ix_erasure_begun", "erasure", ["begun_at"], unique=False, schema="privacy")
    op.create_table(
        "erasure_step",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("erasure_id", sa.UUID(), nullable=False),
        sa.Column("phase", sa.SmallInteger(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="to do", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("waits_for", sa.Text(), nullable=True),
        sa.Column("waits_about", sa.Text(), server_default="", nullable=False),
        sa.Column("error", sa.Text(), server_default="", nullable=False),
        sa.Column("reference", sa.Text(), server_default="", nullable=False),
        sa.Column("counts", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("erased_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("proven_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("owner_id", sa.UUID(), nullable=True),
        sa.CheckConstraint(
            "(state = 'proven') = (proven_at is not null)", name=op.f("ck_erasure_step_proven_has_date")
        ),
        sa.CheckConstraint("state <> 'exempt' or error <> ''", name=op.f("ck_erasure_step_exempt_has_reason")),
        sa.CheckConstraint(
            "state in ('to do', 'called', 'erased', 'waiting', 'held', 'failed', 'proven', 'exempt')",
            name=op.f("ck_erasure_step_state_known"),
        ),
        sa.CheckConstraint(
            "state not in ('erased', 'proven') or erased_at is not null", name=op.f("ck_erasure_step_proven_was_erased")
        ),
        sa.CheckConstraint(
            "state not in ('waiting', 'held') or waits_for is not null",
            name=op.f("ck_erasure_step_waits_for_something"),
        ),
        sa.CheckConstraint(
            "what in ('ledger', 'processor', 'letter', 'database', 'residue', 'certificate')",
            name=op.f("ck_erasure_step_what_known"),
        ),
        sa.ForeignKeyConstraint(["erasure_id"], ["privacy.erasure.id"], name=op.f("fk_erasure_step_erasure_id")),
        sa.ForeignKeyConstraint(["owner_id"], ["staff.staff_member.id"], name=op.f("fk_erasure_step_owner_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_erasure_step")),
        sa.UniqueConstraint("erasure_id", "place", name=op.f("uq_erasure_step_erasure_id_place")),
        sa.UniqueConstraint("key", name=op.f("uq_erasure_step_key")),
        schema="privacy",
    )
    op.create_index(
        "ix_erasure_step_open",
        "erasure_step",
        ["next_at"],
        unique=False,
        schema="privacy",
        postgresql_where=sa.text("state not in ('proven', 'exempt')"),
    )
    op.create_index(op.f("ix_erasure_step_owner_id"), "erasure_step", ["owner_id"], unique=False, schema="privacy")
    op.create_table(
        "erasure_evidence",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("erasure_id", sa.UUID(), nullable=False),
        sa.Column("step_id", sa.UUID(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("became", sa.Text(), server_default="", nullable=False),
        sa.Column("counts", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("error", sa.Text(), server_default="", nullable=False),
        sa.Column("reference", sa.Text(), server_default="", nullable=False),
        sa.CheckConstraint(
            "what in ('begun', 'asked', 'answered', 'looked', 'waits', 'failed', 'again', 'ended')",
            name=op.f("ck_erasure_evidence_what_known"),
        ),
        sa.ForeignKeyConstraint(["erasure_id"], ["privacy.erasure.id"], name=op.f("fk_erasure_evidence_erasure_id")),
        sa.ForeignKeyConstraint(["step_id"], ["privacy.erasure_step.id"], name=op.f("fk_erasure_evidence_step_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_erasure_evidence")),
        schema="privacy",
    )
    op.create_index(
        "ix_erasure_evidence_erasure_id", "erasure_evidence", ["erasure_id", "at"], unique=False, schema="privacy"
    )
    op.create_index(
        op.f("ix_erasure_evidence_step_id"), "erasure_evidence", ["step_id"], unique=False, schema="privacy"
    )
    op.add_column(
        "worker_heartbeat",
        sa.Column("seen_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        schema="staff",
    )

    for table in ("privacy.erasure", "privacy.erasure_step", "privacy.erasure_evidence", "privacy.brake"):
        rights.close(table)
        rights.app_reads(table, OFFICER, READABLE.get(table, ""))
    for table in ("privacy.erasure", "privacy.erasure_step", "privacy.brake"):
        rights.let_definer(table, "update")
    rights.functions(FUNCTIONS + GUARD_MOVE, CALLERS)
    for table in ("erasure", "erasure_step", "erasure_evidence"):
        op.execute(
            f"create trigger guard_erasure before insert or update or delete on privacy.{table}"
            " for each row execute function privacy.guard_erasure()"
        )


# Officers follow an erasure; what finds the person stays with the worker.
READABLE = {
    "privacy.erasure": "(id, request_id, kind, fingerprint, waits_for, waits_about, waits_since, next_at, made_at, begun_at,"
    " finished_at)"
}


def downgrade() -> None:
    """There is no way back but a backup."""
    raise NotImplementedError("Restore a backup instead.")
