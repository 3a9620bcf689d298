"""The mapping: which fields of which collections of the platform become which columns here, and how to find and change what is
about a person there. One YAML file, ``data/mappings/platform.yaml`` or the one of ``RESOCODE_MONGODB_MAPPING``; docs/mongodb.md explains it.

Danger: somebody maps a password, or forgets a collection, and an erasure is "complete" without it. Principle: a mapping is judged
whole before the first document is read; secrets are refused by their name here and by their look in every document; what no line
mentions is found and shown. Mechanism: :func:`load` turns the file into frozen values or raises SettingsError with one sentence
that names the place in the file.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from core.errors import SettingsError
from core.processors.mongodb_tables import TABLES, Column, Kind, Target
from core.settings import ROOT, settings

SHIPPED = ROOT / "data" / "mappings" / "platform.yaml"
PERSONS = ("student", "visitor")
# Never read, whatever a mapping says: fields of these names are left out by the server itself.
NEVER = ("password", "passwordHash", "hashedPassword", "hash", "salt", "refreshToken", "refreshTokens", "resetToken", "otp", "totpSecret")  # fmt: skip
SECRET_WORDS = frozenset(
    ["password", "passwd", "passphrase", "passcode", "pwd", "hash", "hashed", "salt", "secret", "secrets", "token", "tokens", "otp", "totp",
     "mfa", "credential", "credentials", "jwt", "cookie", "csrf", "apikey", "privatekey", "bcrypt", "argon2", "scrypt", "pin", "recovery"]
)  # fmt: skip
OF_COLLECTION = {"person", "email", "only", "gone", "changed", "of", "tables", "ignored", "never", "erase", "pull"}
OF_FILE = {"version", "changed", "collections", "ignored", "rights"}
_PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")


@dataclass(frozen=True)
class Field:
    """One column and where its value stands in a document. ``words`` translates the platform's words into ours."""

    column: str
    path: str
    words: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """What becomes of a document in one table. ``when``: only of documents in which this field says something."""

    name: str
    fields: tuple[Field, ...]
    references: Mapping[str, str]
    when: str = ""

    @property
    def target(self) -> Target:
        """What the table takes."""
        return TABLES[self.name]

    def column(self, name: str) -> Column:
        """How a column is read."""
        return self.target.columns[name]


