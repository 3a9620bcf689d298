"""Canaries: synthetic people in every store, and what was seen of them once they were erased.

Danger: somebody who does not exist is counted, followed up, written to, or takes a place in a queue. Principle: canaries stand where
everybody stands, and the dashboard's own role does not see them there; they are shown as what they are in one place. Mechanism: a
canary is restricted from its first second, which takes it out of every list and figure about people; restrictive policies take its
program, its request and what hangs on that out of what the dashboard reads; counts by functions leave them out by name.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations import rights

revision = "0048"
down_revision = "0047"
branch_labels = None
depends_on = None

READERS = "(select staff.my_role()) in ('privacy_officer', 'admin', 'auditor')"

FUNCTIONS = """
-- The ids of the students who are canaries and not erased yet: a handful.
create function privacy.living_canaries() returns uuid[]
language sql stable parallel safe security definer set search_path = '' as $$
    select coalesce(pg_catalog.array_agg(c.student_id), '{}') from privacy.canary c where c.gone_at is null
$$;

-- The ids of the forms that canaries left, as long as they are not erased.
create function privacy.canary_forms() returns uuid[]
language sql stable parallel safe security definer set search_path = '' as $$
    select coalesce(pg_catalog.array_agg(c.visitor_id), '{}') from privacy.canary c where c.gone_at is null
$$;

-- The ids of requests of canaries that are not closed yet.
create function privacy.requests_of_canaries() returns uuid[]
language sql stable parallel safe security definer set search_path = '' as $$
    select coalesce(pg_catalog.array_agg(r.id), '{}') from privacy.request r where r.source = 'canary'
$$;

create function privacy.erasures_of_canaries() returns uuid[]
language sql stable parallel safe security definer set search_path = '' as $$
    select coalesce(pg_catalog.array_agg(e.id), '{}') from privacy.request r join privacy.erasure e on e.request_id = r.id where r.source = 'canary'
$$;

-- The number of the deletion that a canary's closing became, and whether its erasure has begun: the dashboard sees neither request.
create function privacy.canary_request(p_canary uuid) returns text
language sql stable security definer set search_path = '' as $$
    select 'R-' || r.number from privacy.canary c join privacy.request r on r.id = c.request_id
    where c.id = p_canary and (staff.my_role() in ('privacy_officer', 'admin', 'auditor') or session_user = 'resocode_worker')
$$;

create function privacy.canary_erasing(p_canary uuid) returns boolean
language sql stable security definer set search_path = '' as $$
    select exists (select from privacy.canary c join privacy.erasure e on e.request_id = c.request_id and e.begun_at is not null
        where c.id = p_canary)
$$;
"""
COUNTING = """
-- As in 0037, 0008, 0039, 0030 and 0031, without canaries.
create or replace function privacy.promise_counts(p_now timestamptz, p_log_days int, p_grace_days int)
returns table (
    open_requests bigint, overdue_requests bigint, due_soon_requests bigint, minors_without_consent bigint,
    ages_not_declared bigint, old_mail_logs bigint, oldest_mail_log timestamptz, closed_in_grace bigint,
    closed_past_grace bigint
) language sql stable security definer set search_path = '' as $$
    select
        (select count(*) from privacy.request r where r.closed_at is null and r.source <> 'canary'),
        (select count(*) from privacy.request r where r.closed_at is null and r.source <> 'canary' and r.answered_at is null
            and r.paused_at is null and r.due_at < p_now),
        (select count(*) from privacy.request r where r.closed_at is null and r.source <> 'canary' and r.answered_at is null
            and r.paused_at is null and r.due_at >= p_now and r.due_at < p_now + interval '7 days'),
        (select count(*) from privacy.consent c join platform.student s on s.id = c.student_id
            where c.state in ('missing', 'requested', 'given', 'refused', 'withdrawn') and s.account_status = 'open'),
        (select count(*) from platform.student s left join privacy.consent c on c.student_id = s.id
            where c.birth_date is null and c.adult is null and s.account_status = 'open'),
        (select count(*) from platform.email_log l where l.sent_at < p_now - p_log_days * interval '1 day'),
        (select min(l.sent_at) from platform.email_log l),
        (select count(*) from platform.student s where s.closed_at > p_now - p_grace_days * interval '24 hours'
            and s.id <> all ((select privacy.living_canaries())::uuid[])),
        (select count(*) from platform.student s where s.closed_at <= p_now - p_grace_days * interval '24 hours'
            and s.id <> all ((select privacy.living_canaries())::uuid[]))
    where (select staff.my_role()) in ('privacy_officer', 'admin', 'auditor')
