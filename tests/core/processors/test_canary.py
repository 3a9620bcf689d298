"""A canary: somebody who is in every store, is deleted by the whole product, and is then asked for everywhere by strangers.

The readers here share no code with the product: bare SQL over every column of every table, plain HTTP, the documents themselves,
the bytes of every file.
"""

import base64
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psycopg
import pytest

from core import embedded
from core.processors import registry
from tests.cast import email_of, id_of
from tests.core.privacy.house_of_erasures import Store, erased
from tests.core.privacy.house_of_requests import waiting
from tests.core.processors import rigs
from tests.core.processors.rigs import cloudinary_rig, on_the_platform, stripe_rig
from tests.doubles import stripe_gateway
from tests.doubles.cloudinary_server import CLOUD, KEY, SECRET
from tests.doubles.mongo_server import MongoServer
from tests.doubles.platform import oid, user

CANARY = (email_of("cleo"), "Cleo Example", str(oid("cleo")))


def database(conninfo: str) -> Callable[[], list[str]]:
    """The columns in which one of the canary's values stands, in any table of any schema of ours."""

    def read() -> list[str]:
        found = []
        with psycopg.connect(conninfo, autocommit=True) as admin:
            columns = admin.execute(
                "select table_schema, table_name, column_name from information_schema.columns"
                " where table_schema in ('platform', 'privacy', 'staff', 'anon') order by 1, 2, 3"
            ).fetchall()
            for schema, table, column in columns:
                for value in (*CANARY, str(id_of("cleo"))):
                    asked = f'select count(*) from "{schema}"."{table}" where position(lower(%s) in lower("{column}"::text)) > 0'
                    row = admin.execute(asked, [value]).fetchone()  # type: ignore[call-overload]
                    if row and row[0] and not (value == str(id_of("cleo")) and schema == "privacy"):
                        found.append(f"{schema}.{table}.{column}")
        return found

    return read


def web(address: str, user_: str, password: str) -> Any:
    """What an address answers, with somebody's key; None when it is not found."""
    basic = base64.b64encode(f"{user_}:{password}".encode()).decode()
    try:
        with urlopen(Request(address, headers={"Authorization": f"Basic {basic}"}), timeout=10) as answer:
            return answer.read()
    except HTTPError as error:
        return None if error.code == 404 else pytest.fail(f"{address}: {error.code}")


def files(*folders: str) -> list[str]:
    """The files below some folders in which one of the canary's values stands."""
    return [
        str(file)
        for folder in folders
        for file in Path(folder).rglob("*")
        if file.is_file() and any(value.encode() in file.read_bytes() for value in CANARY)
    ]


def test_who_was_in_every_store_is_in_none(
    house: str, cluster: embedded.Cluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("cleo", "ben"):
        monkeypatch.setitem(rigs.KNOWN, name, str(oid(name)))
    on_the_platform("cleo", "ben")
    places = [Store(name, {id_of("cleo"), id_of("ben")}) for name in ("SMTP", "Vercel")]
    for place in places:
        monkeypatch.setitem(registry._makers, place.name, lambda place=place: place)
    with cloudinary_rig(monkeypatch) as pictures, stripe_rig(monkeypatch) as payments, MongoServer() as platform:
        monkeypatch.setenv("RESOCODE_MONGODB_URI", platform.uri)
        for name in ("cleo", "ben"):
            pictures.put(name)
            payments.put(name)
            platform.db["users"].insert_one(user(name) | {"email": email_of(name)})
        folder = f"students/{oid('cleo')}/"
        api, shown = (
            f"{pictures.wire.address}/v1_1/{CLOUD}/resources",
            f"{pictures.wire.address}/{CLOUD}/image/upload/v1/{folder}portrait.jpg",
        )
        listed = [
            f"{api}/{kind}/{type_}?prefix={folder}"
            for kind in ("image", "video", "raw")
            for type_ in ("upload", "private", "authenticated")
        ]
        readers: dict[str, Callable[[], object]] = {
            "this database": database(cluster.conninfo(house)),
            "Cloudinary": lambda: [each for each in listed if json.loads(web(each, KEY, SECRET))["resources"]],
            "its delivery": lambda: web(shown, "", ""),
            "what was derived": lambda: web(shown.replace("/v1/", "/w_100,h_100/v1/"), "", ""),
            "payment gateway": lambda: CANARY[0].encode() in web(f"{payments.gateway.address}/v1/customers?limit=1000", stripe_gateway.KEY, ""),
            "MongoDB Atlas": lambda: any(value in json.dumps(list(platform.db["users"].find()), default=str) for value in CANARY),
            **{place.name: lambda place=place: id_of("cleo") in place.holds for place in places},  # type: ignore[misc]
        }  # fmt: skip
        assert [name for name, read in readers.items() if not read()] == [], "the canary sits in every store"
        filed = waiting()
        assert erased(filed.request_id)
        assert {name: left for name, read in readers.items() if (left := read())} == {}
        assert files(os.environ["RESOCODE_HOME"]) == [], "no file of ours names them"
        assert pictures.holds("ben") and payments.holds("ben") and platform.db["users"].count_documents({}) == 1
    told = "\n".join(
        record.getMessage()
        for record in caplog.records
        if not record.name.startswith(("httpx", "httpcore", "pymongo", "asyncio"))
    )
    assert not [value for value in (*CANARY, SECRET, stripe_gateway.KEY) if value in told], "nothing of it in any log"
