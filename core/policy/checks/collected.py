"""Clause 1: what is collected. The labels of the code against the columns of the live database."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial

from sqlalchemy.orm import Session

from core.models.data_map import data_map, unlabeled, unmapped
from core.models.labels import Category, Label
from core.models.ways import PERSONS, ways_to
from core.policy.checks.asking import many, rows
from core.policy.evidence import Evidence, judged

OF_PROMISE = {
    "COL-ACCOUNT": Category.ACCOUNT,
    "COL-PROFILE": Category.PROFILE,
    "COL-LEARNING": Category.LEARNING,
    "COL-USAGE": Category.USAGE,
    "COL-CONTACT": Category.CONTACT,
    "COL-INTEREST": Category.INTEREST,
    "COL-DEVICE": Category.DEVICE,
}
# Where a column outside the lists is told: with the account of students, with the contact of visitors.
TELLS_OUTSIDE = {"COL-ACCOUNT": "student", "COL-CONTACT": "visitor"}
QUERY = """
select n.nspname || '.' || c.relname || '.' || a.attname
from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
where n.nspname in ('platform', 'privacy', 'staff', 'anon') and a.attnum > 0 and not a.attisdropped"""
ESTIMATE = """
select n.nspname || '.' || c.relname, greatest(sum(p.reltuples), 0)::bigint
from pg_class c join pg_namespace n on n.oid = c.relnamespace
join pg_class p on p.oid = c.oid or p.oid in (select i.inhrelid from pg_inherits i where i.inhparent = c.oid)
where n.nspname || '.' || c.relname = any(:tables) group by 1"""


def only_listed(session: Session, now: datetime, *, promise: str, category: Category) -> Evidence:
    """Every column of this category is labeled, and its tables hold no column that no label knows."""
    labels = data_map()
    mine = [each for each in labels if each.category is category]
    tables = {each.table for each in mine}
    unknown = _unknown(session, labels, tables, promise)
    outside = _outside(labels, promise)
    figures: dict[str, int | str] = {"columns of this category": len(mine), "columns that nobody listed": len(unknown)}
    if promise in TELLS_OUTSIDE:
        figures |= {
            f"outside the list: {why}": sum(each.because == why for each in outside)
            for why in sorted({each.because for each in outside})
        }
    figures |= {f"rows of {table} (about)": count for table, count in rows(session, ESTIMATE, tables=sorted(tables))}
    return judged(unknown, False, _sentence(mine, unknown, outside), figures=figures, query=QUERY)


def _unknown(session: Session, labels: Sequence[Label], tables: set[str], promise: str) -> list[str]:
    """Columns without a label, in tables of this category; what is in no category's table counts for the account."""
    told = {each.table for each in labels if each.category in OF_PROMISE.values()}
    found = [*unlabeled(), *unmapped(session)]
    return [
        column
        for column in found
        if (table := ".".join(column.split(".")[:2])) in tables or (promise == "COL-ACCOUNT" and table not in told)
    ]


def _outside(labels: Sequence[Label], promise: str) -> list[Label]:
    person = TELLS_OUTSIDE.get(promise)
    if person is None:
        return []
    about = ways_to(person)
    others = {table for each in PERSONS if each != person for table in ways_to(each)} if person == "visitor" else set()
    return [each for each in labels if each.because and each.table in about and each.table not in others]


def _sentence(mine: Sequence[Label], unknown: Sequence[str], outside: Sequence[Label]) -> str:
    if unknown:
        return (
            f"{many(len(unknown), 'column')} nobody listed: {', '.join(unknown[:5])}{' …' if len(unknown) > 5 else ''}."
        )
    told = f"{len(mine)} of {len(mine)} columns are labeled"
    if not outside:
        return f"{told}."
    return f"{told}; {many(len(outside), 'column')} outside the list of clause 1, each with its reason."


CHECKS = {promise: partial(only_listed, promise=promise, category=category) for promise, category in OF_PROMISE.items()}
