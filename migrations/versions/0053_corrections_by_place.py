"""A corrected value is kept against the platform's records until the platform has it, whatever still waits at other places.

A value that comes back with a sync is the platform's own: whether it is old or news depends on what the platform was told, and not on a
slow step at the payment gateway. Rows of other sources (spreadsheets, of which nobody knows where they were exported) are kept
until every place has the correction, as before.
"""

from migrations import rights

revision = "0053"
down_revision = "0052"
branch_labels = None
depends_on = None

FUNCTIONS = """
create or replace function privacy.keep_corrections() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
    before jsonb := pg_catalog.to_jsonb(old);
    after jsonb := pg_catalog.to_jsonb(new);
    kept jsonb := '{}';
    name text;
    origin text := after ->> 'source';
begin
    if session_user <> 'resocode_worker' then
        return new; -- an officer's own correction
    end if;
    if tg_table_name = 'student_profile' then
        select s.source into origin from platform.student s where s.id = (after ->> 'student_id')::uuid;
    end if;
    for name in
        select f.name from privacy.correction c, lateral (select pg_catalog.split_part(c.field, '.', 3) as name) f
        where c.record_id = coalesce(before ->> 'id', before ->> 'student_id')::uuid and c.state = 'in force'
          and c.field = 'platform.' || tg_table_name || '.' || f.name
          and c.new_value is not distinct from before ->> f.name and lower(c.old_value) is not distinct from lower(after ->> f.name)
          and exists (select from privacy.propagation p where p.request_id = c.request_id and p.what = 'correct'
                      and p.state not in ('done', 'canceled') and (p.processor = 'MongoDB Atlas' or origin is distinct from 'mongodb'))
    loop
        kept := kept || pg_catalog.jsonb_build_object(name, before -> name);
        if name = 'email' then
            kept := kept || pg_catalog.jsonb_build_object('email_hash', before -> 'email_hash', 'provider_hash', before -> 'provider_hash');
        end if;
    end loop;
    return case when kept = '{}' then new else pg_catalog.jsonb_populate_record(new, kept) end;
end $$;
"""


def upgrade() -> None:
    """Apply."""
    rights.functions(FUNCTIONS, {})


def downgrade() -> None:
    """There is no way back but a backup."""
    raise NotImplementedError("Restore a backup instead.")
