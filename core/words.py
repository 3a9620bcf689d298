"""Text that people type, made safe to keep: normalized, of a bounded length, without characters that break things."""

import unicodedata

from core.errors import BadInput

LONGEST_LINE = 200


def clean(text: str, *, what: str, longest: int = LONGEST_LINE) -> str:
    """Return the text trimmed and in NFC.

    Raises BadInput when it holds NUL, another control character or half a surrogate pair (PostgreSQL refuses the first,
    UTF-8 the last), or is longer than ``longest`` code points.
    """
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in text):
        raise BadInput(f"{what} holds a character that cannot be used. Remove it and try again.", what=what)
    return _bounded(unicodedata.normalize("NFC", text).strip(), what, longest)


def clean_lines(text: str, *, what: str, longest: int) -> str:
    """Return text of several lines, each as :func:`clean` leaves it. Raises BadInput as that does, for the whole length."""
    lines = [
        clean(line, what=what, longest=longest) for line in text.replace("\r\n", "\n").replace("\t", " ").split("\n")
    ]
    whole = "\n".join(lines).strip("\n")
    return _bounded(whole, what, longest)


def clean_text(text: str, *, what: str, longest: int) -> str:
    """Return a text of several lines trimmed and in NFC, with line ends as ``\\n``.

    Raises BadInput like :func:`clean`; line ends and tabs are fine here. Nothing is cut: a text that is too long is refused
    whole, so that whoever typed it can shorten it.
    """
    lined = text.replace("\r\n", "\n").replace("\r", "\n")
    if any(unicodedata.category(char) in ("Cc", "Cs") and char not in "\n\t" for char in lined):
        raise BadInput(f"{what} holds a character that cannot be used. Remove it and try again.", what=what)
    trimmed = unicodedata.normalize("NFC", lined).strip()
    if len(trimmed) > longest:
        raise BadInput(
            f"{what} is {len(trimmed):,} characters long; {longest:,} are possible. Nothing was saved or cut.",
            what=what,
        )
    return trimmed


def isolated(text: str) -> str:
    """Return a name wrapped so that its writing direction cannot disturb the words around it (U+2068 … U+2069)."""
    return f"\u2068{text}\u2069" if any(unicodedata.bidirectional(char) in _TURNING for char in text) else text


def masked_email(email: str) -> str:
    """Return the address with all but its first and last two characters before the @ hidden: ``s•••••55@example.org``."""
    name, _, domain = email.rpartition("@")
    if len(name) < 4:
        return f"•••••@{domain}"
    return f"{name[0]}•••••{name[-2:]}@{domain}"


def _bounded(text: str, what: str, longest: int) -> str:
    if len(text) > longest:
        raise BadInput(f"{what} is {len(text):,} characters long; {longest:,} are possible.", what=what)
    return text


_TURNING = {"R", "AL", "AN", "RLE", "RLO", "RLI", "LRE", "LRO", "LRI", "FSI", "PDF", "PDI"}
