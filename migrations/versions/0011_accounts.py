"""Accounts by invitation, one-time codes, grants that two admins make, and the quarterly access review.

Danger: whoever may make accounts can make an accomplice. Principle: the rules stand in the database, with the sentence
that staff read: nobody grants alone (unless that is declared), nobody decides about themselves, nobody learns another
person's secret. Mechanism: definer functions that take who asks from ``app.staff_id``; a refusal is raised with an
SQLSTATE that core/privacy/rules.py turns into the product's errors. The worker role (command line) passes as the operator
of the machine.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import UUID

from migrations import rights

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

RULES = """
-- RS001 refused, RS002 bad input, RS003 not fresh, RS004 not found.
create function staff.refuse(p_code text, p_sentence text) returns void
language plpgsql set search_path = '' as $$
begin
    raise exception '%', p_sentence using errcode = p_code;
end $$;

-- An account that must have one-time codes and has none yet may do nothing but set them up.
create or replace function staff.my_role() returns text
language plpgsql stable parallel safe security definer set search_path = '' as $$
begin
    return (select m.role from staff.staff_member m where m.id = staff.my_id() and m.disabled_at is null
            and (m.role not in ('privacy_officer', 'admin') or m.totp_since is not null or m.demo));
end $$;

create or replace function staff.hold_my_role() returns text language sql volatile security definer
set search_path = '' as $$
    select m.role from staff.staff_member m where m.id = staff.my_id() and m.disabled_at is null
      and (m.role not in ('privacy_officer', 'admin') or m.totp_since is not null or m.demo) for share
$$;

create function staff.is_fresh(p_now timestamptz) returns boolean
language sql stable security definer set search_path = '' as $$
    select session_user = 'resocode_worker' or exists (
        select from staff.session s where s.id = staff.my_session() and s.staff_id = staff.my_id() and s.ended_at is null
          and s.confirmed_at >= p_now - interval '5 minutes')
$$;

create function staff.demand(p_roles text[], p_fresh boolean, p_now timestamptz) returns void
language plpgsql stable security definer set search_path = '' as $$
begin
    if session_user = 'resocode_worker' then
        return;
    end if;
    if coalesce(staff.my_role() <> all (p_roles), true) then
        perform staff.refuse('RS001', 'Your role does not open this.');
    end if;
    if p_fresh and not staff.is_fresh(p_now) then
        perform staff.refuse('RS003', 'Confirm with your password first: the last time was more than 5 minutes ago.');
    end if;
end $$;

-- The single-admin mode: declared, and there really is one admin only.
create function staff.single_admin() returns boolean language sql stable security definer set search_path = '' as $$
    select exists (select from staff.declared_mode d where d.kind = 'single admin' and d.ended_at is null)
       and (select count(*) from staff.staff_member m
            where m.role = 'admin' and m.disabled_at is null and m.password_since is not null) <= 1
$$;

-- A declaration ends with the second admin, and does not come back when that one leaves.
create function staff.end_stale_mode(p_now timestamptz) returns void
language sql security definer set search_path = '' as $$
    update staff.declared_mode d set ended_at = p_now where d.kind = 'single admin' and d.ended_at is null
      and (select count(*) from staff.staff_member m
           where m.role = 'admin' and m.disabled_at is null and m.password_since is not null) > 1
$$;

create function staff.end_all_sessions(p_staff uuid, p_except uuid, p_reason text, p_now timestamptz) returns void
language sql security definer set search_path = '' as $$
    update staff.session s set ended_at = p_now, end_reason = p_reason
    where s.staff_id = p_staff and s.ended_at is null and s.id is distinct from p_except
$$;

create function staff.existing(p_staff uuid) returns staff.staff_member
language plpgsql security definer set search_path = '' as $$
declare
    found_one staff.staff_member;
begin
    select * into found_one from staff.staff_member m where m.id = p_staff for update;
    if found_one.id is null then
        perform staff.refuse('RS004', 'There is no such account.');
    end if;
    return found_one;
end $$;
"""

SECRETS = """
drop function staff.candidate(text);
create function staff.candidate(p_email text)
returns table (id uuid, name text, role text, password_hash text, totp_secret bytea)
language sql stable security definer set search_path = '' as $$
    select m.id, m.name, m.role, m.password_hash, m.totp_secret from staff.staff_member m
    where lower(m.email) = lower(p_email) and m.disabled_at is null
$$;

-- A one-time code counts once: only a later half minute than the last one is accepted.
create function staff.use_code_step(p_staff uuid, p_step bigint) returns boolean
language plpgsql security definer set search_path = '' as $$
begin
    update staff.staff_member m set totp_step = p_step
    where m.id = p_staff and m.totp_secret is not null and coalesce(m.totp_step < p_step, true);
    return found;
