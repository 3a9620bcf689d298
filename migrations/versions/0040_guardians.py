"""Guardians have rights, too: an officer finds the case by a guardian's address, and mends what is kept of them."""

import sqlalchemy as sa
from alembic import op

from migrations import rights

revision = "0040"
down_revision = "0039"
branch_labels = None
depends_on = None

OFFICER = "(select staff.my_role()) = 'privacy_officer'"
FUNCTIONS = """
-- Whose address this is, for a privacy officer who records an age, or hears from a guardian: exactly that address, nothing like it.
create or replace function privacy.student_of_address(p_email text) returns table (id uuid, name text, email text)
language sql stable security definer set search_path = '' as $$
    select * from (
        select s.id, s.name, s.email from platform.student s where lower(s.email) = lower(p_email)
        union all
        select s.id, s.name, s.email from privacy.guardian g join platform.student s on s.id = g.student_id
        where lower(g.email) = lower(p_email)
    ) found
    where (select staff.my_role()) = 'privacy_officer' limit 1
$$;
"""


def upgrade() -> None:
    """Apply."""
    op.create_index("ix_guardian_email", "guardian", [sa.text("lower(email)")], schema="privacy")
    case = "student_id in (select c.student_id from privacy.consent c where c.state <> 'not needed')"
    rights.app_changes("privacy.guardian", f"{OFFICER} and {case}", "(name, email)")
    rights.functions(FUNCTIONS, {"privacy.student_of_address(text)": "resocode_app"})


def downgrade() -> None:
    """There is no way back but a backup."""
    raise NotImplementedError("Restore a backup instead.")
