"""What others wrote leaves as it is only if nothing in it looks like somebody else; an officer judges the rest, sentence by sentence."""

import json

import pytest
from sqlalchemy import Connection, text

from core import db, privacy_actions, queries
from core.errors import BadInput, NotFound, Refused
from core.privacy.export_texts import Known, found_in, without, words_of
from tests.cast import NOW, id_of
from tests.core.privacy.house_of_exports import content, data, export, ready, unzipped, work
from tests.core.privacy.house_of_requests import act, on, rows, verified

ASHA = Known(
    words_of(["Asha Example"]) | {"asha@students.example", "49170123"},
    words_of(["Marek Novak", "Ben Will"]),
    words_of(["Python 26", "Loops and Lists"]),
)


@pytest.mark.parametrize(
    ("comment", "words"),
    [
        ("Runs and is well tested.", ()),
        ("Please handle the empty input, then hand it in again.", ()),
        ("Use Python, GitHub and the JSON module. Monday is fine, I think. See PEP 8.", ()),
        ("Asha, this is better than Asha's first try; mail asha@students.example.", ()),
        ("Will it run? Naming the end of the loop.", ("Will",)),
        ("As Maria told you, Jonas was ill.", ("Maria", "Jonas")),
        ("Marek will look at it.", ("Marek",)),
        ("please ask Ben", ("Ben",)),
        ("Talk to Mrs. Tester or Dr Óskarsdóttir", ("Tester", "Óskarsdóttir")),
        ("write to jonas.k@example.org or call +49 30 1234567.", ("jonas.k@example.org", "+49 30 1234567")),
        ("It runs. Jonas had the same fault. Refactored and renamed. Handling is fine.", ("Jonas",)),
        ("thanks to @jonas_k", ("@jonas_k",)),
        ("Спасибо, это сделала Мария.", ("Спасибо", "Мария")),
    ],
)
def test_what_looks_like_somebody_else(comment: str, words: tuple[str, ...]) -> None:
    found = found_in(comment, ASHA)
    assert found.words == words
    assert bool(found.passages) == bool(words)


@pytest.mark.parametrize("comment", ["王小明说得对", "عائشة ساعدت أيضا", "שרה עזרה לך"])
def test_where_scripts_know_no_capitals_nothing_can_be_told(comment: str) -> None:
    found = found_in(comment, ASHA)
    assert (found.words, found.passages) == ((), (comment,))


def test_only_the_sentences_in_question_are_shown() -> None:
    secret = "Your score was low and you cried. " * 20
    found = found_in(secret + "Jonas helped. " + secret, ASHA)
    [passage] = found.passages
    assert "Jonas" in passage
    assert len(passage) < 250


def test_words_are_taken_out_where_they_stand_and_nowhere_else() -> None:
    assert without("Ben and Benno; Ben's code. ben?", ["Ben"]) == "[name removed] and Benno; [name removed] code. ben?"
    assert without("a (b) [c]", ["(b)", "[c]"]) == "a [name removed] [name removed]"
    assert without("as it is", []) == "as it is"


COMMENTS = {
    "review": "As Jonas said, it runs. <b>Jonas</b> has the same fault.",
    "note": "王小明 asked about her.",
}


@pytest.fixture
def waiting(house: str) -> object:
    """An export of Asha in which a review and a note wait for an officer."""
    with db.transaction("worker") as session:
        session.execute(text("update platform.code_review set comment = :c where id = :id"),
                        {"c": COMMENTS["review"], "id": id_of("asha review")})  # fmt: skip
        session.execute(text("update platform.help_note set note = :c where id = :id"), {"c": COMMENTS["note"], "id": id_of("asha note")})  # fmt: skip
    filed = verified("export", student_id=id_of("asha"))
    work()
    assert export(filed)["state"] == "to judge"
    return filed


def listed(filed: object) -> dict[str, queries.JudgedText]:
    with db.transaction(staff_id=id_of("omar")) as session:
        found = queries.export_of(session, filed.request_id, now=NOW)  # type: ignore[attr-defined]
    return {each.what.split(",")[0]: each for each in found.texts}


