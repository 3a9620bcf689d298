"""Exports: the file that answers a request for access or export, and the texts in it that an officer judges before.

Danger: a request is called answered and the person never had the file, or it holds what was written about somebody else.
Principle: "answered" needs a file that was fetched (or one that could not be made); a text in question is decided by a person
who is an officer, not about their own record. Mechanism: the dashboard changes nothing here but through functions that ask again
who acts; opening the one-time link marks the export, whoever's code opened it.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations import rights

revision = "0036"
down_revision = "0035"
branch_labels = None
depends_on = None

OFFICER = "(select staff.my_role()) = 'privacy_officer'"

FUNCTIONS = """
-- An open request for access or export, for an officer who may decide about it; raises otherwise.
create function privacy.demand_export(p_request uuid, p_fresh boolean, p_now timestamptz) returns void
language plpgsql stable security definer set search_path = '' as $$
declare
    asked privacy.request;
begin
    perform staff.demand(array['privacy_officer'], p_fresh, p_now);
    select * into asked from privacy.request r where r.id = p_request and r.kind in ('access', 'export');
    if asked.id is null then
        perform staff.refuse('RS004', 'There is no such request, or it is not open to you.');
    elsif asked.closed_at is not null then
        perform staff.refuse('RS002', 'This request is closed; it does not change any more.');
    elsif exists (select from privacy.subject_at_work(asked.student_id, asked.visitor_id) w where w.own) then
        perform staff.refuse('RS001', 'This is your own record. Another privacy officer has to decide.');
    end if;
end $$;

-- Makes the file anew, or tries a failed one again at once; false: it is about to be made anyway.
create function privacy.remake_export(p_request uuid, p_now timestamptz) returns boolean
language plpgsql security definer set search_path = '' as $$
begin
    perform privacy.demand_export(p_request, false, p_now);
    update privacy.export e set state = 'to build', error = null, attempts = 0, next_at = p_now, fetched_at = null,
        handed_how = null, handed_by = null, handed_at = null
    where e.request_id = p_request and e.state in ('failed', 'ready', 'handed out');
    return found;
end $$;

-- Says how the file is handed out; null: there is none that is kept.
create function privacy.hand_out_export(p_request uuid, p_how text, p_now timestamptz) returns uuid
language plpgsql security definer set search_path = '' as $$
declare
    kept uuid;
begin
    perform privacy.demand_export(p_request, true, p_now);
    select e.artifact_id into kept from privacy.export e join privacy.artifact a on a.id = e.artifact_id
    where e.request_id = p_request and e.state in ('ready', 'handed out')
      and a.wrapped_key is not null and a.expires_at > p_now for update of e;
    update privacy.export e set handed_how = p_how, handed_by = staff.my_id(), handed_at = p_now
    where e.request_id = p_request and e.artifact_id = kept;
    return kept;
end $$;

-- Decides about one text, until the file is made; false: the same was decided before.
create function privacy.judge_export_text(p_id uuid, p_decision text, p_words jsonb, p_now timestamptz) returns boolean
language plpgsql security definer set search_path = '' as $$
declare
    kept privacy.export_text;
begin
    select * into kept from privacy.export_text t where t.id = p_id for update;
    if kept.id is null then
        perform staff.refuse('RS004', 'There is no such text, or it is not open to you.');
    end if;
    perform privacy.demand_export(kept.request_id, false, p_now);
    if (kept.decision, kept.words) is not distinct from (p_decision, p_words) then
        return false;
    end if;
    update privacy.export_text t set decision = p_decision, words = p_words, decided_at = p_now, decided_by = staff.my_id()
    where t.id = p_id;
    return true;
end $$;

-- Whoever opens the link of an export has fetched it.
create function privacy.note_fetched() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
    update privacy.export e set state = 'handed out', fetched_at = new.opened_at
    where e.artifact_id = new.artifact_id and e.state = 'ready' and e.handed_at is not null;
    return null;
end $$;

-- Access and export are answered by handing the file out; by hand only where none could be made.
create function privacy.guard_answer() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
    if new.kind in ('access', 'export') and new.state = 'answered' and old.state <> 'answered'
       and pg_catalog.num_nonnulls(new.student_id, new.visitor_id) = 1
       and not exists (select from privacy.export e where e.request_id = new.id and e.state in ('handed out', 'failed')) then
        raise exception 'the file is handed out before the request is answered';
    end if;
    return new;
end $$;

-- What was kept of texts in question goes with the end of the request.
create function privacy.forget_export_texts() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
    update privacy.export_text t set found = null, words = case when t.words is not null then '[]'::jsonb end
    where t.request_id = new.id;
    return null;
