"""Which subscription of somebody is their last one, so that an index finds whose time is over; the page of retention counts to a limit.

Danger: a student who has paid again is taken for one whose time is over, or the page of retention and every look of the worker read all
subscriptions there ever were. Principle: ``superseded`` says that another one of the same student ends later; who is told or closed is
compared with their other subscriptions all the same. Mechanism: a trigger for each statement marks the subscriptions of whoever it
touched, under locks on those that were there, so that of two writers at once the second one sees the first; an index of the last ones by
their end; figures of the page stop at 1,000, a dry run and the promises count exactly.
"""

import sqlalchemy as sa
from alembic import op

from migrations import rights

revision = "0061"
down_revision = "0060"
branch_labels = None
depends_on = None

LATER = """exists (
        select from platform.subscription o where o.student_id = b.student_id
          and (coalesce(o.ends_on, 'infinity'), o.id) > (coalesce(b.ends_on, 'infinity'), b.id))"""

FUNCTIONS = f"""
create function platform.mark_superseded() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
    if pg_catalog.pg_trigger_depth() > 1 then
        return null;
    end if;
    perform from platform.subscription b where b.student_id in (select c.student_id from changed c)
        and b.id not in (select c.id from changed c) order by b.id for no key update;
    update platform.subscription b set superseded = not b.superseded
    where b.student_id in (select c.student_id from changed c) and b.superseded is distinct from {LATER};
    return null;
end $$;

-- As in 0035: open accounts whose last subscription ended before p_today, with the day of its end.
create or replace function privacy.lapsed(p_today date) returns table (student_id uuid, ended_on date)
language sql stable security definer set search_path = '' as $$
    select b.student_id, b.ends_on
    from platform.subscription b join platform.student s on s.id = b.student_id and s.account_status = 'open'
    where not b.superseded and b.ends_on < p_today and not {LATER}
$$;

-- As privacy.old_visitors (0058), of whoever left a form before p_asked.
create function privacy.old_visitors_of(p_asked timestamptz, p_before timestamptz) returns table (person uuid, last_contact timestamptz, held boolean)
language sql stable security definer set search_path = '' as $$
    with addresses as (
        select distinct v.email_hash from platform.visitor v where v.asked_at < p_asked
    ), forms as (
        select v.email_hash, v.id, greatest(v.asked_at, v.answered_at, v.next_contact_on::timestamp at time zone 'UTC',
            (select max(f.at) from platform.follow_up f where f.visitor_id = v.id)) as last
        from addresses a join platform.visitor v on v.email_hash = a.email_hash
    ), people as (
        select f.email_hash, (pg_catalog.array_agg(f.id order by f.id))[1] as person, max(f.last) as last from forms f group by 1
        having max(f.last) < p_before
    ), held as (
        select coalesce(s.email_hash, v.email_hash) as hash from privacy.legal_hold h
        left join platform.student s on s.id = h.student_id left join platform.visitor v on v.id = h.visitor_id
        where h.released_at is null and (h.scope_table is null or h.visitor_id is not null or h.scope_table in ('platform.visitor',
            'platform.follow_up', 'platform.visitor_device', 'platform.email_log', 'platform.held_mail'))
    )
    select p.person, p.last, exists (select from held h where h.hash = p.email_hash)
    from people p
    where not exists (
        select from privacy.request r
        left join platform.visitor v on v.id = r.visitor_id left join platform.student s on s.id = r.student_id
        where r.closed_at is null and p.email_hash in (v.email_hash, s.email_hash))
    order by p.last, p.person
$$;

create or replace function privacy.old_visitors(p_before timestamptz) returns table (person uuid, last_contact timestamptz, held boolean)
language sql stable security definer set search_path = '' as $$
    select o.person, o.last_contact, o.held from privacy.old_visitors_of(p_before, p_before) o
$$;

-- How many of privacy.old_visitors would go, and how many a hold keeps: from the oldest forms on, until there are p_most.
create function privacy.some_old_visitors(p_before timestamptz, p_most int, p_part int default 2500) returns table (due bigint, held bigint)
language plpgsql stable security definer set search_path = '' as $$
declare
    part int := p_part;
    until timestamptz;
begin
    loop
        select v.asked_at into until from platform.visitor v where v.asked_at < p_before order by v.asked_at offset part limit 1;
        select count(*) filter (where not o.held), count(*) filter (where o.held) into due, held
            from privacy.old_visitors_of(coalesce(until, p_before), p_before) o;
        if due >= p_most or until is null then
            due := least(due, p_most);
            return next;
            return;
        end if;
        part := part * 4;
    end loop;
end $$;

-- As in 0058; what may be many is counted up to 1,001 unless p_exact.
create or replace function privacy.retention_state(
    p_now timestamptz, p_mail_days int, p_visitors_before timestamptz, p_notice_days int, p_grace_days int, p_exact boolean
) returns table (rule text, oldest timestamptz, due bigint, held bigint)
language plpgsql stable security definer set search_path = '' as $$
declare
    today date := (p_now at time zone 'UTC')::date;
    mail_before timestamptz := p_now - p_mail_days * interval '1 day';
begin
    if not (staff.my_role() in ('privacy_officer', 'admin', 'auditor') or session_user = 'resocode_worker') then
        return;
    end if;
    return query select 'e-mail logs', min(l.sent_at), null::bigint, (select count(*) from platform.held_mail)
        from platform.email_log l;
    if p_exact then
        return query select 'e-mail logs, counted', null::timestamptz,
            (select count(*) from platform.email_log l where l.sent_at < mail_before) - (select count(*) from (
                select l.id from privacy.held_for_mail() h join platform.email_log l on l.student_id = h.student_id
                where l.sent_at < mail_before and (h.record is null or h.record = l.id)
                union select l.id from privacy.held_for_mail() h join platform.email_log l on l.visitor_id = h.visitor_id
                where l.sent_at < mail_before and (h.record is null or h.record = l.id)) k), null::bigint;
    end if;
    if p_exact then
        return query select 'visitors', privacy.oldest_visitor(p_now),
            count(*) filter (where not o.held), count(*) filter (where o.held) from privacy.old_visitors(p_visitors_before) o;
        return query select 'lapsed subscriptions', min(l.ended_on)::timestamp at time zone 'UTC', count(*) filter (where not exists (
                select from privacy.lapse x where x.student_id = l.student_id and x.ended_on = l.ended_on)), null::bigint
            from privacy.lapsed(today) l;
    else
        return query select 'visitors', privacy.oldest_visitor(p_now), o.due, o.held from privacy.some_old_visitors(p_visitors_before, 1001) o;
        return query select 'lapsed subscriptions', (
                select b.ends_on::timestamp at time zone 'UTC' from platform.subscription b
                join platform.student s on s.id = b.student_id and s.account_status = 'open'
                where not b.superseded and b.ends_on < today order by b.ends_on limit 1),
            (select count(*) from (
                select from platform.subscription b join platform.student s on s.id = b.student_id and s.account_status = 'open'
                where not b.superseded and b.ends_on < today and not exists (
                    select from privacy.lapse x where x.student_id = b.student_id and x.ended_on = b.ends_on) limit 1001) capped), null::bigint;
    end if;
    return query select 'lapses to close', null::timestamptz, count(*), null::bigint from privacy.lapses_to_close(p_now, p_notice_days);
    return query select 'lapses told', min(x.found_at), count(*) filter (where o.state = 'sent'),
            count(*) filter (where o.state is distinct from 'sent')
        from privacy.lapse x left join privacy.outbox o on o.dedupe_key = x.notice_key where x.ended_at is null;
    return query select 'exports and evidence', min(a.kept_at), count(*) filter (where a.expires_at <= p_now), null::bigint
        from privacy.artifact a where a.destroyed_at is null
          and a.owner_id not in (select c.student_id from privacy.canary c);
    return query select 'closed accounts', min(s.closed_at),
        count(*) filter (where s.closed_at <= p_now - p_grace_days * interval '24 hours'), null::bigint
        from platform.student s where s.account_status = 'closed' and s.id <> all ((select privacy.living_canaries())::uuid[]);
    return query select 'usage events', min(u.at), null::bigint, null::bigint from platform.usage_event u;
    return query select 'words of unknown people', min(r.closed_at),
        count(*) filter (where r.closed_at <= mail_before), null::bigint
        from privacy.request r join privacy.request_text t on t.request_id = r.id and t.student_id is null and t.visitor_id is null
        where r.student_id is null and r.visitor_id is null and r.closed_at is not null;
    return query select 'suppression list', min(x.erased_at), count(*) filter (where x.until <= p_now), null::bigint from privacy.suppression x
        where coalesce(x.erasure_id <> all ((select privacy.erasures_of_canaries())::uuid[]), true);
    return query select 'quarantine', min(q.found_at), count(*) filter (where q.until <= p_now), null::bigint from privacy.quarantine q
        where q.decision is null;
    return query select 'notice results', min(c.finished_at), count(*) filter (where c.finished_at <= mail_before), null::bigint
        from privacy.campaign c where c.finished_at is not null and c.reduced_at is null;
    return query select 'backups', min(b.made_at), count(*) filter (where b.expires_at <= p_now), null::bigint from privacy.backup b
        where b.removed_at is null;
    return query select 'sessions', min(x.ended_at), count(*) filter (where x.ended_at <= p_now - interval '30 days'), null::bigint
        from staff.session x where x.ended_at is not null;
    return query select 'sign-in failures', min(x.failed_at), count(*) filter (where x.failed_at <= p_now - interval '30 days'), null::bigint
        from staff.throttle x;
    return query select 'jobs', min(x.finished_at), count(*) filter (where x.finished_at <= p_now - interval '90 days'), null::bigint
        from staff.job x where x.state in ('done', 'over');
    return query select 'audit', min(x.at), null::bigint, null::bigint from privacy.audit_event x;
    return query select 'closed requests', min(x.closed_at), null::bigint, null::bigint from privacy.request x where x.closed_at is not null;
    return query select 'certificates of erasure', min(x.issued_at), null::bigint, null::bigint from privacy.erasure_certificate x;
    return query select 'payments', min(x.paid_at), null::bigint, null::bigint from platform.payment x;
end $$;
"""

