"""Files that a command writes: whole under their name, or not at all."""

import os
import tempfile
from pathlib import Path

from scheduler.errors import InvalidRequestError

_PICTURES = (".png", ".html")


def is_page(target: Path) -> bool:
    """Whether a picture's name asks for a page, and not for a PNG."""
    return target.suffix.lower() == ".html"


def check_target(target: Path) -> None:
    """Refuse, before any time is spent, a picture's name that says neither PNG nor HTML or cannot be written."""
    if target.suffix.lower() not in _PICTURES:
        raise InvalidRequestError(f"{target}: a picture's name ends in .png or .html")
    if target.is_dir():
        raise InvalidRequestError(f"{target} is a folder; name a file in it")
    folder = target.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise InvalidRequestError(f"{target} cannot be written: {folder} is no folder in which you may write")


def write_whole(target: Path, content: bytes) -> None:
    """Write a file beside its place and move it there, so that nobody ever finds half of it under its name."""
    part: str | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        number, part = tempfile.mkstemp(prefix=f".{target.name[:100]}.", suffix=".part", dir=target.parent)
        with os.fdopen(number, "wb") as stream:
            stream.write(content)
        Path(part).chmod(0o666 & ~_umask())
        Path(part).replace(target)
        part = None
    except OSError as error:
        raise InvalidRequestError(f"{target} cannot be written: {error.strerror or error}") from error
    finally:
        if part is not None:
            Path(part).unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
