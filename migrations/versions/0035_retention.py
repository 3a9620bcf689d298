"""Retention: what goes by its age, what a hold keeps of it, and the row that every run leaves.

Danger: a drop of a whole month takes what a hold keeps, or what is not old enough. Principle: the database asks the policy
again before a month goes; held mails are moved out under a lock that keeps new holds waiting; what a dry run counts is what a
run takes, because both ask the same functions. Mechanism: ``platform.drop_month`` (one month, short lock, nothing else),
``privacy.held_for_mail``, ``privacy.old_visitors``, ``privacy.lapsed``; ``privacy.retention_state`` counts for those who watch.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations import rights

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None

WATCHERS = "(select staff.my_role()) in ('privacy_officer', 'admin', 'auditor')"

DROP_MONTH = """
-- Drops one month of the e-mail log, once all of it is past the period of the policy in force. Takes the locks for a moment or
-- not at all: the caller sets lock_timeout. Held mails must have been moved out by then, in the same transaction.
create function platform.drop_month(p_month date, p_now timestamptz) returns void
language plpgsql security definer set search_path = '' as $$
begin
    if p_month <> pg_catalog.date_trunc('month', p_month)::date
       or (p_month + interval '1 month')::date > ((p_now - privacy.mail_days(p_now) * interval '1 day') at time zone 'UTC')::date then
        raise exception 'the month of % is not past the period of the policy', p_month;
    end if;
    execute pg_catalog.format('drop table platform.%I', 'email_log' || pg_catalog.to_char(p_month, '"_"YYYY"_"MM'));
end $$;
"""

FUNCTIONS = """
create function privacy.mail_days(p_at timestamptz) returns int
language sql stable security definer set search_path = '' as $$
    select (p.document -> 'parameters' ->> 'email_log_days')::int from privacy.policy_version p
    where p.effective_at <= p_at order by p.effective_at desc limit 1
$$;

-- Whose mails a standing hold keeps: of a person, by whichever of their records it was placed; record null: all of them.
create function privacy.held_for_mail() returns table (student_id uuid, visitor_id uuid, record uuid)
language sql stable security definer rows 10 set search_path = '' as $$
    with standing as (
        select h.scope_record, coalesce(s.email_hash, v.email_hash) as hash
        from privacy.legal_hold h
        left join platform.student s on s.id = h.student_id left join platform.visitor v on v.id = h.visitor_id
        where h.released_at is null
          and (h.scope_table is null or h.scope_table in ('platform.email_log', 'platform.held_mail'))
    )
    select s.id, null::uuid, h.scope_record from standing h join platform.student s on s.email_hash = h.hash
    union all
    select null, v.id, h.scope_record from standing h join platform.visitor v on v.email_hash = h.hash
$$;

