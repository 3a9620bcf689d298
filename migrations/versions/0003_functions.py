"""The functions: sign-in and sessions, audit, search, counts, months.

Danger: a definer function sees rows that its caller may not. Principle: it takes its scope from ``app.staff_id`` inside,
never from an argument, and pins its search path; the functions of the sign-in act before anybody is known, so they take
the secret's hash instead. Mechanism: they belong to resocode_definer (months: to the owner of the tables; audit: to
resocode_ledger), and only the roles named at the end may call them.
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

SIGN_IN = """
create function staff.candidate(p_email text)
returns table (id uuid, name text, role text, password_hash text)
language sql stable security definer set search_path = '' as $$
    select m.id, m.name, m.role, m.password_hash from staff.staff_member m
    where lower(m.email) = lower(p_email) and m.disabled_at is null
$$;

-- Counts an attempt as failed before the password is looked at, so that parallel guesses cannot outrun the counter.
-- Five are free; then the wait doubles from 30 seconds to 15 minutes; after 100 in a row it is a day.
create function staff.begin_attempt(p_name_hash bytea, p_now timestamptz)
returns table (allowed boolean, locked_until timestamptz)
language plpgsql security definer set search_path = '' as $$
declare
    mine staff.throttle;
begin
    insert into staff.throttle as t (name_hash, failures, failed_at) values (p_name_hash, 0, p_now)
    on conflict (name_hash) do nothing;
    select * into mine from staff.throttle t where t.name_hash = p_name_hash for update;
    if mine.locked_until > p_now then
        return query select false, mine.locked_until;
        return;
    end if;
    mine.failures := mine.failures + 1;
    mine.locked_until := case
        when mine.failures >= 100 then p_now + interval '1 day'
        when mine.failures >= 5 then p_now + least(30 * 2 ^ (mine.failures - 5), 900) * interval '1 second'
    end;
    update staff.throttle t set failures = mine.failures, failed_at = p_now, locked_until = mine.locked_until
    where t.name_hash = p_name_hash;
    return query select true, mine.locked_until;
end $$;

create function staff.forget_failures(p_name_hash bytea) returns void
language sql security definer set search_path = '' as $$
    delete from staff.throttle where name_hash = p_name_hash
$$;

create function staff.open_session(
    p_id uuid, p_staff uuid, p_token bytea, p_ticket bytea, p_now timestamptz, p_expires timestamptz,
    p_ticket_expires timestamptz
) returns void language sql security definer set search_path = '' as $$
    insert into staff.session (id, staff_id, token_hash, ticket_hash, ticket_expires_at, started_at, seen_at, expires_at)
    values (p_id, p_staff, p_token, p_ticket, p_ticket_expires, p_now, p_now, p_expires)
$$;

-- Exchanges the ticket for the cookie, once.
create function staff.redeem_ticket(p_ticket bytea, p_cookie bytea, p_now timestamptz) returns boolean
language plpgsql security definer set search_path = '' as $$
begin
    update staff.session s set ticket_used_at = p_now, cookie_hash = p_cookie
    where s.ticket_hash = p_ticket and s.ticket_used_at is null and s.ticket_expires_at > p_now and s.ended_at is null;
    return found;
end $$;

-- The one question of every rerun, action and file: who is this, is the session alive, is the account enabled?
-- An idle or worn-out session is ended here, at the first sight of it.
create function staff.touch_session(p_secret bytea, p_now timestamptz)
returns table (
    session_id uuid, staff_id uuid, name text, email text, role text, demo boolean, cookie_hash bytea,
    started_at timestamptz, expires_at timestamptz
) language plpgsql security definer set search_path = '' as $$
begin
    update staff.session s set ended_at = p_now,
        end_reason = case when s.expires_at <= p_now then 'expired' when m.id is null then 'disabled' else 'idle' end
    from staff.session t left join staff.staff_member m on m.id = t.staff_id and m.disabled_at is null
    where s.id = t.id and p_secret in (t.token_hash, t.cookie_hash) and s.ended_at is null
      and (s.expires_at <= p_now or s.seen_at <= p_now - interval '15 minutes' or m.id is null);
    return query
    update staff.session s set seen_at = greatest(s.seen_at, p_now)
    from staff.staff_member m
    where m.id = s.staff_id and m.disabled_at is null and s.ended_at is null
      and p_secret in (s.token_hash, s.cookie_hash)
    returning s.id, m.id, m.name, m.email, m.role, m.demo, s.cookie_hash, s.started_at, s.expires_at;