@dataclass(frozen=True)
class Collection:
    """One collection. ``of`` maps other collections to the field that holds the id of one of their documents."""

    name: str
    tables: tuple[Table, ...]
    person: str = ""
    email: str = ""
    only: Mapping[str, Any] = field(default_factory=dict)
    gone: str = ""
    changed: str = "updatedAt"
    of: Mapping[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    unset: tuple[str, ...] = ()
    because: str = ""
    pull: tuple[str, ...] = ()

    @property
    def personal(self) -> bool:
        """Whether its documents are about somebody, so that an erasure concerns them."""
        return bool(self.person or self.email or self.of)

    @cached_property
    def condition(self) -> dict[str, Any]:
        """``only`` as a filter: of a list, one of the values."""
        return {path: {"$in": value} if isinstance(value, list) else value for path, value in self.only.items()}

    @cached_property
    def known(self) -> frozenset[str]:
        """Every path that some line of the mapping mentions."""
        paths = {
            "_id",
            "__v",
            self.changed,
            self.gone,
            self.email,
            *self.only,
            *self.of.values(),
            *self.ignored,
            *self.secrets,
            *self.pull,
        }
        for table in self.tables:
            paths |= {each.path for each in table.fields} | set(table.references.values()) | {table.when}
        return frozenset(paths - {""})

    @cached_property
    def secrets(self) -> tuple[str, ...]:
        """What the server is asked to leave out of every document."""
        mine = set(NEVER) | set(self.never)
        return tuple(sorted(path for path in mine if not any(path.startswith(f"{other}.") for other in mine)))


@dataclass(frozen=True)
class Right:
    """What is done to a person's documents of one collection for one change, such as "sign-in off"."""

    collection: str
    set: Mapping[str, Any] = field(default_factory=dict)
    unset: tuple[str, ...] = ()
    delete: bool = False


@dataclass(frozen=True)
class PlatformMapping:
    """A whole mapping. ``collections`` stand in the order in which they are brought in: parents first."""

    file: str
    collections: tuple[Collection, ...]
    ignored: Mapping[str, str]
    rights: Mapping[str, tuple[Right, ...]]
    fingerprint: str

    def __getitem__(self, name: str) -> Collection:
        return self._by_name[name]

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    @cached_property
    def _by_name(self) -> dict[str, Collection]:
        return {each.name: each for each in self.collections}

    @cached_property
    def personal(self) -> tuple[Collection, ...]:
        """Collections about people, in the order in which they can be erased: what hangs on others first, persons last."""
        return tuple(
            sorted(
                (each for each in self.collections if each.personal), key=lambda it: (bool(it.person), -self._depth(it))
            )
        )

    def collection_of(self, table: str) -> Collection | None:
        """The collection whose documents are the rows of a table, if there is one."""
        return next((each for each in self.collections if any(t.name == table for t in each.tables)), None)

    def _depth(self, collection: Collection) -> int:
        return 1 + max((self._depth(self[name]) for name in collection.of), default=0)


def mapping() -> PlatformMapping:
    """Return the mapping in force: the file of ``RESOCODE_MONGODB_MAPPING``, or the one that is shipped. Read anew when it has changed."""
    file = settings().mongodb_mapping or SHIPPED
    try:
        stamp = file.stat()
    except OSError as error:
        raise SettingsError(
            f"The mapping {file.name} cannot be read. Set RESOCODE_MONGODB_MAPPING to a file that is there."
        ) from error
    return _loaded(file, stamp.st_mtime_ns, stamp.st_size)


@lru_cache(maxsize=4)
def _loaded(file: Path, _changed: int, _size: int) -> PlatformMapping:
    return load(file)


def load(file: Path) -> PlatformMapping:
    """Read and judge a mapping. Raises SettingsError with one sentence that names the place."""
    try:
        text = file.read_text(encoding="utf-8")
        raw = yaml.load(text, _Loader)  # noqa: S506 - a safe loader that refuses a name twice
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"The mapping {file.name} cannot be read.") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise SettingsError(
            f"The mapping {file.name}{where} is not YAML: {getattr(error, 'problem', 'unreadable')}."
        ) from error
    return _Reader(file.name).whole(raw)


def is_secret(path: str) -> bool:
    """Whether a field's name says that it holds a secret: a password, a hash, a token."""
    for segment in path.split("."):
        words = [word.casefold() for word in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])", segment)]
        pairs = {one + other for one, other in pairwise(words)}
        if SECRET_WORDS & ({*words, segment.casefold()} | pairs):
            return True
    return False


class _Loader(yaml.SafeLoader):
    """YAML in which a name that stands twice is a mistake and not the last word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping; the same key twice is refused."""
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} stands there twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