-- Visitors (all forms with the same address are one) whose last contact was before p_before, whom no hold keeps and about whom
-- no request is open. A contact that is planned for later counts as one.
create function privacy.old_visitors(p_before timestamptz) returns table (person uuid, last_contact timestamptz, held boolean)
language sql stable security definer set search_path = '' as $$
    with forms as (
        select v.email_hash, v.id, greatest(v.asked_at, v.answered_at, v.next_contact_on::timestamp at time zone 'UTC',
            (select max(f.at) from platform.follow_up f where f.visitor_id = v.id)) as last
        from platform.visitor v
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

-- Open accounts whose last subscription ended before p_today, with the day of its end. Who never had one is not among them.
create function privacy.lapsed(p_today date) returns table (student_id uuid, ended_on date)
language sql stable security definer set search_path = '' as $$
    select s.id, max(b.ends_on)
    from platform.subscription b join platform.student s on s.id = b.student_id
    where s.account_status = 'open'
    group by s.id
    having pg_catalog.bool_and(b.ends_on is not null and b.ends_on < p_today)
$$;

-- Lapses whose notice was sent p_days ago or earlier, whose subscription still does not run, and about whose student no request
-- is open (an export is handed out first).
create function privacy.lapses_to_close(p_now timestamptz, p_days int) returns table (lapse uuid, student uuid)
language sql stable security definer set search_path = '' as $$
    select x.id, x.student_id
    from privacy.lapse x
    join privacy.lapsed((p_now at time zone 'UTC')::date) l on l.student_id = x.student_id and l.ended_on = x.ended_on
    join privacy.outbox o on o.dedupe_key = x.notice_key and o.state = 'sent'
    where x.ended_at is null and o.sent_at <= p_now - p_days * interval '1 day'
      and not exists (select from privacy.request r where r.student_id = x.student_id and r.closed_at is null)
    order by o.sent_at, x.id
$$;

-- What is kept, rule by rule: the oldest age, how many records would go now (null: not counted without p_exact), how many of
-- them a hold keeps. For those who watch over promises, and the worker. Nobody's rows.
create function privacy.retention_state(
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
        return query select 'e-mail logs, counted', null::timestamptz, count(*) - coalesce(sum(k.n), 0)::bigint, null::bigint
            from platform.email_log l
            left join lateral (
                select 1 as n from privacy.held_for_mail() h
                where (h.student_id = l.student_id or h.visitor_id = l.visitor_id) and coalesce(h.record, l.id) = l.id limit 1) k on true
            where l.sent_at < mail_before;
    end if;
    return query select 'visitors', (select min(o.last_contact) from privacy.old_visitors(p_now) o where not o.held),
        count(*) filter (where not o.held), count(*) filter (where o.held) from privacy.old_visitors(p_visitors_before) o;
    return query select 'lapsed subscriptions', min(l.ended_on)::timestamp at time zone 'UTC', count(*) filter (where not exists (
            select from privacy.lapse x where x.student_id = l.student_id and x.ended_on = l.ended_on)), null::bigint
        from privacy.lapsed(today) l;
    return query select 'lapses to close', null::timestamptz, count(*), null::bigint from privacy.lapses_to_close(p_now, p_notice_days);
    return query select 'lapses told', min(x.found_at), count(*) filter (where o.state = 'sent'),
            count(*) filter (where o.state is distinct from 'sent')
        from privacy.lapse x left join privacy.outbox o on o.dedupe_key = x.notice_key where x.ended_at is null;
    return query select 'exports and evidence', min(a.kept_at), count(*) filter (where a.expires_at <= p_now), null::bigint
        from privacy.artifact a where a.destroyed_at is null;
    return query select 'closed accounts', min(s.closed_at),
        count(*) filter (where s.closed_at <= p_now - p_grace_days * interval '24 hours'), null::bigint
        from platform.student s where s.account_status = 'closed';
    return query select 'usage events', min(u.at), null::bigint, null::bigint from platform.usage_event u;
    return query select 'words of unknown people', min(r.closed_at),
        count(*) filter (where r.closed_at <= mail_before), null::bigint
        from privacy.request r join privacy.request_text t on t.request_id = r.id and t.student_id is null and t.visitor_id is null
        where r.student_id is null and r.visitor_id is null and r.closed_at is not null;
    return query select 'suppression list', min(x.erased_at), count(*) filter (where x.until <= p_now), null::bigint from privacy.suppression x;
    return query select 'quarantine', min(q.found_at), count(*) filter (where q.until <= p_now), null::bigint from privacy.quarantine q
        where q.decision is null;
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

-- The same as before, and not what the end of a subscription closed.
create or replace function privacy.closed_by_student(p_request uuid) returns boolean
language sql stable security definer set search_path = '' as $$
    select exists (
        select from privacy.request r where r.id = p_request and r.account_closed_at is not null and not exists (
            select from privacy.request_move m
            where m.request_id = r.id and m.from_state = 'verified' and m.to_state = 'to approve'
              and m.moved_at between r.account_closed_at and r.account_closed_at + interval '1 minute')
          and not exists (select from privacy.lapse l where l.request_id = r.id))
      and (staff.my_role() = 'privacy_officer' or session_user = 'resocode_worker')
$$;
"""

CALLERS = {
    "privacy.mail_days(timestamptz)": "resocode_owner, resocode_worker",
    "privacy.held_for_mail()": "resocode_worker",
    "privacy.old_visitors(timestamptz)": "resocode_worker",
    "privacy.lapsed(date)": "resocode_worker",
    "privacy.lapses_to_close(timestamptz, int)": "resocode_worker",
    "privacy.retention_state(timestamptz, int, timestamptz, int, int, boolean)": "resocode_app, resocode_worker",
    "privacy.closed_by_student(uuid)": "resocode_app, resocode_worker",
}


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "held_mail",
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("student_id", sa.UUID(), nullable=True),
        sa.Column("visitor_id", sa.UUID(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.CheckConstraint("num_nonnulls(student_id, visitor_id) = 1", name=op.f("ck_held_mail_one_recipient")),
        sa.ForeignKeyConstraint(["student_id"], ["platform.student.id"], name=op.f("fk_held_mail_student_id")),
        sa.ForeignKeyConstraint(["visitor_id"], ["platform.visitor.id"], name=op.f("fk_held_mail_visitor_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_held_mail")),
        schema="platform",
    )
    for column in ("student_id", "visitor_id"):
        op.create_index(op.f(f"ix_held_mail_{column}"), "held_mail", [column], schema="platform")
    op.create_table(
        "retention_run",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("begun_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tried_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("before", sa.DateTime(timezone=True), nullable=True),
        sa.Column("counts", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("waits_for", sa.Text(), nullable=True),
        sa.Column("oldest_left", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("waits_for in ('readers', 'brake', 'audit')", name=op.f("ck_retention_run_waits_for_known")),
        sa.CheckConstraint(
            "ended_at is null or waits_for is null", name=op.f("ck_retention_run_ended_waits_for_nothing")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_retention_run")),
        schema="privacy",
    )
    op.create_index("uq_retention_run_open", "retention_run", ["rule"], unique=True, schema="privacy",
                    postgresql_where=sa.text("ended_at is null"))  # fmt: skip
    op.create_index(
        "ix_retention_run_ended", "retention_run", ["rule", sa.literal_column("ended_at desc")], schema="privacy"
    )
    op.create_index("ix_retention_run_begun", "retention_run", [sa.literal_column("begun_at desc"), sa.literal_column("id desc")],
                    schema="privacy")  # fmt: skip
    op.create_table(
        "lapse",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("student_id", sa.UUID(), nullable=False),
        sa.Column("ended_on", sa.Date(), nullable=False),
        sa.Column("found_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("notice_key", sa.Text(), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_as", sa.Text(), nullable=True),
        sa.Column("request_id", sa.UUID(), nullable=True),
        sa.CheckConstraint(
            "ended_as in ('renewed', 'closed', 'closed otherwise')", name=op.f("ck_lapse_ended_as_known")
        ),
        sa.CheckConstraint("(ended_at is null) = (ended_as is null)", name=op.f("ck_lapse_ended_whole")),
        sa.ForeignKeyConstraint(["student_id"], ["platform.student.id"], name=op.f("fk_lapse_student_id")),
        sa.ForeignKeyConstraint(["request_id"], ["privacy.request.id"], name=op.f("fk_lapse_request_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lapse")),
        sa.UniqueConstraint("student_id", "ended_on", name=op.f("uq_lapse_student_id_ended_on")),
        schema="privacy",
    )
    op.create_index(op.f("ix_lapse_request_id"), "lapse", ["request_id"], schema="privacy")
    op.create_index(
        "ix_lapse_open", "lapse", ["found_at"], schema="privacy", postgresql_where=sa.text("ended_at is null")
    )
    op.drop_constraint("ck_brake_kind_known", "brake", schema="privacy")
    op.create_check_constraint(
        op.f("ck_brake_kind_known"),
        "brake",
        "kind in ('many', 'clock', 'mail', 'visitors', 'lapses')",
        schema="privacy",
    )
    for table in ("platform.held_mail", "privacy.retention_run", "privacy.lapse"):
        rights.close(table)
    rights.app_reads("privacy.retention_run", WATCHERS)
    rights.functions(FUNCTIONS, CALLERS)
    op.execute("drop function platform.drop_months(text, date)")  # it took whatever day it was given
    rights.functions(DROP_MONTH, {"platform.drop_month(date, timestamptz)": "resocode_worker"}, owner="resocode_owner")


def downgrade() -> None:
    """There is no way back but a backup."""
    raise NotImplementedError("Restore a backup instead.")
