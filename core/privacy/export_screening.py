"""Which texts of an export an officer has to judge first: every free text of ours, and every text that a processor gave.

Danger: a text from a third party (the description of a payment, a field of a document that nobody mapped) leaves unread, because it
stands in no table of ours. Principle: whoever keeps it for us, it leaves under the same rule (core.privacy.export_texts).
Mechanism: :func:`screen` lists what has to be judged, once per text and place; :func:`judged` puts the decisions into what
processors gave, as core.privacy.export_build does into our own rows. Whose names are names is asked of the database only for words
that stand in these texts: the size of a cohort does not matter.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core import db
from core.models.base import uuid7
from core.models.exports import ExportText
from core.privacy.export_build import Answer, Decision, decided, row_key
from core.privacy.export_rows import AT_ONCE, Gathered, Values, instants, plain
from core.privacy.export_texts import Known, digest, found_in, names_in, words_of
from core.privacy.export_wanted import Wanted
from core.processors.local import Roots, rows_of
from core.processors.protocol import Person

_CODE = re.compile(r"\S*|\d{4}-\d\d-\d\d[T ][\d:.,+Z -]*")  # one sign after the other, or an instant: no sentence


@dataclass(frozen=True)
class Text:
    """One text on its way out: where it stands, and what it says. ``written`` is the day, where the row tells one; ``ours``: a
    label says that people write here."""

    place: str
    shown_as: str
    field: str
    row: str
    body: str
    written: str | None
    ours: bool

    @property
    def digest(self) -> str:
        """What a decision about it is bound to."""
        return digest(self.place, self.field, self.row, self.body)


@dataclass(frozen=True)
class Screened:
    """What was decided about texts that may name somebody else, by digest, and how many ``wait`` for that."""

    decisions: Mapping[str, Decision]
    wait: int = 0


def screen(
    session: Session, reader: Session, wanted: Wanted, person: Person, roots: Roots, gathered: Gathered,
    answers: Sequence[Answer],
) -> Screened:  # fmt: skip
    """List the texts that may name somebody else and that nobody has judged. Without any, the file may be made with the decisions."""
    decisions: dict[str, Decision] = {}
    waiting: set[str] = set()
    texts = _texts(reader, person, roots, gathered, answers)
    while batch := list(islice(texts, AT_ONCE)):
        known, decided = _known(reader, wanted, person, batch)
        decisions |= decided
        open_ones = [line for line in _lines(wanted, batch, known) if line["digest"] not in decisions]
        if open_ones:
            again = insert(ExportText).on_conflict_do_nothing(index_elements=["request_id", "digest"])
            session.execute(again, open_ones)
            waiting |= {line["digest"] for line in open_ones}
    return Screened(decisions, len(waiting))


def judged(answers: Iterable[Answer], decisions: Mapping[str, Decision]) -> tuple[Answer, ...]:
    """Return what processors gave as an officer decided about its texts."""
    return tuple(replace(each, records=dict(_decided(each, decisions))) for each in answers)


def _decided(answer: Answer, decisions: Mapping[str, Decision]) -> Iterator[tuple[str, tuple[Values, ...]]]:
    for what, rows in answer.records.items():
        decide = _decider(answer, what, decisions)
        yield what, tuple(_changed(row, decide) for row in rows)


def _texts(
    reader: Session, person: Person, roots: Roots, gathered: Gathered, answers: Sequence[Answer]
) -> Iterator[Text]:
    for shown in gathered.every:
        free = [each.name for each in shown.fields if each.free_text]
        if not free or shown.place not in gathered.counts:
            continue
        rows: Iterable[Values] = gathered.small.get(shown.place) or (
            plain(each._mapping)
            for each in reader.execute(rows_of(person, shown, roots), execution_options={"yield_per": 500})
        )
        for row in rows:
            day = next((row[name][:10] for name in instants(shown) if row[name]), None)
            for name in free:
                if isinstance(row[name], str) and row[name]:
                    yield Text(shown.place, shown.name, name, row_key(row), row[name], day, ours=True)
    for answer in answers:
        for what, given in answer.records.items():
            for each in given:
                for name, body in _strings(each):
                    yield Text(*_place(answer, what), name, "", body, None, ours=False)


def _place(answer: Answer, what: str) -> tuple[str, str]:
    return f"{answer.name} {what}", f"{answer.name}: {what}"


def _strings(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Every text in a record of a processor, however deep, with the names that lead there."""
    if isinstance(value, str):
        if value:
            yield path, value
    elif isinstance(value, Mapping):
        for name, each in value.items():
            yield from _strings(each, f"{path} {name}".strip())
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _strings(each, path)