end $$;

create function staff.end_session(p_session uuid, p_now timestamptz, p_reason text) returns boolean
language plpgsql security definer set search_path = '' as $$
begin
    update staff.session s set ended_at = p_now, end_reason = p_reason
    where s.id = p_session and s.ended_at is null and s.staff_id = staff.my_id();
    return found;
end $$;
"""

AUDIT = """
-- The bytes of one line. core/privacy/audit.py computes the same in Python; a test holds the two together.
create function privacy.audit_hash(
    p_previous bytea, p_seq bigint, p_at timestamptz, p_actor text, p_actor_id uuid, p_session uuid, p_action text,
    p_subject_kind text, p_subject uuid, p_details text
) returns bytea language sql immutable set search_path = '' as $$
    select pg_catalog.sha256(pg_catalog.convert_to(pg_catalog.concat_ws(E'\\n',
        'resocode-audit-1', pg_catalog.encode(p_previous, 'hex'), p_seq::text,
        pg_catalog.to_char(p_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        p_actor, coalesce(p_actor_id::text, '-'), coalesce(p_session::text, '-'), p_action,
        coalesce(p_subject_kind, '-'), coalesce(p_subject::text, '-'), p_details), 'UTF8'))
$$;

-- Appends one line under a lock that lasts until the end of the transaction: no gaps, no forks.
create function privacy.append_audit(
    p_at timestamptz, p_action text, p_subject_kind text, p_subject uuid, p_details text
) returns bigint language plpgsql security definer set search_path = '' as $$
declare
    last privacy.audit_event;
    next_seq bigint;
    who text := case when staff.my_id() is not null then 'staff'
                     when session_user = 'resocode_worker' then 'system' else 'nobody' end;
begin
    if p_action ~ '\\n' or p_subject_kind ~ '\\n' or p_details ~ '\\n' then
        raise exception 'an audit line holds no line break';
    end if;
    perform pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('resocode audit'));
    select * into last from privacy.audit_event a order by a.seq desc limit 1;
    next_seq := coalesce(last.seq, 0) + 1;
    insert into privacy.audit_event
        (seq, at, actor, actor_id, session_id, action, subject_kind, subject_id, details, previous, hash)
    values (next_seq, p_at, who, staff.my_id(), staff.my_session(), p_action, p_subject_kind, p_subject, p_details,
        coalesce(last.hash, '\\x'), privacy.audit_hash(coalesce(last.hash, '\\x'), next_seq, p_at, who, staff.my_id(),
        staff.my_session(), p_action, p_subject_kind, p_subject, p_details));
    return next_seq;
end $$;

-- Whether this session looked at this person for this purpose within the last 15 minutes (one line is enough then).
create function privacy.view_is_recorded(p_subject uuid, p_details text, p_now timestamptz) returns boolean
language sql stable security definer set search_path = '' as $$
    select exists (select from privacy.audit_event a where a.subject_id = p_subject and a.session_id = staff.my_session()
        and a.action = 'person viewed' and a.details = p_details and a.at > p_now - interval '15 minutes')
$$;

create function privacy.refuse_audit_change() returns trigger language plpgsql as $$
begin
    raise exception 'the audit is append-only';
end $$;

create trigger append_only before update or delete on privacy.audit_event
    for each row execute function privacy.refuse_audit_change();
create trigger never_truncated before truncate on privacy.audit_event
    for each statement execute function privacy.refuse_audit_change();
