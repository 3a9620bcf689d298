"""Old visitors by an index: who asked long ago is looked at, not everybody; the oldest contact is found from the oldest forms.

The page of retention asked for every visitor, each with their contacts, twice, and for everybody whose subscription ever ended.
"""

from migrations import rights

revision = "0058"
down_revision = "0057"
branch_labels = None
depends_on = None

FUNCTIONS = """
-- As in 0035. A form was left before its last contact: only addresses with a form from before p_before can be old.
create or replace function privacy.old_visitors(p_before timestamptz) returns table (person uuid, last_contact timestamptz, held boolean)
language sql stable security definer set search_path = '' as $$
    with addresses as (
        select distinct v.email_hash from platform.visitor v where v.asked_at < p_before
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

-- The oldest last contact of somebody without a hold and an open request, before p_now. Asked of the oldest forms first: once somebody's last contact lies before
-- the next form, nobody else's can lie before that.
create function privacy.oldest_visitor(p_now timestamptz, p_part int default 200) returns timestamptz
language plpgsql stable security definer set search_path = '' as $$
declare
    part int := p_part;
    until timestamptz;
    found timestamptz;
begin
    loop
        select v.asked_at into until from platform.visitor v where v.asked_at < p_now order by v.asked_at offset part limit 1;
        select min(o.last_contact) into found from privacy.old_visitors(coalesce(until, p_now)) o where not o.held;
        if found is not null or until is null then
            return found;
        end if;
        part := part * 4;
    end loop;
end $$;

-- As in 0035, from the lapses that are open: few, while those who ever lapsed are many.
create or replace function privacy.lapses_to_close(p_now timestamptz, p_days int) returns table (lapse uuid, student uuid)
language sql stable security definer set search_path = '' as $$
    select x.id, x.student_id
    from privacy.lapse x
    join platform.student s on s.id = x.student_id and s.account_status = 'open'
    join privacy.outbox o on o.dedupe_key = x.notice_key and o.state = 'sent'
    where x.ended_at is null and o.sent_at <= p_now - p_days * interval '1 day'
      and (select max(b.ends_on) = x.ended_on
              and pg_catalog.bool_and(b.ends_on is not null and b.ends_on < (p_now at time zone 'UTC')::date)
           from platform.subscription b where b.student_id = x.student_id)
      and not exists (select from privacy.request r where r.student_id = x.student_id and r.closed_at is null)
    order by o.sent_at, x.id
$$;

-- As in 0048.
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
    return query select 'visitors', privacy.oldest_visitor(p_now),
        count(*) filter (where not o.held), count(*) filter (where o.held) from privacy.old_visitors(p_visitors_before) o;
    return query select 'lapsed subscriptions', min(l.ended_on)::timestamp at time zone 'UTC', count(*) filter (where not exists (
            select from privacy.lapse x where x.student_id = l.student_id and x.ended_on = l.ended_on)), null::bigint
        from privacy.lapsed(today) l;
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
CALLERS = {"privacy.oldest_visitor(timestamptz, int)": "resocode_worker"}


def upgrade() -> None:
    """Apply."""
    rights.functions(FUNCTIONS, CALLERS)


def downgrade() -> None:
    """There is no way back but a backup."""
    raise NotImplementedError("Restore a backup instead.")
