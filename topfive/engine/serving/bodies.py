"""The images in the body of a request: raw bytes, a form, or JSON; and the body itself, within its bounds."""

import asyncio
import base64
import binascii
import re
from collections.abc import Iterator

import msgspec
from fastapi import Request

from topfive.engine.serving.limits import Budget, Limits, Problem

Named = tuple[str, bytes]  # an image's name and file
TYPES = "an image itself (image/* or application/octet-stream), multipart/form-data, or application/json"
ENCODED = re.compile(r"data:[\w/+.-]*;base64,")  # what a browser's data URL begins with
NAME = re.compile(rb'filename="([^"]*)"', re.IGNORECASE)


class JsonImages(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Image files in base64, with or without `data:image/jpeg;base64,` before it."""

    images: tuple[str, ...]


async def read_body(request: Request, limits: Limits, budget: Budget) -> bytes:
    """The whole body; what it took of the budget is the caller's to give back. Raises: Problem."""
    headers = request.headers
    if headers.get("content-encoding", "identity") != "identity":
        raise Problem(415, "encoded body", "send the body without a Content-Encoding")
    declared = headers.get("content-length", "0")
    if int(declared) > limits.body:  # h11 has seen to it that it is a number
        raise _too_large(limits)
    parts, size = list[bytes](), 0
    try:
        async with asyncio.timeout(limits.body_seconds):
            async for part in request.stream():
                if size + len(part) > limits.body:
                    raise _too_large(limits)
                budget.take(len(part))
                size += len(part)
                parts.append(part)
    except BaseException as error:
        budget.give(size)
        if isinstance(error, TimeoutError):
            raise Problem(408, "too slow", "the body did not arrive in time", limit=limits.body_seconds) from None
        raise
    return b"".join(parts)


def images_of(body: bytes, content_type: str, limits: Limits) -> list[Named]:
    """The images in a body. Raises: Problem."""
    if not body:
        raise Problem(400, "no body", f"send {TYPES}")
    kind, _, parameters = content_type.partition(";")
    match kind.strip().lower():
        case "multipart/form-data":
            found = list(_of_form(body, parameters))
        case "application/json":
            found = list(_of_json(body))
        case "" | "application/octet-stream" | "application/x-www-form-urlencoded":  # the last is what curl says
            found = [("image", body)]
        case image if image.startswith("image/"):
            found = [("image", body)]
        case other:
            raise Problem(415, "unknown content type", f"{other[:80]!r} is not one of these: {TYPES}")
    if not found:
        raise Problem(400, "no image", "there is no image in the body")
    if len(found) > limits.images:
        raise Problem(413, "too many images", f"there are {len(found)} images in the request", limit=limits.images)
    return found


def _of_form(body: bytes, parameters: str) -> Iterator[Named]:
    """The files of a form (RFC 7578)."""
    boundary = re.search(r'boundary="?([^";,]{1,70})"?', parameters)
    if not boundary:
        raise Problem(400, "bad form", "its Content-Type names no boundary")
    _, *parts = (b"\r\n" + body).split(b"\r\n--" + boundary[1].encode())
    if not parts or not parts.pop().startswith(b"--"):
        raise Problem(400, "bad form", "it does not end with its boundary")
    for part in parts:
        head, blank, data = part.partition(b"\r\n\r\n")
        if not blank:
            raise Problem(400, "bad form", "a part of it has no header")
        if name := NAME.search(head):
            yield name[1].decode("utf-8", "replace")[:200] or "image", data


def _of_json(body: bytes) -> Iterator[Named]:
    try:
        images = msgspec.json.decode(body, type=JsonImages).images
    except msgspec.DecodeError as error:
        raise Problem(400, "bad JSON", f'{error}; send {{"images": ["...base64..."]}}') from None
    for n, text in enumerate(images, start=1):
        start = ENCODED.match(text)
        try:
            yield f"image {n}", base64.b64decode(text[start.end() if start else 0 :], validate=True)
        except (binascii.Error, ValueError):
            why = "images are not fetched from addresses" if "://" in text[:20] else "it is no base64"
            raise Problem(400, "bad image", f"image {n}: {why}; send the file itself in base64") from None


def _too_large(limits: Limits) -> Problem:
    return Problem(413, "too large", f"a body has at most {limits.body:,} bytes", limit=limits.body)