"""

SEARCH = """
-- Proposes the enrollments of one page, in order; the caller reads them under row-level security, which disposes.
-- EXECUTE plans with the actual values: the trigram index for a rare pattern, the date index for a common one.
-- p_after holds the sort value and the id of the last row seen ('' and null: from the start).
create function platform.find_enrollments(
    p_text text, p_program uuid, p_cohort uuid, p_status text[], p_level text, p_unconfirmed boolean, p_from timestamptz, p_to timestamptz,
    p_sort text, p_after_value text, p_after_id uuid, p_limit int
) returns table (id uuid, sort_value text) language plpgsql stable security definer set search_path = '' as $$
declare
    query text := platform.enrollment_filter(p_text, p_program, p_cohort, p_status, p_level, p_unconfirmed, p_from, p_to);
    ordered text;
begin
    ordered := case p_sort
        when 'newest' then 'e.enrolled_at::text from '
            || query || case when p_after_id is null then '' else
            ' and (e.enrolled_at, e.id) < ($8::timestamptz, $9)' end || ' order by e.enrolled_at desc, e.id desc'
        when 'oldest' then 'e.enrolled_at::text from '
            || query || case when p_after_id is null then '' else
            ' and (e.enrolled_at, e.id) > ($8::timestamptz, $9)' end || ' order by e.enrolled_at, e.id'
        when 'name' then 'lower(s.name) from '
            || query || case when p_after_id is null then '' else
            ' and (lower(s.name), e.id) > ($8, $9)' end || ' order by lower(s.name), e.id'
    end;
    if ordered is null then
        raise exception 'unknown order %', p_sort;
    end if;
    return query execute 'select e.id, ' || ordered || ' limit $10'
    using '%' || lower(p_text) || '%', p_program, p_cohort, p_status, p_level, p_from, p_to, p_after_value, p_after_id,
        p_limit, staff.my_cohorts();
end $$;

-- How many there are, counted up to p_cap.
create function platform.count_enrollments(
    p_text text, p_program uuid, p_cohort uuid, p_status text[], p_level text, p_unconfirmed boolean, p_from timestamptz, p_to timestamptz,
    p_cap int
) returns bigint language plpgsql stable security definer set search_path = '' as $$
declare
    found bigint;
begin
    execute 'select count(*) from (select from '
        || platform.enrollment_filter(p_text, p_program, p_cohort, p_status, p_level, p_unconfirmed, p_from, p_to) || ' limit $10) capped'
    into found
    using '%' || lower(p_text) || '%', p_program, p_cohort, p_status, p_level, p_from, p_to, null::text, null::uuid,
        p_cap, staff.my_cohorts();
    return found;
end $$;

-- The FROM and WHERE that the two share: scope first, then only the filters that are set. p_text is escaped for LIKE.
create function platform.enrollment_filter(
    p_text text, p_program uuid, p_cohort uuid, p_status text[], p_level text, p_unconfirmed boolean, p_from timestamptz, p_to timestamptz
) returns text language sql stable security definer set search_path = '' as $$
    select 'platform.enrollment e join platform.student s on s.id = e.student_id where '
        || case when staff.my_role() = 'program_staff' then 'true' else 'e.cohort_id = any ($11)' end
        || case when p_text is null then '' else ' and lower(s.name) || '' '' || lower(s.email) like $1' end
        || case when p_program is null then '' else ' and e.program_id = $2' end
        || case when p_cohort is null then '' else ' and e.cohort_id = $3' end
        || case when p_status is null then ''
                when cardinality(p_status) = 1 then ' and e.status = ($4)[1]' -- so that the index gives the order
                else ' and e.status = any ($4)' end
        || case when p_level is null then '' else ' and s.experience_level = $5' end
        || case when p_unconfirmed then ' and e.confirmed_at is null' else '' end
        || case when p_from is null then '' else ' and e.enrolled_at >= $6' end
        || case when p_to is null then '' else ' and e.enrolled_at < $7' end
