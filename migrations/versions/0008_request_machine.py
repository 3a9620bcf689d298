"""Requests: the transitions as data, the trigger that holds them, who may touch what, and the functions.

Danger: a state set by hand says that something happened which did not. Principle: a request moves along the rows of
``privacy.transition`` and no other way, whoever asks; what an approval needs is counted here, not believed. Mechanism: a
trigger on every INSERT, UPDATE and DELETE of ``privacy.request`` reads who acts from ``app.staff_id`` (nobody: the worker as
"system"), and writes the move.
"""

from alembic import op

from migrations import rights

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

KINDS = ("access", "export", "correct", "delete", "restrict", "opt_out", "object")
OFFICER_ROLE = "privacy_officer"

# from, to, role, distinct actor, fresh, no return
EVERY_KIND = (
    ("", "received", "anyone", False, False, False),
    ("received", "checking", OFFICER_ROLE, False, False, False),
    ("received", "verified", OFFICER_ROLE, False, False, False),
    ("checking", "verified", OFFICER_ROLE, False, False, False),
    *((state, "answered", OFFICER_ROLE, False, False, False) for state in ("received", "checking", "verified")),
    *((state, "refused", OFFICER_ROLE, False, False, False) for state in ("received", "checking", "verified")),
    *((state, "withdrawn", OFFICER_ROLE, False, False, False) for state in ("received", "checking", "verified")),
)
DELETE = (
    ("verified", "to approve", OFFICER_ROLE, False, True, False),
    ("to approve", "waiting", OFFICER_ROLE, True, True, False),
    ("", "waiting", "system", False, False, False),
    ("waiting", "to approve", OFFICER_ROLE, False, False, False),
    ("waiting", "to approve", "system", False, False, False),
    *((state, "reactivated", role, False, fresh, False) for state in ("to approve", "waiting")
      for role, fresh in ((OFFICER_ROLE, True), ("system", False))),
    ("to approve", "refused", OFFICER_ROLE, False, True, False),
    *((state, "withdrawn", OFFICER_ROLE, False, True, False) for state in ("to approve", "waiting")),  # visitors
    ("waiting", "erasing", "system", False, False, True),
    ("erasing", "erased", "system", False, False, True),
)  # fmt: skip

OFFICER = "(select staff.my_role()) = 'privacy_officer'"
SIGNED_IN = "(select staff.my_role()) is not null"
MINE = "{0} = (select staff.my_id())"
CHANGED = (
    "student_id, visitor_id, state, owner_id, due_at, paused_at, extended_months, answered_at, identity, identity_method,"
    " identity_by, identity_at, account_closed_at, grace_ends_at, opted_out_before, early, approvals_needed,"
    " plan_fingerprint, outcome, closed_at, moved_at, changed_what"
)
# What nobody changes afterwards, and nobody removes while the proof is needed.
RECORDS = ("request_move", "request_clock", "deletion_plan", "plan_view", "approval")

HELPERS = """
-- The role of whoever asks, held until the end of the transaction: nobody loses it between the check and the effect.
create function staff.hold_my_role() returns text language sql volatile security definer set search_path = '' as $$
    select m.role from staff.staff_member m where m.id = staff.my_id() and m.disabled_at is null for share
$$;

-- Names of staff members, for those who work with them.
create function staff.names_of(p_ids uuid[]) returns table (id uuid, name text)
language sql stable security definer set search_path = '' as $$
    select m.id, m.name from staff.staff_member m where m.id = any (p_ids) and staff.my_role() is not null
$$;

-- Whether the company has declared that one officer decides alone, and that is still so: exactly one is enabled.
create function privacy.single_officer() returns boolean
language sql stable security definer set search_path = '' as $$
    select exists (select from privacy.declaration d where d.what = 'single officer' and d.until is null)
       and (select count(*) from staff.staff_member m where m.role = 'privacy_officer' and m.disabled_at is null) = 1
$$;

-- Whether the subject works here (own: is whoever asks), by e-mail.
create function privacy.subject_at_work(p_student uuid, p_visitor uuid) returns table (staff boolean, own boolean)
language sql stable security definer set search_path = '' as $$
    with address as (
        select s.email from platform.student s where s.id = p_student
        union all select v.email from platform.visitor v where v.id = p_visitor
    )
    select count(m.id) > 0, coalesce(bool_or(m.id = staff.my_id()), false)
    from address a join staff.staff_member m on lower(m.email) = lower(a.email)
    where staff.my_role() = 'privacy_officer' or session_user = 'resocode_worker'
$$;

-- Those who may not approve this deletion: who filed it, owns it, closed the account.
create function privacy.involved_in(p_request uuid) returns uuid[]
language sql stable security definer set search_path = '' as $$
    select pg_catalog.array_remove(pg_catalog.array_agg(distinct who), null) from (
        select r.filed_by as who from privacy.request r where r.id = p_request
        union select r.owner_id from privacy.request r where r.id = p_request
        union select m.moved_by from privacy.request_move m
            where m.request_id = p_request and m.from_state = 'verified' and m.to_state = 'to approve'
    ) everybody
$$;

-- How many people have approved this plan, have seen it before, and may: an officer still, and not involved.
create function privacy.approvals_of(p_request uuid, p_fingerprint text) returns bigint
language sql stable security definer set search_path = '' as $$
    select count(distinct a.staff_id) from privacy.approval a
    join staff.staff_member m on m.id = a.staff_id and m.role = 'privacy_officer' and m.disabled_at is null
    where a.request_id = p_request and a.fingerprint = p_fingerprint
      and (privacy.single_officer() or a.staff_id <> all (coalesce(privacy.involved_in(p_request), '{}')))
      and exists (select from privacy.plan_view v where v.request_id = a.request_id and v.staff_id = a.staff_id
                  and v.fingerprint = a.fingerprint and v.viewed_at <= a.approved_at)
$$;
"""