$$;

create or replace function privacy.request_figures(p_from timestamptz, p_to timestamptz, p_now timestamptz)
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
    where r.received_at >= p_from and r.received_at < p_to and r.source <> 'canary'
      and staff.my_role() in ('privacy_officer', 'admin', 'auditor')
    group by r.kind order by r.kind
$$;

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

create or replace function privacy.restricted_here(p_cohort uuid) returns table (students bigint, visitors bigint)
language sql stable security definer set search_path = '' as $$
    select
        (select count(distinct s.id) from privacy.restriction r join platform.student s on s.email_hash = r.email_hash
         join platform.enrollment e on e.student_id = s.id
         where r.until is null and s.id <> all ((select privacy.living_canaries())::uuid[])
           and (p_cohort is null and (select staff.my_role()) = 'program_staff'
            or e.cohort_id = p_cohort and e.cohort_id = any ((select staff.my_cohorts())::uuid[]) and e.withdrawn_at is null)),
        (select count(distinct v.id) from privacy.restriction r join platform.visitor v on v.email_hash = r.email_hash
         where r.until is null and p_cohort is null and (select staff.my_role()) = 'program_staff')
$$;

create or replace function privacy.sampled(p_seed text, p_size int, p_from timestamptz, p_to timestamptz)
returns table (id uuid, population bigint)
language sql stable security definer set search_path = '' as $$
    select r.id, count(*) over () from privacy.request r
    where r.closed_at >= p_from and r.closed_at < p_to and r.source <> 'canary' and staff.my_role() in ('auditor', 'privacy_officer')
    order by pg_catalog.sha256(pg_catalog.convert_to(p_seed || ':' || r.number::text, 'UTF8')), r.number
    limit p_size
