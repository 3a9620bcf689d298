"""Requests: the tables.

Rows that are there become requests of the new states: "open" → "received", "closed" → "answered".
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations import rights

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

OPEN = "'received', 'checking', 'verified', 'to approve', 'waiting', 'erasing'"
FINAL = "'answered', 'refused', 'withdrawn', 'reactivated', 'erased'"
CHECKS = {
    "channel_known": "channel in ('e-mail', 'form', 'phone', 'letter', 'in person', 'platform')",
    "requester_known": "requester in ('subject', 'parent', 'agent')",
    "state_known": f"state in ({OPEN}, {FINAL})",
    "identity_known": "identity in ('not checked', 'asked', 'confirmed', 'failed')",
    "final_is_closed": f"(state in ({FINAL})) = (closed_at is not null)",
    "received_before_filed": "received_at <= filed_at",
    "extension_known": "extended_months between 0 and 2",
    "pause_while_checking": "(paused_at is null) or (state = 'checking')",
    "grace_after_closing": "early or grace_ends_at is null or account_closed_at is null or grace_ends_at > account_closed_at",
}


def upgrade() -> None:
    """Apply."""
    op.execute("create sequence privacy.request_number start 2041")
    op.execute("grant usage on sequence privacy.request_number to resocode_worker, resocode_definer")
    _extend_request()
    _make_tables()


def _extend_request() -> None:
    op.add_column(
        "request",
        sa.Column(
            "number", sa.BigInteger(), server_default=sa.text("nextval('privacy.request_number')"), nullable=False
        ),
        schema="privacy",
    )
    op.add_column("request", sa.Column("form_key", sa.UUID(), nullable=True), schema="privacy")
    op.add_column("request", sa.Column("channel", sa.Text(), server_default="e-mail", nullable=False), schema="privacy")
    op.add_column(
        "request", sa.Column("requester", sa.Text(), server_default="subject", nullable=False), schema="privacy"
    )
    op.add_column("request", sa.Column("version", sa.Integer(), server_default="1", nullable=False), schema="privacy")
    op.add_column("request", sa.Column("policy_version", sa.Text(), nullable=True), schema="privacy")
    op.add_column("request", sa.Column("filed_at", sa.DateTime(timezone=True), nullable=True), schema="privacy")
    op.add_column("request", sa.Column("owner_id", sa.UUID(), nullable=True), schema="privacy")
    op.add_column("request", sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True), schema="privacy")
    op.add_column(
        "request", sa.Column("extended_months", sa.SmallInteger(), server_default="0", nullable=False), schema="privacy"
    )
    op.add_column("request", sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True), schema="privacy")
    op.add_column(
        "request", sa.Column("identity", sa.Text(), server_default="not checked", nullable=False), schema="privacy"
    )
    op.add_column("request", sa.Column("identity_method", sa.Text(), nullable=True), schema="privacy")
    op.add_column("request", sa.Column("identity_by", sa.UUID(), nullable=True), schema="privacy")
    op.add_column("request", sa.Column("identity_at", sa.DateTime(timezone=True), nullable=True), schema="privacy")
    op.add_column(
        "request", sa.Column("account_closed_at", sa.DateTime(timezone=True), nullable=True), schema="privacy"
    )
    op.add_column("request", sa.Column("grace_ends_at", sa.DateTime(timezone=True), nullable=True), schema="privacy")
    op.add_column("request", sa.Column("opted_out_before", sa.DateTime(timezone=True), nullable=True), schema="privacy")
    op.add_column("request", sa.Column("early", sa.Boolean(), server_default="false", nullable=False), schema="privacy")
    op.add_column(
        "request",
        sa.Column("approvals_needed", sa.SmallInteger(), server_default="1", nullable=False),
        schema="privacy",
    )
    op.add_column("request", sa.Column("plan_fingerprint", sa.Text(), nullable=True), schema="privacy")
    op.add_column("request", sa.Column("outcome", sa.Text(), nullable=True), schema="privacy")
    op.add_column("request", sa.Column("moved_at", sa.DateTime(timezone=True), nullable=True), schema="privacy")
    op.add_column("request", sa.Column("changed_what", sa.Text(), nullable=True), schema="privacy")
    op.add_column("request", sa.Column("changed_by", sa.UUID(), nullable=True), schema="privacy")
    op.drop_index(
        op.f("ix_request_open"), table_name="request", schema="privacy", postgresql_where="(closed_at IS NULL)"
    )
    op.create_index(
        "ix_request_open",
        "request",
        ["due_at", "id"],
        unique=False,
        schema="privacy",
        postgresql_where=sa.text("closed_at is null"),
    )
    op.create_index(op.f("ix_request_changed_by"), "request", ["changed_by"], unique=False, schema="privacy")
    op.create_index(
        "ix_request_closed",
        "request",
        [sa.literal_column("closed_at desc"), sa.literal_column("id desc")],
        unique=False,
        schema="privacy",
        postgresql_where=sa.text("closed_at is not null"),
    )
    op.create_index(op.f("ix_request_identity_by"), "request", ["identity_by"], unique=False, schema="privacy")
    op.create_index(
        "ix_request_open_student",
        "request",
        ["student_id"],
        unique=False,
        schema="privacy",
        postgresql_where=sa.text("closed_at is null"),
    )
    op.create_index(
        "ix_request_open_visitor",
        "request",
        ["visitor_id"],
        unique=False,
        schema="privacy",
        postgresql_where=sa.text("closed_at is null"),
    )
    op.create_index(op.f("ix_request_owner_id"), "request", ["owner_id"], unique=False, schema="privacy")
    op.create_index(op.f("ix_request_policy_version"), "request", ["policy_version"], unique=False, schema="privacy")
    op.create_index("ix_request_received", "request", ["received_at"], unique=False, schema="privacy")
    op.create_unique_constraint(op.f("uq_request_form_key"), "request", ["form_key"], schema="privacy")
    op.create_unique_constraint(op.f("uq_request_number"), "request", ["number"], schema="privacy")
    op.create_index(
        "uq_request_open_student",
        "request",
        ["kind", "student_id"],
        unique=True,
        schema="privacy",
        postgresql_where=sa.text("closed_at is null and student_id is not null"),
    )
    op.create_index(
        "uq_request_open_visitor",
        "request",
        ["kind", "visitor_id"],
        unique=True,
        schema="privacy",
        postgresql_where=sa.text("closed_at is null and visitor_id is not null"),
    )
    op.create_foreign_key(
        op.f("fk_request_changed_by"),
        "request",
        "staff_member",
        ["changed_by"],
        ["id"],
        source_schema="privacy",
        referent_schema="staff",
    )
    op.create_foreign_key(
        op.f("fk_request_identity_by"),
        "request",
        "staff_member",
        ["identity_by"],
        ["id"],
        source_schema="privacy",
        referent_schema="staff",
    )
    op.create_foreign_key(
        op.f("fk_request_policy_version"),
        "request",
        "policy_version",
        ["policy_version"],
        ["version"],
        source_schema="privacy",
        referent_schema="privacy",
    )
    op.create_foreign_key(
        op.f("fk_request_owner_id"),
        "request",
        "staff_member",
        ["owner_id"],
        ["id"],
        source_schema="privacy",
        referent_schema="staff",
    )
    rights.let_definer("privacy.request", "insert", "update")
    op.execute("set local role resocode_definer")
    op.execute(
        "update privacy.request set state = case when closed_at is null then 'received' else 'answered' end,"
        " answered_at = closed_at, outcome = case when closed_at is not null then 'done before' end"
    )
    op.execute("reset role")
    for name, rule in CHECKS.items():
        op.create_check_constraint(op.f(f"ck_request_{name}"), "request", rule, schema="privacy")


def _make_tables() -> None:
    op.create_table(
        "declaration",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_declaration")),
        schema="privacy",
    )
    op.create_index(
        "uq_declaration_standing",
        "declaration",
        ["what"],
        unique=True,
        schema="privacy",
        postgresql_where=sa.text("until is null"),
    )
    op.create_table(
        "transition",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("from_state", sa.Text(), nullable=False),
        sa.Column("to_state", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("requires_distinct_actor", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("needs_fresh", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("point_of_no_return", sa.Boolean(), server_default="false", nullable=False),
        sa.CheckConstraint(
            "kind in ('access', 'export', 'correct', 'delete', 'restrict', 'opt_out', 'object')",
            name=op.f("ck_transition_kind_known"),
        ),
        sa.PrimaryKeyConstraint("kind", "from_state", "to_state", "role", name=op.f("pk_transition")),
        schema="privacy",
    )
    op.create_table(
        "letter_template",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("written_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("written_by", sa.UUID(), nullable=True),
        sa.ForeignKeyConstraint(["written_by"], ["staff.staff_member.id"], name=op.f("fk_letter_template_written_by")),
        sa.PrimaryKeyConstraint("kind", "version", name=op.f("pk_letter_template")),
        schema="privacy",
    )
    op.create_index(
        op.f("ix_letter_template_written_by"), "letter_template", ["written_by"], unique=False, schema="privacy"
    )
    op.create_table(
        "approval",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("request_id", sa.UUID(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("staff_id", sa.UUID(), nullable=True),
        sa.Column("rule", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("approved_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("(staff_id is null) = (rule is not null)", name=op.f("ck_approval_person_or_rule")),
        sa.ForeignKeyConstraint(["request_id"], ["privacy.request.id"], name=op.f("fk_approval_request_id")),
        sa.ForeignKeyConstraint(["staff_id"], ["staff.staff_member.id"], name=op.f("fk_approval_staff_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_approval")),
        sa.UniqueConstraint(
            "request_id",
            "fingerprint",
            "staff_id",
            name=op.f("uq_approval_request_id_fingerprint_staff_id"),
            postgresql_nulls_not_distinct=True,
        ),
        schema="privacy",
    )
    op.create_index(op.f("ix_approval_staff_id"), "approval", ["staff_id"], unique=False, schema="privacy")
    op.create_table(
        "deletion_plan",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("request_id", sa.UUID(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("policy_version", sa.Text(), nullable=False),
        sa.Column("document", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("made_by", sa.UUID(), nullable=True),
        sa.ForeignKeyConstraint(["made_by"], ["staff.staff_member.id"], name=op.f("fk_deletion_plan_made_by")),
        sa.ForeignKeyConstraint(["request_id"], ["privacy.request.id"], name=op.f("fk_deletion_plan_request_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deletion_plan")),
        sa.UniqueConstraint("request_id", "fingerprint", name=op.f("uq_deletion_plan_request_id_fingerprint")),
        schema="privacy",
    )
    op.create_index(op.f("ix_deletion_plan_made_by"), "deletion_plan", ["made_by"], unique=False, schema="privacy")
    op.create_table(
        "outbox",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("dedupe_key", sa.Text(), nullable=False),
        sa.Column("request_id", sa.UUID(), nullable=True),
        sa.Column("student_id", sa.UUID(), nullable=True),
        sa.Column("visitor_id", sa.UUID(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("template_version", sa.Integer(), nullable=False),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="waiting", nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("written_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("written_by", sa.UUID(), nullable=True),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("sent_by", sa.UUID(), nullable=True),
        sa.Column("sent_how", sa.Text(), nullable=True),
        sa.CheckConstraint("(state = 'sent') = (sent_at is not null)", name=op.f("ck_outbox_sent_has_date")),
        sa.CheckConstraint("state <> 'sent' or address is null", name=op.f("ck_outbox_sent_has_no_address")),
        sa.CheckConstraint("state in ('waiting', 'sent', 'failed', 'canceled')", name=op.f("ck_outbox_state_known")),
        sa.ForeignKeyConstraint(["request_id"], ["privacy.request.id"], name=op.f("fk_outbox_request_id")),
        sa.ForeignKeyConstraint(["sent_by"], ["staff.staff_member.id"], name=op.f("fk_outbox_sent_by")),
        sa.ForeignKeyConstraint(["student_id"], ["platform.student.id"], name=op.f("fk_outbox_student_id")),
        sa.ForeignKeyConstraint(["visitor_id"], ["platform.visitor.id"], name=op.f("fk_outbox_visitor_id")),
        sa.ForeignKeyConstraint(["written_by"], ["staff.staff_member.id"], name=op.f("fk_outbox_written_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
        sa.UniqueConstraint("dedupe_key", name=op.f("uq_outbox_dedupe_key")),
        schema="privacy",
    )
    op.create_index(op.f("ix_outbox_request_id"), "outbox", ["request_id"], unique=False, schema="privacy")
    op.create_index(op.f("ix_outbox_sent_by"), "outbox", ["sent_by"], unique=False, schema="privacy")
    op.create_index(op.f("ix_outbox_student_id"), "outbox", ["student_id"], unique=False, schema="privacy")
    op.create_index(op.f("ix_outbox_visitor_id"), "outbox", ["visitor_id"], unique=False, schema="privacy")
    op.create_index(
        "ix_outbox_waiting",
        "outbox",
        ["not_before", "id"],
        unique=False,
        schema="privacy",
        postgresql_where=sa.text("state = 'waiting'"),
    )
    op.create_index(op.f("ix_outbox_written_by"), "outbox", ["written_by"], unique=False, schema="privacy")
    op.create_table(
        "plan_view",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("request_id", sa.UUID(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("staff_id", sa.UUID(), nullable=False),
        sa.Column("viewed_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["request_id"], ["privacy.request.id"], name=op.f("fk_plan_view_request_id")),
        sa.ForeignKeyConstraint(["staff_id"], ["staff.staff_member.id"], name=op.f("fk_plan_view_staff_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_plan_view")),
        schema="privacy",
    )
    op.create_index("ix_plan_view_request_id", "plan_view", ["request_id", "staff_id"], unique=False, schema="privacy")
    op.create_index(op.f("ix_plan_view_staff_id"), "plan_view", ["staff_id"], unique=False, schema="privacy")
    op.create_table(
        "propagation",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("request_id", sa.UUID(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("processor", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="planned", nullable=False),
        sa.Column("planned_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("done_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("done_by", sa.UUID(), nullable=True),
        sa.CheckConstraint("(state = 'done') = (done_at is not null)", name=op.f("ck_propagation_done_has_date")),
        sa.CheckConstraint("state in ('planned', 'done', 'canceled')", name=op.f("ck_propagation_state_known")),
        sa.ForeignKeyConstraint(["done_by"], ["staff.staff_member.id"], name=op.f("fk_propagation_done_by")),
        sa.ForeignKeyConstraint(["request_id"], ["privacy.request.id"], name=op.f("fk_propagation_request_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_propagation")),
        sa.UniqueConstraint(
            "request_id",
            "what",
            "processor",
            "planned_at",
            name=op.f("uq_propagation_request_id_what_processor_planned_at"),
        ),
        schema="privacy",
    )
    op.create_index(op.f("ix_propagation_done_by"), "propagation", ["done_by"], unique=False, schema="privacy")
    op.create_index(
        "ix_propagation_planned",
        "propagation",
        ["planned_at"],
        unique=False,
        schema="privacy",
        postgresql_where=sa.text("state = 'planned'"),
    )
    op.create_table(
        "request_clock",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("request_id", sa.UUID(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("set_by", sa.UUID(), nullable=True),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("months", sa.SmallInteger(), nullable=True),
        sa.CheckConstraint(
            "(what = 'extend') = (months is not null)", name=op.f("ck_request_clock_extension_has_months")
        ),
        sa.CheckConstraint(
            "what in ('start', 'pause', 'resume', 'extend', 'stop')", name=op.f("ck_request_clock_what_known")
        ),
        sa.ForeignKeyConstraint(["request_id"], ["privacy.request.id"], name=op.f("fk_request_clock_request_id")),
        sa.ForeignKeyConstraint(["set_by"], ["staff.staff_member.id"], name=op.f("fk_request_clock_set_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_request_clock")),
        sa.UniqueConstraint("request_id", "version", "what", name=op.f("uq_request_clock_request_id_version_what")),
        schema="privacy",
    )
    op.create_index(op.f("ix_request_clock_set_by"), "request_clock", ["set_by"], unique=False, schema="privacy")
    op.create_table(
        "request_move",
        sa.Column("id", sa.UUID(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("request_id", sa.UUID(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("from_state", sa.Text(), nullable=False),
        sa.Column("to_state", sa.Text(), nullable=False),
        sa.Column("moved_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("moved_by", sa.UUID(), nullable=True),
        sa.ForeignKeyConstraint(["moved_by"], ["staff.staff_member.id"], name=op.f("fk_request_move_moved_by")),
        sa.ForeignKeyConstraint(["request_id"], ["privacy.request.id"], name=op.f("fk_request_move_request_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_request_move")),
        schema="privacy",
    )
    op.create_index(op.f("ix_request_move_moved_by"), "request_move", ["moved_by"], unique=False, schema="privacy")
    op.create_index(op.f("ix_request_move_request_id"), "request_move", ["request_id"], unique=False, schema="privacy")
    op.create_table(
        "request_text",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("form_key", sa.UUID(), nullable=True),
        sa.Column("request_id", sa.UUID(), nullable=False),
        sa.Column("student_id", sa.UUID(), nullable=True),
        sa.Column("visitor_id", sa.UUID(), nullable=True),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("written_by", sa.UUID(), nullable=True),
        sa.Column("written_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "what in ('words', 'contact', 'note', 'reason', 'evidence')", name=op.f("ck_request_text_what_known")
        ),
        sa.CheckConstraint("char_length(body) between 1 and 20000", name=op.f("ck_request_text_body_length")),
        sa.ForeignKeyConstraint(["request_id"], ["privacy.request.id"], name=op.f("fk_request_text_request_id")),
        sa.ForeignKeyConstraint(["student_id"], ["platform.student.id"], name=op.f("fk_request_text_student_id")),
        sa.ForeignKeyConstraint(["visitor_id"], ["platform.visitor.id"], name=op.f("fk_request_text_visitor_id")),
        sa.ForeignKeyConstraint(["written_by"], ["staff.staff_member.id"], name=op.f("fk_request_text_written_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_request_text")),
        sa.UniqueConstraint("form_key", name=op.f("uq_request_text_form_key")),
        schema="privacy",
    )
    op.create_index(op.f("ix_request_text_request_id"), "request_text", ["request_id"], unique=False, schema="privacy")
    op.create_index(op.f("ix_request_text_student_id"), "request_text", ["student_id"], unique=False, schema="privacy")
    op.create_index(op.f("ix_request_text_visitor_id"), "request_text", ["visitor_id"], unique=False, schema="privacy")
    op.create_index(op.f("ix_request_text_written_by"), "request_text", ["written_by"], unique=False, schema="privacy")


def downgrade() -> None:
    """There is no way back but a backup."""
    raise NotImplementedError("Restore a backup instead.")
