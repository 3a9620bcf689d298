"""Free text in an export that may name somebody else: found by the worker, judged by a privacy officer, passage by passage.

Danger: a review says "as Maria told you, Jonas was ill", and Maria's and Jonas's data leave with somebody else's export. Principle: what
others wrote leaves as it is only if nothing in it looks like another person; the rest is judged by a person, who sees the
sentences in question and not the learning record around them. Mechanism: :func:`found_in` looks for addresses, numbers, handles,
names of people who work here or learn in the same cohorts, titles like "Mr", and words written like names; in scripts without
capitals nothing can be told, so the text is shown. A decision binds one text (its digest): a text that changes is judged anew.

What looks like a name and is none ("Jupyter") costs an officer a glance; what is missed costs somebody their privacy. So it
errs to the safe side.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

REMOVED = "[name removed]"
LEFT_OUT = "[left out: it is about somebody else]"
AROUND = 80  # characters of a passage to each side, up to the sentence's end
LONGEST_PASSAGE = 400
MOST_PASSAGES = 20

_EMAIL = re.compile(r"[^\s<>()\[\],;:\"']+@[^\s<>()\[\],;:\"']+\.[^\s<>()\[\],;:\"'.]+")
_NUMBER = re.compile(r"(?<![\w.])\+?\d[\d\s()/.-]{6,}\d(?!\w)")
_HANDLE = re.compile(r"(?<![\w@])@\w+(?:[.-]\w+)*")
_TITLED = re.compile(
    r"\b(?:Mr|Mrs|Ms|Miss|Dr|Prof|Herr|Frau|Mme|Mlle|Sr|Sra|Signor|Signora)\.?\s+([^\W\d_][\w'\u2019-]*)"
)
_WORD = re.compile(r"[^\W\d_](?:[\w'\u2019-]*\w)?")
_ENDS = re.compile(r"[.!?:\n\u2022\u3002\uff01\uff1f][\"'\u201d)\]]*\s*$")
# Capitalized in English prose and nobody's name. Titles of programs and modules are added by the caller.
_ORDINARY = frozenset(
    [
        "mr",
        "mrs",
        "ms",
        "miss",
        "dr",
        "prof",
        "herr",
        "frau",
        "mme",
        "mlle",
        "sr",
        "sra",
        "signor",
        "signora",
        "i",
        "i'm",
        "i'd",
        "i'll",
        "i've",
        "monday",
        "tuesday",
        "wednesday",
        "thursday",
        "friday",
        "saturday",
        "sunday",
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
        "english",
        "german",
        "french",
        "spanish",
        "python",
        "java",
        "javascript",
        "typescript",
        "html",
        "css",
        "sql",
        "git",
        "github",
        "gitlab",
        "docker",
        "linux",
        "windows",
        "mac",
        "macos",
        "excel",
        "word",
        "pandas",
        "numpy",
        "flask",
        "django",
        "react",
        "angular",
        "vue",
        "node",
        "postgres",
        "postgresql",
        "mysql",
        "mongodb",
        "redis",
        "aws",
        "azure",
        "google",
        "cloud",
        "kubernetes",
        "terraform",
        "jupyter",
        "streamlit",
        "pytest",
        "visual",
        "studio",
        "code",
        "vscode",
        "pycharm",
        "intellij",
        "chrome",
        "firefox",
        "safari",
        "api",
        "json",
        "yaml",
        "xml",
        "csv",
        "pdf",
        "url",
        "http",
        "https",
        "readme",
        "todo",
        "ok",
        "okay",
        "pep",
        "utc",
        "gdpr",
        "resocode",
        "module",
        "project",
        "review",
        "unicode",
        "ascii",
        "rest",
        "crud",
        "orm",
        "mvc",
        "oop",
        "tdd",
        "bash",
        "shell",
        "zsh",
        "ubuntu",
        "debian",
        "spring",
        "maven",
        "gradle",
        "junit",
    ]
)


# How reviews, notes and letters begin, beside the most common words of English.
_BEGINNINGS = frozenset(
    [
        "a",
        "an",
        "the",
        "this",
        "that",
        "these",
        "those",
        "it",
        "its",
        "he",
        "she",
        "they",
        "we",
        "you",
        "your",
        "yours",
        "our",
        "my",
        "i",
        "there",
        "here",
        "what",
        "when",
        "where",
        "why",
        "how",
        "who",
        "which",
        "while",
        "please",
        "thank",
        "thanks",
        "hello",
        "hi",
        "dear",
        "well",
        "good",
        "nice",
        "great",
        "fine",
        "better",
        "best",
        "almost",
        "nearly",
        "very",
        "really",
        "also",
        "and",
        "but",
        "or",
        "so",
        "yet",
        "then",
        "next",
        "first",
        "second",
        "third",
        "last",
        "finally",
        "again",
        "still",
        "just",
        "only",
        "now",
        "today",
        "yesterday",
        "tomorrow",
        "soon",
        "later",
        "before",
        "after",
        "until",
        "since",
        "if",
        "unless",
        "because",
        "although",
        "though",
        "however",
        "therefore",
        "otherwise",
        "instead",
        "maybe",
        "perhaps",
        "sometimes",
        "often",
        "always",
        "never",
        "not",
        "no",
        "yes",
        "ok",
        "okay",
        "sure",
        "run",
        "runs",
        "handle",
        "add",
        "remove",
        "use",
        "try",
        "test",
        "check",
        "fix",
        "rename",
        "refactor",
        "split",
        "move",
        "write",
        "read",
        "document",
        "explain",
        "return",
        "avoid",
        "consider",
        "keep",
        "make",
        "let",
        "see",
        "look",
        "mind",
        "note",
        "remember",
        "watch",
        "extract",
        "inline",
        "simplify",
        "reuse",
        "replace",
        "compare",
        "validate",
        "parse",
        "close",
        "open",
        "work",
        "works",
        "looks",
        "seems",
        "needs",
        "should",
        "could",
        "would",
        "can",
        "will",
        "may",
        "might",
        "must",
        "do",
        "does",
        "did",
        "done",
        "is",
        "are",
        "was",
        "were",
        "has",
        "have",
        "had",
        "been",
        "see",
        "asked",
        "called",
        "talked",
        "spoke",
        "met",
        "sent",
        "wrote",
        "agreed",
        "promised",
        "wants",
        "wanted",
        "will",
        "works",
        "missing",
        "wrong",
        "right",
        "empty",
        "both",
        "each",
        "every",
        "all",
        "any",
        "some",
        "many",
        "most",
        "more",
        "less",
        "few",
        "several",
        "nobody",
        "everybody",
        "nothing",
        "everything",
        "something",
        "clear",
        "clean",
        "solid",
        "neat",
        "excellent",
        "perfect",
        "impressive",
        "elegant",
        "correct",
        "incorrect",
        "passed",
        "failed",
        "once",
        "twice",
        "with",
        "without",
        "for",
        "from",
        "in",
        "on",
        "at",
        "by",
        "to",
        "of",
        "as",
        "about",
        "into",
        "over",
        "under",
        "between",
        "during",
        "against",
        "towards",
        "input",
        "output",
        "loop",
        "loops",
        "function",
        "functions",
        "class",
        "classes",
        "variable",
        "variables",
        "error",
        "errors",
        "code",
        "tests",
        "naming",
        "style",
        "structure",
        "logic",
        "edge",
        "exercise",
        "task",
        "solution",
        "answer",
        "question",
        "questions",
        "comment",
        "comments",
        "step",
    ]
)


@dataclass(frozen=True)
class Found:
    """What looks like somebody else in a text: the ``words``, and the ``passages`` in which they stand."""

    words: tuple[str, ...]
    passages: tuple[str, ...]


@dataclass(frozen=True)
class Known:
    """Whose words are whose: ``own`` (the person's name and addresses), ``others`` (names of people around them, by word) and
    ``ordinary`` (titles of programs and modules); all case-folded."""

    own: frozenset[str]
    others: frozenset[str]
    ordinary: frozenset[str] = frozenset()


def words_of(texts: Iterable[str | None]) -> frozenset[str]:
    """Return the words of names or titles, case-folded; one and two letters say nothing."""
    return frozenset(
        word.casefold() for text in texts if text for word in _WORD.findall(text) if len(word) > 2 or not word.isascii()
    )


def names_in(texts: Iterable[str]) -> frozenset[str]:
    """Return the words of texts that may be names, because they are written with a capital: case-folded, as :func:`words_of`."""
    every = (word for text in texts for word in _WORD.findall(text) if word[0].isupper())
    return words_of(re.sub(r"['\u2019]s$", "", word) for word in every)


def found_in(text: str, known: Known) -> Found:
    """Return what in a text may be about somebody else; nothing in it: it leaves as it is."""
    spans = sorted(_spans(text, known))
    words = dict.fromkeys(text[start:end] for start, end in spans)
    if not spans and _cannot_tell(text):
        return Found((), (text[:LONGEST_PASSAGE],))
    return Found(tuple(words), tuple(_passages(text, spans)))


def digest(place: str, column: str, row: str, text: str) -> str:
    """Return what a decision about a text is bound to."""
    framed = "".join(f"{len(part)}:{part}" for part in (place, column, row, text))
    return hashlib.sha256(framed.encode("utf-8", "surrogatepass")).hexdigest()


def without(text: str, words: Iterable[str]) -> str:
    """Return a text in which each of the words, as it is written, is replaced by "[name removed]"."""
    wanted = sorted({word for word in words if word.strip()}, key=len, reverse=True)
    if not wanted:
        return text
    one = "|".join(re.escape(word) for word in wanted)
    return re.sub(rf"(?<!\w)(?:{one})(?:['\u2019]s)?(?!\w)", REMOVED, text)


def _spans(text: str, known: Known) -> set[tuple[int, int]]:
    spans = {match.span() for match in _EMAIL.finditer(text) if match[0].casefold() not in known.own}
    spans |= {match.span() for match in _NUMBER.finditer(text) if _digits(match[0]) not in known.own}
    spans |= {match.span() for match in _HANDLE.finditer(text) if not _inside(match.span(), spans)}
    spans |= {match.span(1) for match in _TITLED.finditer(text) if match[1].casefold() not in known.own}
    for match in _WORD.finditer(text):
        if not _inside(match.span(), spans) and _is_name(text, match, known):
            spans.add(match.span())
    return spans


def _is_name(text: str, match: re.Match[str], known: Known) -> bool:
    word = match[0]
    plain = re.sub(r"['\u2019]s$", "", word).casefold()
    if plain in known.own or not word[0].isupper():
        return False
    if plain in known.others:
        return True
    ordinary = plain in _ORDINARY or plain in known.ordinary or len(word) < 2
    if ordinary or word.isupper() or any(char.isupper() for char in word[1:]) or any(char.isdigit() for char in word):
        return False  # an abbreviation, or a name from a program
    return not (_begins_sentence(text, match.start()) and _is_common(plain))


def _is_common(word: str) -> bool:
    """Whether a word may well begin an English sentence: it is on a list of common words, bent or not, and nobody's first name."""
    common, names = _lists()
    stems = {word, word.removesuffix("s"), word.removesuffix("es"), word.removesuffix("ed"), word.removesuffix("d"),
             word.removesuffix("ing"), word.removesuffix("ing") + "e", word.removesuffix("ly")}  # fmt: skip
    return word not in names and bool(stems & common)


@cache
def _lists() -> tuple[frozenset[str], frozenset[str]]:
    """Common English words, and first names of several languages: the lists that made-up records are drawn from."""
    from faker.providers.lorem.en_US import Provider as Words
    from faker.providers.person.de_DE import Provider as German
    from faker.providers.person.en_US import Provider as English
    from faker.providers.person.es_ES import Provider as Spanish
    from faker.providers.person.fr_FR import Provider as French

    names = {name.casefold() for each in (English, German, Spanish, French) for name in each.first_names}
    common = frozenset(Words.word_list) | _BEGINNINGS
    return common, frozenset(names) - _BEGINNINGS


def _begins_sentence(text: str, at: int) -> bool:
    before = text[:at].rstrip(" \t\"'\u201c(\u00bf\u00a1*-_#>")
    return not before or bool(_ENDS.search(text[:at].rstrip(" \t\"'\u201c(*-_#>")))


def _cannot_tell(text: str) -> bool:
    """Whether a text has letters of scripts that know no capitals: there a name looks like any other word."""
    letters = [char for char in text if char.isalpha()]
    caseless = sum(unicodedata.category(char) == "Lo" for char in letters)
    return caseless >= 2


def _inside(span: tuple[int, int], spans: set[tuple[int, int]]) -> bool:
    return any(start <= span[0] and span[1] <= end for start, end in spans)


def _digits(text: str) -> str:
    return re.sub(r"\D", "", text)


def _passages(text: str, spans: list[tuple[int, int]]) -> Iterable[str]:
    """The stretches of text around what was found, those that touch as one."""
    merged: list[list[int]] = []
    for start, end in spans:
        begin, stop = max(0, start - AROUND), min(len(text), end + AROUND)
        if merged and begin <= merged[-1][1] and stop - merged[-1][0] <= LONGEST_PASSAGE:
            merged[-1][1] = stop
        else:
            merged.append([begin, stop])
    for begin, stop in merged[:MOST_PASSAGES]:
        yield f"{'… ' if begin else ''}{text[begin:stop].strip()}{' …' if stop < len(text) else ''}"
