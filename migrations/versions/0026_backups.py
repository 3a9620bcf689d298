"""Which backups exist and until when: what core.backup found in its folder, for those who check promises."""

import sqlalchemy as sa
from alembic import op

from migrations import rights

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

LOOKERS = "(select staff.my_role()) in ('admin', 'privacy_officer', 'auditor')"


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "backup",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint("expires_at > made_at", name=op.f("ck_backup_expires_later")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_backup")),
        sa.UniqueConstraint("sha256", name=op.f("uq_backup_sha256")),
        schema="privacy",
    )
    kept = sa.text("removed_at is null")
    op.create_index("ix_backup_kept", "backup", ["expires_at"], schema="privacy", postgresql_where=kept)
    rights.close("privacy.backup")
    rights.app_reads("privacy.backup", LOOKERS)


def downgrade() -> None:
    """There is no way back but a backup."""
    raise NotImplementedError("Restore a backup instead.")
