"""Whom the policies leave out, planned once for each connection.

Every policy of learning data asks ``staff.my_closed()`` once for each table of a statement. Its plan is the same for everybody (the enrollments of a
few cohorts, by their index), but an array that is a parameter makes the planner think that a plan of one's own is worth it: each time it planned for
four times as long as it ran. What the functions answer stays what it was (0030).
"""

from alembic import op

revision = "0060"
down_revision = "0058"
branch_labels = None
depends_on = None

FUNCTIONS = ("staff.my_closed()", "staff.my_objecting()")


def upgrade() -> None:
    """Apply."""
    op.execute("set local role resocode_definer")
    for function in FUNCTIONS:
        op.execute(f"alter function {function} set plan_cache_mode = force_generic_plan")
    op.execute("reset role")


def downgrade() -> None:
    """There is no way back but a backup."""
    raise NotImplementedError("Restore a backup instead.")
