#!/usr/bin/env python3
"""Compiles contracts/ with npm's solc and writes what the Python package needs of the result.

Production contracts go to ``offchain/chain/artifacts/`` (committed, part of the package), the
harnesses below ``contracts/test/`` to ``build/test-artifacts/`` (not committed). What cannot be deployed
(interfaces, abstract contracts, internal libraries) is compiled and not written. Where certificates
find what a contract has stored goes to ``offchain/chain/storage.json`` (committed).

The settings equal those of ``brownie-config.yaml``, except that no metadata is appended: bytecode then
changes when code does, and not when a comment does.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CONTRACTS = ROOT / "contracts"
ARTIFACTS = ROOT / "offchain" / "chain" / "artifacts"
TEST_ARTIFACTS = ROOT / "build" / "test-artifacts"
STORAGE = ROOT / "offchain" / "chain" / "storage.json"
STAMP = ROOT / "build" / "compile.sha256"
SHIM = ROOT / "scripts" / "solc-shim.js"

SIZE_LIMIT = 24_576  # EIP-170, bytes of deployed code
SETTINGS: dict[str, Any] = {
    "evmVersion": "shanghai",
    "optimizer": {"enabled": True, "runs": 200},
    "viaIR": True,
    "metadata": {"appendCBOR": False},
    "remappings": ["@openzeppelin/=node_modules/@openzeppelin/"],
    "outputSelection": {"*": {"*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object", "storageLayout"]}},
}
# contract -> variables whose content is proven to who has no node
PROVEN = {"TaskMarket": ("_tasks", "_terms", "log"), "CheckpointLog": ("_checkpoints",)}


class CompileError(Exception):
    """The compiler is missing, or refused the sources, or a contract is too large to deploy."""


@dataclass(frozen=True)
class Artifact:
    """What a client has to know of a contract in order to deploy it, to talk to it, or to prove what it stored."""

    path: Path
    text: str  # the canonical JSON that is written

    @property
    def name(self) -> str:
        return self.path.stem


@dataclass
class Result:
    artifacts: list[Artifact] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)  # bytes of deployed code
    messages: list[str] = field(default_factory=list)


def read_sources(only: list[Path] | None = None) -> dict[str, dict[str, str]]:
    """All contracts, or just those named; solc finds what they import by itself."""
    files = sorted(path.resolve() for path in only) if only else sorted(CONTRACTS.rglob("*.sol"))
    return {f.relative_to(ROOT).as_posix(): {"content": f.read_text(encoding="utf-8")} for f in files}


def fingerprint(sources: dict[str, dict[str, str]]) -> str:
    """Digest of everything that the outputs depend on."""
    lock = ROOT / "package-lock.json"
    parts = [Path(__file__).read_bytes(), SHIM.read_bytes(), lock.read_bytes() if lock.exists() else b""]
    parts.append(json.dumps(sources, sort_keys=True).encode())
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def find_node() -> str:
    """node on PATH, or the one that set-up put beside this Python."""
    beside = Path(sys.executable).parent
    node = shutil.which("node", path=os.pathsep.join([str(beside), os.environ.get("PATH", "")]))
    if node is None:
        raise CompileError("node is missing; run `make setup`")
    if not (ROOT / "node_modules" / "solc").is_dir():
        raise CompileError("node_modules/solc is missing; run `make setup`")
    return node


def solc_input(sources: dict[str, dict[str, str]], outputs: dict[str, Any] | None = None) -> dict[str, Any]:
    """The compiler's standard input; `outputs` replaces what is asked of it."""
    settings = SETTINGS | ({"outputSelection": outputs} if outputs else {})
    return {"language": "Solidity", "sources": sources, "settings": settings}