$$;
"""

COUNTS = """
-- (select …) makes the planner ask once instead of for every row.
-- Enrollments by program, cohort, month and status; for those who may know how many there are without seeing who.
create function platform.enrollment_counts(p_from timestamptz, p_to timestamptz)
returns table (program_id uuid, cohort_id uuid, month date, status text, started boolean, enrollments bigint)
language sql stable security definer set search_path = '' as $$
    select e.program_id, e.cohort_id, pg_catalog.date_trunc('month', e.enrolled_at at time zone 'UTC')::date, e.status,
        e.started_at is not null, count(*)
    from platform.enrollment e
    where ((select staff.my_role()) in ('program_staff', 'admin') or e.cohort_id = any ((select staff.my_cohorts())::uuid[]))
      and (p_from is null or e.enrolled_at >= p_from) and (p_to is null or e.enrolled_at < p_to)
    group by 1, 2, 3, 4, 5
$$;

create function platform.visitor_counts(p_from timestamptz, p_to timestamptz)
returns table (program_id uuid, month date, visitors bigint)
language sql stable security definer set search_path = '' as $$
    select v.program_id, pg_catalog.date_trunc('month', v.asked_at at time zone 'UTC')::date, count(*)
    from platform.visitor v
    where (select staff.my_role()) in ('program_staff', 'admin')
      and (p_from is null or v.asked_at >= p_from) and (p_to is null or v.asked_at < p_to)
    group by 1, 2
$$;

-- Enrollments and withdrawals of each of the weeks that begin on p_monday and after, oldest first.
create function platform.weekly_counts(p_monday date, p_weeks int)
returns table (week date, enrolled bigint, withdrawn bigint, visitors bigint)
language sql stable security definer set search_path = '' as $$
    with weeks as (
        select p_monday + 7 * n as monday, ((p_monday + 7 * n)::timestamp at time zone 'UTC') as begins,
            ((p_monday + 7 * n + 7)::timestamp at time zone 'UTC') as ends
        from pg_catalog.generate_series(0, p_weeks - 1) as n
    )
    select w.monday,
        (select count(*) from platform.enrollment e where e.enrolled_at >= w.begins and e.enrolled_at < w.ends),
        (select count(*) from platform.enrollment e where e.withdrawn_at >= w.begins and e.withdrawn_at < w.ends),
        (select count(*) from platform.visitor v where v.asked_at >= w.begins and v.asked_at < w.ends)
    from weeks w
    where (select staff.my_role()) in ('program_staff', 'admin')
    order by 1
$$;

-- The figures behind the desk of a privacy officer and the proofs of an auditor: counts, nobody's rows.
create function privacy.promise_counts(p_now timestamptz, p_log_days int, p_grace_days int)
returns table (
    open_requests bigint, overdue_requests bigint, due_soon_requests bigint, minors_without_consent bigint,
    ages_not_declared bigint, old_mail_logs bigint, oldest_mail_log timestamptz, closed_in_grace bigint,
    closed_past_grace bigint
) language sql stable security definer set search_path = '' as $$
    select
        (select count(*) from privacy.request r where r.closed_at is null),
        (select count(*) from privacy.request r where r.closed_at is null and r.due_at < p_now),
        (select count(*) from privacy.request r where r.closed_at is null and r.due_at >= p_now
            and r.due_at < p_now + interval '7 days'),
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

MONTHS = """
-- Makes the monthly partitions from p_from to p_to (both included) where they are missing; returns how many it made.
create function platform.make_months(p_table text, p_from date, p_to date) returns int
language plpgsql security definer set search_path = '' as $$
declare
    month date := pg_catalog.date_trunc('month', p_from)::date;
    made int := 0;
    part text;
begin
    if p_table not in ('email_log', 'usage_event') then
        raise exception 'not a table by month: %', p_table;
    end if;
    perform pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('resocode months'));
    while month <= p_to loop
        part := p_table || pg_catalog.to_char(month, '"_"YYYY"_"MM');
        if pg_catalog.to_regclass('platform.' || part) is null then
            execute pg_catalog.format('create table platform.%I partition of platform.%I for values from (%L) to (%L)',
                part, p_table, month::text || ' 00:00:00+00', (month + interval '1 month')::date::text || ' 00:00:00+00');
            made := made + 1;
        end if;
        month := (month + interval '1 month')::date;
    end loop;
    return made;
end $$;

-- Drops the months that lie wholly before p_before; returns their names. Held rows must have been moved out by then.
create function platform.drop_months(p_table text, p_before date) returns text[]
language plpgsql security definer set search_path = '' set lock_timeout = '4s' as $$
declare
    part record;
    dropped text[] := '{}';
begin
    if p_table not in ('email_log', 'usage_event') then
        raise exception 'not a table by month: %', p_table;
    end if;
    for part in
        select c.relname from pg_catalog.pg_inherits i join pg_catalog.pg_class c on c.oid = i.inhrelid
        where i.inhparent = ('platform.' || p_table)::regclass
          and pg_catalog.to_date(pg_catalog.right(c.relname, 7), 'YYYY_MM') + interval '1 month' <= p_before
        order by 1
    loop
        execute pg_catalog.format('drop table platform.%I', part.relname);
        dropped := dropped || part.relname::text;
    end loop;
    return dropped;
end $$;
"""

