"""Reads for the screens: in short transactions that say who asks, one for all reads of a run. Only what tells of no person is
cached."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from threading import Lock
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import streamlit as st

from core import queries, replica
from core.privacy_actions import Staff
from ui import theme
from ui.clock import now

Answer = TypeVar("Answer")
MOST_PUBLISHED = MOST_DRAWN = 256
_published: dict[tuple[object, ...], Any] = {}
_keeping = Lock()
_marks: WeakKeyDictionary[replica.Reading, str | None] = WeakKeyDictionary()
_run: ContextVar[replica.Reading | None] = ContextVar("reads of this run", default=None)


@contextmanager
def one_transaction() -> Iterator[None]:
    """Answer every read until the end of the block in one transaction: the shell does so for a run, a part for its own."""
    reading = replica.Reading()
    before = _run.set(reading)
    try:
        yield
    finally:
        _run.reset(before)
        reading.close()


def before_writing() -> None:
    """Give the connection of this run's reads back: no run waits for a second one with one in its hand."""
    if (reading := _run.get()) is not None:
        reading.close()


def read(staff: Staff, function: Callable[..., Answer], *arguments: Any, **named: Any) -> Answer:
    """Return the answer of a function of core.queries, asked as ``staff``."""
    reading = _run.get()
    return (reading.read if reading else replica.read)(
        lambda session: function(session, *arguments, **named),
        staff_id=staff.id,
        session_id=staff.session_id,
        written=st.session_state.get("written", 0),
    )


def published(staff: Staff, function: Callable[..., Answer], *arguments: Any, **named: Any) -> Answer:
    """Return the answer of a function of core.queries about anonymized releases. They never change and tell of nobody, so an answer is kept for
    all tabs of this process as long as nothing else is published; whether ``staff`` may read them is asked of the database all the same."""
    mark = _mark(staff)
    if mark is None:
        return read(staff, function, *arguments, **named)
    key = (mark, function.__name__, arguments, tuple(sorted(named.items())))
    known: Answer | None = _published.get(key)
    return known if known is not None else _keep(key, read(staff, function, *arguments, **named))


def are_kept() -> bool:
    """Return whether answers about releases are kept: who asks for them again waits for one statement, and needs no skeleton."""
    return bool(_published)


def drawn(staff: Staff, draw: Callable[..., None], *asked: str | None) -> None:
    """Draw a part of a page that shows anonymized releases and nothing else: Streamlit keeps what ``draw`` drew and sends it again without running it,
    for all tabs of this process, by what is published, the theme and what was ``asked`` for. There is no widget in it, and nothing of whoever looks."""
    mark = _mark(staff)
    if mark is None:
        draw(*asked)
    else:
        code = draw.__code__
        key = repr((mark, theme.theme(), code.co_filename, code.co_name, hash(code), asked))
        _drawn(key=key, _draw=partial(draw, *asked))


@st.cache_resource(max_entries=MOST_DRAWN, show_spinner=False)
def _drawn(*, key: str, _draw: Callable[[], None]) -> None:
    _draw()


def _keep(key: tuple[object, ...], answer: Answer) -> Answer:
    """Keep an answer; the oldest goes. Entries are never changed: whoever got one may go on reading it."""
    with _keeping:
        if len(_published) >= MOST_PUBLISHED:
            del _published[next(iter(_published))]
        _published[key] = answer
    return answer


def _mark(staff: Staff) -> str | None:
    """The mark of what is published now, asked once a run."""
    reading = _run.get()
    if reading is None:
        return read(staff, queries.published_mark)
    if reading not in _marks:
        _marks[reading] = read(staff, queries.published_mark)
    return _marks[reading]


def following() -> replica.Following | None:
    """Return how the replica fares, as of the last second; None without one."""
    return replica.following()


def catalog(staff: Staff) -> queries.Catalog:
    """Return programs and cohorts; the same for everybody who is signed in, kept for a minute."""
    return _catalog(_staff=staff)


@st.cache_data(ttl=60, max_entries=1, show_spinner=False)
def _catalog(_staff: Staff) -> queries.Catalog:
    return read(_staff, queries.catalog)


def cohorts(staff: Staff, program_id: uuid.UUID | None, title: str | None) -> tuple[queries.CohortChoice, ...]:
    """Return the cohorts that a filter offers: of a program, the latest ones, and whichever is chosen already."""
    return _cohorts(_staff=staff, program_id=program_id, title=title)


@st.cache_data(ttl=60, max_entries=200, show_spinner=False)
def _cohorts(_staff: Staff, program_id: uuid.UUID | None, title: str | None) -> tuple[queries.CohortChoice, ...]:
    return read(_staff, queries.cohorts_offered, program_id=program_id, title=title)


def conversion(staff: Staff) -> queries.Conversion:
    """Return how many visitors of the last months became students: two counts, the same for all who may see them, kept for
    a minute because they cost more than a page."""
    return _conversion(_staff=staff, role=staff.role)


@st.cache_data(ttl=60, max_entries=2, show_spinner=False)
def _conversion(_staff: Staff, role: str) -> queries.Conversion:
    return read(_staff, queries.visitor_conversion, now=now())
