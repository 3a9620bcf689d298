"""Cloudinary, by its own library: portraits, project files and certificate images, with what was derived from them.

Danger: copies live on in the delivery network; a folder name that begins like another one takes a neighbor's files; an address
that a student typed into their profile names somebody else's picture. Principle: a file is the person's when it lies in a
folder that ends with their platform id and a slash, or when one of their records names it and nobody else's does; gone is what
neither a listing, read to its last page, nor the delivery address shows any more. Mechanism: every resource type and every
delivery type, by prefix and by public id, with ``invalidate=true``; a copy that is still delivered is looked at again later. Where the
account keeps backups, a deleted file could be restored from them: so the versions of each file are deleted first, and read back,
while the file is still there to lead to them.

A student whom the platform does not know (no id of it) and whose records name no file here is looked for by a person.
"""

import json
import re
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import urllib3
from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from core.links import PLATFORM_SOURCES
from core.models.labels import Processor as Named
from core.models.platform import Certificate, Enrollment, Student, StudentProfile
from core.processors import remote
from core.processors.manual import Manual, by_hand
from core.processors.protocol import (
    Became,
    Capability,
    Change,
    Exported,
    Line,
    Order,
    Outcome,
    Person,
    Preview,
    Proof,
)
from core.processors.remote import Answered, Trouble, guarded_call
from core.settings import Cloudinary as Account
from core.settings import settings

KINDS = ("image", "video", "raw")
TYPES = ("upload", "private", "authenticated")
PAGE = 500
AT_ONCE = 100
COPIES_AGAIN = timedelta(minutes=15)
IN_BACKUP = "still in the backup"
SENT = frozenset(
    {
        "prefix",
        "public_ids",
        "public_ids[]",
        "invalidate",
        "max_results",
        "next_cursor",
        "transformations",
        "versions",
        "version_ids",
    }
)
"""Every parameter that leaves, as it is named on the wire."""


@dataclass(frozen=True)
class File:
    """A file by the name that Cloudinary gives it: image, video or raw; how it is delivered; its public id."""

    kind: str
    type: str
    public_id: str


@dataclass(frozen=True)
class Theirs:
    """What finds a person's files: folders, files that their records name, and addresses at which those are delivered."""

    folders: tuple[str, ...]
    files: tuple[File, ...]
    addresses: tuple[str, ...]
    shared: int = 0