def test_nothing_is_made_before_each_text_is_judged_and_then_as_it_was_judged(waiting: object) -> None:
    filed = waiting
    assert rows("select 1 from privacy.artifact") == []
    texts = listed(filed)
    assert texts["code review"].words == ("Jonas",)
    assert texts["help note"].words == ()
    act("judge_export_text", "omar", text_id=texts["code review"].id, decision="redact", words=("Jonas",))
    assert work() == [], "one is open"
    act("judge_export_text", "olga", text_id=texts["help note"].id, decision="leave out")
    work()
    told = unzipped(content(filed))  # type: ignore[arg-type]
    whole = b"".join(told.values()).decode()
    assert "Jonas" not in whole
    assert "王小明" not in whole
    [review] = data(told)["data"]["code review"]
    assert review["review comment"] == "As [name removed] said, it runs. <b>[name removed]</b> has the same fault."
    assert data(told)["data"]["help note"][0]["note of those who teach"].startswith("[left out")
    manifest = json.loads(told["manifest.json"])
    assert manifest["texts_about_others"] == {"hand_out": 0, "redact": 1, "leave_out": 1}


def test_a_name_of_somebody_here_is_found_where_it_could_be_any_word(house: str, owner: Connection) -> None:
    said = {"c": "Will see the loop again.", "id": id_of("asha review")}
    owner.execute(text("update platform.code_review set comment = :c where id = :id"), said)
    owner.commit()
    act("withdraw_request", "omar", reason="by the person", **on(ready("export", student_id=id_of("asha"))))
    owner.execute(text("update staff.staff_member set name = 'Will Marek' where id = :id"), {"id": id_of("marek")})
    owner.commit()
    filed = verified("export", student_id=id_of("asha"))
    work()
    assert [each.words for each in listed(filed).values()] == [("Will",)]


def test_a_text_that_changes_after_it_was_judged_is_judged_anew(waiting: object) -> None:
    act("judge_export_texts", "omar", request_id=waiting.request_id, decision="hand out")  # type: ignore[attr-defined]
    with db.transaction("worker") as session:
        session.execute(text("update platform.code_review set comment = 'Ben is worse than Jonas.' where id = :id"), {"id": id_of("asha review")})  # fmt: skip
    work()
    assert export(waiting)["state"] == "to judge"  # type: ignore[arg-type]
    assert [each.words for each in listed(waiting).values()] == [("Ben", "Jonas")]


def test_the_same_for_all_and_what_can_be_judged_by_whom(waiting: object) -> None:
    request = waiting.request_id  # type: ignore[attr-defined]
    some = next(iter(listed(waiting).values())).id
    for name in ("paula", "ines", "ada", "aiko"):
        with pytest.raises(Refused):
            act("judge_export_texts", name, request_id=request, decision="hand out")
        with db.transaction(staff_id=id_of(name)) as session:
            assert session.scalar(text("select count(*) from privacy.export_text")) == 0
    for decision, words in (("magic", ()), ("redact", ()), ("redact", ("x" * 201,)), ("redact", ("a\x00b",))):
        with pytest.raises(BadInput):
            act("judge_export_text", "omar", text_id=some, decision=decision, words=words)
    with pytest.raises(NotFound):
        act("judge_export_text", "omar", text_id=id_of("nothing"), decision="hand out")
    assert act("judge_export_texts", "omar", request_id=request, decision="redact") == 2
    assert sorted(rows("select decision, words::text from privacy.export_text")) == [
        ("leave out", None),
        ("redact", '["Jonas"]'),
    ]
    assert act("judge_export_texts", "omar", request_id=request, decision="redact") == 0
    act("withdraw_request", "omar", reason="by the person", **on(waiting))  # type: ignore[arg-type]
    assert rows("select found, words::text from privacy.export_text order by decision") == [(None, None), (None, "[]")]
    with pytest.raises(BadInput, match="closed"):
        act("judge_export_text", "omar", text_id=some, decision="hand out")
    assert privacy_actions.TEXT_DECISIONS == ("hand out", "redact", "leave out")
