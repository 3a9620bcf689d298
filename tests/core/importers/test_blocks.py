"""Blocks of binary COPY: PostgreSQL reads back exactly what was put in, nulls and all."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import numpy as np
from sqlalchemy import text
from sqlalchemy.orm import Session

from core.importers import blocks
from core.importers.made_up import EPOCH, instant, uuid7s

MOMENT = datetime(2026, 11, 24, 12, 0, 0, 123456, UTC)
HOSTILE = ["plain", "Siobhán 李小龍 👩🏽‍🚀", None, "", "tab\tnewline\nback\\slash", "x" * 70_000]


def test_every_kind_of_cell_arrives(worker: Session) -> None:
    many = len(HOSTILE)
    present = np.array([True, False, True, True, False, True])
    when = np.full(many, instant(MOMENT))
    keys = uuid7s(when, np.random.default_rng(1))
    columns = {
        "a uuid": blocks.ids(keys), "b uuid": blocks.ids(keys, present), "c text": blocks.texts(HOSTILE),
        "d text": blocks.words(np.array([0, 1, 2, 2, 1, 0]), ("one", "zwölf", ""), present), "e bytea": blocks.texts([b"\x00\xff", *[None] * 5]),
        "f numeric(5,2)": blocks.numerics(np.array([1, 5, 100, 999, 7, 42]), present),
        "g int2": blocks.numbers(np.arange(many) - 3, "i2"), "h int4": blocks.numbers(np.arange(many) * 10**8, "i4", present),
        "i timestamptz": blocks.numbers(when, "i8"), "j date": blocks.numbers(np.arange(many) + 9_000, "i4"),
        "k boolean": blocks.numbers(present, "b1"),
    }  # fmt: skip
    worker.execute(text(f"create temporary table cells ({', '.join(columns)})"))
    with (
        worker.connection().connection.cursor() as cursor,
        cursor.copy("copy cells from stdin (format binary)") as copy,
    ):
        copy.write(blocks.HEADER + blocks.block(list(columns.values())) + blocks.TRAILER)
    rows = worker.execute(text("select * from cells order by g")).all()
    assert [row.c for row in rows] == HOSTILE
    assert [row.d for row in rows] == ["one", None, "", "", None, "one"]
    assert [row.a for row in rows] == [UUID(bytes=key.tobytes()) for key in keys]
    assert [row.b is None for row in rows] == [row.f is None for row in rows] == [not each for each in present]
    assert [row.f for row in rows] == [1, None, 100, 999, None, 42]
    assert [row.g for row in rows] == [-3, -2, -1, 0, 1, 2]
    assert rows[5].h == 5 * 10**8 and rows[0].e == b"\x00\xff" and rows[1].e is None
    assert {row.i for row in rows} == {MOMENT}
    assert rows[2].j == EPOCH.date() + timedelta(days=9_002)
    assert [row.k for row in rows] == present.tolist()


def test_no_rows_are_no_bytes() -> None:
    empty = np.empty(0, np.int64)
    cells = [blocks.numbers(empty, "i8"), blocks.words(empty, ("one",)), blocks.texts([]), blocks.numerics(empty)]
    assert blocks.block(cells) == b""


def test_ids_stand_in_the_order_of_their_times() -> None:
    times = np.arange(1_000) * 5_000 + instant(MOMENT)
    made = [UUID(bytes=key.tobytes()) for key in uuid7s(times, np.random.default_rng(1))]
    assert {(key.version, key.variant) for key in made} == {(7, "specified in RFC 4122")}
    assert made == sorted(made)
    assert made[0].int >> 80 == int(MOMENT.timestamp() * 1000)
