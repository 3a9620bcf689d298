"""Visitors whom retention erased here are erased at the platform, too.

Danger: a visitor goes here by the calendar, stays in the platform's database, and the next sync brings them back. Principle: what
goes here is written down for there in the same transaction, by the document's own id and nothing else; the row goes when it was read
back that the document is gone. Mechanism: ``sync_erasure``, which only the worker sees.
"""

import sqlalchemy as sa
from alembic import op

from migrations import rights

revision = "0047"
down_revision = "0046"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "sync_erasure",
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("purged_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("error", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("document", name=op.f("pk_sync_erasure")),
        schema="privacy",
    )
    op.create_index("ix_sync_erasure_next_at", "sync_erasure", ["next_at"], schema="privacy")
    rights.close("privacy.sync_erasure")


def downgrade() -> None:
    """There is no way back but a backup."""
    raise NotImplementedError("Restore a backup instead.")