end $$;

create function staff.set_my_password(p_hash text, p_now timestamptz) returns void
language plpgsql security definer set search_path = '' as $$
begin
    if not staff.is_fresh(p_now) then
        perform staff.refuse('RS003', 'Confirm with your password first: the last time was more than 5 minutes ago.');
    end if;
    update staff.staff_member m set password_hash = p_hash, password_since = p_now where m.id = staff.my_id();
    update staff.invitation i set revoked_at = p_now
    where i.staff_id = staff.my_id() and i.used_at is null and i.revoked_at is null;
    perform staff.end_all_sessions(staff.my_id(), null, 'password changed', p_now);
end $$;

create function staff.set_my_codes(p_secret bytea, p_step bigint, p_now timestamptz) returns void
language plpgsql security definer set search_path = '' as $$
begin
    if not staff.is_fresh(p_now) then
        perform staff.refuse('RS003', 'Confirm with your password first: the last time was more than 5 minutes ago.');
    end if;
    update staff.staff_member m set totp_secret = p_secret, totp_since = p_now, totp_step = p_step
    where m.id = staff.my_id();
    perform staff.end_all_sessions(staff.my_id(), staff.my_session(), 'one-time codes changed', p_now);
end $$;

create function staff.drop_my_codes(p_now timestamptz) returns void
language plpgsql security definer set search_path = '' as $$
begin
    if staff.my_role() in ('privacy_officer', 'admin') then
        perform staff.refuse('RS001', 'One-time codes are obligatory for your role. Set up new ones instead.');
    end if;
    if not staff.is_fresh(p_now) then
        perform staff.refuse('RS003', 'Confirm with your password first: the last time was more than 5 minutes ago.');
    end if;
    update staff.staff_member m set totp_secret = null, totp_since = null, totp_step = null where m.id = staff.my_id();
    perform staff.end_all_sessions(staff.my_id(), staff.my_session(), 'one-time codes changed', p_now);
end $$;

create or replace function staff.end_session(p_session uuid, p_now timestamptz, p_reason text) returns boolean
language plpgsql security definer set search_path = '' as $$
begin
    update staff.session s set ended_at = p_now, end_reason = p_reason
    where s.id = p_session and s.ended_at is null
      and (s.staff_id = staff.my_id() or staff.my_role() = 'admin' or session_user = 'resocode_worker');
    return found;
end $$;
"""

CODES = """
-- Gives a person without a password a one-time code; earlier codes of theirs die.
create function staff.make_code(
    p_id uuid, p_staff uuid, p_kind text, p_hash bytea, p_expires timestamptz, p_now timestamptz
) returns void language plpgsql security definer set search_path = '' as $$
declare
    who staff.staff_member;
begin
    perform staff.demand('{admin}', true, p_now);
    who := staff.existing(p_staff);
    if who.disabled_at is not null then
        perform staff.refuse('RS002', 'This account is disabled. Enable it first.');
    elsif who.password_hash is not null then
        perform staff.refuse('RS002', 'This person has a password. Start a reset to replace it.');
    elsif p_expires > p_now + interval '24 hours' then
        perform staff.refuse('RS002', 'A code lives for 24 hours at most.');
    end if;
    update staff.invitation i set revoked_at = p_now
    where i.staff_id = p_staff and i.used_at is null and i.revoked_at is null;
    insert into staff.invitation (id, staff_id, kind, code_hash, made_by, made_at, expires_at)
    values (p_id, p_staff, p_kind, p_hash, staff.my_id(), p_now, p_expires);
end $$;

-- Whose code this is and what became of it; nothing unless address and code belong together.
create function staff.code_holder(p_email text, p_hash bytea, p_now timestamptz)
returns table (id uuid, staff_id uuid, name text, email text, role text, kind text, state text)
language sql stable security definer set search_path = '' as $$
    select i.id, m.id, m.name, m.email, m.role, i.kind,
        case when i.used_at is not null then 'used'
             when i.revoked_at is not null then 'replaced'
             when i.expires_at <= p_now then 'expired'
             when m.disabled_at is not null then 'disabled'
             when exists (select from staff.proposal p where p.staff_id = m.id and p.kind = 'account' and p.decided_at is null)
                 then 'waits'
             else 'open' end
    from staff.invitation i join staff.staff_member m on m.id = i.staff_id
    where i.code_hash = p_hash and lower(m.email) = lower(p_email)
$$;

