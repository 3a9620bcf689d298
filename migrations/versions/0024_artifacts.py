"""Artifacts: exports and evidence, encrypted part by part under a key of their own, which goes first.

Danger: a file about a person opens to somebody whom it was not made for, or after its time. Principle: bytes are readable
through a link of one session only, and links to artifacts are a privacy officer's; the row of a destroyed artifact stays, its
key does not. Mechanism: row-level security on the parts asks for the link; ``privacy.destroy_artifact`` is the only way in
which the dashboard takes anything away.
"""

import sqlalchemy as sa
from alembic import op

from migrations import rights

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

OFFICER = "(select staff.my_role()) = 'privacy_officer'"
LINKED = (
    "exists (select from staff.file_link l where l.artifact_id = {}.{} and l.session_id = (select staff.my_session()))"
)
MINE = "(select staff.my_role()) is not null and session_id = staff.my_session()"

FUNCTIONS = """
-- The key goes first, then the bytes. done: false when that had happened before; no row: there is no such artifact.
create function privacy.destroy_artifact(p_id uuid, p_why text, p_now timestamptz)
returns table (kind text, owner_id uuid, done boolean)
language plpgsql security definer set search_path = '' as $$
declare
    kept privacy.artifact;
begin
    perform staff.demand(array['privacy_officer'], false, p_now);
    select * into kept from privacy.artifact a where a.id = p_id for update;
    if kept.id is null or (kept.kind <> 'evidence' and session_user <> 'resocode_worker') then
        return;
    end if;
    update privacy.artifact a set wrapped_key = null, destroyed_at = p_now, destroyed_why = p_why
    where a.id = p_id and a.destroyed_at is null;
    delete from privacy.artifact_part q where q.artifact_id = p_id;
    return query select kept.kind, kept.owner_id, kept.destroyed_at is null;
end $$;
"""


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "artifact",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("owner_id", sa.UUID(), nullable=False),
        sa.Column("student_id", sa.UUID(), nullable=True),
        sa.Column("visitor_id", sa.UUID(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("parts", sa.Integer(), nullable=False),
        sa.Column("wrapped_key", sa.LargeBinary(), nullable=True),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("kept_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("destroyed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("destroyed_why", sa.Text(), nullable=True),
        sa.CheckConstraint("kind in ('export', 'evidence')", name=op.f("ck_artifact_kind_known")),
        sa.CheckConstraint(
            "destroyed_why in ('expired', 'not needed any more', 'made anew', 'erased')",
            name=op.f("ck_artifact_destroyed_why_known"),
        ),
        sa.CheckConstraint("num_nonnulls(student_id, visitor_id) <= 1", name=op.f("ck_artifact_one_person")),
        sa.CheckConstraint("expires_at > kept_at", name=op.f("ck_artifact_expires_later")),
        sa.CheckConstraint("(destroyed_at is null) = (destroyed_why is null)", name=op.f("ck_artifact_destroyed_why")),
        sa.CheckConstraint(
            "destroyed_at is null or wrapped_key is null", name=op.f("ck_artifact_destroyed_without_key")
        ),
        sa.ForeignKeyConstraint(["student_id"], ["platform.student.id"], name=op.f("fk_artifact_student_id")),
        sa.ForeignKeyConstraint(["visitor_id"], ["platform.visitor.id"], name=op.f("fk_artifact_visitor_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_artifact")),
        schema="privacy",
    )
    op.create_index(op.f("ix_artifact_student_id"), "artifact", ["student_id"], unique=False, schema="privacy")
    op.create_index(op.f("ix_artifact_visitor_id"), "artifact", ["visitor_id"], unique=False, schema="privacy")
    op.create_index(
        "ix_artifact_owner", "artifact", ["owner_id", sa.literal_column("kept_at desc")], unique=False, schema="privacy"
    )
    op.create_index(
        "ix_artifact_expiring",
        "artifact",
        ["expires_at", "id"],
        unique=False,
        schema="privacy",
        postgresql_where=sa.text("destroyed_at is null"),
    )
    op.create_table(
        "artifact_part",
        sa.Column("artifact_id", sa.UUID(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("number >= 0", name=op.f("ck_artifact_part_number_from_zero")),
        sa.ForeignKeyConstraint(
            ["artifact_id"],
            ["privacy.artifact.id"],
            name=op.f("fk_artifact_part_artifact_id"),
            initially="DEFERRED",
            deferrable=True,
        ),
        sa.PrimaryKeyConstraint("artifact_id", "number", name=op.f("pk_artifact_part")),
        schema="privacy",
    )
    op.execute("alter table privacy.artifact_part alter column content set storage external")  # it cannot be compressed
    op.add_column("file_link", sa.Column("artifact_id", sa.UUID(), nullable=True), schema="staff")
    op.add_column("file_link", sa.Column("password", sa.LargeBinary(), nullable=True), schema="staff")
    op.alter_column("file_link", "content", nullable=True, schema="staff")
    op.create_index(op.f("ix_file_link_artifact_id"), "file_link", ["artifact_id"], unique=False, schema="staff")
    op.create_foreign_key(
        op.f("fk_file_link_artifact_id"), "file_link", "artifact", ["artifact_id"], ["id"],
        source_schema="staff", referent_schema="privacy",
    )  # fmt: skip
    for name, rule in {
        "one_content": "num_nonnulls(content, artifact_id) = 1",
        "password_for_artifact": "password is null or artifact_id is not null",
    }.items():
        op.create_check_constraint(op.f(f"ck_file_link_{name}"), "file_link", rule, schema="staff")
    rights.close("privacy.artifact")
    rights.close("privacy.artifact_part")
    rights.let_definer("privacy.artifact", "update")
    rights.let_definer("privacy.artifact_part", "delete")
    rights.app_reads("privacy.artifact", OFFICER)
    rights.app_reads("privacy.artifact_part", LINKED.format("artifact_part", "artifact_id"))
    rights.app_adds("privacy.artifact", f"{OFFICER} and kind = 'evidence' and wrapped_key is not null")
    rights.app_adds("privacy.artifact_part", OFFICER)
    _let_officers_link()
    rights.functions(FUNCTIONS, {"privacy.destroy_artifact(uuid, text, timestamptz)": "resocode_app, resocode_worker"})


def _let_officers_link() -> None:
    """A link leads to an artifact only if a privacy officer made it; where it leads never changes."""
    op.execute(f"alter policy app_adds on staff.file_link with check ({MINE} and (artifact_id is null or {OFFICER}))")
    op.execute("revoke update on staff.file_link from resocode_app")
    op.execute("grant update (opened_at) on staff.file_link to resocode_app")


def downgrade() -> None:
    """There is no way back but a backup."""
    raise NotImplementedError("Restore a backup instead.")
