"""Records that contradict each other are refused; nothing is dropped in silence, nothing is started late."""

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from core.importers.loading import ImportRefused
from core.importers.oulad import import_oulad
from tests.cast import NOW
from tests.core.importers.test_oulad import FILES, enrollment, utc, with_line, write

CONTRADICTIONS = [
    ("courses", 3, "AAA,2013J,268", "twice"),
    ("courses", 3, "BBB,0013J,260", "code_presentation"),
    ("studentRegistration", 4, "AAA,2013J,12,-92,-12", "twice"),
    ("studentInfo", 4, '"AAA","2013J","12","F","Wales","Pass"', "twice"),
    ("assessments", 6, "BBB,2014B,1752,CMA,40,7.5", "twice"),
    ("assessments", 6, "BBB,2014B,3001,CMA,40,1000000", "weight"),
    ("studentAssessment", 6, "2001,14,41,0,50", "twice"),
    ("studentVle", 4, "AAA,2013J,11,546614,3,-1", "sum_click"),
    ("studentVle", 4, "AAA,2013J,11,546614,3,99999999999", "sum_click"),
]


@pytest.mark.parametrize(("name", "line", "row", "reason"), CONTRADICTIONS)
def test_a_contradiction_stops_everything(
    worker: Session, tmp_path: Path, name: str, line: int, row: str, reason: str
) -> None:
    folder = write(tmp_path / "oulad", **{name: with_line(name, line, row)})
    with pytest.raises(ImportRefused, match=reason) as caught:
        import_oulad(worker, folder, now=NOW)
    assert (caught.value.file, caught.value.line) == (f"{name}.csv", line)


def test_a_registration_without_a_result_is_refused(worker: Session, tmp_path: Path) -> None:
    info = "\n".join(FILES["studentInfo.csv"].splitlines()[:-1])
    with pytest.raises(ImportRefused, match=r"student 15 is not in studentInfo\.csv") as caught:
        import_oulad(worker, write(tmp_path / "oulad", studentInfo=info), now=NOW)
    assert (caught.value.file, caught.value.line) == ("studentRegistration.csv", 7)


def test_who_left_after_the_start_had_started(worker: Session, tmp_path: Path) -> None:
    import_oulad(worker, write(tmp_path / "oulad"), now=NOW)
    left = enrollment(worker, "BBB/2014B/15")
    assert (left.status, left.started_at) == ("withdrawn", utc(2014, 2, 1))


def test_nobody_leaves_before_they_came(worker: Session, tmp_path: Path) -> None:
    registration = with_line("studentRegistration", 4, "AAA,2013J,13,?,-12")
    import_oulad(worker, write(tmp_path / "oulad", studentRegistration=registration), now=NOW)
    left = enrollment(worker, "AAA/2013J/13")
    assert left.enrolled_at == left.withdrawn_at == utc(2013, 10, 1) - timedelta(days=12)
