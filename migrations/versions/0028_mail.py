"""Mail that leaves once, and notices to many: claims on letters, the pace of all workers, campaigns and their recipients.

Danger: a letter of a dead worker is lost, or sent again by everybody who finds it. Principle: a letter is claimed before it
leaves, in a transaction of its own; what came of it is written against that claim and no other. Mechanism: the state "sending"
with a ticket; one row that all workers ask before they send.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations import rights

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

TELLERS = "(select staff.my_role()) in ('privacy_officer', 'admin')"
PROVERS = "(select staff.my_role()) in ('privacy_officer', 'admin', 'auditor')"
OFFICER = "(select staff.my_role()) = 'privacy_officer'"

FUNCTIONS = """
-- How mail went since an instant, by kind: counts, nobody's rows.
create function privacy.mail_figures(p_since timestamptz)
returns table (kind text, waiting bigint, failed bigint, sent bigint, bounced bigint, not_taken bigint)
language sql stable security definer set search_path = '' as $$
    with queued as (
        select o.kind, count(*) filter (where o.state in ('waiting', 'sending')) as waiting,
            count(*) filter (where o.state = 'failed') as failed
        from privacy.outbox o where o.state in ('waiting', 'sending', 'failed') group by o.kind),
    logged as (
        select l.kind, count(*) filter (where l.outcome = 'sent') as sent, count(*) filter (where l.outcome = 'bounced') as bounced,
            count(*) filter (where l.outcome = 'failed') as not_taken
        from platform.email_log l where l.sent_at >= p_since group by l.kind)
    select kind, coalesce(q.waiting, 0), coalesce(q.failed, 0), coalesce(l.sent, 0), coalesce(l.bounced, 0), coalesce(l.not_taken, 0)
    from queued q full join logged l using (kind)
    where (select staff.my_role()) in ('privacy_officer', 'admin', 'auditor') order by 1
$$;

-- How far a campaign is, by state and code: counts, nobody's rows.
create function privacy.campaign_counts(p_id uuid)
returns table (state text, code text, unclear boolean, people bigint)
language sql stable security definer set search_path = '' as $$
    select r.state, r.code, r.unclear, count(*) from privacy.campaign_recipient r
    where r.campaign_id = p_id and (select staff.my_role()) in ('privacy_officer', 'admin', 'auditor')
    group by 1, 2, 3 order by 1, 2, 3
$$;

create function privacy.guard_campaign() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
    kept text[] := '{state,gathered_to,recipients,finished_at,counts,reduced_at,shown_at,shown_by,shown_where}';
begin
    if tg_op = 'DELETE' then
        raise exception 'a campaign is kept';
    end if;
    if pg_catalog.to_jsonb(new) - kept is distinct from pg_catalog.to_jsonb(old) - kept then
        raise exception 'what a campaign says, and to whom, does not change';
    end if;
    if old.state in ('done', 'canceled') and new.state is distinct from old.state then
        raise exception 'a campaign that is over does not begin again';
    end if;
    return new;
