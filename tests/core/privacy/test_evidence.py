"""Evidence: only pictures, by content; nothing but their pixels is left; what would fill the memory is refused unopened."""

import io
import struct
import tracemalloc
import zipfile
import zlib

import pytest
from PIL import Image, PngImagePlugin

from core.errors import BadInput
from core.privacy import evidence
from core.privacy.evidence import harmless

SECRET = b"Secret-Place-52.5200N"


def picture(kind: str = "PNG", size: tuple[int, int] = (60, 40), mode: str = "RGB", **save: object) -> bytes:
    out = io.BytesIO()
    Image.effect_noise(size, 90).convert(mode).save(out, kind, **save)  # type: ignore[arg-type]
    return out.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def bomb(width: int, height: int) -> bytes:
    """A few hundred bytes that say they are an enormous picture."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


def archive() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        made.writestr("x.html", "<script>alert(1)</script>")
    return out.getvalue()


def in_webp(extra: bytes) -> bytes:
    """A WebP with an unknown chunk that holds something."""
    whole = picture("WEBP") + b"JUNK" + struct.pack("<I", len(extra)) + extra + b"\0" * (len(extra) % 2)
    return whole[:4] + struct.pack("<I", len(whole) - 8) + whole[8:]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "empty"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * evidence.LARGEST, "larger than 10 MB"),
        (bomb(50_000, 50_000), "too many pixels"),
        (bomb(100_000, 1), "too many pixels"),
        (bomb(2**31 - 1, 2**31 - 1), "too many pixels"),
        (b"<script>alert(1)</script>", "web page or a script"),
        (b"\xef\xbb\xbf <!DOCTYPE html><b>", "web page or a script"),
        (b"#!/bin/sh\nrm -rf /", "script"),
        (b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", "SVG"),
        (b"<?xml version='1.0'?><svg/>", "SVG"),
        (b"%PDF-1.7 ...", "PDF"),
        (archive(), "ZIP"),
        (picture("GIF", mode="P"), "GIF"),
        (picture("BMP"), "BMP"),
        (picture("TIFF"), "TIFF"),
        (b"MZ\x90\0", "program"),
        (b"just words", "not a picture"),
        (b"\0" * 100, "not a picture"),
        (picture("PNG") + archive(), "something else behind"),
        (picture("JPEG") + b"<script>alert(1)</script>", "something else behind"),
        (picture("WEBP") + archive(), "something else behind"),
        (picture("PNG")[:200], "damaged"),
        (picture("JPEG")[:300], "damaged"),
        (picture("WEBP")[:60], "damaged"),
        (b"\xff\xd8\xff" + b"<script>" * 20, "damaged"),
        (b"\x89PNG\r\n\x1a\n", "damaged"),
        (b"RIFF\x04\0\0\0WEBP", "damaged"),
        (picture("PNG", save_all=True, append_images=[Image.new("RGB", (60, 40))]), "moving"),
        (picture("WEBP", save_all=True, append_images=[Image.new("RGB", (60, 40), "red")]), "moving"),
    ],
)  # fmt: skip
def test_everything_but_one_picture_gets_its_sentence(content: bytes, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        harmless(content)


def test_an_enormous_picture_is_refused_before_it_is_decoded() -> None:
    content = bomb(50_000, 50_000)
    tracemalloc.start()
    with pytest.raises(BadInput):
        harmless(content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4_000_000, "7.5 GB of pixels would have been made"


def with_metadata(kind: str) -> bytes:
    exif = Image.Exif()
    exif[0x0110], exif[0x0112] = SECRET.decode(), 6  # camera; turned by 90 degrees
    exif.get_ifd(0x8825)[1] = "N"
    more: dict[str, object] = {"exif": exif, "icc_profile": b"profile " + SECRET}
    if kind == "PNG":
        text = PngImagePlugin.PngInfo()
        text.add_text("Comment", SECRET.decode())
        text.add_itxt("XML:com.adobe.xmp", SECRET.decode())
        more["pnginfo"] = text
    elif kind == "JPEG":
        more["comment"] = SECRET
    else:
        more["xmp"] = SECRET
    return picture(kind, **more)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_nothing_but_the_pixels_is_left(kind: str) -> None:
    given = with_metadata(kind)
    assert SECRET in given
    made = harmless(given)
    assert SECRET not in made.content and b"Exif" not in made.content
    with Image.open(io.BytesIO(made.content)) as read:
        read.load()
        assert not read.getexif() and "icc_profile" not in read.info and "exif" not in read.info
        assert read.size == (made.width, made.height) == (40, 60), "turned upright, since what said so is gone"
        assert read.format == ("PNG" if kind == "PNG" else "JPEG") and made.media_type == f"image/{read.format.lower()}"


def test_what_hides_inside_a_picture_is_gone() -> None:
    inside_png = picture("PNG")
    inside_png = inside_png[:-12] + chunk(b"prVt", b"<script>" + SECRET) + inside_png[-12:]
    for given in (inside_png, in_webp(SECRET), picture("JPEG", comment=b"<?php " + SECRET)):
        assert SECRET in given
        assert SECRET not in harmless(given).content


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16", "CMYK"])
def test_every_mode_becomes_plain_colors(mode: str) -> None:
    kind = "JPEG" if mode == "CMYK" else "PNG"
    out = io.BytesIO()
    Image.new(mode, (8, 8)).save(out, kind)
    made = harmless(out.getvalue())
    with Image.open(io.BytesIO(made.content)) as read:
        assert read.mode == "RGB"
        if mode in ("LA", "RGBA"):
            assert read.getpixel((0, 0)) == (255, 255, 255), "transparent: on white"


def test_a_large_photo_is_kept_readable_and_smaller() -> None:
    out = io.BytesIO()
    Image.linear_gradient("L").resize((6000, 4000)).convert("RGB").save(out, "JPEG", quality=95)
    made = harmless(out.getvalue())
    assert max(made.width, made.height) <= evidence.KEPT_SIDE and len(made.content) < len(out.getvalue())


def test_progressive_and_restart_markers_are_no_end() -> None:
    for save in ({"progressive": True}, {"restart_marker_rows": 1}, {"quality": 1}):
        assert harmless(picture("JPEG", (400, 300), **save)).width == 400
