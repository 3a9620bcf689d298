"""A part of a page that draws itself anew asks who is signed in without being a sign of life.

Danger: a tab that is left open on something that moves (a notice on its way) never goes idle. Principle: only what a person does
keeps a session. Mechanism: ``staff.look_at_session`` answers as ``staff.touch_session`` does, by the same rules, and writes nothing.
"""

from migrations import rights

revision = "0051"
down_revision = "0050"
branch_labels = None
depends_on = None

FUNCTION = """
create function staff.look_at_session(p_secret bytea, p_now timestamptz)
returns table (
    session_id uuid, staff_id uuid, name text, email text, role text, demo boolean, cookie_hash bytea,
    started_at timestamptz, expires_at timestamptz, confirmed_at timestamptz, second_factor boolean
) language sql stable security definer set search_path = '' as $$
    select s.id, m.id, m.name, m.email, m.role, m.demo, s.cookie_hash, s.started_at, s.expires_at, s.confirmed_at,
        m.totp_since is not null
    from staff.session s join staff.staff_member m on m.id = s.staff_id
    where p_secret in (s.token_hash, s.cookie_hash) and s.ended_at is null and s.expires_at > p_now
      and s.seen_at > p_now - interval '15 minutes' and m.disabled_at is null and (m.ends_at is null or m.ends_at > p_now)
$$;
"""


def upgrade() -> None:
    """Apply."""
    rights.functions(FUNCTION, {"staff.look_at_session(bytea, timestamptz)": "resocode_app"})


def downgrade() -> None:
    """There is no way back but a backup."""
    raise NotImplementedError("Restore a backup instead.")