end $$;
"""
CALLERS = {
    "privacy.mail_figures(timestamptz)": "resocode_app, resocode_worker",
    "privacy.campaign_counts(uuid)": "resocode_app, resocode_worker",
    "privacy.guard_campaign()": "resocode_owner",
}


def upgrade() -> None:
    """Apply."""
    _campaigns()
    _outbox()
    _rights()
    rights.functions(FUNCTIONS, CALLERS)
    op.execute(
        "create trigger guard before update or delete on privacy.campaign"
        " for each row execute function privacy.guard_campaign()"
    )


def _campaigns() -> None:
    op.create_table(
        "mail_pace",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("window_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("taken", sa.Integer(), server_default="0", nullable=False),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("closed_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("code", sa.Text(), server_default="", nullable=False),
        sa.Column("last_taken_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("id = 1", name=op.f("ck_mail_pace_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mail_pace")),
        schema="privacy",
    )
    op.execute("insert into privacy.mail_pace (id, window_at) values (1, 'epoch')")
    op.create_table(
        "campaign",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("form_key", sa.UUID(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("about", sa.Text(), server_default="", nullable=False),
        sa.Column("audience", sa.Text(), nullable=False),
        sa.Column("audience_values", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("deadline", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.Text(), server_default="gathering", nullable=False),
        sa.Column("gathered_to", sa.UUID(), nullable=True),
        sa.Column("recipients", sa.Integer(), server_default="0", nullable=False),
        sa.Column("begun_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("begun_by", sa.UUID(), nullable=True),
        sa.Column("shown_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("shown_by", sa.UUID(), nullable=True),
        sa.Column("shown_where", sa.Text(), server_default="", nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("counts", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("reduced_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("channel in ('mail', 'platform')", name=op.f("ck_campaign_channel_known")),
        sa.CheckConstraint(
            "state in ('gathering', 'running', 'paused', 'done', 'canceled')", name=op.f("ck_campaign_state_known")
        ),
        sa.CheckConstraint(
            "(state in ('done', 'canceled')) = (finished_at is not null)", name=op.f("ck_campaign_over_has_date")
        ),
        sa.ForeignKeyConstraint(["begun_by"], ["staff.staff_member.id"], name=op.f("fk_campaign_begun_by")),
        sa.ForeignKeyConstraint(["shown_by"], ["staff.staff_member.id"], name=op.f("fk_campaign_shown_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_campaign")),
        sa.UniqueConstraint("form_key", name=op.f("uq_campaign_form_key")),
        schema="privacy",
    )
    op.create_index(op.f("ix_campaign_begun_by"), "campaign", ["begun_by"], unique=False, schema="privacy")
    op.create_index(op.f("ix_campaign_shown_by"), "campaign", ["shown_by"], unique=False, schema="privacy")
    op.create_index(
        "ix_campaign_begun",
        "campaign",
        [sa.literal_column("begun_at desc"), sa.literal_column("id desc")],
        unique=False,
        schema="privacy",
    )
    op.create_table(
        "campaign_recipient",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("campaign_id", sa.UUID(), nullable=False),
        sa.Column("student_id", sa.UUID(), nullable=False),
        sa.Column("state", sa.Text(), server_default="waiting", nullable=False),
        sa.Column("unclear", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("code", sa.Text(), server_default="", nullable=False),
        sa.Column("told_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state in ('waiting', 'queued', 'sent', 'bounced', 'not reached')",
            name=op.f("ck_campaign_recipient_state_known"),
        ),
        sa.ForeignKeyConstraint(["campaign_id"], ["privacy.campaign.id"], name=op.f("fk_campaign_recipient_campaign_id")),
        sa.ForeignKeyConstraint(["student_id"], ["platform.student.id"], name=op.f("fk_campaign_recipient_student_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_campaign_recipient")),
        sa.UniqueConstraint("campaign_id", "student_id", name=op.f("uq_campaign_recipient_campaign_id_student_id")),
        schema="privacy",
    )  # fmt: skip
    op.create_index(
        op.f("ix_campaign_recipient_student_id"), "campaign_recipient", ["student_id"], unique=False, schema="privacy"
    )
    op.create_index(
        "ix_campaign_recipient_state",
        "campaign_recipient",
        ["campaign_id", "state", "id"],
        unique=False,
        schema="privacy",
    )


def _outbox() -> None:
    for column in (
        sa.Column("priority", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("campaign_id", sa.UUID(), nullable=True),
        sa.Column("about_id", sa.UUID(), nullable=True),
        sa.Column("lane", sa.SmallInteger(), nullable=True),
        sa.Column("claim", sa.UUID(), nullable=True),
        sa.Column("tried_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("unclear", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("bounced_at", sa.DateTime(timezone=True), nullable=True),
    ):
        op.add_column("outbox", column, schema="privacy")
    for column in ("subject", "body"):
        op.alter_column("outbox", column, server_default="", schema="privacy")
    op.create_foreign_key(
        op.f("fk_outbox_campaign_id"), "outbox", "campaign", ["campaign_id"], ["id"], source_schema="privacy",
        referent_schema="privacy",
    )  # fmt: skip
    op.create_index(op.f("ix_outbox_campaign_id"), "outbox", ["campaign_id"], unique=False, schema="privacy")
    op.drop_index("ix_outbox_waiting", table_name="outbox", schema="privacy")
    op.create_index(
        "ix_outbox_waiting",
        "outbox",
        ["priority", "not_before", "id"],
        unique=False,
        schema="privacy",
        postgresql_where=sa.text("state = 'waiting'"),
    )
    op.create_index(
        "ix_outbox_sending",
        "outbox",
        ["lane"],
        unique=False,
        schema="privacy",
        postgresql_where=sa.text("state = 'sending'"),
    )
    op.drop_constraint(op.f("ck_outbox_state_known"), "outbox", schema="privacy", type_="check")
    op.create_check_constraint(
        op.f("ck_outbox_state_known"),
        "outbox",
        "state in ('waiting', 'sending', 'sent', 'failed', 'canceled')",
        schema="privacy",
    )


def _rights() -> None:
    for table, rule in {
        "privacy.mail_pace": PROVERS,
        "privacy.campaign": PROVERS,
        "privacy.campaign_recipient": OFFICER,
    }.items():
        rights.close(table)
        columns = "(id, campaign_id, state, unclear, code, told_at)" if table == "privacy.campaign_recipient" else ""
        rights.app_reads(table, rule, columns)
    begins = f"{TELLERS} and begun_by = (select staff.my_id()) and state = 'gathering' and reduced_at is null"
    rights.app_adds(
        "privacy.campaign",
        begins,
        "(id, form_key, kind, channel, about, audience, audience_values, subject, body, deadline, begun_at, begun_by)",
    )
    rights.app_changes("privacy.campaign", TELLERS, "(state, finished_at, shown_at, shown_by, shown_where)")
    op.execute(f"alter policy app_reads on privacy.outbox using ({OFFICER} and priority = 0)")
    op.execute(
        f"alter policy app_adds on privacy.outbox with check ({OFFICER} and written_by = (select staff.my_id()) and priority = 0)"
    )
    op.execute(
        f"alter policy app_changes on privacy.outbox using ({OFFICER} and priority = 0) with check ({OFFICER} and priority = 0)"
    )
    op.execute("grant update (attempts, not_before, error) on privacy.outbox to resocode_app")


def downgrade() -> None:
    """There is no way back but a backup."""
    raise NotImplementedError("Restore a backup instead.")