@dataclass(frozen=True)
class Pictures:
    """The media library of one account."""

    account: Account
    name: str = str(Named.CLOUDINARY)
    capabilities: frozenset[Capability] = frozenset(Capability)
    payload: tuple[str, ...] = ("certificate link", "picture", "platform id")
    remote: bool = True

    def preview(self, session: Session, person: Person, *, now: datetime) -> Preview:
        """Count the person's files."""
        try:
            found = list(self._there(session, self._theirs(session, person), now))
        except Trouble as trouble:
            return Preview((Line("files", None),), complete=False, problem=trouble.code)
        return Preview((Line("files", len(found)),))

    def export(self, session: Session, person: Person, *, now: datetime) -> Exported:
        """Return what is known of the person's files, with the addresses at which they can be had."""
        try:
            found = list(self._there(session, self._theirs(session, person), now))
        except Trouble as trouble:
            return Exported({}, complete=False, problem=trouble.code)
        rows = tuple({"file": each.get("public_id"), "kind": each.get("resource_type"), "bytes": each.get("bytes"),
                      "uploaded": each.get("created_at"), "address": each.get("secure_url")} for each in found)  # fmt: skip
        return Exported({"files": rows} if rows else {})

    def erase(self, session: Session, order: Order, *, now: datetime) -> Outcome:
        """Delete the person's files of every kind, with derived ones and copies in the delivery network."""
        theirs = self._theirs(session, order.person)
        if not theirs.folders and not theirs.files:
            return Manual(self.name).erase(session, order, now=now)
        counts: dict[str, int] = {}
        try:
            for each in list(self._there(session, theirs, now)):
                versions = self._forget_backups(session, each, now)
                if versions:
                    counts["versions in backups"] = counts.get("versions in backups", 0) + versions
            for kind, type_, folder in self._places(theirs):
                gone, more = self._delete(session, now, kind, type_, prefix=folder)
                counts["files"] = counts.get("files", 0) + gone
                if more:
                    return Outcome(Became.MORE, counts)
            for kind, type_, ids in _grouped(theirs.files):
                gone, _ = self._delete(session, now, kind, type_, public_ids=ids)
                counts["files"] = counts.get("files", 0) + gone
        except Trouble as trouble:
            return trouble.outcome()
        return Outcome(Became.DONE, counts | ({"shared, left alone": theirs.shared} if theirs.shared else {}))

    def verify(self, session: Session, order: Order, *, now: datetime) -> Proof:
        """List to the last page, then ask the delivery addresses of what our records name, and of what the platform's pages derive
        from it. A copy that is still delivered is asked for again later."""
        theirs = self._theirs(session, order.person)
        if not theirs.folders and not theirs.files:
            return Manual(self.name).verify(session, order, now=now)
        try:
            left = sum(1 for _ in self._there(session, theirs, now))
            if left:
                return Proof(False, {"files": left})
            copies = sum(self._delivered(session, each, now) for each in delivered_at(self.account, theirs.addresses))
        except Trouble as trouble:
            return trouble.proof()
        if copies:
            return Proof(True, {"copies in the delivery network": copies}, again_at=now + COPIES_AGAIN)
        return Proof(True)

    def propagate(self, session: Session, person: Person, change: Change, *, now: datetime) -> Outcome:
        """Pictures have no switch for a change: a person looks."""
        return by_hand(self.name, session, person, change, now=now)

    def _theirs(self, session: Session, person: Person) -> Theirs:
        if person.kind != "student":
            return Theirs((), (), ())
        key = session.scalar(
            select(Student.source_key).where(Student.id == person.id, Student.source.in_(PLATFORM_SOURCES))
        )
        folders = tuple(each.format(id=key) for each in self.account.folders) if key and _plain(key) else ()
        named = {address: file for address in _addresses(session, person) if (file := named_by(self.account, address))}
        own = {
            address: file for address, file in named.items()
            if file.public_id.startswith(folders or ("\0",)) or not self._others(session, person, file)
        }  # fmt: skip
        outside = tuple(
            dict.fromkeys(file for file in own.values() if not file.public_id.startswith(folders or ("\0",)))
        )
        return Theirs(folders, outside, tuple(own), len(named) - len(own))

    def _others(self, session: Session, person: Person, file: File) -> bool:
        """Whether a file that a record names may be somebody else's: it lies in a student's folder, or another record names it."""
        for folder in self.account.folders:
            if re.match(re.escape(folder).replace(r"\{id\}", r"[^/]+"), file.public_id):
                return True
        named = f"%{_escaped(file.public_id)}%"
        spelled = f"%{_escaped(urllib.parse.quote(file.public_id))}%"
        pictures = select(func.count()).select_from(StudentProfile).where(
            StudentProfile.student_id != person.id,
            or_(StudentProfile.avatar_url.like(named), StudentProfile.avatar_url.like(spelled)),
        )  # fmt: skip
        certificates = (
            select(func.count()).select_from(Certificate).join(Enrollment, Enrollment.id == Certificate.enrollment_id)
            .where(Enrollment.student_id != person.id, or_(Certificate.url.like(named), Certificate.url.like(spelled)))
        )  # fmt: skip
        return bool(session.scalar(pictures)) or bool(session.scalar(certificates))

    def _places(self, theirs: Theirs) -> Iterator[tuple[str, str, str]]:
        for folder in theirs.folders:
            for kind in KINDS:
                for type_ in TYPES:
                    yield kind, type_, folder

    def _there(self, session: Session, theirs: Theirs, now: datetime) -> Iterator[Mapping[str, Any]]:
        """Every file that is still there, page by page to the last one."""
        for kind, type_, folder in self._places(theirs):
            for each in self._listed(session, now, kind, type_, prefix=folder):
                if each["public_id"].startswith(folder):
                    yield each
        for kind, type_, ids in _grouped(theirs.files):
            yield from self._listed(session, now, kind, type_, public_ids=ids)

    def _listed(
        self, session: Session, now: datetime, kind: str, type_: str, *, prefix: str = "", public_ids: list[str] | None = None
    ) -> Iterator[Mapping[str, Any]]:  # fmt: skip
        cursor: str | None = None
        while True:
            more = {"next_cursor": cursor} if cursor else {}

            def ask(more: dict[str, str] = more) -> Mapping[str, Any]:
                api = library()
                options = self._options(resource_type=kind, type=type_, max_results=PAGE, **more)
                found: Mapping[str, Any] = (
                    api.resources(prefix=prefix, **options)
                    if public_ids is None
                    else api.resources_by_ids(public_ids, **options)
                )
                _understood(found, "resources", list)
                if not all(
                    isinstance(each, Mapping) and isinstance(each.get("public_id"), str) for each in found["resources"]
                ):
                    raise Trouble("not understood")  # what cannot be read is not absent
                return found

            page = guarded_call(session, self.name, ask, now=now, read=_read)
            yield from page["resources"]
            cursor = page.get("next_cursor")
            if not cursor:
                return

    def _delete(
        self, session: Session, now: datetime, kind: str, type_: str, *, prefix: str = "", public_ids: list[str] | None = None
    ) -> tuple[int, bool]:  # fmt: skip
        """Delete once; how many went, and whether there is more to do. An empty prefix would be everybody's files."""
        assert prefix.count("/") and prefix.endswith("/") if public_ids is None else public_ids

        def delete() -> Mapping[str, Any]:
            api = library()
            options = self._options(resource_type=kind, type=type_, invalidate=True)
            found = (
                api.delete_resources_by_prefix(prefix, **options)
                if public_ids is None
                else api.delete_resources(public_ids, **options)
            )
            return _understood(found, "deleted", dict)

        answer = guarded_call(session, self.name, delete, now=now, changes=True, read=_read)
        went = sum(result == "deleted" for result in answer["deleted"].values())
        return went, bool(answer.get("partial") or answer.get("next_cursor"))

    def _forget_backups(self, session: Session, file: Mapping[str, Any], now: datetime) -> int:
        """Delete the versions of a file that the account's backup keeps, and look whether they are gone; how many there were."""
        asset, versions = self._backups(session, file, now)
        if not versions:
            return 0

        def delete() -> Mapping[str, Any]:
            found: Mapping[str, Any] = library().delete_backed_up_assets(asset, versions, **self._options())
            return found

        guarded_call(session, self.name, delete, now=now, changes=True, read=_read)
        if self._backups(session, file, now)[1]:
            raise Trouble(IN_BACKUP)
        return len(versions)

    def _backups(self, session: Session, file: Mapping[str, Any], now: datetime) -> tuple[str, list[str]]:
        """Cloudinary's own id of a file, and the versions of it that can be restored; none when it went meanwhile."""

        def ask() -> Mapping[str, Any]:
            options = self._options(resource_type=file["resource_type"], type=file["type"], versions=True)
            found: Mapping[str, Any] = library().resource(file["public_id"], **options)
            return _understood(found, "asset_id", str)

        try:
            found = guarded_call(session, self.name, ask, now=now, read=_read)
        except Trouble as trouble:
            if trouble.code != "refused 404":
                raise
            return "", []
        return found["asset_id"], [str(each["version_id"]) for each in found.get("versions") or ()]

    def _delivered(self, session: Session, address: str, now: datetime) -> bool:
        """Whether an address still gives the file to anybody who asks."""

        def ask() -> bool:
            answer = connector().urlopen("GET", address, redirect=False, preload_content=False, timeout=remote.SECONDS)
            answer.drain_conn()
            if answer.status in (404, 410):
                return False
            if 200 <= answer.status < 400:
                return True
            raise Answered(answer.status, answer.headers.get("retry-after"))

        return guarded_call(session, self.name, ask, now=now)

    def _options(self, **more: Any) -> dict[str, Any]:
        account = self.account
        return {"cloud_name": account.cloud, "api_key": account.key, "api_secret": account.secret, "upload_prefix": account.api,
                "timeout": remote.SECONDS, **more}  # fmt: skip


