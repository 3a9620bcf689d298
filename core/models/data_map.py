"""The data map: the labels of every column of every table, resolved."""

from collections.abc import Iterator

from sqlalchemy import Column, MetaData, Table, text
from sqlalchemy.orm import Session

from core.models.base import Base
from core.models.labels import ColumnLabel, Label, TableLabel

_LIVE = text("""
    select n.nspname || '.' || c.relname || '.' || a.attname
    from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
    where n.nspname in ('platform', 'privacy', 'staff', 'anon') and c.relkind in ('r', 'p') and not c.relispartition
      and a.attnum > 0 and not a.attisdropped and c.relname <> 'alembic_version'""")


def unlabeled(metadata: MetaData | None = None) -> list[str]:
    """Return "schema.table.column" of each column (and "schema.table" of each table) that carries no label."""
    found: list[str] = []
    for table in (metadata or Base.metadata).tables.values():
        if not isinstance(table.info.get("privacy"), TableLabel):
            found.append(table.fullname)
        found += [
            f"{table.fullname}.{c.name}" for c in table.columns if not isinstance(c.info.get("privacy"), ColumnLabel)
        ]
    return sorted(found)


def unmapped(session: Session) -> list[str]:
    """Return "schema.table.column" of each column of the live database that the models do not know.

    Whatever somebody added by hand has no label, so that nobody can say what an erasure does to it.
    """
    known = {f"{table.fullname}.{column.name}" for table in Base.metadata.tables.values() for column in table.columns}
    return sorted(set(session.scalars(_LIVE)) - known)


def data_map() -> list[Label]:
    """Return one label per column, by table and column order. Raises KeyError on an unlabeled one."""
    return [label for table in Base.metadata.sorted_tables for label in _labels(table)]


def _labels(table: Table) -> Iterator[Label]:
    for column in table.columns:
        yield _resolved(table, column, table.info["privacy"], column.info["privacy"])


def _resolved(table: Table, column: Column[object], row: TableLabel, own: ColumnLabel) -> Label:
    return Label(
        table=table.fullname,
        column=column.name,
        category=own.category,
        because=own.because,
        reaches=row.reaches,
        erasure=own.erasure or row.erasure,
        reason=row.reason,
        until=row.until,
        export=own.export,
        processors=row.processors if own.processors is None else own.processors,
    )