TRIGGERS = """
create trigger mark_superseded_added after insert on platform.subscription
    referencing new table as changed for each statement execute function platform.mark_superseded();
create trigger mark_superseded_changed after update on platform.subscription
    referencing new table as changed for each statement execute function platform.mark_superseded();
create trigger mark_superseded_left after update on platform.subscription
    referencing old table as changed for each statement execute function platform.mark_superseded();
create trigger mark_superseded_gone after delete on platform.subscription
    referencing old table as changed for each statement execute function platform.mark_superseded();
"""
CALLERS = {
    "platform.mark_superseded()": "resocode_owner, resocode_worker",
    "privacy.old_visitors_of(timestamptz, timestamptz)": "resocode_worker",
    "privacy.some_old_visitors(timestamptz, int, int)": "resocode_worker",
}


def upgrade() -> None:
    """Apply."""
    op.add_column("subscription", sa.Column("superseded", sa.Boolean(), server_default=sa.text("false"), nullable=False), schema="platform")  # fmt: skip
    op.create_index("ix_subscription_last", "subscription", ["ends_on"], schema="platform", postgresql_where=sa.text("not superseded"))  # fmt: skip
    rights.let_definer("platform.subscription", "update")
    op.execute("set local role resocode_definer")  # the owner of a table with forced row security changes 0 rows
    op.execute(f"update platform.subscription b set superseded = true where {LATER}")
    op.execute("reset role")
    rights.functions(FUNCTIONS, CALLERS)
    op.execute(TRIGGERS)


def downgrade() -> None:
    """There is no way back but a backup."""
    raise NotImplementedError("Restore a backup instead.")
