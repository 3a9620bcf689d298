"""Privacy labels: what every column holds, whose it is, and what an erasure does to it.

The data map *is* the code: access, export, erasure, retention, the processing record and the Policy page are generated
from these labels, so a column without one fails a test and, at run time, blocks "completed".

A table states how its rows reach a person and what erasure does to a row (:class:`TableLabel`); a column states its
category and its name in exports (:class:`ColumnLabel`), and deviates from its table where it must.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Category(StrEnum):
    """The lists of clause 1 of the policy, and what stands outside them."""

    ACCOUNT = "account"
    PROFILE = "profile"
    LEARNING = "learning"
    USAGE = "usage"
    CONTACT = "visitor contact"
    INTEREST = "visitor interest"
    DEVICE = "visitor device"
    OUTSIDE = "outside the list"
    STAFF = "staff"
    NOBODY = "no person"


class Erasure(StrEnum):
    """What an erasure does to a column."""

    ROW = "erase row"
    BLANK = "blank"
    KEEP = "keep"
    NONE = "nothing to erase"


class Processor(StrEnum):
    """The third parties of clause 5."""

    MONGODB = "MongoDB Atlas"
    CLOUDINARY = "Cloudinary"
    VERCEL = "Vercel"
    SMTP = "SMTP"
    PAYMENTS = "payment gateway"


AT_ERASURE = "now"  # the instant of the erasure


@dataclass(frozen=True)
class TableLabel:
    """How the rows of a table reach a person, and their fate.

    ``reaches`` is the column that leads to the person ("student_id"), "id" when the row is the person, or "" when no
    person can be reached. ``reason`` and ``until`` are obligatory with ``Erasure.KEEP``.
    ``told_by`` is the column that leads to a row of the person's export: these rows are told with it. Only the export follows
    it: an erasure empties what leads from that row to the person, and then nothing leads from these, either.
    """

    reaches: str
    erasure: Erasure
    processors: tuple[Processor, ...] = ()
    reason: str = ""
    until: str = ""
    told_by: str = ""

    def __post_init__(self) -> None:
        if self.erasure is Erasure.KEEP and not (self.reason and self.until):
            raise ValueError("a kept row needs the reason and the end of its keeping")


@dataclass(frozen=True)
class ColumnLabel:
    """What one column holds. ``because`` is obligatory outside the lists of the policy; ``export`` is its name in a
    person's own export, or "" when it says nothing about the person (keys, hashes).

    ``stands_for``: the column leads to somebody else; an export says these words instead ("somebody who teaches").
    ``free_text``: somebody other than the person wrote it, and may name a third one: it is screened before it leaves.
    ``correctable``: a person may have it corrected here (core.privacy.correcting).
    ``on_erasure``: what it says once an erasure emptied its row, unless it says something already: AT_ERASURE, or a word.
    """

    category: Category
    export: str = ""
    because: str = ""
    erasure: Erasure | None = None
    processors: tuple[Processor, ...] | None = None
    stands_for: str = ""
    free_text: bool = False
    correctable: bool = False
    on_erasure: str = ""

    def __post_init__(self) -> None:
        if (self.stands_for or self.free_text) and not self.export:
            raise ValueError("what an export treats in a special way needs a name in it")
        if self.category is Category.OUTSIDE and not self.because:
            raise ValueError("a column outside the lists of the policy needs a reason")


@dataclass(frozen=True)
class Label:
    """One column's whole label, as :func:`core.models.data_map.data_map` returns it."""

    table: str
    column: str
    category: Category
    because: str
    reaches: str
    erasure: Erasure
    reason: str
    until: str
    export: str
    processors: tuple[Processor, ...] = field(default=())


def label(category: Category, export: str = "", **more: Any) -> dict[str, ColumnLabel]:
    """Return the ``info`` of a mapped column."""
    return {"privacy": ColumnLabel(category, export, **more)}


def outside(because: str, export: str = "", **more: Any) -> dict[str, ColumnLabel]:
    """Return the ``info`` of a column that the policy's lists do not name, with the reason why it is there."""
    return label(Category.OUTSIDE, export, because=because, **more)


def technical(**more: Any) -> dict[str, ColumnLabel]:
    """Return the ``info`` of a key, a source mark or another column that says nothing about a person by itself."""
    return label(Category.NOBODY, **more)


def about(**privacy: Any) -> dict[str, TableLabel]:
    """Return the ``info`` of a table."""
    return {"privacy": TableLabel(**privacy)}
