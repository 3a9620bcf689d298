"""A run of retention takes all months that are past their period at once: locked, counted exactly, and dropped together.

Danger: a mail that came into a month between the count and the drop goes uncounted, and one that a hold keeps goes with it.
Principle: nothing is written into these months from the count to the drop; the database asks the policy again. Mechanism:
``platform.close_months`` lets nobody write into the months that are past their period until the end of the transaction (reading,
and writing elsewhere, goes on) and counts what is in each; ``platform.drop_month`` of 0035 drops them.
"""

from migrations import rights

revision = "0057"
down_revision = "0056"
branch_labels = None
depends_on = None

CLOSE = """
-- The months of the e-mail log that are past the period of the policy in force, oldest first, p_most at most, and how many mails each
-- holds. Nobody writes into them until the transaction ends; the caller sets lock_timeout.
create function platform.close_months(p_now timestamptz, p_most int) returns table (month date, mails bigint)
language plpgsql security definer set search_path = '' as $$
declare
    begins date;
    part text;
    before date := ((p_now - privacy.mail_days(p_now) * interval '1 day') at time zone 'UTC')::date;
begin
    for begins, part in
        select pg_catalog.to_date(pg_catalog.right(c.relname, 7), 'YYYY_MM'), c.relname::text
        from pg_catalog.pg_inherits i join pg_catalog.pg_class c on c.oid = i.inhrelid
        where i.inhparent = 'platform.email_log'::regclass
          and pg_catalog.to_date(pg_catalog.right(c.relname, 7), 'YYYY_MM') + interval '1 month' <= before
        order by 1 limit p_most
    loop
        execute pg_catalog.format('lock table platform.%I in share mode', part);
        execute pg_catalog.format('select pg_catalog.count(*) from platform.%I', part) into mails;
        month := begins;
        return next;
    end loop;
end $$;
"""


def upgrade() -> None:
    """Apply."""
    rights.functions(CLOSE, {"platform.close_months(timestamptz, int)": "resocode_worker"}, owner="resocode_owner")


def downgrade() -> None:
    """There is no way back but a backup."""
    raise NotImplementedError("Restore a backup instead.")
