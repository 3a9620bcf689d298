"""Which records of a person a hold can name: also in tables that know no day."""

from migrations import rights

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

FUNCTIONS = """
-- The records that a table has about one person, by id and day, newest first: what a hold can name. Nothing of what is in them.
create or replace function privacy.records_of(p_ways jsonb, p_student uuid, p_visitor uuid, p_most int)
returns table (record uuid, at timestamptz) language plpgsql stable security definer set search_path = '' as $$
declare
    person record;
    place regclass;
    key name;
    day name;
begin
    if staff.my_role() is distinct from 'privacy_officer' then
        return;
    end if;
    if (select count(distinct w ->> 'table') from pg_catalog.jsonb_array_elements(p_ways) w) <> 1 then
        raise exception 'one table is asked for at a time';
    end if;
    person := privacy.person_records(p_student, p_visitor);
    place := pg_catalog.to_regclass(p_ways -> 0 ->> 'table');
    select a.attname into key from pg_catalog.pg_attribute a left join pg_catalog.pg_index i
        on i.indrelid = a.attrelid and i.indisprimary and a.attnum = any (i.indkey)
    where a.attrelid = place and a.atttypid = 'uuid'::pg_catalog.regtype and not a.attisdropped
      and (a.attname = 'id' or i.indrelid is not null)
    order by a.attname <> 'id', a.attnum limit 1;
    select a.attname into day from pg_catalog.pg_attribute a
    where a.attrelid = place and a.attnum > 0 and not a.attisdropped
      and a.atttypid in ('timestamptz'::pg_catalog.regtype, 'date'::pg_catalog.regtype)
    order by a.atttypid = 'date'::pg_catalog.regtype, a.attnum limit 1;
    if key is null then
        return;
    end if;
    return query execute pg_catalog.format(
        'select t.%I, %s from %s t where %s order by 2 desc nulls last, 1 limit $3', key,
        case when day is null then 'null::timestamptz' else pg_catalog.format('t.%I::timestamptz', day) end, place,
        (select pg_catalog.string_agg(privacy.way_condition(w), ' or ') from pg_catalog.jsonb_array_elements(p_ways) w))
        using person.students, person.visitors, least(p_most, 200);
end $$;
"""


def upgrade() -> None:
    """Apply."""
    rights.functions(FUNCTIONS, {"privacy.records_of(jsonb, uuid, uuid, int)": "resocode_app"})


def downgrade() -> None:
    """There is no way back but a backup."""
    raise NotImplementedError("Restore a backup instead.")
