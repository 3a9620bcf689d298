"""The matrix of the contract: which processor meets which fault with which verb, and why it does not meet the others.

What does not apply is declared here with its reason, stands in the table of docs/processors.md, and is itself tried: an exception that
would in fact happen is a defect (test_contract.py). ``python -m tests.core.processors.contract`` writes the table anew.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

PROCESSORS = ("Cloudinary", "payment gateway", "MongoDB Atlas", "SMTP", "Vercel")
READING, CHANGING = ("preview", "export", "verify"), ("correct", "erase", "send")
VERBS = (*READING, *CHANGING)
FAULTS = (
    "refused", "hanging", "429 with Retry-After", "503 with Retry-After", "500", "401", "200 with an error body", "200 that is no JSON",
    "200 and still there", "partial page", "404: already gone", "cut in the middle", "executed, then dropped", "dropped before",
    "three days down",
)  # fmt: skip
ANY = "*"

ATTESTED = "nothing leaves from here: a person does it there, and another one confirms"
NO_LETTERS = "no letters go out that way"
EXEMPT: dict[tuple[str, str, str], str] = {
    ("Cloudinary", "correct", ANY): "pictures have no switch for a change: a person makes it",
    ("Cloudinary", "send", ANY): NO_LETTERS,
    ("payment gateway", "send", ANY): NO_LETTERS,
    ("MongoDB Atlas", "send", ANY): NO_LETTERS,
    **{("SMTP", verb, ANY): ATTESTED for verb in VERBS if verb != "send"},
    **{("Vercel", verb, ANY): ATTESTED for verb in VERBS if verb != "send"},
    ("Vercel", "send", ANY): NO_LETTERS,
    **{(ANY, verb, "200 and still there"): "reading does nothing that could be pretended" for verb in READING},
    ("MongoDB Atlas", ANY, "503 with Retry-After"): "its protocol has no such answer; 429 is its “too many requests”",
    ("SMTP", "send", "503 with Retry-After"): "the protocol has no such answer; 421 and 45x are “later”",
    ("SMTP", "send", "200 and still there"): "a server that took a letter and lost it says so in a bounce, if at all",
    ("SMTP", "send", "partial page"): "nothing is listed",
    ("SMTP", "send", "404: already gone"): "what was handed over cannot be asked for",
}  # fmt: skip


def exempt(processor: str, verb: str, fault: str) -> str:
    """Why a cell of the matrix does not apply; "" when it does."""
    for key in ((processor, verb, fault), (processor, verb, ANY), (processor, ANY, fault), (ANY, verb, fault)):
        if key in EXEMPT:
            return EXEMPT[key]
    return ""


def cells(processor: str, fault: str) -> Iterator[tuple[str, str]]:
    """The verbs of a processor with a fault, each with why it does not apply ("": it does)."""
    for verb in VERBS:
        yield verb, exempt(processor, verb, fault)


def table() -> str:
    """The matrix as it stands in the docs: for each fault the verbs that are tried with it, then what does not apply, and why."""
    lines = ["| What goes wrong | " + " | ".join(PROCESSORS) + " |", "|---" * (len(PROCESSORS) + 1) + "|"]
    for fault in FAULTS:
        tried = [", ".join(verb for verb, why in cells(each, fault) if not why) or "–" for each in PROCESSORS]
        lines.append(f"| {fault} | " + " | ".join(tried) + " |")
    lines += ["", "| Not tried | Because |", "|---|---|"]
    for (processor, verb, fault), why in EXEMPT.items():
        where = [
            word
            for word, given in ((processor, "every processor"), (verb, "every verb"), (fault, "every fault"))
            if word != ANY
        ]
        lines.append(f"| {': '.join(where)} | {why} |")
    return "\n".join(lines)


BEGIN, END = "<!-- contract: written by tests.core.processors.contract -->", "<!-- contract: end -->"


def written_into(text: str) -> str:
    """The page of the docs with the table as it is now."""
    return re.sub(
        re.escape(BEGIN) + r".*?" + re.escape(END), lambda _: f"{BEGIN}\n{table()}\n{END}", text, flags=re.DOTALL
    )


PAGE = Path(__file__).resolve().parents[3] / "docs" / "processors.md"

if __name__ == "__main__":
    PAGE.write_text(written_into(PAGE.read_text()))
    sys.exit(0)
