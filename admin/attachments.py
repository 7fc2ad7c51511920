"""Files that a person gives to a model along with a message: their text."""

from __future__ import annotations

import io
import time
from typing import NamedTuple

from ..daemon.protocol.errors import BadRequest
from ..daemon.store.chats import Attached

MAX_CHARACTERS = 2_000_000  # of one file: more than any model reads
MAX_PAGES = 2_000
PDF_S = 20.0  # then the file is refused
IMAGES = (b"\x89PNG", b"\xff\xd8\xff")
IMAGES_OR_TEXT = (b"GIF8", b"RIFF", b"BM")  # a text may begin so, too


class Upload(NamedTuple):
    """A file as the browser sent it."""

    name: str
    type: str
    body: bytes


def read(upload: Upload) -> Attached:
    """The file's text; blocks. Raises BadRequest with a sentence that names the file."""
    name = upload.name.replace("\\", "/").rpartition("/")[2][:200] or "file"
    if _is_image(upload):
        raise BadRequest(f"{name} is an image, and no model that is served here sees images.")
    if upload.body.startswith(b"%PDF-"):
        text, pages = _pdf(name, upload.body)
        return Attached(name, text, pages)
    return Attached(name, _text(name, upload.body))


def _is_image(upload: Upload) -> bool:
    """Other than one that is drawn in text."""
    if upload.type.startswith("image/"):
        return not upload.type.startswith("image/svg")
    body = upload.body
    return body.startswith(IMAGES) or (body.startswith(IMAGES_OR_TEXT) and b"\0" in body[:64])


def _text(name: str, body: bytes) -> str:
    if b"\0" in body[:8192] and not body.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise BadRequest(f"{name} is neither text nor a PDF.")
    encoding = "utf-16" if body.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        text = body.decode(encoding)
    except UnicodeDecodeError:
        raise BadRequest(f"{name} is not text in UTF-8, nor a PDF.") from None
    return _short_enough(name, text)


def _pdf(name: str, body: bytes) -> tuple[str, int]:
    # Imported late: it is not needed before somebody sends a PDF.
    from pypdf import PdfReader
    from pypdf.errors import PyPdfError

    late = time.monotonic() + PDF_S
    try:
        reader = PdfReader(io.BytesIO(body))
        count = len(reader.pages)
        if count > MAX_PAGES:
            raise BadRequest(f"{name} has {count} pages; {MAX_PAGES} may be given.")
        pages: list[str] = []
        for page in reader.pages:
            pages.append(page.extract_text())
            if time.monotonic() > late:
                raise BadRequest(f"{name} takes too long to read.")
    except BadRequest:
        raise
    except Exception as error:  # of a damaged file the library raises whatever it stumbles over
        reason = error if isinstance(error, PyPdfError) else "it is damaged"
        raise BadRequest(f"{name} cannot be read as a PDF: {reason}.") from None
    text = "\n\n".join(pages).strip()
    if not text:
        raise BadRequest(f"{name} has no text: its pages are pictures.")
    return _short_enough(name, text), count


def _short_enough(name: str, text: str) -> str:
    if len(text) > MAX_CHARACTERS:
        raise BadRequest(f"{name} has {len(text):,} characters; {MAX_CHARACTERS:,} may be given.")
    return text
