"""The address at which a worker's files are served: the same after a restart, and one that others can reach."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

from offchain.errors import BadInput, Unreachable
from offchain.store.addresses import is_anywhere, is_loopback_url
from offchain.store.fetch import FetchOptions, finish, is_there
from offchain.store.serve import BlobServer, ServeOptions

FILE: Final = "port"
PROBE: Final = "0" * 64 + ".probe"  # nobody has it
PATIENCE: Final = 3.0  # seconds for an answer of one's own server


def server(home: Path, folder: Path, listen: tuple[str, int], options: ServeOptions) -> BlobServer:
    """Serves blobs; where no port is named, at the one of the last start in this home, if it is free.

    Checkpoints on chain name the address that was theirs when they were committed. Raises BadInput.
    """
    host, port = listen
    made = None
    if port == 0:
        with suppress(BadInput, OSError, ValueError):
            made = BlobServer(folder, host, int((home / FILE).read_text()), options)
    made = made or BlobServer(folder, host, port, options)
    with suppress(OSError):  # of a full disk: the next start takes another port, and says so in the register
        (home / FILE).write_text(f"{made.port}\n")
    return made


def doubt(url: str, local: bool) -> str | None:
    """Why others cannot fetch from an address, as far as it can be seen from here; None: they can.

    Args:
        local: whether the chain is on this machine, and so is everybody else.
    """
    if is_anywhere(url):
        return "names no machine: nobody can ask there; say where others reach it with --public-url http://HOST:PORT"
    if is_loopback_url(url) and not local:
        return "reaches this machine alone, and the chain is elsewhere: --listen 0.0.0.0:PORT and --public-url"
    try:
        finish(is_there(f"{url.rstrip('/')}/{PROBE}", FetchOptions(private=True), PATIENCE))
    except (Unreachable, BadInput) as error:
        return f"does not answer from here ({error}): open or forward the port, or correct --public-url"
    return None
