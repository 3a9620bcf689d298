"""Readers that look for somebody in every store, and share no code with the product: bare SQL over every column, plain HTTP, the bytes
of every file. Nothing of ``core`` is imported here, nor a library that a processor uses; a test asks the interpreter.
"""

import base64
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psycopg

SCHEMAS = ("platform", "privacy", "staff", "anon")
KINDS, TYPES = ("image", "video", "raw"), ("upload", "private", "authenticated")


def in_database(conninfo: str, values: Iterable[str], person_id: str) -> list[str]:
    """The columns in which one of somebody's values stands, in any table of any schema of ours.

    The bare id of the person may stand in ``privacy``: proof names it.
    """
    found = []
    with psycopg.connect(conninfo, autocommit=True) as admin:
        columns = admin.execute(
            "select table_schema, table_name, column_name from information_schema.columns"
            " where table_schema = any(%s) order by 1, 2, 3", [list(SCHEMAS)]
        ).fetchall()  # fmt: skip
        for schema, table, column in columns:
            wanted = [*values, *([] if schema == "privacy" else [person_id])]
            asked = (
                f'select count(*) from "{schema}"."{table}" where lower("{column}"::text) like any'
                " (select '%%' || lower(v) || '%%' from unnest(%s::text[]) v)"
            )
            row = admin.execute(asked, [wanted]).fetchone()  # type: ignore[call-overload]
            if row and row[0]:
                found.append(f"{schema}.{table}.{column}")
    return found


def web(address: str, user: str = "", password: str = "") -> Any:
    """What an address answers, with somebody's key; None when it is not found."""
    basic = base64.b64encode(f"{user}:{password}".encode()).decode()
    try:
        with urlopen(Request(address, headers={"Authorization": f"Basic {basic}"}), timeout=10) as answer:
            return answer.read()
    except HTTPError as error:
        if error.code != 404:
            raise
        return None


def pictures(api: str, folder: str, user: str, password: str) -> Callable[[], list[str]]:
    """The listings of a media library in which something lies in a folder."""
    listed = [f"{api}/resources/{kind}/{type_}?prefix={folder}" for kind in KINDS for type_ in TYPES]
    return lambda: [each for each in listed if json.loads(web(each, user, password))["resources"]]


def in_files(folder: str, values: Iterable[str]) -> list[str]:
    """The files below a folder in which one of somebody's values stands."""
    wanted = [value.encode() for value in values]
    return [
        str(file)
        for file in Path(folder).rglob("*")
        if file.is_file() and any(each in file.read_bytes() for each in wanted)
    ]


def in_words(words: str, values: Iterable[str]) -> list[str]:
    """The values that stand in some words."""
    return [value for value in values if value in words]
