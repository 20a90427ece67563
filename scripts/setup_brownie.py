#!/usr/bin/env python3
"""Gives Brownie its compiler and its local network, both of which it looks for below HOME.

Neither is downloaded: two small executables run npm's solc and Ganache out of the checkout that Brownie
is started in, or else out of the one that was set up last. Running this again changes nothing.
"""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
SOLC = Path.home() / ".solcx" / "solc-v0.8.37"
BROWNIE = Path.home() / ".brownie"
GANACHE = BROWNIE / "offchain-ganache"
MARK = "# written by offchain's set-up"

LAUNCHER = """#!/bin/sh
{mark}
root=${{OFFCHAIN_ROOT:-$PWD}}
while [ ! -d "$root/node_modules/{package}" ] && [ "$root" != / ]; do root=$(dirname "$root"); done
[ -f "$root/{script}" ] || root='{root}'
PATH="$PATH:$root/.venv/bin"
exec node "$root/{script}" {arguments}
"""

NETWORK: dict[str, Any] = {
    "name": "Ganache (offchain)",
    "id": "offchain-local",
    "cmd": str(GANACHE),
    "host": "http://127.0.0.1",
    "timeout": 120,
    "cmd_settings": {
        "port": 8555,
        "gas_limit": 30_000_000,
        "accounts": 20,
        "evm_version": "shanghai",
        "mnemonic": "brownie",
        "chain_id": 1337,
    },
}


def write_launcher(path: Path, package: str, script: str, arguments: str) -> None:
    """Leaves alone an executable that somebody else put there, such as a native solc."""
    if path.exists() and MARK.encode() not in path.read_bytes()[:200]:
        return
    text = LAUNCHER.format(mark=MARK, package=package, script=script, arguments=arguments, root=ROOT)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".new")
    partial.write_text(text)
    partial.chmod(0o755)
    partial.replace(path)


def add_network() -> None:
    """Adds or replaces our entry in Brownie's list of networks; the others stay as they are."""
    config = BROWNIE / "network-config.yaml"
    if not config.exists():
        spec = importlib.util.find_spec("brownie")
        assert spec and spec.origin
        config.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(Path(spec.origin).parent / "data" / "network-config.yaml", config)
    text = config.read_text()
    if f"id: {NETWORK['id']}\n" in text and NETWORK in yaml.safe_load(text)["development"]:
        return
    networks = yaml.safe_load(text)
    others = [entry for entry in networks["development"] if entry["id"] != NETWORK["id"]]
    networks["development"] = [*others, NETWORK]
    config.write_text(yaml.safe_dump(networks, sort_keys=False))


if __name__ == "__main__":
    write_launcher(SOLC, "solc", "scripts/solc-shim.js", '"$@"')
    # Brownie never reads what Ganache prints: it would stand still once the pipe is full.
    write_launcher(GANACHE, "ganache", "node_modules/ganache/dist/node/cli.js", '--logging.quiet "$@"')
    add_network()
