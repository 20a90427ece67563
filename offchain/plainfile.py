"""Files that somebody names: opened and read only where that ends.

A pipe, a terminal or a device may never end, and waits where nobody writes. Their errors are OSErrors, as those of
files that are missing, so that whoever says what is wrong with a file says that too.
"""

from __future__ import annotations

import os
import stat
from errno import EFBIG, EINVAL, EISDIR
from pathlib import Path
from typing import BinaryIO


def open_plain(path: str | Path) -> BinaryIO:
    """Open a file to read its bytes. Raises OSError, also for what is no plain file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe waits for nobody
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(EISDIR, os.strerror(EISDIR), str(path))
    raise OSError(EINVAL, "not a plain file", str(path))


def read_plain(path: str | Path, most: int) -> bytes:
    """The bytes of a file of at most `most` bytes. Raises OSError, also for what is larger or no plain file."""
    with open_plain(path) as file:
        raw = file.read(most + 1)
    if len(raw) > most:
        raise OSError(EFBIG, f"larger than {most:,} bytes", str(path))
    return raw
