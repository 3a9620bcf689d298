"""The sync with the platform: how far it is, documents that were set aside, and what no mapping mentions.

The worker writes all of it. Whoever runs the house (admins), answers requests (privacy officers) or looks whether promises are
kept (auditors) reads how it fares; which documents were set aside is read by the first two.
"""

import sqlalchemy as sa
from alembic import op

from migrations import rights

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

OVERSEERS = "(select staff.my_role()) in ('admin', 'privacy_officer', 'auditor')"
MENDERS = "(select staff.my_role()) in ('admin', 'privacy_officer')"
READS = {"privacy.sync_collection": OVERSEERS, "privacy.sync_gap": OVERSEERS, "privacy.sync_misfit": MENDERS}


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "sync_collection",
        sa.Column("collection", sa.Text(), nullable=False),
        sa.Column("mapping", sa.Text(), server_default="", nullable=False),
        sa.Column("position_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("position_key", sa.Text(), server_default="", nullable=False),
        sa.Column("seen_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("begun_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("swept_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("sweep_stopped", sa.Integer(), nullable=True),
        sa.Column("pass_documents", sa.Integer(), server_default="0", nullable=False),
        sa.Column("pass_seconds", sa.Double(), server_default="0", nullable=False),
        sa.Column("pass_rows", sa.Integer(), server_default="0", nullable=False),
        sa.Column("documents", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("added", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("changed", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("removed", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("refused", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("error", sa.Text(), server_default="", nullable=False),
        sa.Column("error_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(position_at is null) <= (position_key = '')", name=op.f("ck_sync_collection_key_of_a_position")
        ),
        sa.PrimaryKeyConstraint("collection", name=op.f("pk_sync_collection")),
        schema="privacy",
    )
    op.create_table(
        "sync_misfit",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("collection", sa.Text(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("field", sa.Text(), server_default="", nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("found_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tried_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tries", sa.Integer(), server_default="1", nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sync_misfit")),
        schema="privacy",
    )
    op.create_index(
        "ix_sync_misfit_collection", "sync_misfit", ["collection", "found_at", "id"], unique=False, schema="privacy"
    )
    op.create_table(
        "sync_gap",
        sa.Column("collection", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("looks_like", sa.Text(), server_default="", nullable=False),
        sa.Column("documents", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("first_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("kind in ('field', 'collection', 'undated')", name=op.f("ck_sync_gap_kind_known")),
        sa.PrimaryKeyConstraint("collection", "path", name=op.f("pk_sync_gap")),
        schema="privacy",
    )
    for table, rule in READS.items():
        rights.close(table)
        rights.app_reads(table, rule)


def downgrade() -> None:
    """There is no way back but a backup."""
    raise NotImplementedError("Restore a backup instead.")