create function staff.redeem_code(p_email text, p_hash bytea, p_password text, p_now timestamptz) returns uuid
language plpgsql security definer set search_path = '' as $$
declare
    held record;
begin
    perform from staff.invitation i where i.code_hash = p_hash for update;
    select * into held from staff.code_holder(p_email, p_hash, p_now);
    if coalesce(held.state, '') <> 'open' then
        perform staff.refuse('RS002', 'This code does not work any more.');
    end if;
    update staff.invitation i set used_at = p_now where i.id = held.id;
    update staff.staff_member m set password_hash = p_password, password_since = p_now where m.id = held.staff_id;
    perform staff.end_all_sessions(held.staff_id, null, 'password changed', p_now);
    perform staff.end_stale_mode(p_now);
    return held.staff_id;
end $$;

-- Takes the password away (and the one-time codes, if p_full), so that only a new one-time code lets the person in.
create function staff.reset_secrets(p_staff uuid, p_full boolean, p_now timestamptz) returns void
language plpgsql security definer set search_path = '' as $$
declare
    who staff.staff_member;
begin
    perform staff.demand('{admin}', true, p_now);
    who := staff.existing(p_staff);
    if p_staff = staff.my_id() then
        perform staff.refuse('RS001', 'Change your own password and one-time codes on My account.');
    elsif who.disabled_at is not null then
        perform staff.refuse('RS002', 'This account is disabled. Enable it first.');
    elsif (p_full or who.totp_since is null) and who.role in ('privacy_officer', 'admin') and not who.demo
          and session_user <> 'resocode_worker' and not staff.single_admin() then
        -- whoever holds the new code could set up one-time codes and act as this person
        perform staff.refuse('RS001', 'New one-time codes for this role need a second admin. Propose a full reset.');
    end if;
    perform staff.take_secrets(p_staff, p_full, p_now);
end $$;

create function staff.take_secrets(p_staff uuid, p_full boolean, p_now timestamptz) returns void
language plpgsql security definer set search_path = '' as $$
begin
    update staff.staff_member m set password_hash = null, password_since = null,
        totp_secret = case when p_full then null else m.totp_secret end,
        totp_since = case when p_full then null else m.totp_since end,
        totp_step = case when p_full then null else m.totp_step end
    where m.id = p_staff;
    update staff.invitation i set revoked_at = p_now
    where i.staff_id = p_staff and i.used_at is null and i.revoked_at is null;
    perform staff.end_all_sessions(p_staff, null, 'reset', p_now);
end $$;
"""

GRANTS = """
-- Files a grant; decides it at once in the single-admin mode. Returns whether it is in force.
create function staff.propose(
    p_id uuid, p_kind text, p_staff uuid, p_after text, p_reason text, p_now timestamptz
) returns boolean language plpgsql security definer set search_path = '' as $$
declare
    who staff.staff_member;
    alone boolean := staff.single_admin();
begin
    perform staff.demand('{admin}', true, p_now);
    who := staff.existing(p_staff);
    if p_staff = staff.my_id() then
        perform staff.refuse('RS001', 'Nobody changes their own rights. Ask another admin.');
    elsif coalesce(p_reason, '') = '' then
        perform staff.refuse('RS002', 'A reason is needed.');
    elsif exists (select from staff.proposal p where p.staff_id = p_staff and p.decided_at is null) then
        perform staff.refuse('RS002', 'Another proposal for this person waits already. Decide that one first.');
    elsif p_kind = 'role' and who.role = p_after then
        perform staff.refuse('RS002', 'This person has that role already.');
    elsif p_kind = 'role' and who.disabled_at is not null then
        perform staff.refuse('RS002', 'This account is disabled. Enable it first.');
    elsif p_kind = 'enable' and who.disabled_at is null then
        perform staff.refuse('RS002', 'This account is enabled already.');
    elsif p_kind = 'full reset' and who.disabled_at is not null then
        perform staff.refuse('RS002', 'This account is disabled. Enable it first.');
    end if;
    insert into staff.proposal (id, kind, staff_id, before, after, reason, proposed_by, proposed_at)
    values (p_id, p_kind, p_staff, case when p_kind <> 'account' then who.role end, p_after, p_reason, staff.my_id(), p_now);
    if alone then
        perform staff.carry_out(p_id, 'approved', true, p_now);
    end if;
    return alone;
end $$;

