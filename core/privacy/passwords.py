"""Passwords of staff.

Danger: bcrypt refuses more than 72 bytes, and a plain hash can be guessed offline. Principle: nothing is cut, nothing can
be guessed without the key. Mechanism: bcrypt (cost 12) over the base64 of an HMAC-SHA-256 of the NFKC password; the
stored value names the key: ``1$<bcrypt>``. Rules: NIST SP 800-63B-4, 3.1.1.2 and OWASP ASVS 5.0, 6.2.
"""

import base64
import unicodedata
from functools import cache
from pathlib import Path

import bcrypt

from core import keys
from core.errors import BadInput

SHORTEST, LONGEST, COST = 15, 128, 12
CONTEXT = ("resocode", "password", "passwort", "admin", "dashboard")


def hashed(password: str, *, email: str, name: str) -> str:
    """Return what is stored for a new password. Raises BadInput, saying why, when it is too easy to guess."""
    _check(password, email=email, name=name)
    key = keys.current("passwords")
    return f"{key.id}${bcrypt.hashpw(_keyed(key, password), bcrypt.gensalt(COST)).decode()}"


def matches(password: str, stored: str | None) -> bool:
    """Return whether the password is the stored one; takes as long when there is none (stored is None)."""
    key_id, _, digest = (stored or _nobody()).partition("$")
    known = keys.keys("passwords").get(key_id)
    key = known or keys.current("passwords")
    same = bcrypt.checkpw(_keyed(key, password), digest.encode())
    return same and known is not None and stored is not None


def _keyed(key: keys.Key, password: str) -> bytes:
    safe = unicodedata.normalize("NFKC", password).encode("utf-8", "backslashreplace").decode()
    return base64.b64encode(key.digest("password", safe))


@cache
def _nobody() -> str:
    return f"{keys.current('passwords').id}${bcrypt.hashpw(b'nobody', bcrypt.gensalt(COST)).decode()}"


def _check(password: str, *, email: str, name: str) -> None:
    normal = unicodedata.normalize("NFKC", password)
    if not SHORTEST <= len(normal) <= LONGEST:
        raise BadInput(f"Use a password of {SHORTEST} to {LONGEST} characters; a sentence is easy to remember.")
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in normal):
        raise BadInput("The password holds a character that cannot be used.")
    if normal.casefold() in _blocklist() or _too_even(normal.casefold(), email, name):
        raise BadInput("This password is easy to guess. Choose words that have nothing to do with you or this product.")


def _too_even(password: str, email: str, name: str) -> bool:
    """Few different characters, a run along the keyboard, or little left once own names and product words are gone."""
    if len(set(password)) < 6 or any(password in run or password in run[::-1] for run in _RUNS):
        return True
    left = password
    for word in (*CONTEXT, *email.casefold().split("@"), *name.casefold().split()):
        left = left.replace(word, "") if len(word) > 2 else left
    return len(left) < 8


_RUNS = (
    "0123456789" * 13,
    "abcdefghijklmnopqrstuvwxyz" * 5,
    "qwertyuiopasdfghjklzxcvbnm" * 5,
    "qwertzuiopasdfghjklyxcvbnm" * 5,
)


@cache
def _blocklist() -> frozenset[str]:
    file = Path(__file__).with_name("blocklist.txt")
    return frozenset(line for line in file.read_text(encoding="utf-8").splitlines() if line and line[0] != "#")
