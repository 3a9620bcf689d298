"""Passwords: nothing is cut, nothing easy is taken, nothing works without the key."""

import pytest

from core import keys
from core.errors import BadInput
from core.privacy import passwords

GOOD = "seven green kettles sing"


@pytest.fixture(autouse=True)
def own_keys(tmp_path, monkeypatch):
    monkeypatch.setenv("RESOCODE_HOME", str(tmp_path))
    passwords._nobody.cache_clear()
    keys.create_missing()
    monkeypatch.setattr(passwords, "COST", 4)
    yield
    passwords._nobody.cache_clear()


def made(password: str) -> str:
    return passwords.hashed(password, email="ada@staff.example", name="Ada Lovelace")


@pytest.mark.parametrize(
    "password",
    [
        GOOD,
        "no digits or signs here",
        "👨‍👩‍👧‍👦" * 3 + "abcdefgh",
        "é" * 3 + " accents everywhere",
        "x1 " * 40 + "zebra",
    ],
)
def test_long_passwords_work_to_the_last_character(password: str) -> None:
    stored = made(password)
    assert passwords.matches(password, stored)
    assert not passwords.matches(password[:-1], stored)
    assert not passwords.matches(password + "x", stored)


def test_a_difference_behind_72_bytes_counts() -> None:
    long = "a quick walk over seven hills and through nine valleys, then home again by " + "x" * 30
    assert not passwords.matches(long + "y", made(long + "z"))


def test_composed_and_decomposed_spelling_are_one_password() -> None:
    assert passwords.matches("cafe\u0301 in the morning", made("caf\u00e9 in the morning"))


@pytest.mark.parametrize(("length", "fits"), [(14, False), (15, True), (128, True), (129, False)])
def test_length(length: int, fits: bool) -> None:
    password = ("kettle moss Opal 7 " * 7)[:length].strip() + "q"
    password = (password + "wz" * 70)[:length]
    if fits:
        assert passwords.matches(password, made(password))
    else:
        with pytest.raises(BadInput, match="15 to 128"):
            made(password)


@pytest.mark.parametrize(
    "password",
    ["passwordpassword", "PasswordPassword", "123456789012345", "aaaaaaaaaaaaaaaa", "resocodeadmin12", "ada@staff.example", "Ada Lovelace 12345"[:18],
     "qwertyuiopasdfgh", "correcthorsebatterystaple", "abababababababab"],
)  # fmt: skip
def test_what_is_guessed_first_is_refused_with_a_reason(password: str) -> None:
    with pytest.raises(BadInput, match="easy to guess"):
        made(password)


def test_a_control_character_is_refused() -> None:
    with pytest.raises(BadInput, match="cannot be used"):
        made("seven green\x00kettles")


def test_another_key_makes_the_hash_worthless_and_a_rotated_one_keeps_it(tmp_path) -> None:
    stored = made(GOOD)
    keys.write_secret(tmp_path / "keys" / "passwords.2.key", "A" * 43 + "=")
    assert passwords.matches(GOOD, stored), "the old key is still known"
    assert made(GOOD).startswith("2$")
    (tmp_path / "keys" / "passwords.1.key").unlink()
    assert not passwords.matches(GOOD, stored)


def test_nobody_has_no_password() -> None:
    assert not passwords.matches("nobody", None)
    assert not passwords.matches("", None)
