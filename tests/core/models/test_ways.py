"""Ways, fates and their order follow from labels and foreign keys: a new table is found without a change elsewhere."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Column, ForeignKey, ForeignKeyConstraint, Integer, MetaData, Table, Text, Uuid

from core.models.base import Base
from core.models.labels import Category, Erasure, Processor, about, label, outside, technical
from core.models.shown import shown_tables
from core.models.ways import ancestors, fates, fates_told, problems, ways_to

ROW = {"reaches": "student_id", "erasure": Erasure.ROW}


@pytest.fixture
def metadata() -> Iterator[MetaData]:
    """The product's tables, copied, so that a test may add to them."""
    made = MetaData(naming_convention=dict(Base.metadata.naming_convention))
    for table in Base.metadata.tables.values():
        table.to_metadata(made).info.update(table.info)
    yield made


def plant(metadata: MetaData, *columns: Column, info: dict, name: str = "hobby", schema: str = "platform") -> Table:
    key = Column("id", Uuid, primary_key=True, info=technical())
    return Table(name, metadata, key, *columns, schema=schema, info=info)


def to_student(**more: object) -> Column:
    return Column("student_id", Uuid, ForeignKey("platform.student.id"), info=technical(), **more)


def fate(metadata: MetaData, table: str, person: str = "student"):
    return next((each for each in fates(person, metadata) if each.table == table), None)


def test_the_products_labels_are_whole() -> None:
    assert problems() == ()


def test_children_go_before_their_parents_and_the_person_last() -> None:
    for person in ("student", "visitor"):
        order = [each.table for each in fates(person)]
        assert order[-1] == f"platform.{person}"
        place = {table: number for number, table in enumerate(order)}
        for table in order:
            for key in Base.metadata.tables[table].foreign_keys:
                parent = key.column.table.fullname
                assert parent not in place or place[parent] > place[table], f"{parent} before {table}"


def test_a_student_takes_along_the_forms_they_left_as_a_visitor() -> None:
    assert {"platform.visitor", "platform.visitor_device"} <= {each.table for each in fates("student")}
    assert "platform.student" not in {each.table for each in fates("visitor")}


def test_what_is_told_with_a_row_is_in_the_export_and_in_no_plan(metadata: MetaData) -> None:
    """A history of something that an erasure keeps: the plan, and so its fingerprint, knows nothing of it."""
    before = fates("student", metadata)
    plant(
        metadata,
        Column("payment_id", Uuid, ForeignKey("platform.payment.id"), info=technical()),
        Column("state", Text, info=outside("x", "state")),
        info=about(reaches="", erasure=Erasure.KEEP, reason="r", until="u", told_by="payment_id"),
    )
    assert fates("student", metadata) == before
    assert problems(metadata) == ()
    [told] = [each for each in fates_told("student", metadata) if each.table == "platform.hobby"]
    assert [(link.column, link.to_table) for link in told.ways[0].links] == [
        ("payment_id", "platform.payment"),
        ("student_id", "platform.student"),
    ]
    assert "hobby" in {each.name for each in shown_tables("student", metadata)}
    assert "hobby" not in {each.name for each in shown_tables("visitor", metadata)}, "payments are of students"


def test_a_table_that_is_told_with_nothing_is_a_problem(metadata: MetaData) -> None:
    plant(metadata, Column("owner", Uuid, info=technical()),
          info=about(reaches="", erasure=Erasure.KEEP, reason="r", until="u", told_by="owner"))  # fmt: skip
    assert problems(metadata) == ("platform.hobby is told by owner, which leads to nobody's rows",)


def test_a_new_table_is_found(metadata: MetaData) -> None:
    plant(
        metadata,
        to_student(),
        Column("name", Text, info=label(Category.PROFILE, "hobby", processors=(Processor.VERCEL,))),
        info=about(**ROW),
    )
    found = fate(metadata, "platform.hobby")
    assert (found.action, found.categories, found.processors) == (Erasure.ROW, ("profile",), ("Vercel",))
    assert problems(metadata) == ()


def test_a_new_table_two_steps_away_is_found_and_goes_first(metadata: MetaData) -> None:
    """By a key of two columns, as the learning tables have it."""
    plant(
        metadata,
        Column("enrollment_id", Uuid, info=technical()),
        Column("cohort_id", Uuid, info=technical()),
        ForeignKeyConstraint(
            ["enrollment_id", "cohort_id"], ["platform.enrollment.id", "platform.enrollment.cohort_id"]
        ),  # type: ignore[arg-type]
        info=about(reaches="enrollment_id", erasure=Erasure.ROW),
    )
    [way] = ways_to("student", metadata)["platform.hobby"]
    assert [(link.column, link.to_table, link.to_column) for link in way.links] == [
        ("enrollment_id", "platform.enrollment", "id"),
        ("student_id", "platform.student", "id"),
    ]
    order = [each.table for each in fates("student", metadata)]
    assert order.index("platform.hobby") < order.index("platform.enrollment")


def test_a_new_column_is_found(metadata: MetaData) -> None:
    metadata.tables["platform.payment"].append_column(
        Column("payer_note", Text, info=outside("x", "note", erasure=Erasure.BLANK, processors=(Processor.SMTP,)))
    )
    found = fate(metadata, "platform.payment")
    assert set(found.blanked) == {"student_id", "payer_note"}
    assert found.processors == ("SMTP", "payment gateway")


@pytest.mark.parametrize(
    ("columns", "info", "problem"),
    [
        ([to_student(), Column("name", Text)], about(**ROW), "platform.hobby.name has no label"),
        ([to_student()], {}, "platform.hobby has no label"),
        ([Column("owner", Uuid, info=technical())], about(reaches="owner", erasure=Erasure.ROW), "platform.hobby reaches a person by owner, which leads nowhere"),
        ([to_student()], about(reaches="student_id", erasure=Erasure.KEEP, reason="r", until="u"), "platform.hobby stays and would still lead to the person by student_id"),
        ([to_student()], about(reaches="", erasure=Erasure.NONE), "platform.hobby stays and would still lead to the person by student_id"),
        ([Column("student_id", Uuid, ForeignKey("platform.student.id"), info=label(Category.NOBODY, erasure=Erasure.BLANK)),
          Column("grade", Integer, nullable=False, info=label(Category.LEARNING, "g", erasure=Erasure.BLANK))],
         about(reaches="student_id", erasure=Erasure.KEEP, reason="r", until="u"), "platform.hobby.grade is to be blanked and cannot be empty"),
    ],
    ids=["column without label", "table without label", "leads nowhere", "kept link", "nothing to erase", "cannot be empty"],
)  # fmt: skip
def test_labels_that_contradict_themselves_are_problems(metadata: MetaData, columns, info, problem: str) -> None:
    plant(metadata, *columns, info=info)
    assert problem in problems(metadata)


def test_what_a_row_points_to_stays_with_it() -> None:
    assert {"platform.submission", "platform.enrollment", "platform.student"} <= ancestors("platform.code_review")
    assert "platform.code_review" not in ancestors("platform.code_review")
