"""How far each lane of the mail has come, letter by letter.

Danger: a batch of letters is claimed, its worker dies, and nobody knows which of them left. Principle: before each letter it is
noted that it begins. Mechanism: one row per lane, in a table that is not logged: a note costs no write to the disk and outlives the
worker; after a crash of the database the table is empty, and the whole batch counts as unclear.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations import rights

revision = "0043"
down_revision = "0042"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "mail_lane",
        sa.Column("lane", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("claim", sa.UUID(), nullable=False),
        sa.Column("letters", postgresql.ARRAY(sa.UUID()), nullable=False),
        sa.Column("begun", sa.Integer(), server_default="0", nullable=False),
        sa.Column("answers", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.PrimaryKeyConstraint("lane", name=op.f("pk_mail_lane")),
        schema="privacy",
        prefixes=["UNLOGGED"],
    )
    rights.close("privacy.mail_lane")


def downgrade() -> None:
    """There is no way back but a backup."""
    raise NotImplementedError("Restore a backup instead.")
