"""Rows of a kind are written by one statement: each with its own values, and none is missed."""

import uuid
from typing import Any

import pytest
from sqlalchemy import event, select
from sqlalchemy.engine import Engine
from sqlalchemy.orm.exc import StaleDataError

from core import db
from core.models.base import among, insert_many, update_many
from core.models.staff import WorkerJob
from tests.cast import NOW

pytestmark = pytest.mark.usefixtures("house")


def jobs(many: int) -> list[dict[str, Any]]:
    """Jobs that are nobody's."""
    return [{"id": uuid.uuid4(), "kind": "test", "key": f'{at} "{{}}"', "next_at": NOW, "created_at": NOW, "result": {"at": at} if at else None}
            for at in range(many)]  # fmt: skip


def test_each_row_is_written_with_its_own_values_by_one_statement() -> None:
    rows, said = jobs(5), list[str]()
    with db.transaction("worker") as session:
        event.listen(Engine, "before_cursor_execute", note := lambda *told: said.append(told[2]))
        insert_many(session, WorkerJob, rows)
        update_many(session, WorkerJob, [{"id": row["id"], "attempts": at} for at, row in enumerate(rows[1:])])
        insert_many(session, WorkerJob, [])
        event.remove(Engine, "before_cursor_execute", note)
        mine = select(WorkerJob).where(among(WorkerJob.id, [row["id"] for row in rows])).order_by(WorkerJob.key)
        found = [(each.key, each.result, each.attempts, each.state) for each in session.scalars(mine)]
        session.rollback()
    assert len(said) == 2
    assert found == [(row["key"], row["result"], max(at - 1, 0), "waiting") for at, row in enumerate(rows)]


def test_a_row_that_is_gone_is_not_passed_over() -> None:
    rows = jobs(2)
    with pytest.raises(StaleDataError), db.transaction("worker") as session:
        insert_many(session, WorkerJob, rows[:1])
        update_many(session, WorkerJob, [{"id": row["id"], "attempts": 1} for row in rows])
