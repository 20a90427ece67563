"""Every exception that `offchain` raises of its own, and the exit code of the command line (its parent's where none
is given). Those with a module beside them are defined there; the others here.

OffchainError                1   one clear line: what, where, and what to do
├── BadInput                 2   what came from outside is not what it must be
│   ├── MalformedGraph           bytes are not a canonical graph
│   ├── IllegalGraph             a graph breaks the legality table
│   ├── BadBlob                  a tensor or task file does not match its root, or cannot be read
│   │   └── Forbidden            an address that this worker does not follow, whoever asks (store.addresses)
│   ├── Unsupported              an operation that cannot be lowered
│   ├── BadTerms                 terms or options that make no sense
│   ├── BadKey                   a private key is missing, malformed, or readable by others (chain.keys)
│   ├── BadPoint                 not a point of the group that it should be of (bls.points)
│   ├── BadSigners               signers that are none, not of the committee, or named twice (bls.signing)
│   ├── BadDeploymentFile        a deployment file is missing or malformed (chain.deployment)
│   ├── BadDatabase              a worker's database is another account's, or damaged (worker.database)
│   ├── HomeInUse                another worker runs in the folder (worker.home)
│   └── Unfit                    a task is valid, but not for this worker (worker.fit)
├── NotNow                   1   a task does not fit this worker now, and is tried again (worker.fit)
├── OutOfMemory              1   a node, or a slot of a state, does not fit
├── ProcessGone              1   another of the processes that share a step does not answer
├── Unreachable              1   a blob cannot be fetched now
├── NoRoom                   1   this machine's disk has too little room for a blob now
├── NoResult                 1   a task did not end in a trained model
├── NotReady                 1   a worker would not work on this machine as it is (commands.check)
├── NothingWrong             1   a challenger has nothing to name: the solver is right (dispute.challenger)
├── Misjudged                1   the contracts and the executor disagree (commands.adjudicate)
├── GanacheError             1   Ganache is not installed, or did not start (chain.ganache)
├── DemoFailed               1   the demo did not go as it must, or not in time (demo.stage)
├── ChainError               3   the chain refused
│   ├── Reverted                 a contract refused a call, with its typed error (chain.reverts)
│   ├── Refused                  a task is not where it would have to be for a step (commands.verbs)
│   └── DeploymentError          a contract could not be created, or is not on this chain (chain.deployment)
└── ChainUnavailable         4   no answer from the chain, or none that makes sense
"""

from __future__ import annotations


class OffchainError(Exception):
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


class OutOfMemory(OffchainError):
    pass


class ProcessGone(OffchainError):
    pass


class Unreachable(OffchainError):
    pass


class NoRoom(OffchainError):
    pass


class NoResult(OffchainError):
    pass


class ChainError(OffchainError):
    exit_code = 3


class ChainUnavailable(OffchainError):
    exit_code = 4