def made() -> Pictures | None:
    """The media library, when it is configured."""
    account = settings().cloudinary
    return Pictures(account) if account else None


def delivered_at(account: Account, addresses: tuple[str, ...]) -> Iterator[str]:
    """Every address at which somebody's files may still be delivered: as our records name them, and transformed.

    After the original has gone nothing is derived anew, so that asking brings nothing back.
    """
    for address in addresses:
        yield address
        kind, type_, rest = address[len(account.delivery) + 1 :].split("/", 2)
        yield from (f"{account.delivery}/{kind}/{type_}/{each}/{rest}" for each in account.derived)


def named_by(account: Account, address: str) -> File | None:
    """Return the file that an address of this account delivers, or None: only what lies on our own account is ours.

    Public ids follow the version (``v123``); without one, what looks like a transformation is skipped.
    """
    if not address.startswith(account.delivery + "/"):
        return None
    kind, _, rest = urllib.parse.unquote(address[len(account.delivery) + 1 :].split("?")[0]).partition("/")
    type_, _, path = rest.partition("/")
    if kind not in KINDS or type_ not in TYPES or not path or ".." in path.split("/"):
        return None
    parts = [part for part in path.split("/") if not re.fullmatch(r"s--[\w-]+--", part)]
    version = next((at for at, part in enumerate(parts) if re.fullmatch(r"v\d+", part)), None)
    if version is not None:
        parts = parts[version + 1 :]
    else:
        while len(parts) > 1 and re.fullmatch(r"[a-z]{1,3}_[^/]+", parts[0]):
            parts = parts[1:]
    public_id = "/".join(parts)
    if kind != "raw":
        public_id = re.sub(r"\.[A-Za-z0-9]{2,5}$", "", public_id)
    return File(kind, type_, public_id) if public_id else None