GUARD = """
create function privacy.guard_request() returns trigger
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
        if who is not null and exists (
            select from privacy.subject_at_work(new.student_id, new.visitor_id) w where w.own) then
            raise exception 'nobody decides about their own record' using errcode = 'insufficient_privilege';
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

-- What single moves need beyond their row in privacy.transition.
create function privacy.guard_move(old privacy.request, new privacy.request, rule privacy.transition) returns void
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
end $$;

create function privacy.refuse_other_roles() returns trigger language plpgsql set search_path = '' as $$
begin
    if session_user in ('resocode_owner', 'resocode_analyst') then
        raise exception 'requests change through the dashboard and the worker only' using errcode = 'insufficient_privilege';
    end if;
    return null;
end $$;

create function privacy.keep_record() returns trigger language plpgsql security definer set search_path = '' as $$
begin
    if tg_op = 'DELETE' then
        if exists (select from privacy.request r where r.id = old.request_id
                   and (r.closed_at is null or r.closed_at > pg_catalog.now() - interval '3 years')) then
            raise exception '% keeps its rows for three years after the end of the request', tg_table_name;
        end if;
        return old;
    end if;
    raise exception '% is append-only', tg_table_name;
end $$;
"""

FILING = """
-- Files a request for whoever is signed in, of any role. The subject is given, or found by the keyed hash of an e-mail
-- (a student before a visitor); neither: unknown. The same form again, or a request of this kind that is open for this
-- person, gives that one back, and the words are kept with it.
create function privacy.file_request(
    p_id uuid, p_clock uuid, p_form_key uuid, p_kind text, p_student uuid, p_visitor uuid, p_email_hash bytea,
    p_channel text, p_requester text, p_received timestamptz, p_due timestamptz, p_now timestamptz, p_policy text,
    p_words text, p_contact text
) returns table (
    id uuid, number bigint, received_at timestamptz, due_at timestamptz, made text, known boolean, kept boolean
)
language plpgsql security definer set search_path = '' as $$
declare
    who uuid := staff.my_id();
    of_student uuid := p_student;
    of_visitor uuid := p_visitor;
    mine privacy.request;
    how text := 'filed';
    texts bigint := 0;
begin
    if staff.my_role() is null then
        raise exception 'nobody is signed in' using errcode = 'insufficient_privilege';
    end if;
    if p_email_hash is not null and of_student is null and of_visitor is null then
        select s.id into of_student from platform.student s where s.email_hash = p_email_hash limit 1;
        if of_student is null then
            select v.id into of_visitor from platform.visitor v where v.email_hash = p_email_hash
            order by v.asked_at desc limit 1;
        end if;
    end if;
    insert into privacy.request as r (id, form_key, kind, student_id, visitor_id, channel, requester, state, policy_version,
        received_at, filed_at, filed_by, due_at, moved_at, source)
    values (p_id, p_form_key, p_kind, of_student, of_visitor, p_channel, p_requester, 'received', p_policy,
        p_received, p_now, who, p_due, p_now, 'dashboard')
    on conflict do nothing returning r.* into mine;
    if mine.id is null then
        select r.* into mine from privacy.request r where r.form_key = p_form_key and r.filed_by = who;
        if mine.id is not null then
            how := 'same form';
        else
            select r.* into mine from privacy.request r where r.kind = p_kind and r.closed_at is null
                and (r.student_id = of_student or r.visitor_id = of_visitor);
            if mine.id is null then
                raise exception 'this form was used by somebody else';
            end if;
            how := 'already open';
        end if;
    else
        insert into privacy.request_clock (id, request_id, version, what, at, set_by, reason)
        values (p_clock, mine.id, 1, 'start', p_received, who, 'received');
        insert into privacy.request_move (request_id, version, from_state, to_state, moved_at, moved_by)
        values (mine.id, 1, '', 'received', p_now, who);
    end if;
    if how <> 'same form' then
        insert into privacy.request_text (id, form_key, request_id, student_id, visitor_id, what, body, written_by, written_at)
        select pg_catalog.gen_random_uuid(), t.key, mine.id, mine.student_id, mine.visitor_id, t.what, t.body, who, p_now
        from (values ('words', p_words, p_form_key), ('contact', p_contact, null::uuid)) as t (what, body, key)
        where t.body <> '' and (how = 'filed' or t.what = 'words')
        on conflict (form_key) do nothing;
        get diagnostics texts = row_count;
    end if;
    return query select mine.id, mine.number, mine.received_at, mine.due_at, how,
        mine.student_id is not null or mine.visitor_id is not null, texts > 0;
end $$;

-- What whoever asks has handed on: that it was received, and no more.
create function privacy.handed_on() returns table (number bigint, kind text, received_at timestamptz, filed_at timestamptz)
language sql stable security definer set search_path = '' as $$
    select r.number, r.kind, r.received_at, r.filed_at from privacy.request r
    where r.filed_by = staff.my_id() and staff.my_role() is not null
    order by r.filed_at desc limit 50
$$;

-- Finds the person behind an e-mail, for an officer who links an open request. A student before a visitor.
create function privacy.person_of(p_email_hash bytea) returns table (student_id uuid, visitor_id uuid)
language sql stable security definer set search_path = '' as $$
    select * from (
        select s.id, null::uuid from platform.student s where s.email_hash = p_email_hash
        union all
        (select null, v.id from platform.visitor v where v.email_hash = p_email_hash order by v.asked_at desc limit 1)
    ) found
    where staff.my_role() = 'privacy_officer' limit 1
$$;
"""

