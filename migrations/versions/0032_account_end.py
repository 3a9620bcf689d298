"""An account can have an end, and an auditor's always has one: whoever comes to look, comes for a time.

Danger: an auditor's account outlives the audit. Principle: from its end on, the account is worth what a disabled one is: no
sign-in, no session, no row. Mechanism: ``staff_member.ends_at``, asked for wherever ``disabled_at`` is; a trigger gives an auditor
without an end ninety days, whichever way the account was made; an admin sets another end, a year ahead at most.
"""

import sqlalchemy as sa
from alembic import op

from migrations import rights

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None

RETURNS = """session_id uuid, staff_id uuid, name text, email text, role text, demo boolean, cookie_hash bytea,
    started_at timestamptz, expires_at timestamptz, confirmed_at timestamptz, second_factor boolean"""

FUNCTIONS = f"""
create function staff.end_of_auditor() returns trigger language plpgsql set search_path = '' as $$
begin
    if new.role = 'auditor' and new.ends_at is null then
        new.ends_at := pg_catalog.now() + interval '90 days';
    elsif new.role <> 'auditor' and tg_op = 'UPDATE' and old.role = 'auditor' then
        new.ends_at := null;
    end if;
    return new;
end $$;

create or replace function staff.my_role() returns text
language plpgsql stable parallel safe security definer set search_path = '' as $$
begin
    return (select m.role from staff.staff_member m where m.id = staff.my_id() and m.disabled_at is null
            and (m.ends_at is null or m.ends_at > pg_catalog.now())
            and (m.role not in ('privacy_officer', 'admin') or m.totp_since is not null or m.demo));
end $$;

create or replace function staff.hold_my_role() returns text language sql volatile security definer
set search_path = '' as $$
    select m.role from staff.staff_member m where m.id = staff.my_id() and m.disabled_at is null
      and (m.ends_at is null or m.ends_at > pg_catalog.now())
      and (m.role not in ('privacy_officer', 'admin') or m.totp_since is not null or m.demo) for share
$$;

create or replace function staff.my_cohorts() returns uuid[]
language plpgsql stable parallel safe security definer set search_path = '' as $$
begin
    return (
        select coalesce(pg_catalog.array_agg(distinct a.cohort_id), '{{}}')
        from staff.assignment a join staff.staff_member m on m.id = a.staff_id
        where a.staff_id = staff.my_id() and m.disabled_at is null and m.role in ('instructor', 'mentor')
          and (m.ends_at is null or m.ends_at > pg_catalog.now())
          and (pg_catalog.now() at time zone 'UTC')::date between a.starts_on and coalesce(a.ends_on, 'infinity')
    );
end $$;

create or replace function staff.candidate(p_email text)
returns table (id uuid, name text, role text, password_hash text, totp_secret bytea)
language sql stable security definer set search_path = '' as $$
    select m.id, m.name, m.role, m.password_hash, m.totp_secret from staff.staff_member m
    where lower(m.email) = lower(p_email) and m.disabled_at is null and (m.ends_at is null or m.ends_at > pg_catalog.now())
$$;

create or replace function staff.touch_session(p_secret bytea, p_now timestamptz)
returns table (
    {RETURNS}
) language plpgsql security definer set search_path = '' as $$
begin
    update staff.session s set ended_at = p_now,
        end_reason = case when s.expires_at <= p_now then 'expired' when m.id is null then 'disabled'
                          when m.ends_at <= p_now then 'account ended' else 'idle' end
    from staff.session t left join staff.staff_member m on m.id = t.staff_id and m.disabled_at is null
    where s.id = t.id and p_secret in (t.token_hash, t.cookie_hash) and s.ended_at is null
      and (s.expires_at <= p_now or s.seen_at <= p_now - interval '15 minutes' or m.id is null or m.ends_at <= p_now);
    return query
    update staff.session s set seen_at = greatest(s.seen_at, p_now)
    from staff.staff_member m
    where m.id = s.staff_id and m.disabled_at is null and (m.ends_at is null or m.ends_at > p_now) and s.ended_at is null
      and p_secret in (s.token_hash, s.cookie_hash)
    returning s.id, m.id, m.name, m.email, m.role, m.demo, s.cookie_hash, s.started_at, s.expires_at, s.confirmed_at,
        m.totp_since is not null;
end $$;

-- Another end, by an admin who has just proved who they are; never about oneself. No end (null) for roles other than auditor only.
create function staff.set_end(p_staff uuid, p_ends timestamptz, p_now timestamptz) returns void
language plpgsql security definer set search_path = '' as $$
declare
    who staff.staff_member;
begin
    perform staff.demand('{{admin}}', true, p_now);
    who := staff.existing(p_staff);
    if who.id = staff.my_id() then
        perform staff.refuse('RS001', 'This is about you. Another admin decides it.');
    elsif who.role = 'auditor' and p_ends is null then
        perform staff.refuse('RS002', 'An auditor''s account has an end.');
    elsif p_ends <= p_now or p_ends > p_now + interval '367 days' then
        perform staff.refuse('RS002', 'An account ends tomorrow or later, a year ahead at most.');
    end if;
    update staff.staff_member m set ends_at = p_ends where m.id = p_staff;
end $$;
"""


def upgrade() -> None:
    """Apply."""
    op.add_column("staff_member", sa.Column("ends_at", sa.DateTime(timezone=True), nullable=True), schema="staff")
    op.execute("grant select (ends_at) on staff.staff_member to resocode_app")
    op.execute("grant update (ends_at) on staff.staff_member to resocode_definer")
    rights.functions(
        FUNCTIONS,
        {
            "staff.end_of_auditor()": "resocode_owner",
            "staff.set_end(uuid, timestamptz, timestamptz)": "resocode_app, resocode_worker",
        },
    )
    op.execute(
        "create trigger end_of_auditor before insert or update of role, ends_at on staff.staff_member"
        " for each row execute function staff.end_of_auditor()"
    )
    # under forced row-level security the owner sees no row and would change none
    op.execute("alter table staff.staff_member no force row level security")
    op.execute(
        "update staff.staff_member set ends_at = now() + interval '90 days' where role = 'auditor' and ends_at is null"
    )
    op.execute("alter table staff.staff_member force row level security")


def downgrade() -> None:
    """There is no way back but a backup."""
    raise NotImplementedError("Restore a backup instead.")