-- Makes an account that nobody can use yet: no password, and a grant that waits. Returns whether the grant is in force.
create function staff.add_account(
    p_id uuid, p_email text, p_name text, p_role text, p_proposal uuid, p_reason text, p_now timestamptz
) returns boolean language plpgsql security definer set search_path = '' as $$
begin
    perform staff.demand('{admin}', true, p_now);
    if exists (select from staff.staff_member m where lower(m.email) = lower(p_email)) then
        perform staff.refuse('RS002', 'There is an account with this e-mail already.');
    end if;
    insert into staff.staff_member (id, email, name, role, created_at) values (p_id, p_email, p_name, p_role, p_now);
    return staff.propose(p_proposal, 'account', p_id, p_role, p_reason, p_now);
end $$;

create function staff.decide(p_proposal uuid, p_decision text, p_now timestamptz) returns void
language plpgsql security definer set search_path = '' as $$
declare
    asked staff.proposal;
begin
    perform staff.demand('{admin}', p_decision = 'approved', p_now);
    select * into asked from staff.proposal p where p.id = p_proposal for update;
    if asked.id is null then
        perform staff.refuse('RS004', 'There is no such proposal.');
    elsif asked.decided_at is not null then
        perform staff.refuse('RS002', 'This proposal was decided already.');
    elsif p_decision = 'withdrawn' then
        if asked.proposed_by is distinct from staff.my_id() then
            perform staff.refuse('RS001', 'Only who proposed it can withdraw it. Decline it instead.');
        end if;
    elsif asked.staff_id = staff.my_id() then
        perform staff.refuse('RS001', 'This is about you. Another admin decides it.');
    elsif p_decision = 'approved' and asked.proposed_by = staff.my_id() and not staff.single_admin() then
        perform staff.refuse('RS001', 'You proposed this. Another admin has to approve it.');
    elsif p_decision = 'declined' and asked.proposed_by = staff.my_id() then
        perform staff.refuse('RS002', 'You proposed this. Withdraw it instead.');
    end if;
    perform staff.carry_out(p_proposal, p_decision, p_decision = 'approved' and asked.proposed_by = staff.my_id(), p_now);
end $$;

create function staff.carry_out(p_proposal uuid, p_decision text, p_alone boolean, p_now timestamptz) returns void
language plpgsql security definer set search_path = '' as $$
declare
    asked staff.proposal;
    who staff.staff_member;
begin
    select * into asked from staff.proposal p where p.id = p_proposal for update;
    who := staff.existing(asked.staff_id);
    if p_decision = 'approved' and asked.kind <> 'account' and who.role is distinct from asked.before then
        perform staff.refuse('RS002', 'The role of this person has changed since. Withdraw this proposal and file a new one.');
    end if;
    update staff.proposal p set decision = p_decision, decided_by = staff.my_id(), decided_at = p_now, alone = p_alone
    where p.id = p_proposal;
    if p_decision = 'approved' and asked.kind = 'role' then
        update staff.staff_member m set role = asked.after where m.id = asked.staff_id;
        perform staff.end_all_sessions(asked.staff_id, null, 'role changed', p_now);
    elsif p_decision = 'approved' and asked.kind = 'enable' then
        update staff.staff_member m set disabled_at = null where m.id = asked.staff_id;
    elsif p_decision = 'approved' and asked.kind = 'full reset' then
        perform staff.take_secrets(asked.staff_id, true, p_now);
    elsif p_decision <> 'approved' and asked.kind = 'account' then
        update staff.staff_member m set disabled_at = p_now where m.id = asked.staff_id and m.disabled_at is null;
    end if;
    perform staff.end_stale_mode(p_now);
end $$;

create function staff.disable(p_staff uuid, p_now timestamptz) returns void
language plpgsql security definer set search_path = '' as $$
declare
    who staff.staff_member;
begin
    perform staff.demand('{admin}', true, p_now);
    who := staff.existing(p_staff);
    if p_staff = staff.my_id() then
        perform staff.refuse('RS001', 'Nobody disables their own account. Ask another admin.');
    elsif who.disabled_at is not null then
        perform staff.refuse('RS002', 'This account is disabled already.');
    end if;
    perform staff.end_stale_mode(p_now);
    perform staff.take_rights(p_staff, p_now);
    perform staff.settle_reviews(p_now);
end $$;

create function staff.take_rights(p_staff uuid, p_now timestamptz) returns void
language sql security definer set search_path = '' as $$
    update staff.staff_member m set disabled_at = p_now where m.id = p_staff and m.disabled_at is null;
    update staff.proposal p set decision = 'declined', decided_by = staff.my_id(), decided_at = p_now
    where p.staff_id = p_staff and p.decided_at is null;
    update staff.invitation i set revoked_at = p_now
    where i.staff_id = p_staff and i.used_at is null and i.revoked_at is null;
    select staff.end_all_sessions(p_staff, null, 'disabled', p_now)
$$;