end $$;
"""

CALLERS = {
    "privacy.demand_export(uuid, boolean, timestamptz)": "resocode_definer",
    "privacy.remake_export(uuid, timestamptz)": "resocode_app",
    "privacy.hand_out_export(uuid, text, timestamptz)": "resocode_app",
    "privacy.judge_export_text(uuid, text, jsonb, timestamptz)": "resocode_app",
    "privacy.note_fetched()": "resocode_owner",
    "privacy.guard_answer()": "resocode_owner",
    "privacy.forget_export_texts()": "resocode_owner",
}


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "export",
        sa.Column("request_id", sa.UUID(), nullable=False),
        sa.Column("state", sa.Text(), server_default="to build", nullable=False),
        sa.Column("round", sa.Integer(), server_default="0", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("artifact_id", sa.UUID(), nullable=True),
        sa.Column("rows", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("processors", postgresql.JSONB(astext_type=sa.Text()), server_default="[]", nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("built_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("handed_how", sa.Text(), nullable=True),
        sa.Column("handed_by", sa.UUID(), nullable=True),
        sa.Column("handed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("fetched_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state in ('to build', 'to judge', 'failed', 'ready', 'handed out')", name=op.f("ck_export_state_known")
        ),
        sa.CheckConstraint(
            "handed_how in ('handed over in person', 'put into their account', 'sent encrypted')",
            name=op.f("ck_export_handed_how_known"),
        ),
        sa.CheckConstraint(
            "state not in ('ready', 'handed out') or artifact_id is not null", name=op.f("ck_export_ready_has_file")
        ),
        sa.CheckConstraint("(state = 'handed out') = (fetched_at is not null)", name=op.f("ck_export_handed_when")),
        sa.CheckConstraint("(state = 'failed') = (error is not null)", name=op.f("ck_export_failed_why")),
        sa.ForeignKeyConstraint(["request_id"], ["privacy.request.id"], name=op.f("fk_export_request_id")),
        sa.ForeignKeyConstraint(["artifact_id"], ["privacy.artifact.id"], name=op.f("fk_export_artifact_id")),
        sa.ForeignKeyConstraint(["handed_by"], ["staff.staff_member.id"], name=op.f("fk_export_handed_by")),
        sa.PrimaryKeyConstraint("request_id", name=op.f("pk_export")),
        schema="privacy",
    )
    op.create_index(op.f("ix_export_artifact_id"), "export", ["artifact_id"], unique=False, schema="privacy")
    op.create_index(op.f("ix_export_handed_by"), "export", ["handed_by"], unique=False, schema="privacy")
    op.create_index(
        "ix_export_open",
        "export",
        ["next_at"],
        unique=False,
        schema="privacy",
        postgresql_where=sa.text("state in ('to build', 'failed')"),
    )
    op.create_table(
        "export_text",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("request_id", sa.UUID(), nullable=False),
        sa.Column("student_id", sa.UUID(), nullable=True),
        sa.Column("visitor_id", sa.UUID(), nullable=True),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("field", sa.Text(), nullable=False),
        sa.Column("written_on", sa.Text(), nullable=True),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("found", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("decision", sa.Text(), nullable=True),
        sa.Column("words", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decided_by", sa.UUID(), nullable=True),
        sa.CheckConstraint(
            "decision in ('hand out', 'redact', 'leave out')", name=op.f("ck_export_text_decision_known")
        ),
        sa.CheckConstraint("(decision is null) = (decided_at is null)", name=op.f("ck_export_text_decided_when")),
        sa.CheckConstraint("decision <> 'redact' or words is not null", name=op.f("ck_export_text_redacted_what")),
        sa.ForeignKeyConstraint(["request_id"], ["privacy.request.id"], name=op.f("fk_export_text_request_id")),
        sa.ForeignKeyConstraint(["student_id"], ["platform.student.id"], name=op.f("fk_export_text_student_id")),
        sa.ForeignKeyConstraint(["visitor_id"], ["platform.visitor.id"], name=op.f("fk_export_text_visitor_id")),
        sa.ForeignKeyConstraint(["decided_by"], ["staff.staff_member.id"], name=op.f("fk_export_text_decided_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_export_text")),
        sa.UniqueConstraint("request_id", "digest", name=op.f("uq_export_text_request_id_digest")),
        schema="privacy",
    )
    for column in ("student_id", "visitor_id", "decided_by"):
        op.create_index(op.f(f"ix_export_text_{column}"), "export_text", [column], unique=False, schema="privacy")
    op.create_index(
        "ix_export_text_open",
        "export_text",
        ["request_id"],
        unique=False,
        schema="privacy",
        postgresql_where=sa.text("decision is null"),
    )
    rights.close("privacy.export")
    rights.close("privacy.export_text")
    rights.let_definer("privacy.export", "update")
    rights.let_definer("privacy.export_text", "update")
    rights.app_reads("privacy.export", OFFICER)
    rights.app_reads("privacy.export_text", OFFICER)
    rights.functions(FUNCTIONS, CALLERS)
    op.execute(
        "create trigger note_fetched after update of opened_at on staff.file_link for each row"
        " when (new.artifact_id is not null and old.opened_at is null and new.opened_at is not null)"
        " execute function privacy.note_fetched()"
    )
    op.execute(
        "create trigger guard_answer before update on privacy.request for each row execute function privacy.guard_answer()"
    )
    op.execute(
        "create trigger forget_export_texts after update on privacy.request for each row"
        " when (old.closed_at is null and new.closed_at is not null) execute function privacy.forget_export_texts()"
    )


def downgrade() -> None:
    """There is no way back but a backup."""
    raise NotImplementedError("Restore a backup instead.")