FIGURES = """
-- A year of requests by kind: counts and medians, nobody's rows.
create function privacy.request_figures(p_from timestamptz, p_to timestamptz, p_now timestamptz)
returns table (
    kind text, received bigint, still_open bigint, answered bigint, refused bigint, withdrawn bigint, reactivated bigint,
    erased bigint, extended bigint, late bigint, median_days numeric, longest_days numeric
) language sql stable security definer set search_path = '' as $$
    select r.kind, count(*), count(*) filter (where r.closed_at is null),
        count(*) filter (where r.state = 'answered'), count(*) filter (where r.state = 'refused'),
        count(*) filter (where r.state = 'withdrawn'), count(*) filter (where r.state = 'reactivated'),
        count(*) filter (where r.state = 'erased'), count(*) filter (where r.extended_months > 0),
        count(*) filter (where coalesce(r.answered_at, r.closed_at, p_now) > r.due_at and r.paused_at is null),
        pg_catalog.round((pg_catalog.percentile_cont(0.5) within group (order by
            extract(epoch from r.answered_at - r.received_at) / 86400) filter (where r.answered_at is not null))::numeric, 1),
        pg_catalog.round(max(extract(epoch from r.answered_at - r.received_at) / 86400)::numeric, 1)
    from privacy.request r
    where r.received_at >= p_from and r.received_at < p_to
      and staff.my_role() in ('privacy_officer', 'admin', 'auditor')
    group by r.kind order by r.kind
$$;

-- The figures behind the desk of a privacy officer and the proofs of an auditor: counts, nobody's rows.
create or replace function privacy.promise_counts(p_now timestamptz, p_log_days int, p_grace_days int)
returns table (
    open_requests bigint, overdue_requests bigint, due_soon_requests bigint, minors_without_consent bigint,
    ages_not_declared bigint, old_mail_logs bigint, oldest_mail_log timestamptz, closed_in_grace bigint,
    closed_past_grace bigint
) language sql stable security definer set search_path = '' as $$
    select
        (select count(*) from privacy.request r where r.closed_at is null),
        (select count(*) from privacy.request r where r.closed_at is null and r.answered_at is null
            and r.paused_at is null and r.due_at < p_now),
        (select count(*) from privacy.request r where r.closed_at is null and r.answered_at is null
            and r.paused_at is null and r.due_at >= p_now and r.due_at < p_now + interval '7 days'),
        (select count(*) from privacy.consent c where c.state in ('missing', 'given', 'withdrawn')),
        (select count(*) from platform.student s left join privacy.consent c on c.student_id = s.id
            where c.birth_date is null and c.adult is null),
        (select count(*) from platform.email_log l where l.sent_at < p_now - p_log_days * interval '1 day'),
        (select min(l.sent_at) from platform.email_log l),
        (select count(*) from platform.student s where s.closed_at > p_now - p_grace_days * interval '24 hours'),
        (select count(*) from platform.student s where s.closed_at <= p_now - p_grace_days * interval '24 hours')
    where (select staff.my_role()) in ('privacy_officer', 'admin', 'auditor')
$$;
"""

