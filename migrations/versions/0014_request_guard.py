"""Requests: the guard asks more of every change.

Nobody touches their own record; due dates move by the events of the clock only; what an approval needs never becomes less.
"""

from migrations import rights

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

GUARD = """
create or replace function privacy.guard_request() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
    who uuid := staff.my_id();
    acting text := case when staff.my_id() is not null then staff.my_role()
                        when session_user = 'resocode_worker' then 'system' end;
    rule privacy.transition;
begin
    if tg_op = 'INSERT' then
        if acting = 'system' then -- an import brings history: any state this kind knows
            select * into rule from privacy.transition t where t.kind = new.kind and t.to_state = new.state limit 1;
        else
            select * into rule from privacy.transition t where t.kind = new.kind and t.from_state = ''
                and t.to_state = new.state and acting is not null and t.role in (acting, 'anyone');
        end if;
        if rule.kind is null then
            raise exception 'a % request does not begin as "%" for %', new.kind, new.state, coalesce(acting, 'nobody');
        end if;
        return new;
    end if;

    if tg_op = 'DELETE' then
        if old.closed_at is null or old.closed_at > pg_catalog.now() - interval '3 years' then
            raise exception 'a request is kept for three years after its end';
        end if;
        return old;
    end if;

    -- A person who is erased leaves their requests without a name; that is all that changes in a closed one.
    if acting = 'system' and new.student_id is null and new.visitor_id is null
       and pg_catalog.to_jsonb(new) - '{student_id,visitor_id}'::text[]
           = pg_catalog.to_jsonb(old) - '{student_id,visitor_id}'::text[] then
        return new;
    end if;
    if old.closed_at is not null then
        raise exception 'request % is closed; it does not change', old.number;
    end if;
    if (new.id, new.number, new.kind, new.received_at, new.filed_at, new.filed_by, new.form_key, new.policy_version,
        new.source) is distinct from (old.id, old.number, old.kind, old.received_at, old.filed_at, old.filed_by,
        old.form_key, old.policy_version, old.source) then
        raise exception 'what was filed does not change';
    end if;
    if pg_catalog.num_nonnulls(old.student_id, old.visitor_id) = 1
       and (new.student_id, new.visitor_id) is distinct from (old.student_id, old.visitor_id) then
        raise exception 'a request stays with its person';
    end if;
    if acting is null or acting not in ('privacy_officer', 'system') then
        raise exception 'a % does not change requests', coalesce(acting, 'nobody') using errcode = 'insufficient_privilege';
    end if;
    if who is not null and exists (select from privacy.subject_at_work(new.student_id, new.visitor_id) w where w.own) then
        raise exception 'nobody decides about their own record' using errcode = 'insufficient_privilege';
    end if;
    if (new.due_at, new.paused_at, new.extended_months, new.answered_at)
       is distinct from (old.due_at, old.paused_at, old.extended_months, old.answered_at)
       and not exists (select from privacy.request_clock c where c.request_id = old.id and c.version = old.version + 1) then
        raise exception 'the clock moves by its events only';
    end if;
    if new.approvals_needed < old.approvals_needed or (old.early and not new.early)
       or (new.early and not old.early and (old.state <> 'to approve' or new.approvals_needed < 2)) then
        raise exception 'the approvals that are needed do not become fewer';
    end if;
    new.version := old.version + 1;
    new.changed_by := who;

    if new.state <> old.state then
        select * into rule from privacy.transition t where t.kind = old.kind and t.from_state = old.state
            and t.to_state = new.state and t.role = acting;
        if rule.kind is null then
            raise exception 'a % request does not go from "%" to "%" by %', old.kind, old.state, new.state, acting;
        end if;
        if new.moved_at is null or new.moved_at < old.moved_at then
            raise exception 'a move needs its instant, after the last one';
        end if;
        if rule.needs_fresh and not exists (
            select from staff.session s where s.id = staff.my_session() and s.staff_id = who
              and s.confirmed_at >= new.moved_at - interval '5 minutes') then
            raise exception 'who acts has not proved it within five minutes' using errcode = 'insufficient_privilege';
        end if;
        perform privacy.guard_move(old, new, rule);
        insert into privacy.request_move (request_id, version, from_state, to_state, moved_at, moved_by)
        values (new.id, new.version, old.state, new.state, new.moved_at, who);
    elsif new.grace_ends_at is distinct from old.grace_ends_at
       or new.account_closed_at is distinct from old.account_closed_at then
        raise exception 'the grace period moves with the request only';
    end if;
    return new;
end $$;

create or replace function privacy.refuse_other_roles() returns trigger language plpgsql set search_path = '' as $$
begin
    if tg_op = 'TRUNCATE' then
        raise exception 'requests are not emptied';
    end if;
    if session_user in ('resocode_owner', 'resocode_analyst') then
        raise exception 'requests change through the dashboard and the worker only' using errcode = 'insufficient_privilege';
    end if;
    return null;
end $$;
"""


def upgrade() -> None:
    """Apply."""
    rights.functions(GUARD, {"privacy.guard_request()": "resocode_owner"})


def downgrade() -> None:
    """There is no way back but a backup."""
    raise NotImplementedError("Restore a backup instead.")
