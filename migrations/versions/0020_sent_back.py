"""Requests: a plan goes back to whoever put it up, before anybody approved it; one officer alone may waive the grace period where
the company declared that; whom a manual step is about, and which records of a person a hold can name.

What is sent back begins again: the account is open, its clock runs on from where it stood, and the next plan needs its own
approval. In single-officer mode nobody else is there to approve, so one approval counts for an early deletion too.
"""

from alembic import op

from migrations import rights

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

OFFICER = "privacy_officer"
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
    if (new.approvals_needed < old.approvals_needed or (old.early and not new.early)
        or (new.early and not old.early and (old.state <> 'to approve' or new.approvals_needed < 2)))
       and (old.state, new.state) not in (('to approve', 'verified'), ('to approve', 'received')) then
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

-- Whether what would be erased now is approved in this round: by as many officers as it needs (one, where there is only one and
-- the company declared it), or by a rule of the policy.
create or replace function privacy.is_approved(p_request uuid) returns boolean
language sql stable security definer set search_path = '' as $$
    select privacy.approvals_of(r.id, r.plan_fingerprint)
           >= case when privacy.single_officer() then 1 else r.approvals_needed end
        or (not r.early and exists (
            select from privacy.approval a where a.request_id = r.id and a.fingerprint = r.plan_fingerprint
              and a.rule is not null and a.round = privacy.approval_round(r.id)))
    from privacy.request r where r.id = p_request
$$;
"""

CLOSED = """
-- Whether the student closed the account that a deletion waits for themselves, on the platform: then no officer's move did it.
-- A minute of grace, because the clocks of machines differ.
create function privacy.closed_by_student(p_request uuid) returns boolean
language sql stable security definer set search_path = '' as $$
    select exists (
        select from privacy.request r where r.id = p_request and r.account_closed_at is not null and not exists (
            select from privacy.request_move m
            where m.request_id = r.id and m.from_state = 'verified' and m.to_state = 'to approve'
              and m.moved_at between r.account_closed_at and r.account_closed_at + interval '1 minute'))
      and (staff.my_role() = 'privacy_officer' or session_user = 'resocode_worker')
$$;
"""

FUNCTIONS = """
-- Whom a manual step is about, to be looked up at the processor, for privacy officers and as long as it is not confirmed.
create function privacy.step_person(p_step uuid) returns table (kind text, id uuid, name text, email text)
language sql stable security definer set search_path = '' as $$
    select case when m.student_id is null then 'visitor' else 'student' end, coalesce(s.id, v.id), coalesce(s.name, v.name),
        coalesce(s.email, v.email)
    from privacy.manual_step m left join platform.student s on s.id = m.student_id left join platform.visitor v on v.id = m.visitor_id
    where m.id = p_step and m.state <> 'confirmed' and coalesce(s.id, v.id) is not null
      and (select staff.my_role()) = 'privacy_officer'
$$;

-- The records that a table has about one person, by id and day, newest first: what a hold can name. Nothing of what is in them.
create function privacy.records_of(p_ways jsonb, p_student uuid, p_visitor uuid, p_most int)
returns table (record uuid, at timestamptz) language plpgsql stable security definer set search_path = '' as $$
declare
    person record;
    place regclass;
    key name;
    day name;
begin
    if staff.my_role() is distinct from 'privacy_officer' then
        return;
    end if;
    if (select count(distinct w ->> 'table') from pg_catalog.jsonb_array_elements(p_ways) w) <> 1 then
        raise exception 'one table is asked for at a time';
    end if;
    person := privacy.person_records(p_student, p_visitor);
    place := pg_catalog.to_regclass(p_ways -> 0 ->> 'table');
    select a.attname into key from pg_catalog.pg_attribute a left join pg_catalog.pg_index i
        on i.indrelid = a.attrelid and i.indisprimary and a.attnum = any (i.indkey)
    where a.attrelid = place and a.atttypid = 'uuid'::pg_catalog.regtype and not a.attisdropped
      and (a.attname = 'id' or i.indrelid is not null)
    order by a.attname <> 'id', a.attnum limit 1;
    select a.attname into day from pg_catalog.pg_attribute a
    where a.attrelid = place and a.attnum > 0 and not a.attisdropped
      and a.atttypid in ('timestamptz'::pg_catalog.regtype, 'date'::pg_catalog.regtype)
    order by a.atttypid = 'date'::pg_catalog.regtype, a.attnum limit 1;
    if key is null then
        return;
    end if;
    return query execute pg_catalog.format(
        'select t.%I, %s from %s t where %s order by 2 desc nulls last, 1 limit $3', key,
        coalesce(pg_catalog.format('t.%I::timestamptz', day), 'null::timestamptz'), place,
        (select pg_catalog.string_agg(privacy.way_condition(w), ' or ') from pg_catalog.jsonb_array_elements(p_ways) w))
        using person.students, person.visitors, least(p_most, 200);
end $$;
"""
CALLERS = {
    "privacy.closed_by_student(uuid)": "resocode_app, resocode_worker",
    "privacy.guard_request()": "resocode_owner",
    "privacy.guard_move(privacy.request, privacy.request, privacy.transition)": "resocode_definer",
    "privacy.is_approved(uuid)": "resocode_app, resocode_worker",
    "privacy.step_person(uuid)": "resocode_app",
    "privacy.records_of(jsonb, uuid, uuid, int)": "resocode_app",
}
EVENTS = "what in ('start', 'pause', 'resume', 'extend', 'stop', 'restart')"


def upgrade() -> None:
    """Apply."""
    op.execute("alter table privacy.transition no force row level security")
    for to_state in ("verified", "received"):
        op.execute(
            "insert into privacy.transition (kind, from_state, to_state, role, needs_fresh)"
            f" values ('delete', 'to approve', '{to_state}', '{OFFICER}', true)"
        )
    op.execute("alter table privacy.transition force row level security")
    op.drop_constraint(op.f("ck_request_clock_what_known"), "request_clock", schema="privacy")
    op.create_check_constraint(op.f("ck_request_clock_what_known"), "request_clock", EVENTS, schema="privacy")
    rights.functions(CLOSED + GUARD + FUNCTIONS, CALLERS)


def downgrade() -> None:
    """There is no way back but a backup."""
    raise NotImplementedError("Restore a backup instead.")
