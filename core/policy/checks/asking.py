"""What checks share: numbers from the database, and numbers with their thing in a sentence."""

from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session


def number(session: Session, query: str, **values: Any) -> int:
    """Return the one number of a query."""
    return int(session.scalar(text(query), values) or 0)


def rows(session: Session, query: str, **values: Any) -> list[Any]:
    """Return the rows of a query."""
    return list(session.execute(text(query), values))


def one(session: Session, query: str, **values: Any) -> Any:
    """Return the one row of a query."""
    return session.execute(text(query), values).one()


def there(session: Session, name: str) -> bool:
    """Return whether a table or view of this name is in the database."""
    return session.scalar(text("select to_regclass(:name) is not null"), {"name": name}) is True


def many(count: int, thing: str, things: str = "") -> str:
    """Return a number with its thing: ``1 row``, ``1,204 rows``."""
    return f"{count:,} {thing if count == 1 else things or thing + 's'}"


def day(moment: Any) -> str:
    """Return a day as people read it: ``24 Nov 2026``."""
    return f"{moment.day} {moment:%b %Y}"