@cache
def connector() -> "urllib3.PoolManager":
    """A client that neither repeats nor sleeps, and tells a refusal by its number."""
    import certifi

    class Quick(urllib3.PoolManager):
        def request(self, method: str, url: str, *more: Any, **options: Any) -> Any:
            answer = super().request(method, url, *more, **options)
            if answer.status >= 400:
                raise Answered(answer.status, answer.headers.get("retry-after"))
            return answer

    return Quick(retries=False, cert_reqs="CERT_REQUIRED", ca_certs=certifi.where(), timeout=remote.SECONDS)


@cache
def library() -> Any:
    """Cloudinary's library, with our client instead of its own, which repeats and sleeps."""
    from cloudinary import api
    from cloudinary.api_client import call_api

    call_api._http = connector()
    return api


def _read(error: BaseException) -> Trouble | None:
    """What only this library does: an error in the body of an answer with a good status."""
    if type(error) is Exception and error.__cause__ is None and error.__context__ is None:
        return Trouble("error in the answer", unclear=True)
    return None


def _understood(found: Mapping[str, Any], part: str, kind: type) -> Mapping[str, Any]:
    """An answer that has the part that was asked for; another one proves nothing."""
    if not isinstance(found.get(part), kind):
        raise json.JSONDecodeError("no such part", "", 0)
    return found


def _addresses(session: Session, person: Person) -> list[str]:
    pictures = select(StudentProfile.avatar_url).where(StudentProfile.student_id == person.id)
    certificates = (
        select(Certificate.url)
        .join(Enrollment, Enrollment.id == Certificate.enrollment_id)
        .where(Enrollment.student_id == person.id)
    )
    return [each for query in (pictures, certificates) for each in session.scalars(query) if each]


def _grouped(files: tuple[File, ...]) -> Iterator[tuple[str, str, list[str]]]:
    """Public ids by kind and type, not more at once than one call may name."""
    found: dict[tuple[str, str], list[str]] = {}
    for each in files:
        found.setdefault((each.kind, each.type), []).append(each.public_id)
    for (kind, type_), ids in found.items():
        for first in range(0, len(ids), AT_ONCE):
            yield kind, type_, ids[first : first + AT_ONCE]


def _plain(key: str) -> bool:
    """Whether a platform id can stand between slashes as itself."""
    return bool(re.fullmatch(r"[\w.:@-]+", key)) and key not in (".", "..")


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
