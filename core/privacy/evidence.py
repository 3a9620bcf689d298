"""Evidence of a consent: a picture that somebody sent us, made harmless before anything else looks at it.

Danger: a file that is not what it says, a picture that fills the memory when it is opened, a script behind a picture, the place
where a photo was taken. Principle: what a file is follows from its content, never from its name; its size and its pixels are
checked before it is decoded; nothing but the pixels is kept. Mechanism: PNG, JPEG and WebP by their first bytes, exactly one
picture from the first byte to the last; Pillow with these three formats only; decoded, turned upright, made smaller where it is
needless large, and written anew without any metadata.
"""

import io
import struct
import warnings
from dataclasses import dataclass

from PIL import Image, ImageOps, UnidentifiedImageError

from core.errors import BadInput

LARGEST = 10 * 1024 * 1024
MOST_PIXELS = 40_000_000
LONGEST_SIDE = 12_000
KEPT_SIDE = 2_400
FORMATS = ("PNG", "JPEG", "WEBP")
_WANTED = "Only pictures can be kept as evidence: PNG, JPEG or WebP. Take a photo or a screenshot of it."
# What people (or attackers) hand in instead, by its first bytes; lower case, blanks in front do not count.
_OTHERS = (
    (b"%pdf", "This is a PDF."),
    (b"pk\x03\x04", "This is a ZIP archive or an office document."),
    (b"gif8", "This is a GIF."),
    (b"bm", "This is a BMP picture."),
    (b"ii*\x00", "This is a TIFF picture."),
    (b"mm\x00*", "This is a TIFF picture."),
    (b"<svg", "This is an SVG, which can hold a script."),
    (b"<?xml", "This is an SVG or another XML file, which can hold a script."),
    (b"<", "This is a web page or a script."),
    (b"#!", "This is a script."),
    (b"mz", "This is a program."),
    (b"\x7felf", "This is a program."),
)


@dataclass(frozen=True)
class Picture:
    """A picture that is nothing but its pixels."""

    content: bytes
    media_type: str
    width: int
    height: int


def harmless(content: bytes) -> Picture:
    """Return the picture in a file, made anew from its pixels. Raises BadInput with a sentence for everything else."""
    if not content:
        raise BadInput("The file is empty. Choose the picture again.")
    if len(content) > LARGEST:
        raise BadInput(f"The file is larger than {LARGEST // 1024 // 1024} MB. Make the picture smaller and try again.")
    _demand_one_picture(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(io.BytesIO(content), formats=FORMATS) as found:
                _demand_size(found)
                return _anew(found)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            raise BadInput(_too_many()) from None
        except (
            UnidentifiedImageError,
            OSError,
            ValueError,
            SyntaxError,
            EOFError,
            struct.error,
            IndexError,
            MemoryError,
        ):
            raise BadInput(
                "The picture is damaged and cannot be read. Take it again, and upload the new one."
            ) from None


def _demand_size(found: Image.Image) -> None:
    """Before a single pixel is decoded: the header says how many there would be."""
    width, height = found.size
    if width * height > MOST_PIXELS or max(width, height) > LONGEST_SIDE:
        raise BadInput(_too_many(f" ({width:,} × {height:,})"))
    if getattr(found, "n_frames", 1) > 1:
        raise BadInput("This is a moving picture. Take a photo or a screenshot of it.")


def _too_many(size: str = "") -> str:
    return (
        f"The picture has too many pixels{size}: {MOST_PIXELS // 1_000_000} million are possible, and {LONGEST_SIDE:,} on a side."
        " Make it smaller and try again."
    )


def _anew(found: Image.Image) -> Picture:
    found.draft("RGB", (KEPT_SIDE, KEPT_SIDE))  # a JPEG is then decoded smaller in the first place
    kind = found.format
    upright = ImageOps.exif_transpose(found)
    flat = _flattened(upright)
    flat.thumbnail((KEPT_SIDE, KEPT_SIDE))
    bare = Image.new("RGB", flat.size)
    bare.paste(flat)  # pixels only: no EXIF, no color profile, no text, no thumbnail
    out = io.BytesIO()
    if kind == "PNG":
        bare.save(out, "PNG", optimize=False)
        media_type = "image/png"
    else:
        bare.save(out, "JPEG", quality=88)
        media_type = "image/jpeg"
    return Picture(out.getvalue(), media_type, *bare.size)


def _flattened(picture: Image.Image) -> Image.Image:
    """On white, where it is transparent: nothing stays hidden in what does not show."""
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        seen = picture.convert("RGBA")
        ground = Image.new("RGBA", seen.size, "white")
        return Image.alpha_composite(ground, seen).convert("RGB")
    return picture.convert("RGB")


def _demand_one_picture(content: bytes) -> None:
    """By content, never by name: one of three kinds, and nothing behind its end."""
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        end = _end_of_png(content)
    elif content.startswith(b"\xff\xd8\xff"):
        end = _end_of_jpeg(content)
    elif content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        size = int.from_bytes(content[4:8], "little") + 8
        end = size + size % 2
    else:
        start = content[:64].lstrip(b" \t\r\n\xef\xbb\xbf").lower()
        what = next((sentence for mark, sentence in _OTHERS if start.startswith(mark)), "This is not a picture.")
        raise BadInput(f"{what} {_WANTED}")
    if end < len(content):
        raise BadInput(
            "There is something else behind the picture in this file (a live photo, or something hidden)."
            " Make a screenshot of the picture and upload that."
        )


def _end_of_png(content: bytes) -> int:
    """Chunk by chunk to IEND; past the end of the file where it is cut off (the decoder says so then)."""
    place = 8
    while place + 12 <= len(content):
        length = int.from_bytes(content[place : place + 4])
        kind = content[place + 4 : place + 8]
        place += length + 12
        if kind == b"IEND":
            return place
    return len(content) + 1


def _end_of_jpeg(content: bytes) -> int:
    """Segment by segment to the end of the image; past the end of the file where it is cut off."""
    place = 2
    while place + 4 <= len(content):
        if content[place] != 0xFF:
            return len(content) + 1
        marker = content[place + 1]
        if marker == 0xD9:
            return place + 2
        if marker == 0xFF:
            place += 1
            continue
        if marker in (0x01, *range(0xD0, 0xD9)):
            place += 2
            continue
        place += 2 + int.from_bytes(content[place + 2 : place + 4])
        if marker == 0xDA:
            place = _after_scan(content, place)
    return place + 2 if content[place : place + 2] == b"\xff\xd9" else len(content) + 1


def _after_scan(content: bytes, place: int) -> int:
    """Where the next marker stands: in the data of a scan 0xFF is followed by 0 or by a restart marker."""
    while True:
        place = content.find(b"\xff", place)
        if place < 0 or place + 1 >= len(content):
            return len(content)
        if content[place + 1] != 0 and not 0xD0 <= content[place + 1] <= 0xD7 and content[place + 1] != 0xFF:
            return place
        place += 1 if content[place + 1] == 0xFF else 2
