"""Reads for the screens: in short transactions that say who asks, one for all reads of a run. Only what tells of no person is
cached."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import streamlit as st

from core import queries, replica
from core.privacy_actions import Staff
from ui.clock import now

Answer = TypeVar("Answer")
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
