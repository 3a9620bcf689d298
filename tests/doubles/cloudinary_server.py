"""A media library that keeps state and speaks the parts of Cloudinary's Admin API that are used, and its delivery network.

A double, not Cloudinary: written from its public documentation. What matters is true to it: pages with cursors, 1,000 files at
most in one deletion ("partial"), "not_found" for what is not there, copies that are delivered on until they are invalidated.
"""

import base64
import copy
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit

from tests.doubles.wire import Answer, Wire

CLOUD, KEY, SECRET = "Demo-Cloud", "123456", "s3cret-of-cloudinary"
File = tuple[str, str, str]  # kind, type, public id


@dataclass
class Library:
    """``files`` with their derived versions; ``backups``: versions of a file, there or deleted, that can be restored; ``copies`` is what the delivery network still has. ``lag``: looks at a copy that it
    survives an invalidation by."""

    files: dict[File, list[str]] = field(default_factory=dict)
    backups: dict[File, list[str]] = field(default_factory=dict)
    copies: dict[str, int] = field(default_factory=dict)
    page: int = 500
    most: int = 1000
    lag: int = 0

    def put(self, public_id: str, *, kind: str = "image", type_: str = "upload", derived: tuple[str, ...] = ("w_100,h_100",), backups: int = 0) -> str:  # fmt: skip
        """Keep a file, and deliver it and what was derived from it once, so that the network has copies. Its path."""
        self.files[kind, type_, public_id] = list(derived)
        if backups:
            self.backups[kind, type_, public_id] = [f"{number:032x}" for number in range(backups)]
        for path in self._paths((kind, type_, public_id)):
            self.copies[path] = 0
        return f"/{CLOUD}/{kind}/{type_}/v1/{public_id}.jpg"

    def names(self) -> set[str]:
        """The public ids of everything that is kept."""
        return {public_id for _, _, public_id in self.files}

    def delivered(self, fragment: str) -> bool:
        """Whether anything with this in its path is still delivered to anybody who asks."""
        return any(fragment in path for path in self.copies)

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Answer a request."""
        parts = unquote(urlsplit(path).path).strip("/").split("/")
        if parts[0] == CLOUD:
            return self._deliver("/" + "/".join(parts))
        if method == "POST" and parts[:2] == ["v1_1", CLOUD] and parts[3:] == ["upload"]:
            return self._upload(parts[2], {name: values[0] for name, values in parse_qs(body.decode()).items()})
        if headers.get("authorization", headers.get("Authorization")) != _basic():
            return _json(401, {"error": {"message": "api_secret mismatch"}})
        if parts[:2] != ["v1_1", CLOUD]:
            return _json(404, {"error": {"message": "unknown cloud"}})
        if parts[2] == "ping":
            return _json(200, {"status": "ok"})
        kind, type_ = parts[3], parts[4]
        if kind == "backup":
            return self._forget(type_, json.loads(body)["version_ids"])
        if len(parts) > 5:
            return self._details((kind, type_, "/".join(parts[5:])))
        given = {name.removesuffix("[]"): values for name, values in parse_qs(urlsplit(path).query).items()}
        if method == "GET":
            return self._list(kind, type_, given)
        return self._delete(kind, type_, json.loads(body))

    def _upload(self, kind: str, given: Mapping[str, str]) -> Answer:
        """Take a file whose parameters are signed with the account's secret."""
        signed = "&".join(f"{name}={given[name]}" for name in sorted(given.keys() - {"api_key", "file", "signature"}))
        if (
            given.get("signature") != hashlib.sha1(f"{signed}{SECRET}".encode()).hexdigest()
            or given.get("api_key") != KEY
        ):
            return _json(401, {"error": {"message": "Invalid Signature"}})
        self.put(given["public_id"], kind=kind)
        return _json(200, {"public_id": given["public_id"], "resource_type": kind, "type": "upload"})

    def pretend(self, method: str, path: str, body: bytes) -> Answer:
        """Answer as if it were done, and do nothing."""
        twin = copy.deepcopy(self)
        return twin.answer(method, path, {"authorization": _basic()}, body)

    def wire(self) -> Wire:
        """The wire to it."""
        return Wire(self.answer, self.pretend)

    def _details(self, file: File) -> Answer:
        if file not in self.files:
            return _json(404, {"error": {"message": f"Resource not found - {file[2]}"}})
        versions = [{"version_id": each, "restorable": True} for each in self.backups.get(file, [])]
        return _json(200, {"asset_id": _asset(file), "public_id": file[2], "versions": versions})

    def _forget(self, asset: str, versions: list[str]) -> Answer:
        """Delete versions from the backup; what is not there, is said version by version."""
        for file, kept in self.backups.items():
            if _asset(file) == asset:
                gone = [each for each in versions if each in kept]
                self.backups[file] = [each for each in kept if each not in versions]
                self.backups = {each: left for each, left in self.backups.items() if left}
                return _json(200, {"deleted_version_ids": gone})
        return _json(404, {"error": {"message": "not found"}})

    def _list(self, kind: str, type_: str, given: Mapping[str, list[str]]) -> Answer:
        found = sorted(self._matching(kind, type_, given.get("prefix", [""])[0], given.get("public_ids")))
        start = int(given.get("next_cursor", ["0"])[0])
        size = min(int(given.get("max_results", ["10"])[0]), self.page)
        page = [{"public_id": each[2], "resource_type": kind, "type": type_, "bytes": 9, "created_at": "2026-01-01T00:00:00Z",
                 "secure_url": f"https://res.cloudinary.com{_path(each)}"} for each in found[start : start + size]]  # fmt: skip
        more = {"next_cursor": str(start + size)} if start + size < len(found) else {}
        return _json(200, {"resources": page, **more})

    def _delete(self, kind: str, type_: str, given: Mapping[str, object]) -> Answer:
        ids = given.get("public_ids")
        wanted = [str(each) for each in ids] if isinstance(ids, list) else None
        found = sorted(self._matching(kind, type_, str(given.get("prefix") or ""), wanted))
        done: dict[str, str] = dict.fromkeys(wanted or [], "not_found")
        for each in found[: self.most]:
            if given.get("invalidate"):
                for path in self._paths(each):
                    if self.lag:
                        self.copies[path] = self.lag
                    else:
                        self.copies.pop(path, None)
            del self.files[each]
            done[each[2]] = "deleted"
        partial = len(found) > self.most
        return _json(200, {"deleted": done, "partial": partial, **({"next_cursor": "x"} if partial else {})})

    def _matching(self, kind: str, type_: str, prefix: str, ids: list[str] | None) -> Iterator[File]:
        for each in self.files:
            if each[:2] == (kind, type_) and (each[2] in ids if ids is not None else each[2].startswith(prefix)):
                yield each

    def _paths(self, each: File) -> Iterator[str]:
        yield _path(each)
        for derived in self.files.get(each, []):
            kind, type_, public_id = each
            yield f"/{CLOUD}/{kind}/{type_}/{derived}/v1/{public_id}.jpg"

    def _deliver(self, path: str) -> Answer:
        if path in self.copies:
            if self.copies[path] == 1:
                del self.copies[path]
            elif self.copies[path]:
                self.copies[path] -= 1
            return 200, {"content-type": "image/jpeg"}, b"picture"
        return 404, {"content-type": "text/plain"}, b""


def _asset(file: File) -> str:
    return hashlib.md5("/".join(file).encode()).hexdigest()


def _path(each: File) -> str:
    return f"/{CLOUD}/{each[0]}/{each[1]}/v1/{each[2]}.jpg"


def _basic() -> str:
    return "Basic " + base64.b64encode(f"{KEY}:{SECRET}".encode()).decode()


def _json(status: int, told: object) -> Answer:
    return status, {"content-type": "application/json"}, json.dumps(told).encode()
