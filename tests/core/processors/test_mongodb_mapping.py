"""The mapping file: judged whole, one sentence for each mistake; secrets cannot be mapped."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from core.errors import SettingsError
from core.processors.mongodb_mapping import SHIPPED, is_secret, load, paths, told
from core.settings import settings

GOOD = yaml.safe_load(SHIPPED.read_text())


def with_change(file: Path, *keys: str, value: Any) -> Path:
    """The shipped mapping with one value changed."""
    made = yaml.safe_load(SHIPPED.read_text())
    place = made
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    file.write_text(yaml.safe_dump(made))
    return file


def test_the_shipped_mapping_is_good_and_ordered() -> None:
    found = load(SHIPPED)
    names = [each.name for each in found.collections]
    assert names.index("users") < names.index("enrollments") < names.index("submissions") < names.index("reviews")
    erased = [each.name for each in found.personal]
    assert erased.index("reviews") < erased.index("submissions") < erased.index("enrollments") < erased.index("users")
    assert {"users", "leads", "payments", "events"} <= set(erased) and "cohorts" not in erased
    assert found["payments"].unset == ("student", "billing") and "password" in found["users"].secrets


WRONG: list[tuple[tuple[str, ...], Any, str]] = [
    (("collections", "users", "tables", "student", "name"), "passwordHash", "collections.users.tables.student.name: names passwordHash, which looks like a password"),
    (("collections", "users", "tables", "student_profile", "headline"), "auth.token", "looks like a password, a hash or a token"),
    (("collections", "users", "tables", "student", "email"), "e mail", "must be the name of a field"),
    (("collections", "users", "tables", "student", "shoes"), "shoes", "says shoes, which means nothing here"),
    (("collections", "users", "tables", "help_note"), {}, "is no table that can be filled"),
    (("collections", "users", "tables", "student"), {"name": "name"}, "needs email, registered_at, account_status, closed_at"),
    (("collections", "users", "person"), "", "fills student, so it must say person: student"),
    (("collections", "users", "tables", "student", "experience_level"), {"path": "x", "words": {"a": "guru"}}, "cannot be 'guru'. Choose among: beginner"),
    (("collections", "users", "tables", "student", "name"), {"path": "name", "words": {"a": "b"}}, "it takes no words"),
    (("collections", "progress", "of"), {}, "is about people: say by which field"),
    (("collections", "progress", "of"), {"nowhere": "student"}, "names nowhere, which is no other collection"),
    (("collections", "enrollments", "of"), {"progress": "x"}, "leads back to itself"),
    (("collections", "progress", "tables", "module_progress"), {"status": "s", "module": "m"}, "needs the id of enrollment and module or cohort and module and student"),
    (("collections", "payments", "erase"), {"unset": ["billing"]}, "say which fields are emptied (unset) and because of what"),
    (("collections", "payments", "erase"), {"unset": ["billing"], "because": "law"}, "must empty the fields that lead to the person, too"),
    (("collections", "more"), {"tables": {"program": {"code": "c", "title": "t"}}}, "is filled from more already"),
    (("ignored", "users"), "why", "users is mapped and ignored at once"),
    (("ignored",), ["logs"], "must say why for each name"),
    (("rights", "close"), {"nobody": {"set": {"a": 1}}}, "is no collection of this mapping"),
    (("rights", "close"), {"users": {}}, "changes nothing"),
    (("collections",), {}, "must name at least one collection"),
    (("colections",), {}, "says colections, which means nothing here"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("keys", "value", "sentence"), WRONG, ids=lambda it: ".".join(it) if isinstance(it, tuple) else None
)
def test_a_mistake_is_one_sentence_with_its_place(
    tmp_path: Path, keys: tuple[str, ...], value: Any, sentence: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        load(with_change(tmp_path / "own.yaml", *keys, value=value))
    assert sentence in refused.value.sentence and refused.value.sentence.startswith("Mapping own.yaml, ")
    assert refused.value.sentence.endswith(".") and "\n" not in refused.value.sentence


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("collections: [", "is not YAML"), ("collections:\n  a: {}\n  a: {}", "'a' stands there twice"), ("[]", "must be a list of names and values"),
     ("!!python/object/apply:os.system ['true']", "is not YAML")],
)  # fmt: skip
def test_what_is_no_mapping_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(SettingsError, match=sentence.replace("(", r"\(")):
        load(tmp_path / "own.yaml")


@pytest.mark.parametrize("name", ["password", "passwordHash", "pwd", "user.salt", "refresh_tokens", "accessToken", "apiKey", "privateKey", "resetPassword", "otpSecret", "JWT"])  # fmt: skip
def test_secrets_are_known_by_their_names(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize(
    "name", ["name", "hashtag", "profile.phone", "passed", "shippingAddress", "pinned", "tokyo", "secretary"]
)
def test_other_names_are_no_secrets(name: str) -> None:
    assert not is_secret(name)


def test_paths_that_nobody_mentions_are_found_and_told_without_values() -> None:
    document = {"_id": 1, "name": "x", "more": {"a": 1, "b": {"c": 2}}, "list": [{"d": 1}, {"e": 2}], "plain": [1]}
    assert list(paths(document, frozenset({"_id", "name", "more.a"}))) == ["more.b.c", "list.d", "list.e", "plain"]
    assert told("seen.65f0aa00aa00aa00aa00aa00.at") == "seen.*.at"
    assert "@" not in told("mails.mia@platform.example") and told("by_name.Ä") == "by_name.*"


@pytest.mark.parametrize(
    ("address", "sentence"),
    [("http://x/y", "must begin with mongodb"), ("mongodb://user:geheim@db.example/platform", "without TLS"),
     ("mongodb://user:geheim@127.0.0.1,db.example/platform", "without TLS"),
     ("mongodb+srv://user:geheim@db.example/platform?tlsAllowInvalidCertificates=true", "must not switch the check"),
     ("mongodb+srv://user:geheim@db.example/platform?tls=false", "without TLS")],
)  # fmt: skip
def test_an_unsafe_address_is_refused_without_telling_it(
    monkeypatch: pytest.MonkeyPatch, address: str, sentence: str
) -> None:
    monkeypatch.setenv("RESOCODE_MONGODB_URI", address)
    with pytest.raises(SettingsError, match=sentence) as refused:
        settings()
    assert "geheim" not in str(refused.value) and "geheim" not in repr(refused.value.facts)


def test_an_address_is_kept_out_of_what_is_printed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "uri"
    file.write_text("mongodb+srv://user:geheim@db.example/platform\n")
    file.chmod(0o600)
    monkeypatch.setenv("RESOCODE_MONGODB_URI_FILE", str(file))
    known = settings()
    assert known.mongodb_uri and known.mongodb_uri.endswith("/platform") and "geheim" not in repr(known)
