"""Who acts proves it again before something dangerous: the session knows when, and goes on with new secrets.

Accounts get a place for the secret of their one-time codes.
"""

import sqlalchemy as sa
from alembic import op

from migrations import rights

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

FUNCTIONS = """
drop function staff.open_session(uuid, uuid, bytea, bytea, timestamptz, timestamptz, timestamptz);
create function staff.open_session(
    p_id uuid, p_staff uuid, p_token bytea, p_ticket bytea, p_now timestamptz, p_expires timestamptz,
    p_ticket_expires timestamptz
) returns void language sql security definer set search_path = '' as $$
    insert into staff.session
        (id, staff_id, token_hash, ticket_hash, ticket_expires_at, started_at, confirmed_at, seen_at, expires_at)
    values (p_id, p_staff, p_token, p_ticket, p_ticket_expires, p_now, p_now, p_now, p_expires)
$$;

drop function staff.touch_session(bytea, timestamptz);
create function staff.touch_session(p_secret bytea, p_now timestamptz)
returns table (
    session_id uuid, staff_id uuid, name text, email text, role text, demo boolean, cookie_hash bytea,
    started_at timestamptz, expires_at timestamptz, confirmed_at timestamptz, second_factor boolean
) language plpgsql security definer set search_path = '' as $$
begin
    update staff.session s set ended_at = p_now,
        end_reason = case when s.expires_at <= p_now then 'expired' when m.id is null then 'disabled' else 'idle' end
    from staff.session t left join staff.staff_member m on m.id = t.staff_id and m.disabled_at is null
    where s.id = t.id and p_secret in (t.token_hash, t.cookie_hash) and s.ended_at is null
      and (s.expires_at <= p_now or s.seen_at <= p_now - interval '15 minutes' or m.id is null);
    return query
    update staff.session s set seen_at = greatest(s.seen_at, p_now)
    from staff.staff_member m
    where m.id = s.staff_id and m.disabled_at is null and s.ended_at is null
      and p_secret in (s.token_hash, s.cookie_hash)
    returning s.id, m.id, m.name, m.email, m.role, m.demo, s.cookie_hash, s.started_at, s.expires_at, s.confirmed_at,
        m.totp_since is not null;
end $$;

-- The session of whoever asks goes on with new secrets; the old token, cookie and ticket are worth nothing any more.
create function staff.confirm_session(p_now timestamptz, p_token bytea, p_ticket bytea, p_ticket_expires timestamptz)
returns boolean language plpgsql security definer set search_path = '' as $$
begin
    update staff.session s set confirmed_at = p_now, token_hash = p_token, cookie_hash = null, ticket_hash = p_ticket,
        ticket_expires_at = p_ticket_expires, ticket_used_at = null
    where s.id = staff.my_session() and s.staff_id = staff.my_id() and s.ended_at is null;
    return found;
end $$;
"""


def upgrade() -> None:
    """Apply."""
    op.add_column("session", sa.Column("confirmed_at", sa.DateTime(timezone=True)), schema="staff")
    op.add_column("staff_member", sa.Column("totp_secret", sa.LargeBinary()), schema="staff")
    op.add_column("staff_member", sa.Column("totp_since", sa.DateTime(timezone=True)), schema="staff")
    op.add_column("staff_member", sa.Column("totp_step", sa.BigInteger()), schema="staff")
    op.execute("set local role resocode_definer")  # the owner of a table with forced row security changes 0 rows
    op.execute("update staff.session set confirmed_at = started_at")
    op.execute("reset role")
    op.alter_column("session", "confirmed_at", nullable=False, schema="staff")
    op.execute("grant select (confirmed_at) on staff.session to resocode_app")
    op.execute("grant select (totp_since) on staff.staff_member to resocode_app")
    callers = {
        "staff.open_session(uuid, uuid, bytea, bytea, timestamptz, timestamptz, timestamptz)": "resocode_app",
        "staff.touch_session(bytea, timestamptz)": "resocode_app",
        "staff.confirm_session(timestamptz, bytea, bytea, timestamptz)": "resocode_app",
    }
    rights.functions(FUNCTIONS, callers)


def downgrade() -> None:
    """There is no way back but a backup."""
    raise NotImplementedError("Restore a backup instead.")