CALLERS = {
    "staff.hold_my_role()": "resocode_app, resocode_worker",
    "staff.names_of(uuid[])": "resocode_app, resocode_worker",
    "privacy.single_officer()": "resocode_app, resocode_worker",
    "privacy.subject_at_work(uuid, uuid)": "resocode_app, resocode_worker",
    "privacy.involved_in(uuid)": "resocode_app, resocode_worker",
    "privacy.approvals_of(uuid, text)": "resocode_app, resocode_worker",
    "privacy.guard_request()": "resocode_owner",
    "privacy.guard_move(privacy.request, privacy.request, privacy.transition)": "resocode_definer",
    "privacy.keep_record()": "resocode_owner",
    "privacy.file_request(uuid, uuid, uuid, text, uuid, uuid, bytea, text, text, timestamptz, timestamptz, timestamptz, text,"
    " text, text)": "resocode_app, resocode_worker",
    "privacy.handed_on()": "resocode_app",
    "privacy.person_of(bytea)": "resocode_app, resocode_worker",
    "privacy.request_figures(timestamptz, timestamptz, timestamptz)": "resocode_app, resocode_worker",
    "privacy.promise_counts(timestamptz, int, int)": "resocode_app",
}


def upgrade() -> None:
    """Apply."""
    _write_transitions()
    _open_tables()
    rights.functions(HELPERS + GUARD + FILING + FIGURES, CALLERS)
    _set_triggers()


def _write_transitions() -> None:
    """Before the table is closed: afterwards nobody writes to it but a migration."""
    for kind in KINDS:
        for from_state, to_state, role, distinct, fresh, final in EVERY_KIND + (DELETE if kind == "delete" else ()):
            op.execute(
                "insert into privacy.transition values"
                f" ('{kind}', '{from_state}', '{to_state}', '{role}', {distinct}, {fresh}, {final})"
            )


def _open_tables() -> None:
    rights.close("privacy.transition")
    op.execute("revoke insert, update, delete on privacy.transition from resocode_worker")
    rights.app_reads("privacy.transition", SIGNED_IN)
    rights.let_definer("privacy.request_move", "insert")
    rights.let_definer("privacy.request_clock", "insert")
    rights.let_definer("privacy.request_text", "insert")
    op.execute("grant update (disabled_at) on staff.staff_member to resocode_definer")
    rights.app_changes("privacy.request", OFFICER, f"({CHANGED})")
    for table in ("request_move", "request_clock", "request_text", "deletion_plan", "plan_view", "approval", "propagation",
                  "letter_template", "outbox", "declaration"):  # fmt: skip
        rights.close(f"privacy.{table}")
        rights.app_reads(f"privacy.{table}", SIGNED_IN if table == "declaration" else OFFICER)
    for table, actor in (("request_clock", "set_by"), ("request_text", "written_by"), ("deletion_plan", "made_by"),
                         ("plan_view", "staff_id"), ("approval", "staff_id"), ("letter_template", "written_by"),
                         ("outbox", "written_by")):  # fmt: skip
        rights.app_adds(f"privacy.{table}", f"{OFFICER} and {MINE.format(actor)}")
    rights.app_adds("privacy.propagation", OFFICER)
    rights.app_changes("privacy.propagation", OFFICER, "(state, done_at, done_by)")
    rights.app_changes("privacy.request_text", OFFICER, "(student_id, visitor_id)")
    rights.app_changes("privacy.outbox", OFFICER, "(state, address, sent_at, sent_by, sent_how)")
    deleting = (
        "id in (select r.student_id from privacy.request r where r.closed_at is null and r.kind = 'delete'"
        " and r.state in ('verified', 'to approve', 'waiting'))"
    )
    rights.app_changes("platform.student", f"{OFFICER} and {deleting}", "(account_status, closed_at)")


def _set_triggers() -> None:
    op.execute(
        "create trigger guard before insert or update or delete on privacy.request"
        " for each row execute function privacy.guard_request()"
    )
    op.execute(
        "create trigger known_roles before insert or update or delete or truncate on privacy.request"
        " for each statement execute function privacy.refuse_other_roles()"
    )
    for table in RECORDS:
        op.execute(
            f"create trigger keep before update or delete on privacy.{table}"
            " for each row execute function privacy.keep_record()"
        )


def downgrade() -> None:
    """There is no way back but a backup."""
    raise NotImplementedError("Restore a backup instead.")