@dataclass
class _Reader:
    """Judges a file; ``self._wrong`` is the one way out."""

    file: str

    def whole(self, raw: Any) -> PlatformMapping:
        self._keys(raw, OF_FILE, "the file")
        listed = raw.get("collections")
        if not isinstance(listed, dict) or not listed:
            raise self._wrong("collections", "must name at least one collection")
        changed = self._path(raw.get("changed", "updatedAt"), "changed")
        found = [self._collection(str(name), each, changed) for name, each in listed.items()]
        self._judge(found)
        order = list(TABLES)
        found.sort(key=lambda it: min((order.index(table.name) for table in it.tables), default=len(order)))
        ignored = self._reasons(raw.get("ignored") or {}, "ignored")
        if both := set(ignored) & set(listed):
            raise self._wrong("ignored", f"{min(both)} is mapped and ignored at once")
        rights = {str(what): self._right(str(what), each, listed) for what, each in (raw.get("rights") or {}).items()}
        canonical = json.dumps(raw, sort_keys=True, default=str).encode()
        return PlatformMapping(self.file, tuple(found), ignored, rights, hashlib.sha256(canonical).hexdigest()[:16])

    def _collection(self, name: str, raw: Any, changed: str) -> Collection:
        here = f"collections.{name}"
        self._keys(raw, OF_COLLECTION, here)
        person = raw.get("person", "")
        if person not in ("", *PERSONS):
            raise self._wrong(f"{here}.person", f"must be one of {', '.join(PERSONS)}")
        erase = raw.get("erase", "delete")
        if erase != "delete":
            self._keys(erase, {"unset", "because"}, f"{here}.erase")
            if not erase.get("unset") or not erase.get("because"):
                raise self._wrong(
                    f"{here}.erase", "keeps documents: say which fields are emptied (unset) and because of what"
                )
        tables = tuple(self._table(str(table), each, here) for table, each in (raw.get("tables") or {}).items())
        of = {str(other): self._path(path, f"{here}.of.{other}") for other, path in (raw.get("of") or {}).items()}
        return Collection(
            name, tables, person, self._path(raw.get("email", ""), f"{here}.email", empty=True), dict(raw.get("only") or {}),
            self._path(raw.get("gone", ""), f"{here}.gone", empty=True), self._path(raw.get("changed", changed), f"{here}.changed"), of,
            tuple(self._reasons(raw.get("ignored") or {}, f"{here}.ignored")),
            tuple(self._path(each, f"{here}.never", secret=True) for each in raw.get("never") or ()),
            tuple(self._path(each, f"{here}.erase.unset", secret=True) for each in ([] if erase == "delete" else erase["unset"])),
            "" if erase == "delete" else str(erase["because"]),
            tuple(self._path(each, f"{here}.pull") for each in raw.get("pull") or ()),
        )  # fmt: skip

    def _table(self, name: str, raw: Any, where: str) -> Table:
        here = f"{where}.tables.{name}"
        if name not in TABLES:
            raise self._wrong(here, f"is no table that can be filled. Choose one of: {', '.join(TABLES)}")
        target = TABLES[name]
        self._keys(raw, {*target.columns, *target.references, "when"}, here)
        missing = [
            column
            for column, told in target.columns.items()
            if (told.needed or column in target.always) and column not in raw
        ]
        if missing:
            raise self._wrong(here, f"needs {', '.join(missing)}")
        references = {
            each: self._path(raw[each], f"{here}.{each}") for each in sorted(target.references) if each in raw
        }
        if not any(one <= set(references) for one in target.parents):
            ways = " or ".join(" and ".join(sorted(one)) for one in target.parents)
            raise self._wrong(here, f"needs the id of {ways}")
        fields = tuple(
            self._field(column, raw[column], target.columns[column], f"{here}.{column}")
            for column in target.columns
            if column in raw
        )
        return Table(name, fields, references, self._path(raw.get("when", ""), f"{here}.when", empty=True))

    def _field(self, column: str, raw: Any, told: Column, here: str) -> Field:
        words: dict[str, str] = {}
        if isinstance(raw, dict):
            self._keys(raw, {"path", "words"}, here)
            words, raw = (
                {str(one).casefold(): str(other) for one, other in (raw.get("words") or {}).items()},
                raw.get("path"),
            )
        if words and told.kind is not Kind.WORD:
            raise self._wrong(here, f"is a {told.kind}: it takes no words")
        if unknown := sorted(set(words.values()) - set(told.words)):
            raise self._wrong(here, f"cannot be {unknown[0]!r}. Choose among: {', '.join(told.words)}")
        return Field(column, self._path(raw, here), words)

    def _right(self, what: str, raw: Any, listed: Mapping[str, Any]) -> tuple[Right, ...]:
        found = []
        for name, each in (raw or {}).items():
            here = f"rights.{what}.{name}"
            if name not in listed:
                raise self._wrong(here, "is no collection of this mapping")
            if each == "delete":
                found.append(Right(str(name), delete=True))
                continue
            self._keys(each, {"set", "unset"}, here)
            setting = {self._path(path, f"{here}.set"): value for path, value in (each.get("set") or {}).items()}
            unset = tuple(self._path(path, f"{here}.unset", secret=True) for path in each.get("unset") or ())
            if not setting and not unset:
                raise self._wrong(here, "changes nothing: say set, unset or delete")
            found.append(Right(str(name), setting, unset))
        if not found:
            raise self._wrong(f"rights.{what}", "names no collection")
        return tuple(found)

    def _judge(self, found: list[Collection]) -> None:
        """What only the whole file shows."""
        names, filled = {each.name: each for each in found}, dict[str, str]()
        for each in found:
            for other in each.of:
                if other not in names or other == each.name:
                    raise self._wrong(
                        f"collections.{each.name}.of", f"names {other}, which is no other collection of this mapping"
                    )
            for table in each.tables:
                if table.name in filled:
                    raise self._wrong(
                        f"collections.{each.name}.tables.{table.name}", f"is filled from {filled[table.name]} already"
                    )
                filled[table.name] = each.name
                if table.target.person and table.target.person != each.person:
                    raise self._wrong(
                        f"collections.{each.name}", f"fills {table.name}, so it must say person: {table.target.person}"
                    )
                if table.name not in ("program", "cohort", "module") and not each.personal:
                    raise self._wrong(
                        f"collections.{each.name}",
                        "is about people: say by which field (person, of or email), or nobody can erase it",
                    )
            if each.unset and each.personal and not set(each.of.values()) <= set(each.unset):
                raise self._wrong(
                    f"collections.{each.name}.erase", "must empty the fields that lead to the person, too"
                )
            self._no_circle(each, names, ())

    def _no_circle(self, each: Collection, names: Mapping[str, Collection], seen: tuple[str, ...]) -> None:
        if each.name in seen:
            raise self._wrong(f"collections.{each.name}.of", "leads back to itself")
        for other in each.of:
            self._no_circle(names[other], names, (*seen, each.name))

    def _path(self, raw: Any, here: str, *, empty: bool = False, secret: bool = False) -> str:
        if empty and raw in ("", None):
            return ""
        if not isinstance(raw, str) or not _PATH.fullmatch(raw):
            raise self._wrong(here, "must be the name of a field, like email or profile.phone")
        if not secret and is_secret(raw):
            raise self._wrong(
                here, f"names {raw}, which looks like a password, a hash or a token. Such fields are never read"
            )
        return raw

    def _reasons(self, raw: Any, here: str) -> dict[str, str]:
        if not isinstance(raw, dict) or not all(isinstance(each, str) and each for each in raw.values()):
            raise self._wrong(here, "must say why for each name, like createdBy: an id of staff")
        return {str(name): why for name, why in raw.items()}

    def _keys(self, raw: Any, known: set[str], here: str) -> None:
        if not isinstance(raw, dict):
            raise self._wrong(here, "must be a list of names and values")
        if unknown := sorted(set(map(str, raw)) - known):
            raise self._wrong(
                here, f"says {unknown[0]}, which means nothing here. Known are: {', '.join(sorted(known))}"
            )

    def _wrong(self, here: str, why: str) -> SettingsError:
        return SettingsError(f"Mapping {self.file}, {here}: {why}.", place=here)


def paths(document: Mapping[str, Any], known: frozenset[str], before: str = "") -> Iterator[str]:
    """Yield the paths of a document that no line of a mapping mentions. Names that are values (ids, addresses) become ``*``."""
    for name, value in document.items():
        path = f"{before}{name}"
        if path in known:
            continue
        if isinstance(value, dict):
            yield from paths(value, known, f"{path}.")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for each in value[:20]:
                if isinstance(each, dict):
                    yield from paths(each, known, f"{path}.")
        else:
            yield path


def told(path: str) -> str:
    """Return a path as it may be written down: a name that is no plain word (an id, an address) is ``*``."""
    return ".".join(
        name if re.fullmatch(r"[A-Za-z_][A-Za-z_-]{0,39}[0-9]{0,2}", name) else "*" for name in path.split(".")
    )[:200]
