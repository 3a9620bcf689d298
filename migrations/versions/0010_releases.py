"""Anonymized releases: tables that nobody can change, and the contributions that bound what they tell of a person.

Danger: a figure that is corrected, published twice or removed tells about the person who made the difference. Principle:
rows of ``anon`` are added once, whole, and then stay. Mechanism: a trigger refuses UPDATE, DELETE and TRUNCATE for every
role, the owner too; a release declares how many cells it has, and neither more nor fewer can be committed; the tables
belong to resocode_ledger, which nobody signs in as; the worker may add, everybody else may read.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations import rights

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

TABLES = ("method", "release", "cell", "ledger")
SIGNED_IN = "(select staff.my_role()) is not null"

IMMUTABLE = """
create function anon.refuse_change() returns trigger language plpgsql set search_path = '' as $$
begin
    raise exception 'releases are never changed' using errcode = 'insufficient_privilege';
end $$;

create function anon.refuse_more_cells() returns trigger language plpgsql set search_path = '' as $$
begin
    if exists (
        select from anon.release r where r.id in (select n.release_id from fresh n)
        and r.cells < (select count(*) from anon.cell c where c.release_id = r.id)
    ) then
        raise exception 'this release has all its cells' using errcode = 'insufficient_privilege';
    end if;
    return null;
end $$;

create function anon.refuse_half_releases() returns trigger language plpgsql set search_path = '' as $$
begin
    if new.cells <> (select count(*) from anon.cell c where c.release_id = new.id)
       or not exists (select from anon.ledger l where l.release_id = new.id) then
        raise exception 'a release is committed whole, with its line in the ledger' using errcode = 'check_violation';
    end if;
    return null;
end $$;

create trigger whole_cells after insert on anon.cell referencing new table as fresh
    for each statement execute function anon.refuse_more_cells();
create constraint trigger whole_release after insert on anon.release deferrable initially deferred
    for each row execute function anon.refuse_half_releases();
"""


def upgrade() -> None:
    """Apply."""
    _tables()
    rights.close("platform.analytics_contribution")
    op.execute("revoke update on platform.analytics_contribution from resocode_worker")
    op.execute("grant usage, create on schema anon to resocode_ledger")
    for table in TABLES:
        _open(f"anon.{table}")
        op.execute(f"alter table anon.{table} owner to resocode_ledger")
    op.execute("set local role resocode_ledger")
    op.execute(IMMUTABLE)
    for table in TABLES:
        op.execute(
            f"create trigger never_changed before update or delete on anon.{table} for each row execute function anon.refuse_change()"
        )
        op.execute(
            f"create trigger never_truncated before truncate on anon.{table} for each statement execute function anon.refuse_change()"
        )
    for function in ("refuse_change", "refuse_more_cells", "refuse_half_releases"):
        op.execute(f"revoke all on function anon.{function}() from public")
    op.execute("reset role")


def _open(table: str) -> None:
    """Everybody reads (the dashboard for whoever is signed in), the worker adds, nobody does more."""
    op.execute(f"alter table {table} enable row level security, force row level security")
    op.execute(f"grant select, insert on {table} to resocode_worker")
    op.execute(f"create policy worker_reads on {table} for select to resocode_worker using (true)")
    op.execute(f"create policy worker_adds on {table} for insert to resocode_worker with check (true)")
    op.execute(f"grant select on {table} to resocode_analyst")
    op.execute(f"create policy analyst_reads on {table} for select to resocode_analyst using (true)")
    op.execute(f"create policy ledger on {table} to resocode_ledger using (true) with check (true)")
    rights.app_reads(table, SIGNED_IN)


def _tables() -> None:
    op.create_table(
        "method",
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("mu", sa.Double(), nullable=False),
        sa.Column("capacity", sa.Integer(), nullable=False),
        sa.Column("workload", postgresql.JSONB(), nullable=False),
        sa.Column("domain", postgresql.JSONB(), nullable=False),
        sa.Column("first_day", sa.Date(), nullable=False),
        sa.Column("adopted", sa.Date(), nullable=False),
        sa.Column("content_sha256", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_method")),
        schema="anon",
    )
    op.create_table(
        "release",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("family", sa.Text(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("first_day", sa.Date(), nullable=False),
        sa.Column("last_day", sa.Date(), nullable=False),
        sa.Column("sigma", sa.Double(), nullable=False),
        sa.Column("mechanism", sa.Text(), nullable=False),
        sa.Column("builder", sa.Text(), nullable=False),
        sa.Column("published", sa.Date(), nullable=False),
        sa.Column("cells", sa.Integer(), nullable=False),
        sa.Column("content_sha256", sa.Text(), nullable=False),
        sa.CheckConstraint("first_day <= last_day", name=op.f("ck_release_days_in_order")),
        sa.ForeignKeyConstraint(["method"], ["anon.method.version"], name=op.f("fk_release_method")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_release")),
        sa.UniqueConstraint("family", "period", name=op.f("uq_release_family_period")),
        schema="anon",
    )
    op.create_index(op.f("ix_release_method"), "release", ["method"], unique=False, schema="anon")
    op.create_table(
        "cell",
        sa.Column("release_id", sa.Integer(), nullable=False),
        sa.Column("marginal", sa.Text(), nullable=False),
        sa.Column("k1", sa.Text(), nullable=False),
        sa.Column("k2", sa.Text(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("se", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["release_id"], ["anon.release.id"], name=op.f("fk_cell_release_id")),
        sa.PrimaryKeyConstraint("release_id", "marginal", "k1", "k2", name=op.f("pk_cell")),
        schema="anon",
    )
    op.create_table(
        "ledger",
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("release_id", sa.Integer(), nullable=False),
        sa.Column("spent", sa.Double(), nullable=False),
        sa.Column("total", sa.Double(), nullable=False),
        sa.CheckConstraint("spent > 0 and total >= spent", name=op.f("ck_ledger_grows")),
        sa.ForeignKeyConstraint(["release_id"], ["anon.release.id"], name=op.f("fk_ledger_release_id")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_ledger")),
        sa.UniqueConstraint("release_id", name=op.f("uq_ledger_release_id")),
        schema="anon",
    )
    op.create_table(
        "analytics_contribution",
        sa.Column("student_id", sa.UUID(), nullable=False),
        sa.Column("flow", sa.Text(), nullable=False),
        sa.Column("slot", sa.SmallInteger(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.CheckConstraint("slot between 1 and 8", name=op.f("ck_analytics_contribution_slot_bounded")),
        sa.ForeignKeyConstraint(
            ["student_id"], ["platform.student.id"], name=op.f("fk_analytics_contribution_student_id")
        ),
        sa.PrimaryKeyConstraint("student_id", "flow", "slot", name=op.f("pk_analytics_contribution")),
        sa.UniqueConstraint("student_id", "flow", "key", name=op.f("uq_analytics_contribution_student_id_flow_key")),
        schema="platform",
    )


def downgrade() -> None:
    """There is no way back from the first release but a new database."""
    raise NotImplementedError("Restore a backup instead.")
