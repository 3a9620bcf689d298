"""The data map: the labels of every column of every table, resolved."""

from collections.abc import Iterator

from sqlalchemy import Column, MetaData, Table

from core.models.base import Base
from core.models.labels import ColumnLabel, Label, TableLabel


def unlabelled(metadata: MetaData | None = None) -> list[str]:
    """Return "schema.table.column" of each column (and "schema.table" of each table) that carries no label."""
    found: list[str] = []
    for table in (metadata or Base.metadata).tables.values():
        if not isinstance(table.info.get("privacy"), TableLabel):
            found.append(table.fullname)
        found += [
            f"{table.fullname}.{c.name}" for c in table.columns if not isinstance(c.info.get("privacy"), ColumnLabel)
        ]
    return sorted(found)


def data_map() -> list[Label]:
    """Return one label per column, by table and column order. Raises KeyError on an unlabelled one."""
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
