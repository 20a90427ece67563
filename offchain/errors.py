"""Every error that `offchain` raises on purpose, and the exit code that the command line gives it.

OffchainError            1
├── BadInput             2   what came from outside is not what it must be
│   ├── MalformedGraph       bytes are not a canonical graph
│   ├── IllegalGraph         a graph breaks the legality table
│   ├── BadBlob              a tensor or task file does not match its root, or cannot be read
│   ├── Unsupported          an operation that cannot be lowered
│   └── BadTerms             terms or options that make no sense
├── ProcessGone          1   of the processes that share a step another one does not answer
├── OutOfMemory              a node, or a slot of a state, does not fit
├── ChainError           3   the chain refused, with the contract's typed error
└── ChainUnavailable     4   no answer from the chain
"""

from __future__ import annotations


class OffchainError(Exception):
    """One clear line: what, where, and what to do."""

    exit_code = 1


class BadInput(OffchainError):
    exit_code = 2


class MalformedGraph(BadInput):
    pass


class IllegalGraph(BadInput):
    pass


class BadBlob(BadInput):
    pass


class Unsupported(BadInput):
    pass


class BadTerms(BadInput):
    pass


class ProcessGone(OffchainError):
    pass


class OutOfMemory(OffchainError):
    pass


class ChainError(OffchainError):
    exit_code = 3


class ChainUnavailable(OffchainError):
    exit_code = 4