CALLERS = {
    "staff.my_id()": "public",
    "staff.my_session()": "public",
    "staff.my_role()": "resocode_app, resocode_worker, resocode_ledger",
    "staff.my_cohorts()": "resocode_app, resocode_worker",
    "staff.candidate(text)": "resocode_app",
    "staff.begin_attempt(bytea, timestamptz)": "resocode_app",
    "staff.forget_failures(bytea)": "resocode_app, resocode_worker",
    "staff.open_session(uuid, uuid, bytea, bytea, timestamptz, timestamptz, timestamptz)": "resocode_app",
    "staff.redeem_ticket(bytea, bytea, timestamptz)": "resocode_app",
    "staff.touch_session(bytea, timestamptz)": "resocode_app",
    "staff.end_session(uuid, timestamptz, text)": "resocode_app",
    "privacy.append_audit(timestamptz, text, text, uuid, text)": "resocode_app, resocode_worker",
    "privacy.view_is_recorded(uuid, text, timestamptz)": "resocode_app",
    "platform.find_enrollments(text, uuid, uuid, text[], text, boolean, timestamptz, timestamptz, text, text, uuid, int)":
        "resocode_app",
    "platform.count_enrollments(text, uuid, uuid, text[], text, boolean, timestamptz, timestamptz, int)": "resocode_app",
    "platform.enrollment_counts(timestamptz, timestamptz)": "resocode_app",
    "platform.visitor_counts(timestamptz, timestamptz)": "resocode_app",
    "platform.weekly_counts(date, int)": "resocode_app",
    "privacy.promise_counts(timestamptz, int, int)": "resocode_app",
    "platform.make_months(text, date, date)": "resocode_worker",
    "platform.drop_months(text, date)": "resocode_worker",
}  # fmt: skip


def upgrade() -> None:
    """Apply."""
    _as_role("resocode_definer", SIGN_IN, COUNTS)
    _as_role("resocode_definer", SEARCH[SEARCH.index("-- The FROM and WHERE") :], SEARCH[: SEARCH.index("-- The FROM")])
    _as_role("resocode_ledger", AUDIT)
    op.execute(MONTHS)
    for role in ("resocode_definer", "resocode_ledger", "resocode_owner"):
        _as_role(role, _closed_to_public(role))
    for function, callers in CALLERS.items():
        _as_role(_owner_of(function), f"grant execute on function {function} to {callers}")


def _owner_of(function: str) -> str:
    if function.startswith("privacy.append_audit") or function.startswith("privacy.view_is"):
        return "resocode_ledger"
    return "resocode_owner" if "months" in function else "resocode_definer"


def _closed_to_public(role: str) -> str:
    return f"""
        do $$ declare f regprocedure; begin
            for f in select p.oid::regprocedure from pg_proc p where p.proowner = '{role}'::regrole loop
                execute 'revoke all on function ' || f || ' from public';
            end loop;
        end $$"""


def _as_role(role: str, *scripts: str) -> None:
    op.execute(f"set local role {role}")
    for script in scripts:
        op.execute(script)
    op.execute("reset role")


def downgrade() -> None:
    """There is no way back from the first release but a new database."""
    raise NotImplementedError("Restore a backup instead.")