-- A single admin declares that nobody checks their grants. Not within 7 days after another admin was there: who puts the
-- others out does not get to act alone.
create function staff.declare_single_admin(p_id uuid, p_reason text, p_now timestamptz) returns void
language plpgsql security definer set search_path = '' as $$
begin
    perform staff.demand('{admin}', true, p_now);
    if coalesce(p_reason, '') = '' then
        perform staff.refuse('RS002', 'A reason is needed.');
    elsif session_user <> 'resocode_worker' and exists (
        select from staff.staff_member m where m.role = 'admin' and m.id <> staff.my_id() and m.password_since is not null
          and coalesce(m.disabled_at > p_now - interval '7 days', true)
    ) then
        perform staff.refuse('RS001', 'There is another admin, or there was one within the last 7 days.');
    elsif exists (select from staff.declared_mode d where d.kind = 'single admin' and d.ended_at is null) then
        perform staff.refuse('RS002', 'The single-admin mode is declared already.');
    end if;
    insert into staff.declared_mode (id, kind, reason, declared_by, declared_at)
    values (p_id, 'single admin', p_reason, staff.my_id(), p_now);
end $$;

create function staff.end_single_admin(p_now timestamptz) returns void
language plpgsql security definer set search_path = '' as $$
begin
    perform staff.demand('{admin}', false, p_now);
    update staff.declared_mode d set ended_at = p_now where d.kind = 'single admin' and d.ended_at is null;
    if not found then
        perform staff.refuse('RS002', 'The single-admin mode is not declared.');
    end if;
end $$;
"""

ASSIGNMENTS = """
create function staff.add_assignment(
    p_id uuid, p_staff uuid, p_cohort uuid, p_from date, p_to date, p_now timestamptz
) returns void language plpgsql security definer set search_path = '' as $$
declare
    who staff.staff_member;
    other staff.assignment;
begin
    perform staff.demand('{admin}', false, p_now);
    who := staff.existing(p_staff);
    if who.disabled_at is not null then
        perform staff.refuse('RS002', 'This account is disabled. Enable it first.');
    elsif who.role not in ('instructor', 'mentor') then
        perform staff.refuse('RS002', 'Learning data opens to instructors and mentors only. Change the role first.');
    elsif not exists (select from platform.cohort c where c.id = p_cohort) then
        perform staff.refuse('RS004', 'There is no such cohort.');
    elsif p_to < p_from then
        perform staff.refuse('RS002', 'The assignment would end before it starts.');
    end if;
    select * into other from staff.assignment a where a.staff_id = p_staff and a.cohort_id = p_cohort
      and coalesce(a.ends_on, 'infinity') >= greatest(a.starts_on, p_from) and a.starts_on <= coalesce(p_to, 'infinity')
    order by a.starts_on limit 1;
    if other.id is not null then
        perform staff.refuse('RS002', 'This cohort is assigned to this person already, from '
            || pg_catalog.to_char(other.starts_on, 'FMDD Mon YYYY')
            || coalesce(' to ' || pg_catalog.to_char(other.ends_on, 'FMDD Mon YYYY'), '') || '.');
    end if;
    insert into staff.assignment (id, staff_id, cohort_id, starts_on, ends_on, created_at)
    values (p_id, p_staff, p_cohort, p_from, p_to, p_now);
end $$;

-- p_last is the last day; null ends it at once. Nothing is opened again this way.
create function staff.end_assignment(p_assignment uuid, p_last date, p_now timestamptz) returns void
language plpgsql security definer set search_path = '' as $$
declare
    known staff.assignment;
    today date := (p_now at time zone 'UTC')::date;
begin
    perform staff.demand('{admin}', false, p_now);
    select * into known from staff.assignment a where a.id = p_assignment for update;
    if known.id is null then
        perform staff.refuse('RS004', 'There is no such assignment.');
    elsif known.ends_on < today then
        perform staff.refuse('RS002', 'This assignment has ended already.');
    elsif p_last < today or p_last < known.starts_on then
        perform staff.refuse('RS002', 'The last day must not be over, and not before the first day.');
    elsif p_last > known.ends_on then
        perform staff.refuse('RS002', 'This would make the assignment longer. Assign the cohort anew instead.');
    end if;
    perform staff.cut_assignment(p_assignment, coalesce(p_last, today - 1));
    perform staff.settle_reviews(p_now);
end $$;

create function staff.cut_assignment(p_assignment uuid, p_last date) returns void
language sql security definer set search_path = '' as $$
    update staff.assignment a set ends_on = greatest(p_last, a.starts_on - 1) where a.id = p_assignment