def _decider(answer: Answer, what: str, decisions: Mapping[str, Decision]) -> Callable[[str, str], str]:
    place, _ = _place(answer, what)
    return lambda name, body: decided(body, decisions.get(digest(place, name, "", body)))


def _changed(value: Any, decide: Callable[[str, str], str], path: str = "") -> Any:
    if isinstance(value, str):
        return decide(path, value) if value else value
    if isinstance(value, Mapping):
        return {name: _changed(each, decide, f"{path} {name}".strip()) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_changed(each, decide, path) for each in value]
    return value


def _lines(wanted: Wanted, texts: Sequence[Text], known: Known) -> Iterator[dict[str, Any]]:
    """What an officer has to look at, of some texts."""
    for each in texts:
        found = found_in(each.body, known)
        if not found.passages or not (each.ours or _says_something(each.body, known)):
            continue
        yield {"id": uuid7(), "request_id": wanted.request_id, "student_id": wanted.student_id, "visitor_id": wanted.visitor_id,
               "place": each.shown_as, "field": each.field, "written_on": each.written, "digest": each.digest,
               "found": {"words": list(found.words), "passages": list(found.passages)}}  # fmt: skip


def _says_something(body: str, known: Known) -> bool:
    """Whether what a processor keeps may be about somebody: more than one word, an address, or a name that is known."""
    return not _CODE.fullmatch(body) or "@" in body or body.casefold() in known.others


def _known(reader: Session, wanted: Wanted, person: Person, texts: Sequence[Text]) -> tuple[Known, dict[str, Decision]]:
    """Whose names are whose: the person's own, those of people who work here and learn in the same cohorts, and titles; and what
    was decided about texts of the request.

    Only names that have a capitalized word of these texts are fetched (and those that the database cannot compare by their spelling).
    """
    words = sorted(names_in(each.body for each in texts))
    given = {"student": person.id, "visitors": list(person.forms), "words": words, "request": wanted.request_id}
    [(own, others, titles, decided)] = db.together(reader, db.asked(KNOWN, **given))[0]
    plain = {str(value).casefold() for each in own or () for value in each if value}
    digits = {"".join(char for char in str(each[2]) if char.isdigit()) for each in own or () if each[2]}
    mine = words_of(each[0] for each in own or ())
    known = Known(frozenset(mine | plain | digits), words_of(others or ()) - mine, words_of(titles or ()))
    return known, {digest: Decision(what, tuple(map(str, words or ()))) for digest, what, words in decided or ()}


KNOWN = """
    select
      (select json_agg(json_build_array(o.name, o.email, o.phone)) from (
         select s.name, s.email, p.phone from platform.student s left join platform.student_profile p on p.student_id = s.id
         where s.id = :student
         union all select v.name, v.email, v.phone from platform.visitor v where v.id = any (cast(:visitors as uuid[]))) o) as own,
      (select json_agg(distinct n.name) from (
         select m.name from staff.staff_member m
         union all
         select s.name from platform.student s where s.id <> :student and s.id in (
           select e.student_id from platform.enrollment e where e.cohort_id in (
             select mine.cohort_id from platform.enrollment mine where mine.student_id = :student))) n
       where n.name !~ '^[A-Za-z ]+$' or string_to_array(lower(n.name), ' ') && cast(:words as text[])) as others,
      (select json_agg(t.title) from (
         select title from platform.program union select title from platform.cohort union select title from platform.module) t
       where t.title !~ '^[A-Za-z ]+$' or string_to_array(lower(t.title), ' ') && cast(:words as text[])) as titles,
      (select json_agg(json_build_array(digest, decision, words)) from privacy.export_text
       where request_id = :request and decision is not null) as decided
"""