$$;
"""
CALLERS = {
    "privacy.living_canaries()": "resocode_app, resocode_worker",
    "privacy.canary_forms()": "resocode_app, resocode_worker",
    "privacy.requests_of_canaries()": "resocode_app, resocode_worker",
    "privacy.erasures_of_canaries()": "resocode_app, resocode_worker",
    "privacy.promise_counts(timestamptz, int, int)": "resocode_app",
    "privacy.request_figures(timestamptz, timestamptz, timestamptz)": "resocode_app, resocode_worker",
    "privacy.retention_state(timestamptz, int, timestamptz, int, int, boolean)": "resocode_app, resocode_worker",
    "privacy.restricted_here(uuid)": "resocode_app",
    "privacy.sampled(text, int, timestamptz, timestamptz)": "resocode_app",
    "privacy.canary_request(uuid)": "resocode_app, resocode_worker",
    "privacy.canary_erasing(uuid)": "resocode_app, resocode_worker",
}
NO_FORM = "not (id = any ((select privacy.canary_forms())::uuid[]))"
# table → which rows functions that count do not see; the engine that erases works as the worker, and does
NOT_COUNTED = {
    "platform.enrollment": "source <> 'canary'",
    "platform.email_log": "source <> 'canary'",
    "platform.visitor": NO_FORM,
}
# table → which rows the dashboard's role sees
HIDDEN = {
    "platform.student": "not (id = any ((select privacy.living_canaries())::uuid[]))",
    "platform.visitor": NO_FORM,
    "platform.program": "source <> 'canary'",
    "platform.cohort": "source <> 'canary'",
    "platform.module": "source <> 'canary'",
    "privacy.request": "source <> 'canary'",
    "privacy.consent": "not (student_id = any ((select privacy.living_canaries())::uuid[]))",
    **dict.fromkeys(
        ("privacy.outbox", "privacy.manual_step", "privacy.erasure"),
        "request_id is null or not (request_id = any ((select privacy.requests_of_canaries())::uuid[]))",
    ),
    **dict.fromkeys(
        ("privacy.erasure_certificate", "privacy.suppression"),
        "erasure_id is null or not (erasure_id = any ((select privacy.erasures_of_canaries())::uuid[]))",
    ),
}


def _at(name: str, *, null: bool = False) -> sa.Column:  # type: ignore[type-arg]
    return sa.Column(name, sa.DateTime(timezone=True), nullable=null)


def _json(name: str) -> sa.Column:  # type: ignore[type-arg]
    return sa.Column(name, postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False)


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "canary",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("week", sa.Date(), nullable=False),
        sa.Column("student_id", sa.UUID(), nullable=False),
        sa.Column("visitor_id", sa.UUID(), nullable=False),
        _at("planted_at"),
        _at("closed_at", null=True),
        sa.Column("request_id", sa.UUID(), nullable=True),
        _at("gone_at", null=True),
        sa.CheckConstraint("extract(isodow from week) = 1", name=op.f("ck_canary_week_is_monday")),
        sa.CheckConstraint("closed_at >= planted_at", name=op.f("ck_canary_closed_later")),
        sa.CheckConstraint("gone_at is null or closed_at is not null", name=op.f("ck_canary_gone_was_closed")),
        sa.ForeignKeyConstraint(["request_id"], ["privacy.request.id"], name=op.f("fk_canary_request_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_canary")),
        sa.UniqueConstraint("week", name=op.f("uq_canary_week")),
        sa.UniqueConstraint("student_id", name=op.f("uq_canary_student_id")),
        sa.UniqueConstraint("visitor_id", name=op.f("uq_canary_visitor_id")),
        schema="privacy",
    )
    op.create_index(op.f("ix_canary_request_id"), "canary", ["request_id"], schema="privacy")
    op.create_index(
        "ix_canary_living", "canary", ["student_id"], schema="privacy", postgresql_where=sa.text("gone_at is null")
    )
    op.create_table(
        "canary_place",
        sa.Column("canary_id", sa.UUID(), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("records", sa.Integer(), nullable=False),
        _at("planted_at"),
        sa.ForeignKeyConstraint(["canary_id"], ["privacy.canary.id"], name=op.f("fk_canary_place_canary_id")),
        sa.PrimaryKeyConstraint("canary_id", "place", name=op.f("pk_canary_place")),
        schema="privacy",
    )
    op.create_table(
        "canary_look",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("canary_id", sa.UUID(), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        _at("at"),
        sa.Column("seen", sa.Text(), nullable=False),
        _json("looked"),
        _json("found"),
        sa.Column("error", sa.Text(), server_default="", nullable=False),
        sa.CheckConstraint("stage in ('planted', 'erased')", name=op.f("ck_canary_look_stage_known")),
        sa.CheckConstraint("seen in ('found', 'absent', 'unclear')", name=op.f("ck_canary_look_seen_known")),
        sa.CheckConstraint("(seen = 'found') = (found <> '{}')", name=op.f("ck_canary_look_found_is_told")),
        sa.CheckConstraint("(seen = 'unclear') = (error <> '')", name=op.f("ck_canary_look_unclear_says_why")),
        sa.ForeignKeyConstraint(["canary_id"], ["privacy.canary.id"], name=op.f("fk_canary_look_canary_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_canary_look")),
        schema="privacy",
    )
    op.create_index(
        "ix_canary_look_canary",
        "canary_look",
        ["canary_id", "place", sa.literal_column("at desc")],
        schema="privacy",
    )
    for table in ("canary", "canary_place", "canary_look"):
        rights.close(f"privacy.{table}")
        rights.app_reads(f"privacy.{table}", READERS)
    rights.functions(FUNCTIONS + COUNTING, CALLERS)
    for table, shown in HIDDEN.items():
        op.execute(f"create policy no_canaries on {table} as restrictive for select to resocode_app using ({shown})")
    for table, counted in NOT_COUNTED.items():
        op.execute(
            f"create policy count_no_canaries on {table} as restrictive for select to resocode_definer using ({counted})"
        )


def downgrade() -> None:
    """There is no way back but a backup."""
    raise NotImplementedError("Restore a backup instead.")