def run_solc(sources: dict[str, dict[str, str]], outputs: dict[str, Any] | None = None) -> dict[str, Any]:
    done = subprocess.run(
        [find_node(), str(SHIM), "--standard-json"],
        input=json.dumps(solc_input(sources, outputs)),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise CompileError(f"solc ended with status {done.returncode}:\n{done.stderr.strip()}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def is_deployable(contract: dict[str, Any]) -> bool:
    """False for interfaces, abstract contracts and libraries that have only internal functions."""
    callable_kinds = {"constructor", "fallback", "function", "receive"}
    has_entry = any(entry["type"] in callable_kinds for entry in contract["abi"])
    return has_entry and bool(contract["evm"]["bytecode"]["object"])


def to_artifact(source: str, name: str, contract: dict[str, Any]) -> Artifact:
    body = {
        "abi": contract["abi"],
        "bytecode": "0x" + contract["evm"]["bytecode"]["object"],
        "contractName": name,
    }
    folder = TEST_ARTIFACTS if source.startswith("contracts/test/") else ARTIFACTS
    return Artifact(folder / f"{name}.json", json.dumps(body, indent=1, sort_keys=True) + "\n")


def to_places(layout: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """Variable, or member of the structs that it maps to -> [slot, first byte from the right, bytes]."""
    types, found = layout["types"], {}
    for entry in layout["storage"]:
        if entry["label"] not in names:
            continue
        kind = types[entry["type"]]
        while "value" in kind:
            kind = types[kind["value"]]
        members = {m["label"]: _place(m, types) for m in kind.get("members", ())}
        found[entry["label"]] = {"place": _place(entry, types), **({"members": members} if members else {})}
    return found


def _place(entry: dict[str, Any], types: dict[str, Any]) -> list[int]:
    return [int(entry["slot"]), entry["offset"], int(types[entry["type"]]["numberOfBytes"])]


def compile_all(sources: dict[str, dict[str, str]]) -> Result:
    """Raises CompileError for errors, doubled names and oversized production contracts."""
    result = Result()
    if not sources:
        return result
    output = run_solc(sources)
    errors = output.get("errors", [])
    result.messages = [error["formattedMessage"].rstrip() for error in errors if error["severity"] != "error"]
    fatal = [error["formattedMessage"].rstrip() for error in errors if error["severity"] == "error"]
    seen: dict[str, str] = {}
    places: dict[str, Any] = {}
    for source, contracts in sorted(output.get("contracts", {}).items()):
        if not source.startswith("contracts/"):
            continue
        for name, contract in sorted(contracts.items()):
            if name in seen:
                fatal.append(f"{source}: {seen[name]} has the name {name} already; Brownie needs unique names")
            seen[name] = source
            size = len(contract["evm"]["deployedBytecode"]["object"]) // 2
            if size > SIZE_LIMIT and not source.startswith("contracts/test/"):
                fatal.append(f"{source}: {name} has {size} bytes of code; {SIZE_LIMIT} can be deployed")
            if name in PROVEN:
                places[name] = to_places(contract["storageLayout"], PROVEN[name])
            if is_deployable(contract):
                result.artifacts.append(to_artifact(source, name, contract))
                result.sizes[name] = size
    if fatal:
        raise CompileError("\n\n".join([*result.messages, *fatal]))
    if len(places) == len(PROVEN):  # not where single sources are compiled
        result.artifacts.append(Artifact(STORAGE, json.dumps(places, indent=1, sort_keys=True) + "\n"))
    return result


def stale(artifacts: list[Artifact]) -> list[Path]:
    """Files that are missing, differ, or belong to no contract any more."""
    wanted = {artifact.path: artifact.text for artifact in artifacts}
    differing = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    present = [*ARTIFACTS.glob("*.json"), *TEST_ARTIFACTS.glob("*.json")]
    return sorted([*differing, *(path for path in present if path not in wanted)])


def write(artifacts: list[Artifact], remove: bool = True) -> list[Path]:
    """Writes what differs, removes what is left over; returns the paths that it touched."""
    wanted = {artifact.path: artifact.text for artifact in artifacts}
    changed = [path for path in stale(artifacts) if remove or path in wanted]
    for path in changed:
        if path in wanted:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(f".{os.getpid()}.tmp")
            partial.write_text(wanted[path])
            partial.replace(path)
        else:
            path.unlink(missing_ok=True)
    return changed


def is_fresh(digest: str) -> bool:
    """Whether the last run saw the same sources and left outputs that nobody changed since."""
    return STAMP.exists() and STAMP.read_text() == f"{digest} {outputs_digest()}"


def outputs_digest() -> str:
    files = sorted([*ARTIFACTS.glob("*.json"), *TEST_ARTIFACTS.glob("*.json"), *STORAGE.parent.glob(STORAGE.name)])
    listing = "".join(f"{f.name} {hashlib.sha256(f.read_bytes()).hexdigest()}\n" for f in files)
    return hashlib.sha256(listing.encode()).hexdigest()


def build(force: bool = False, only: list[Path] | None = None) -> tuple[Result, list[Path]] | None:
    """Compiles and writes unless everything is up to date, which returns None.

    With ``only``, those sources are compiled in any case, and the other artifacts stay as they are.

    Raises:
        CompileError: see compile_all.
    """
    if only:
        result = compile_all(read_sources(only))
        return result, write(result.artifacts, remove=False)
    sources = read_sources()
    digest = fingerprint(sources)
    if not force and is_fresh(digest):
        return None
    result = compile_all(sources)
    changed = write(result.artifacts)
    STAMP.parent.mkdir(parents=True, exist_ok=True)
    STAMP.write_text(f"{digest} {outputs_digest()}")
    return result, changed


def drifted() -> list[Path]:
    """Committed artifacts that the sources would not give. Compiles, and writes nothing."""
    artifacts = compile_all(read_sources()).artifacts
    production = [artifact for artifact in artifacts if artifact.path.parent != TEST_ARTIFACTS]
    return [path for path in stale(production) if path.parent != TEST_ARTIFACTS]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Compile contracts/ and write the artifacts.")
    parser.add_argument("--check", action="store_true", help="fail when committed artifacts have drifted")
    parser.add_argument("--force", action="store_true", help="compile even when no source has changed")
    parser.add_argument("--sizes", action="store_true", help="print the size of every contract (compiles)")
    parser.add_argument("only", nargs="*", type=Path, help="compile just these sources and their imports")
    parser.add_argument("--input", action="store_true", help="print the compiler's input and stop (for Slither)")
    options = parser.parse_args(argv)
    if options.input:
        whole = {"*": {"*": ["abi", "devdoc", "evm.bytecode", "evm.deployedBytecode", "userdoc"], "": ["ast"]}}
        print(json.dumps(solc_input(read_sources(options.only), whole)))
        return 0
    try:
        if options.check:
            paths = drifted()
            for path in paths:
                print(f"drifted: {path.relative_to(ROOT)}", file=sys.stderr)
            print("artifacts drifted: run `make compile`" if paths else "artifacts match the sources")
            return 1 if paths else 0
        done = build(force=options.force or options.sizes, only=options.only)
    except CompileError as error:
        print(error, file=sys.stderr)
        return 1
    if done is None:
        print("nothing changed")
        return 0
    result, changed = done
    for message in result.messages:
        print(message, file=sys.stderr)
    if options.sizes:
        for name, size in sorted(result.sizes.items(), key=lambda item: -item[1]):
            print(f"{size:7,d} bytes  {name}")
    print(f"{len(result.sizes)} contracts compiled, {len(changed)} files written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
