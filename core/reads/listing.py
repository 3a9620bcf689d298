"""What lists that page in SQL share: the cursor, the capped total, and a search text made safe for LIKE."""

import uuid
from dataclasses import dataclass

from core.words import clean

PAGE_SIZE = 50
SHORTEST_SEARCH = 3
LONGEST_SEARCH = 200


@dataclass(frozen=True)
class Cursor:
    """The last row of a page: the next page begins behind it."""

    value: str
    id: uuid.UUID


@dataclass(frozen=True)
class Total:
    """How many match; ``capped`` when counting stopped before the end."""

    count: int
    capped: bool

    def of(self, thing: str) -> str:
        """The number with its thing: ``1 visitor``, ``1,284 visitors``, ``more than 10,000 visitors``."""
        return f"{'more than ' if self.capped else ''}{self.count:,} {thing}{'' if self.count == 1 else 's'}"

    def __str__(self) -> str:
        """The number alone: ``1,284``, ``1,000+``."""
        return f"{self.count:,}{'+' if self.capped else ''}"

    def __bool__(self) -> bool:
        """Whether there are any."""
        return self.count > 0


def total(counted: int, cap: int) -> Total:
    """What was counted up to ``cap`` + 1."""
    return Total(min(counted, cap), counted > cap)


def pattern(search: str) -> str | None:
    """Return the search as the inside of a LIKE pattern: its own wildcards are ordinary characters.

    None when it is too short to search for. Raises BadInput when it holds what cannot be searched for.
    """
    cleaned = clean(search, what="The search", longest=LONGEST_SEARCH)
    if len(cleaned) < SHORTEST_SEARCH:
        return None
    return cleaned.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
