"""Workers may read who needs help, too: without anybody signed in nobody objects to them."""

from alembic import op

revision = "0042"
down_revision = "0041"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.execute("set local role resocode_definer")
    op.execute("grant execute on function staff.my_objecting() to resocode_worker")
    op.execute("reset role")


def downgrade() -> None:
    """There is no way back but a backup."""
    raise NotImplementedError("Restore a backup instead.")