$$;
"""

REVIEWS = """
-- Lists everybody's rights as of now: one item for each enabled account, one for each assignment that is not over.
create function staff.start_review(p_id uuid, p_due date, p_now timestamptz) returns int
language plpgsql security definer set search_path = '' as $$
declare
    listed int;
begin
    perform staff.demand('{admin,privacy_officer}', false, p_now);
    if exists (select from staff.access_review r where r.completed_at is null) then
        perform staff.refuse('RS002', 'An access review is open already. Finish that one first.');
    elsif p_due < (p_now at time zone 'UTC')::date then
        perform staff.refuse('RS002', 'The due date must not be over.');
    end if;
    insert into staff.access_review (id, started_by, started_at, due_on) values (p_id, staff.my_id(), p_now, p_due);
    insert into staff.access_review_item (id, review_id, staff_id, role, assignment_id)
    select pg_catalog.gen_random_uuid(), p_id, m.id, m.role, a.id
    from staff.staff_member m
    cross join lateral (
        select null::uuid as id union all
        select g.id from staff.assignment g
        where g.staff_id = m.id and coalesce(g.ends_on, 'infinity') >= (p_now at time zone 'UTC')::date
    ) a where m.disabled_at is null;
    get diagnostics listed = row_count;
    return listed;
end $$;

-- What ended since the review began needs no verdict any more. A review is over when nothing is left.
create function staff.settle_reviews(p_now timestamptz) returns boolean
language plpgsql security definer set search_path = '' as $$
begin
    update staff.access_review_item i set verdict = 'gone', decided_at = p_now
    from staff.access_review r where r.id = i.review_id and r.completed_at is null and i.verdict is null and (
        exists (select from staff.staff_member m where m.id = i.staff_id and m.disabled_at is not null)
        or exists (select from staff.assignment a where a.id = i.assignment_id
                   and a.ends_on < (p_now at time zone 'UTC')::date));
    update staff.access_review r set completed_at = p_now where r.completed_at is null
      and not exists (select from staff.access_review_item i where i.review_id = r.id and i.verdict is null);
    return found;
end $$;

-- Returns whether the review is over with this verdict.
create function staff.decide_right(p_item uuid, p_verdict text, p_now timestamptz) returns boolean
language plpgsql security definer set search_path = '' as $$
declare
    item staff.access_review_item;
begin
    perform staff.demand('{admin,privacy_officer}', p_verdict = 'removed', p_now);
    select * into item from staff.access_review_item i where i.id = p_item for update;
    if item.id is null or p_verdict not in ('confirmed', 'removed') then
        perform staff.refuse('RS004', 'There is no such right in the review.');
    elsif item.staff_id = staff.my_id() then
        perform staff.refuse('RS001', 'Nobody reviews their own rights. Another admin or a privacy officer does.');
    elsif item.verdict is not null then
        perform staff.refuse('RS002', 'This right was reviewed already.');
    elsif p_verdict = 'removed' and item.assignment_id is null and item.role = 'admin' and not exists (
        select from staff.staff_member m where m.role = 'admin' and m.id <> item.staff_id and m.disabled_at is null
          and m.password_since is not null
    ) then
        perform staff.refuse('RS001', 'This is the only admin. Make another one first.');
    end if;
    update staff.access_review_item i set verdict = p_verdict, decided_by = staff.my_id(), decided_at = p_now
    where i.id = p_item;
    if p_verdict = 'removed' and item.assignment_id is not null then
        perform staff.cut_assignment(item.assignment_id, (p_now at time zone 'UTC')::date - 1);
    elsif p_verdict = 'removed' then
        perform staff.take_rights(item.staff_id, p_now);
    end if;
    return staff.settle_reviews(p_now);
end $$;

-- The open review with names, for those who decide it. Mine tells that another person decides this one.
create function staff.review_items(p_now timestamptz)
returns table (
    id uuid, staff_id uuid, name text, email text, role text, current_role_name text, assignment_id uuid, cohort text,
    starts_on date, ends_on date, verdict text, decided_by text, decided_at timestamptz, mine boolean
) language sql stable security definer set search_path = '' as $$
    select i.id, m.id, m.name, m.email, i.role, m.role, a.id, c.title, a.starts_on, a.ends_on, i.verdict, d.name, i.decided_at,
        coalesce(m.id = staff.my_id(), false)
    from staff.access_review r
    join staff.access_review_item i on i.review_id = r.id
    join staff.staff_member m on m.id = i.staff_id
    left join staff.assignment a on a.id = i.assignment_id
    left join platform.cohort c on c.id = a.cohort_id
    left join staff.staff_member d on d.id = i.decided_by
    where r.completed_at is null and (select staff.my_role()) in ('admin', 'privacy_officer')
    order by lower(m.name), m.id, a.id is not null, c.title, i.id
