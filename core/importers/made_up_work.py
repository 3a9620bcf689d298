"""How the made-up students of a chunk learn: modules, work handed in and reviewed, results, certificates, clicks.

One row a student, one column a module of their program: everybody has an ability and a pace, falls silent or withdraws
(or not), hands projects in, waits for a review, fails and tries again once. All times are before ``now``.
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from core.importers.blocks import Array
from core.importers.made_up import DAY, HOUR, RECENT_DAYS, Catalog, Enrollments

NOT_STARTED, IN_PROGRESS, DONE, FAILED = range(4)
WAITING, PASSED, NOT_PASSED = range(3)
DISTINCTION, PASS, FAIL, WITHDRAWN = range(4)
PASS_SCORE = 40
FALLS_SILENT, TRIES_AGAIN = 0.14, 0.75
NOT_ISSUED = 0.015


@dataclass(frozen=True)
class Progress:
    """Rows of module progress: ``row`` is the place of the enrollment in its chunk, ``position`` counts from 0; times and
    ``score`` are -1 where there is none."""

    row: Array
    position: Array
    status: Array
    score: Array
    started: Array
    done: Array
    active: Array


@dataclass(frozen=True)
class Work:
    """Work handed in; ``reviewed`` and ``score`` are -1 while it waits."""

    row: Array
    position: Array
    attempt: Array
    submitted: Array
    status: Array
    score: Array
    reviewed: Array


@dataclass(frozen=True)
class Outcomes:
    """Results (``kind`` is a place in RESULT_KINDS) and, where ``issued`` is not -1, certificates."""

    row: Array
    kind: Array
    decided: Array
    issued: Array


@dataclass(frozen=True)
class Clicks:
    """Usage events."""

    row: Array
    at: Array
    lesson: Array
    clicks: Array


@dataclass(frozen=True)
class Learning:
    """All that follows from the enrollments of one chunk."""

    progress: Progress
    work: Work
    outcomes: Outcomes
    clicks: Clicks


@dataclass(frozen=True)
class _Course:
    """Who learns: the place of the enrollment in its chunk, ability (0 on average), and until when they do."""

    row: Array
    ability: Array
    started: Array
    length: Array
    until: Array
    modules: Array
    project: Array


@dataclass(frozen=True)
class _Attempts:
    """Per student and module: begun, first and second time finished (far away when never), what came of both."""

    begun: Array
    first: Array
    second: Array
    first_score: Array
    second_score: Array
    first_reviewed: Array
    second_reviewed: Array


def learning(known: Catalog, enrollments: Enrollments, *, usage: float, now: int, rng: Generator) -> Learning:
    """Return what the students of these enrollments did until now."""
    course = _course(known, enrollments, now, rng)
    tries = _attempts(course, rng)
    status, score = _standing(course, tries, now)
    return Learning(
        _progress(course, tries, status, score, rng),
        _work(course, tries, now),
        _outcomes(known, enrollments, course, status, score, now, rng),
        _clicks(course, usage, now, rng),
    )


def _course(known: Catalog, enrollments: Enrollments, now: int, rng: Generator) -> _Course:
    row = np.flatnonzero(enrollments.started >= 0)
    cohort, started = enrollments.cohort[row], enrollments.started[row]
    ends = (known.ends[cohort] + 1) * DAY
    left = np.where(enrollments.withdrawn[row] >= 0, enrollments.withdrawn[row], ends)
    silent = started + (rng.beta(1.4, 1.6, len(row)) * (ends - started)).astype(np.int64)
    silent = np.where(rng.random(len(row)) < FALLS_SILENT, silent, ends)
    until = np.maximum(np.minimum.reduce([np.full(len(row), now), left, silent]), started)
    program = known.program[cohort]
    return _Course(row, rng.normal(0, 1, len(row)), started, ends - started, until, known.modules[program], known.project[program])  # fmt: skip


def _attempts(course: _Course, rng: Generator) -> _Attempts:
    shape = course.project.shape
    pace = rng.lognormal(-0.12, 0.24, shape[0]) * (1 - 0.07 * course.ability).clip(0.6, 1.5)
    module = (course.length / course.modules * pace)[:, None] * rng.lognormal(-0.06, 0.35, shape)
    first = course.started[:, None] + np.cumsum(module, axis=1).astype(np.int64)
    begun = (first - module).astype(np.int64)
    first_score = _scores(66 + 12 * course.ability[:, None] - 4 * course.project, 10, rng)
    second_score = _scores(first_score + 13, 10, rng)
    delay = _review_delays(shape, rng)
    gap = (rng.uniform(2, 9, shape) * DAY).astype(np.int64)
    second = np.where(course.project, first + delay, first) + gap
    return _Attempts(
        begun, first, np.where(rng.random(shape) < TRIES_AGAIN, second, np.iinfo(np.int64).max // 2), first_score, second_score,
        first + delay, second + _review_delays(shape, rng),
    )  # fmt: skip


def _scores(mean: Array, spread: float, rng: Generator) -> Array:
    return np.round(mean + rng.normal(0, spread, mean.shape)).clip(3, 100).astype(np.int64)


def _review_delays(shape: tuple[int, ...], rng: Generator) -> Array:
    """A day or two; one in twenty-five waits much longer."""
    slow = np.where(rng.random(shape) < 0.04, 5, 1)
    return (rng.gamma(1.4, 1.3, shape) * slow * DAY + HOUR).astype(np.int64)


def _handed_in(course: _Course, tries: _Attempts) -> tuple[Array, Array]:
    """Which first and second attempts happened: as long as the student was there."""
    until = course.until[:, None]
    real = np.arange(course.project.shape[1]) < course.modules[:, None]
    first = real & (tries.first <= until)
    return first, first & (tries.first_score < PASS_SCORE) & (tries.second <= until)


def _standing(course: _Course, tries: _Attempts, now: int) -> tuple[Array, Array]:
    """Status and score of every module: the last attempt counts, as soon as it is reviewed."""
    first, second = _handed_in(course, tries)
    score = np.where(second, tries.second_score, tries.first_score)
    reviewed = ~course.project | (np.where(second, tries.second_reviewed, tries.first_reviewed) <= now)
    known = first & reviewed
    begun = tries.begun < course.until[:, None]
    status = np.where(known, np.where(score >= PASS_SCORE, DONE, FAILED), np.where(begun, IN_PROGRESS, NOT_STARTED))
    return status, np.where(known, score, -1)


def _progress(course: _Course, tries: _Attempts, status: Array, score: Array, rng: Generator) -> Progress:
    row, position = np.nonzero(np.arange(status.shape[1]) < course.modules[:, None])
    status, score = status[row, position], score[row, position]
    _, second = _handed_in(course, tries)
    finished = np.where(second, tries.second, tries.first)[row, position]
    begun, until = tries.begun[row, position], course.until[row]
    lately = np.maximum(until - (rng.exponential(1.4, len(row)) * DAY).astype(np.int64), begun)
    active = np.where(status == IN_PROGRESS, np.minimum(lately, finished), np.minimum(finished, until))
    there = status != NOT_STARTED
    return Progress(
        course.row[row], position, status, score, np.where(there, begun, -1), np.where(status == DONE, finished, -1),
        np.where(there, active, -1),
    )  # fmt: skip


def _work(course: _Course, tries: _Attempts, now: int) -> Work:
    parts = []
    for attempt, happened, at, score, reviewed in zip(
        (1, 2), _handed_in(course, tries), (tries.first, tries.second), (tries.first_score, tries.second_score),
        (tries.first_reviewed, tries.second_reviewed), strict=True,
    ):  # fmt: skip
        row, position = np.nonzero(happened & course.project)
        read = reviewed[row, position] <= now
        points = np.where(read, score[row, position], -1)
        status = np.where(read, np.where(points >= PASS_SCORE, PASSED, NOT_PASSED), WAITING)
        parts.append((course.row[row], position, np.full(len(row), attempt), at[row, position], status, points,
                      np.where(read, reviewed[row, position], -1)))  # fmt: skip
    return Work(*(np.concatenate(both) for both in zip(*parts, strict=True)))


def _outcomes(
    known: Catalog, enrollments: Enrollments, course: _Course, status: Array, score: Array, now: int, rng: Generator
) -> Outcomes:
    """Of cohorts that ended, and of those who withdrew; a certificate some days later (a few are due and not issued)."""
    share = np.zeros(len(enrollments.number))
    mean = np.zeros(len(enrollments.number))
    share[course.row] = (status == DONE).sum(axis=1) / course.modules
    mean[course.row] = np.where(score >= 0, score, 0).sum(axis=1) / np.maximum((score >= 0).sum(axis=1), 1)
    kind = np.where(share >= 0.8, np.where((mean >= 78) & (share >= 0.9), DISTINCTION, PASS), FAIL)
    left = enrollments.withdrawn >= 0
    kind = np.where(left, WITHDRAWN, kind)
    row = np.flatnonzero(left | (enrollments.status == 2))
    decided = np.where(left, enrollments.withdrawn, (known.ends[enrollments.cohort] + 1) * DAY)[row]
    issued = decided + (rng.uniform(2, 12, len(row)) * DAY).astype(np.int64)
    due = (kind[row] <= PASS) & (issued < now) & (rng.random(len(row)) >= NOT_ISSUED)
    return Outcomes(row, kind[row], decided, np.where(due, issued, -1))


def _clicks(course: _Course, usage: float, now: int, rng: Generator) -> Clicks:
    """Of the last months only, more of them from the able, on the days when they were there."""
    from_ = np.maximum(course.started, now - RECENT_DAYS * DAY)
    span = np.maximum(course.until - from_, 0)
    mean = usage * span / (RECENT_DAYS * DAY) * np.exp(0.5 * course.ability - 0.125)
    row = np.repeat(np.arange(len(span)), rng.poisson(mean))
    at = from_[row] + (rng.random(len(row)) * span[row]).astype(np.int64)
    lesson, clicks = rng.integers(0, 40, len(row)), rng.geometric(0.08, len(row)).clip(1, 400)
    return Clicks(course.row[row], at, lesson, clicks)
