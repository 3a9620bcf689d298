"""A canary: somebody who is in every store, is deleted by the whole product, and is then asked for everywhere by strangers.

The readers (readers.py) share no code with the product: bare SQL over every column of every table, plain HTTP, the documents
themselves, the bytes of every file.
"""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from core import embedded
from core.processors import registry
from core.settings import ROOT
from tests.cast import email_of, id_of
from tests.core.privacy.house_of_erasures import Store, erased
from tests.core.privacy.house_of_requests import waiting
from tests.core.processors import rigs
from tests.core.processors.readers import in_database, in_files, in_words, pictures, web
from tests.core.processors.rigs import cloudinary_rig, on_the_platform, stripe_rig
from tests.doubles import stripe_gateway
from tests.doubles.cloudinary_server import CLOUD, KEY, SECRET
from tests.doubles.mongo_server import MongoServer
from tests.doubles.platform import oid, user

CANARY = (email_of("cleo"), "Cleo Example", str(oid("cleo")))


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
    with cloudinary_rig(monkeypatch) as library, stripe_rig(monkeypatch) as payments, MongoServer() as platform:
        monkeypatch.setenv("RESOCODE_MONGODB_URI", platform.uri)
        for name in ("cleo", "ben"):
            library.put(name)
            payments.put(name)
            platform.db["users"].insert_one(user(name) | {"email": email_of(name)})
        folder = f"students/{oid('cleo')}/"
        shown = f"{library.wire.address}/{CLOUD}/image/upload/v1/{folder}portrait.jpg"
        api = f"{library.wire.address}/v1_1/{CLOUD}"
        readers: dict[str, Callable[[], object]] = {
            "this database": lambda: in_database(cluster.conninfo(house), CANARY, str(id_of("cleo"))),
            "Cloudinary": pictures(api, folder, KEY, SECRET),
            "its delivery": lambda: web(shown),
            "what was derived": lambda: web(shown.replace("/v1/", "/w_100,h_100/v1/")),
            "its backup": lambda: [file for file in library.library.backups if folder in file[2]],
            "payment gateway": lambda: CANARY[0].encode() in web(f"{payments.gateway.address}/v1/customers?limit=1000", stripe_gateway.KEY, ""),
            "MongoDB Atlas": lambda: in_words(json.dumps(list(platform.db["users"].find()), default=str), CANARY),
            **{place.name: lambda place=place: id_of("cleo") in place.holds for place in places},  # type: ignore[misc]
        }  # fmt: skip
        assert [name for name, read in readers.items() if not read()] == [], "the canary sits in every store"
        filed = waiting()
        assert erased(filed.request_id)
        assert {name: left for name, read in readers.items() if (left := read())} == {}
        assert in_files(os.environ["RESOCODE_HOME"], CANARY) == [], "no file of ours names them"
        assert library.holds("ben") and payments.holds("ben") and platform.db["users"].count_documents({}) == 1
    told = "\n".join(
        record.getMessage()
        for record in caplog.records
        if not record.name.startswith(("httpx", "httpcore", "pymongo", "asyncio"))
    )
    assert not [value for value in (*CANARY, SECRET, stripe_gateway.KEY) if value in told], "nothing of it in any log"


def test_the_readers_share_no_code_with_the_eraser() -> None:
    asked = (
        "import sys, tests.core.processors.readers; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    told = subprocess.run(
        [sys.executable, "-c", asked], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert {"core", "sqlalchemy", "pymongo", "bson", "stripe", "cloudinary", "urllib3", "requests"} & set(told) == set()
    assert "psycopg" in told