$$;
"""

APP = "resocode_app"
BOTH = "resocode_app, resocode_worker"
CALLERS = {
    "staff.is_fresh(timestamptz)": APP,
    "staff.demand(text[], boolean, timestamptz)": APP,
    "staff.single_admin()": BOTH,
    "staff.candidate(text)": APP,
    "staff.use_code_step(uuid, bigint)": APP,
    "staff.set_my_password(text, timestamptz)": APP,
    "staff.set_my_codes(bytea, bigint, timestamptz)": APP,
    "staff.drop_my_codes(timestamptz)": APP,
    "staff.make_code(uuid, uuid, text, bytea, timestamptz, timestamptz)": BOTH,
    "staff.code_holder(text, bytea, timestamptz)": APP,
    "staff.redeem_code(text, bytea, text, timestamptz)": APP,
    "staff.reset_secrets(uuid, boolean, timestamptz)": BOTH,
    "staff.propose(uuid, text, uuid, text, text, timestamptz)": BOTH,
    "staff.add_account(uuid, text, text, text, uuid, text, timestamptz)": BOTH,
    "staff.decide(uuid, text, timestamptz)": APP,
    "staff.disable(uuid, timestamptz)": APP,
    "staff.declare_single_admin(uuid, text, timestamptz)": BOTH,
    "staff.end_single_admin(timestamptz)": BOTH,
    "staff.add_assignment(uuid, uuid, uuid, date, date, timestamptz)": APP,
    "staff.end_assignment(uuid, date, timestamptz)": APP,
    "staff.start_review(uuid, date, timestamptz)": BOTH,
    "staff.settle_reviews(timestamptz)": "resocode_worker",
    "staff.decide_right(uuid, text, timestamptz)": BOTH,
    "staff.review_items(timestamptz)": APP,
}
CLOSED = (
    "staff.refuse(text, text)",
    "staff.end_stale_mode(timestamptz)",
    "staff.end_all_sessions(uuid, uuid, text, timestamptz)",
    "staff.existing(uuid)",
    "staff.take_secrets(uuid, boolean, timestamptz)",
    "staff.carry_out(uuid, text, boolean, timestamptz)",
    "staff.take_rights(uuid, timestamptz)",
    "staff.cut_assignment(uuid, date)",
)

ADMIN = "(select staff.my_role()) = 'admin'"
OVERSEERS = "(select staff.my_role()) in ('admin', 'privacy_officer', 'auditor')"
REVIEWERS = "(select staff.my_role()) in ('admin', 'privacy_officer')"


def upgrade() -> None:
    """Apply."""
    op.add_column("staff_member", sa.Column("password_since", sa.DateTime(timezone=True)), schema="staff")
    op.execute("alter table staff.assignment drop constraint ck_assignment_ends_after_start")
    op.create_check_constraint(
        op.f("ck_assignment_ends_after_start"),
        "assignment",
        "ends_on is null or ends_on >= starts_on - 1",
        schema="staff",
    )
    _tables()
    for table in ("invitation", "proposal", "declared_mode", "access_review", "access_review_item"):
        rights.close(f"staff.{table}")
        rights.let_definer(f"staff.{table}", "insert", "update")
    rights.let_definer("staff.staff_member", "insert", "update")
    rights.let_definer("staff.assignment", "insert", "update")
    rights.app_reads(
        "staff.invitation", ADMIN, "(id, staff_id, kind, made_by, made_at, expires_at, used_at, revoked_at)"
    )
    rights.app_reads("staff.proposal", ADMIN)
    rights.app_reads("staff.declared_mode", OVERSEERS)
    rights.app_reads("staff.access_review", OVERSEERS)
    rights.app_reads("staff.access_review_item", REVIEWERS)
    op.execute("grant select (password_since) on staff.staff_member to resocode_app")
    op.execute("set local role resocode_definer")
    op.execute("update staff.staff_member set password_since = created_at where password_hash is not null")
    op.execute("reset role")
    rights.functions(RULES + SECRETS + CODES + GRANTS + ASSIGNMENTS + REVIEWS, CALLERS)
    rights.functions("select 1", dict.fromkeys(CLOSED, "resocode_definer"))


def _tables() -> None:
    op.create_table(
        "invitation",
        _id(),
        _person("staff_id", nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("code_hash", sa.LargeBinary(), nullable=False),
        _person("made_by"),
        _time("made_at", nullable=False),
        _time("expires_at", nullable=False),
        _time("used_at"),
        _time("revoked_at"),
        sa.CheckConstraint(
            "kind in ('invitation', 'password reset', 'full reset')", name=op.f("ck_invitation_kind_known")
        ),
        sa.UniqueConstraint("code_hash", name=op.f("uq_invitation_code_hash")),
        *_keys("invitation", "staff_id", "made_by"),
        schema="staff",
    )
    op.create_table(
        "proposal",
        _id(),
        sa.Column("kind", sa.Text(), nullable=False),
        _person("staff_id", nullable=False),
        sa.Column("before", sa.Text()),
        sa.Column("after", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        _person("proposed_by"),
        _time("proposed_at", nullable=False),
        sa.Column("decision", sa.Text()),
        _person("decided_by"),
        _time("decided_at"),
        sa.Column("alone", sa.Boolean(), server_default="false", nullable=False),
        sa.CheckConstraint("kind in ('account', 'role', 'enable', 'full reset')", name=op.f("ck_proposal_kind_known")),
        sa.CheckConstraint(
            "decision in ('approved', 'declined', 'withdrawn')", name=op.f("ck_proposal_decision_known")
        ),
        sa.CheckConstraint("(decision is null) = (decided_at is null)", name=op.f("ck_proposal_decided_whole")),
        *_keys("proposal", "staff_id", "proposed_by", "decided_by"),
        schema="staff",
    )
    op.create_table(
        "declared_mode",
        _id(),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        _person("declared_by"),
        _time("declared_at", nullable=False),
        _time("ended_at"),
        sa.CheckConstraint("kind in ('single admin')", name=op.f("ck_declared_mode_kind_known")),
        *_keys("declared_mode", "declared_by"),
        schema="staff",
    )
    op.create_table(
        "access_review",
        _id(),
        _person("started_by"),
        _time("started_at", nullable=False),
        sa.Column("due_on", sa.Date(), nullable=False),
        _time("completed_at"),
        *_keys("access_review", "started_by"),
        schema="staff",
    )
    op.create_table(
        "access_review_item",
        _id(),
        sa.Column("review_id", UUID(as_uuid=True), nullable=False),
        _person("staff_id", nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("assignment_id", UUID(as_uuid=True)),
        sa.Column("verdict", sa.Text()),
        _person("decided_by"),
        _time("decided_at"),
        sa.CheckConstraint(
            "verdict in ('confirmed', 'removed', 'gone')", name=op.f("ck_access_review_item_verdict_known")
        ),
        sa.CheckConstraint(
            "(verdict is null) = (decided_at is null)", name=op.f("ck_access_review_item_decided_whole")
        ),
        sa.ForeignKeyConstraint(
            ["review_id"], ["staff.access_review.id"], name=op.f("fk_access_review_item_review_id")
        ),
        sa.ForeignKeyConstraint(
            ["assignment_id"], ["staff.assignment.id"], name=op.f("fk_access_review_item_assignment_id")
        ),
        *_keys("access_review_item", "staff_id", "decided_by"),
        schema="staff",
    )
    for table, column in (
        ("invitation", "staff_id"), ("invitation", "made_by"), ("proposal", "staff_id"), ("proposal", "proposed_by"),
        ("proposal", "decided_by"), ("declared_mode", "declared_by"), ("access_review", "started_by"),
        ("access_review_item", "review_id"), ("access_review_item", "staff_id"),
        ("access_review_item", "assignment_id"), ("access_review_item", "decided_by"),
    ):  # fmt: skip
        op.create_index(op.f(f"ix_{table}_{column}"), table, [column], schema="staff")
    for name, table, what, where in (
        ("uq_proposal_open", "proposal", "staff_id", "decided_at is null"),
        ("uq_declared_mode_open", "declared_mode", "kind", "ended_at is null"),
        ("uq_access_review_open", "access_review", "(completed_at is null)", "completed_at is null"),
    ):
        op.execute(f"create unique index {name} on staff.{table} ({what}) where {where}")


def _id() -> sa.Column:
    return sa.Column("id", UUID(as_uuid=True), nullable=False)


def _person(name: str, *, nullable: bool = True) -> sa.Column:
    return sa.Column(name, UUID(as_uuid=True), nullable=nullable)


def _time(name: str, *, nullable: bool = True) -> sa.Column:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _keys(table: str, *people: str) -> list[sa.Constraint]:
    return [
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}")),
        *(
            sa.ForeignKeyConstraint([name], ["staff.staff_member.id"], name=op.f(f"fk_{table}_{name}"))
            for name in people
        ),
    ]


def downgrade() -> None:
    """There is no way back but a backup."""
    raise NotImplementedError("Restore a backup instead.")
