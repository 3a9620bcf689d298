"""Text that people type."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import BadInput
from core.words import clean, isolated, masked_email


@pytest.mark.parametrize("text", ["a\x00b", "\ud800", "tab\tinside", "line\nbreak"])
def test_what_breaks_things_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="The name holds a character"):
        clean(text, what="The name")


def test_text_is_trimmed_normalized_and_bounded() -> None:
    assert clean("  cafe\u0301 ", what="x") == "caf\u00e9"
    assert clean("x" * 200, what="x") == "x" * 200
    with pytest.raises(BadInput, match="201 characters long; 200 are possible"):
        clean("x" * 201, what="The name")


@pytest.mark.parametrize(
    ("email", "masked"),
    [
        ("student055@example.org", "s•••••55@example.org"),
        ("abc@example.org", "•••••@example.org"),
        ("a.b@x@example.org", "a•••••@x@example.org"),
    ],
)
def test_an_address_is_masked(email: str, masked: str) -> None:
    assert masked_email(email) == masked


@given(st.emails())
def test_a_mask_never_shows_the_whole_name(email: str) -> None:
    name = email.rpartition("@")[0]
    assert name not in masked_email(email).rpartition("@")[0] or name in "•••••"


def test_a_name_that_turns_the_writing_direction_is_isolated() -> None:
    assert isolated("שירה") == "\u2068שירה\u2069"
    assert isolated("\u202eevil") == "\u2068\u202eevil\u2069"
    assert isolated("Ana") == "Ana"
