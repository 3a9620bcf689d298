"""Guardians ask like everybody else: a request may name one. Its clock, identity check and letters are those of every request.

``guardian_id`` has no foreign key: the guardian's row goes when nobody needs it, the request stays as proof and names nobody then. An
erasure of a guardian is answered by a second officer, once no consent names the guardian any more.
"""

import sqlalchemy as sa
from alembic import op

from migrations import rights

revision = "0050"
down_revision = "0049"
branch_labels = None
depends_on = None

FUNCTIONS = """
create function privacy.is_my_guardian(p_guardian uuid) returns boolean
language sql stable security definer set search_path = '' as $$
    select exists (select from privacy.guardian g join staff.staff_member m on lower(m.email) = lower(g.email)
                   where g.id = p_guardian and m.id = staff.my_id())
$$;

create or replace function privacy.guard_move(old privacy.request, new privacy.request, rule privacy.transition) returns void
language plpgsql stable security definer set search_path = '' as $$
declare
    known boolean := pg_catalog.num_nonnulls(new.student_id, new.visitor_id, new.guardian_id) = 1;
    grace interval := (select (p.document -> 'parameters' ->> 'grace_days')::int * interval '24 hours'
                       from privacy.policy_version p where p.version = new.policy_version);
begin
    if new.state in ('verified', 'to approve') and (not known or new.identity <> 'confirmed') and rule.role <> 'system' then
        raise exception 'a person is known and their identity confirmed first';
    end if;
    if old.state = 'to approve' and new.state in ('verified', 'received') then
        if pg_catalog.num_nonnulls(new.account_closed_at, new.grace_ends_at, new.plan_fingerprint, new.answered_at) > 0
           or new.early or new.approvals_needed <> 1 or (new.state = 'received' and new.identity <> 'not checked') then
            raise exception 'what is sent back begins again';
        end if;
        if privacy.closed_by_student(old.id) then
            raise exception 'what the student closed stays closed';
        end if;
        if exists (select from platform.student s where s.id = new.student_id and s.account_status = 'closed') then
            raise exception 'the account is opened again first';
        end if;
        return;
    end if;
    if new.state = 'withdrawn' and new.account_closed_at is not null then
        raise exception 'a closed account is reactivated, not withdrawn';
    end if;
    if new.state = 'answered' then
        if old.kind = 'delete' and pg_catalog.num_nonnulls(new.student_id, new.visitor_id) = 1 then
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
           or privacy.approvals_of(new.id, new.plan_fingerprint)
              < (case when privacy.single_officer() then 1 else new.approvals_needed end) then
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

create function privacy.guard_guardian() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
    who uuid := staff.my_id();
begin
    if old.guardian_id is not null and new.guardian_id is distinct from old.guardian_id then
        raise exception 'a request stays with its person';
    end if;
    if new.guardian_id is distinct from old.guardian_id
       and not exists (select from privacy.guardian g where g.id = new.guardian_id) then
        raise exception 'there is no such guardian';
    end if;
    if new.guardian_id is null or who is null then
        return new;
    end if;
    if privacy.is_my_guardian(new.guardian_id) then
        raise exception 'nobody decides about their own record' using errcode = 'insufficient_privilege';
    end if;
    if new.state = 'to approve' then
        raise exception 'a guardian has no account and no grace period';
    end if;
    if new.state = 'answered' and old.state <> 'answered' then
        if new.kind in ('access', 'export') and not exists (
            select from privacy.export e where e.request_id = new.id and e.state in ('handed out', 'failed')) then
            raise exception 'the file is handed out before the request is answered';
        end if;
        if new.kind = 'delete' and exists (select from privacy.consent c where c.guardian_id = new.guardian_id) then
            raise exception 'a guardian whom a consent names is not erased';
        end if;
        if new.kind = 'delete' and who = any (privacy.involved_in(old.id)) and not privacy.single_officer() then
            raise exception 'a second person erases' using errcode = 'insufficient_privilege';
        end if;
        if new.kind = 'delete' and not exists (
            select from staff.session s where s.id = staff.my_session() and s.staff_id = who
              and s.confirmed_at >= new.moved_at - interval '5 minutes') then
            raise exception 'who acts has not proved it within five minutes' using errcode = 'insufficient_privilege';
        end if;
    end if;
    return new;
end $$;

create or replace function privacy.demand_export(p_request uuid, p_fresh boolean, p_now timestamptz) returns void
language plpgsql stable security definer set search_path = '' as $$
declare
    asked privacy.request;
begin
    perform staff.demand(array['privacy_officer'], p_fresh, p_now);
    select * into asked from privacy.request r where r.id = p_request and r.kind in ('access', 'export');
    if asked.id is null then
        perform staff.refuse('RS004', 'There is no such request, or it is not open to you.');
    elsif asked.closed_at is not null then
        perform staff.refuse('RS002', 'This request is closed; it does not change any more.');
    elsif exists (select from privacy.subject_at_work(asked.student_id, asked.visitor_id) w where w.own)
       or privacy.is_my_guardian(asked.guardian_id) then
        perform staff.refuse('RS001', 'This is your own record. Another privacy officer has to decide.');
    end if;
end $$;
"""
CALLERS = {
    "privacy.is_my_guardian(uuid)": "resocode_app, resocode_worker",
    "privacy.guard_move(privacy.request, privacy.request, privacy.transition)": "resocode_definer",
    "privacy.guard_guardian()": "resocode_owner",
    "privacy.demand_export(uuid, boolean, timestamptz)": "resocode_definer",
}


def upgrade() -> None:
    """Apply."""
    op.add_column("request", sa.Column("guardian_id", sa.UUID(), nullable=True), schema="privacy")
    op.drop_constraint(op.f("ck_request_one_subject"), "request", schema="privacy")
    op.create_check_constraint(
        op.f("ck_request_one_subject"),
        "request",
        "num_nonnulls(student_id, visitor_id, guardian_id) <= 1",
        schema="privacy",
    )
    op.create_check_constraint(
        op.f("ck_request_guardian_kinds"), "request",
        "guardian_id is null or kind in ('access', 'export', 'correct', 'delete')", schema="privacy",
    )  # fmt: skip
    op.create_index(
        "uq_request_open_guardian", "request", ["kind", "guardian_id"], unique=True, schema="privacy",
        postgresql_where=sa.text("closed_at is null and guardian_id is not null"),
    )  # fmt: skip
    op.execute("grant update (guardian_id) on privacy.request to resocode_app")
    rights.functions(FUNCTIONS, CALLERS)
    op.execute(
        "create trigger guard_guardian before update on privacy.request"
        " for each row execute function privacy.guard_guardian()"
    )


def downgrade() -> None:
    """There is no way back but a backup."""
    raise NotImplementedError("Restore a backup instead.")
