"""Rules that stand in the database: its refusals become the errors of this product.

The functions of migration 0011 (and later ones) raise a sentence for staff with one of four SQLSTATEs. So a rule is
written once, holds for whoever reaches the database, and still speaks to the person who met it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from core.errors import AdminError, BadInput, NotFound, NotFresh, Refused

MEANINGS: dict[str, type[AdminError]] = {"RS001": Refused, "RS002": BadInput, "RS003": NotFresh, "RS004": NotFound}


def ask(session: Session, call: str, **values: object) -> Any:
    """Run ``select <call>`` and return its single value. Raises what the database refused with."""
    with in_words():
        return session.scalar(text(f"select {call}"), values)


@contextmanager
def in_words() -> Iterator[None]:
    """Turn a refusal of the database into the error that it means, with its sentence; anything else goes on as it is."""
    try:
        yield
    except DBAPIError as error:
        meaning = MEANINGS.get(getattr(error.orig, "sqlstate", None) or "")
        if meaning is None:
            raise
        raise meaning(error.orig.diag.message_primary) from None  # type: ignore[union-attr]
