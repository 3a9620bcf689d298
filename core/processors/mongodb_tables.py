"""What of the platform's documents can become rows here: for each table the columns that a mapping may fill, and how they are read.

A mapping (core.processors.mongodb_mapping) says which field of which collection goes into which of these columns. What does not
stand here cannot be mapped: no password, no grade book of another shape, no note of staff.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from core.models.platform import EXPERIENCE_LEVELS, PROGRESS_STATUS, RESULT_KINDS, SUBMISSION_STATUS


class Kind(StrEnum):
    """How a value is read. Nothing is guessed: what does not fit sets the document aside."""

    LINE = "line of text"
    TEXT = "text"
    EMAIL = "e-mail address"
    LINK = "web address"
    MOMENT = "instant"
    DAY = "day"
    NUMBER = "whole number"
    DECIMAL = "number"
    YES = "yes or no"
    WORD = "one of some words"
    REFERENCE = "id of a document"


@dataclass(frozen=True)
class Column:
    """A column that a mapping may fill. ``needed``: without it there is no row; ``default`` stands for a missing value."""

    kind: Kind
    needed: bool = False
    words: tuple[str, ...] = ()
    longest: int = 200
    least: float | None = None
    most: float | None = None
    default: object = None


@dataclass(frozen=True)
class Target:
    """A table. ``parents`` are the rows it hangs on, each given by the id of their document: all of one of the alternatives.

    ``own`` says by what a row is found again: "key" (its document's id, in ``source_key``), "id" (made of it), or the parent of
    which there is one row. ``always`` are columns that a mapping has to name although a document may lack the value. ``natural`` are columns of which no two rows may share the values.
    """

    columns: Mapping[str, Column]
    parents: tuple[frozenset[str], ...] = (frozenset(),)
    optional: frozenset[str] = frozenset()
    own: str = "key"
    natural: tuple[tuple[str, ...], ...] = ()
    person: str = ""
    always: frozenset[str] = frozenset()

    @property
    def references(self) -> frozenset[str]:
        """Every parent that a mapping may name."""
        return frozenset().union(*self.parents) | self.optional


def _line(needed: bool = False, longest: int = 200) -> Column:
    return Column(Kind.LINE, needed, longest=longest)


def _word(words: tuple[str, ...], needed: bool = False, default: str | None = None) -> Column:
    return Column(Kind.WORD, needed, words=words, default=default)


_MOMENT, _THEN = Column(Kind.MOMENT), Column(Kind.MOMENT, needed=True)
_PLACE = (frozenset({"enrollment"}), frozenset({"student", "cohort"}))
_SCORE = Column(Kind.DECIMAL, least=0, most=100)

TABLES: dict[str, Target] = {
    "program": Target({"code": _line(True, 60), "title": _line(True)}, natural=(("code",),)),
    "cohort": Target(
        {"code": _line(True, 60), "title": _line(True), "starts_on": Column(Kind.DAY, True), "ends_on": Column(Kind.DAY, True),
         "seats": Column(Kind.NUMBER, least=0, most=32_000)},
        parents=(frozenset({"program"}),), natural=(("code",),)),
    "module": Target(
        {"position": Column(Kind.NUMBER, True, least=0, most=32_000), "title": _line(True), "kind": _line(True, 60),
         "weight": Column(Kind.DECIMAL, least=0, most=1000), "due_day": Column(Kind.NUMBER, least=-1000, most=10_000)},
        parents=(frozenset({"program"}),), optional=frozenset({"cohort"})),
    "student": Target(
        {"name": _line(True), "email": Column(Kind.EMAIL, True), "registered_at": _THEN,
         "experience_level": _word(EXPERIENCE_LEVELS, default="not stated"), "account_status": _word(("open", "closed"), default="open"),
         "closed_at": _MOMENT},
        natural=(("email_hash",),), person="student", always=frozenset({"account_status", "closed_at"})),
    "student_profile": Target(
        {"phone": _line(longest=40), "headline": _line(), "link": Column(Kind.LINK, longest=2000), "avatar_url": Column(Kind.LINK, longest=2000),
         "opted_out_at": _MOMENT},
        parents=(frozenset({"student"}),), own="student"),
    "consent": Target({"birth_date": Column(Kind.DAY), "adult": Column(Kind.YES)}, parents=(frozenset({"student"}),), own="student"),
    "enrollment": Target(
        {"enrolled_at": _THEN, "withdrawn_at": _MOMENT, "confirmed_at": _MOMENT},
        parents=(frozenset({"student", "cohort"}),), natural=(("student_id", "cohort_id"),), always=frozenset({"withdrawn_at"})),
    "result": Target(
        {"kind": _word(RESULT_KINDS, True), "decided_at": _THEN}, parents=(frozenset({"enrollment"}),), own="enrollment"),
    "module_progress": Target(
        {"status": _word(PROGRESS_STATUS, True), "score": _SCORE, "started_at": _MOMENT, "done_at": _MOMENT, "active_at": _MOMENT},
        parents=tuple(place | {"module"} for place in _PLACE), own="id", natural=(("enrollment_id", "module_id"),)),
    "submission": Target(
        {"attempt": Column(Kind.NUMBER, least=1, most=1000, default=1), "submitted_at": _THEN,
         "status": _word(SUBMISSION_STATUS, default=SUBMISSION_STATUS[0]), "score": _SCORE, "url": Column(Kind.LINK, longest=2000)},
        parents=tuple(place | {"module"} for place in _PLACE)),
    "code_review": Target(
        {"reviewed_at": _THEN, "passed": Column(Kind.YES, True), "comment": Column(Kind.TEXT, longest=20_000, default="")},
        parents=(frozenset({"submission"}),), own="id"),
    "certificate": Target(
        {"number": _line(True, 100), "honors": Column(Kind.YES, default=False), "issued_at": _THEN, "url": Column(Kind.LINK, longest=2000)},
        parents=_PLACE, own="id", natural=(("number",), ("enrollment_id",))),
    "usage_event": Target(
        {"at": _THEN, "kind": _line(True, 60), "item": Column(Kind.LINE, default=""), "clicks": Column(Kind.NUMBER, least=0, most=1_000_000, default=1)},
        parents=_PLACE, own="id"),
    "subscription": Target(
        {"starts_on": Column(Kind.DAY, True), "ends_on": Column(Kind.DAY)}, parents=(frozenset({"student"}),), own="id"),
    "payment": Target(
        {"paid_at": _THEN, "amount_cents": Column(Kind.NUMBER, True, least=-2**31, most=2**31 - 1), "currency": _line(True, 3),
         "gateway_ref": _line(True, 200)},
        parents=(frozenset({"student"}),), own="id", natural=(("gateway_ref",),)),
    "visitor": Target(
        {"name": _line(True), "email": Column(Kind.EMAIL, True), "phone": _line(longest=40), "asked_at": _THEN,
         "experience_level": _word(EXPERIENCE_LEVELS, default="not stated"), "message": Column(Kind.TEXT, longest=4000)},
        optional=frozenset({"program"}), person="visitor"),
    "visitor_device": Target(
        {"user_agent": _line(True, 1000), "address": _line(True, 100)}, parents=(frozenset({"visitor"}),), own="visitor"),
}  # fmt: skip
PEOPLE = tuple(name for name, target in TABLES.items() if target.person)
CATALOG = ("program", "cohort", "module")
