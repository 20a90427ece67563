"""Slow jobs run beside the loop; those of one person or one host do not keep the others' waiting."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event

import pytest

from offchain.worker import background
from offchain.worker.background import Background, Shares

SHARES = {"file": Shares(4, person=2, host=3)}


class Jobs:
    """Jobs that run until they are let go, and the order in which they began."""

    def __init__(self) -> None:
        self.background = Background(SHARES)
        self.begun = list[str]()
        self.gates = dict[str, Event]()

    def ask(self, name: str, person: str, host: str = "") -> str | None:
        gate = self.gates.setdefault(name, Event())

        def work() -> str:
            self.begun.append(name)
            assert gate.wait(30)
            return name

        return self.background.poll(("file", name), work, person, host or name)

    def end(self, name: str) -> None:
        self.gates[name].set()


def within(condition: Callable[[], bool], seconds: float = 10) -> bool:
    limit = time.monotonic() + seconds
    while not condition() and time.monotonic() < limit:
        time.sleep(0.005)
    return condition()


@pytest.fixture
def jobs() -> Jobs:
    return Jobs()


def test_result_and_error_are_handed_out_once(jobs: Jobs) -> None:
    assert jobs.ask("a", "x") is None
    jobs.end("a")
    assert within(lambda: jobs.ask("a", "x") == "a")
    with pytest.raises(ZeroDivisionError):
        within(lambda: jobs.background.poll(("file", "b"), lambda: 1 // 0) is not None)


def test_one_person_s_jobs_leave_places_for_others(jobs: Jobs) -> None:
    for number in range(10):
        jobs.ask(f"slow{number}", "thief")
    jobs.ask("honest", "other")
    assert within(lambda: "honest" in jobs.begun)
    assert len(jobs.begun) == 3


def test_so_do_those_of_one_host(jobs: Jobs) -> None:
    for number in range(10):
        jobs.ask(f"slow{number}", f"thief{number}", "host")
    jobs.ask("honest", "other")
    assert within(lambda: "honest" in jobs.begun)
    assert len(jobs.begun) == 4


def test_who_has_taken_least_time_goes_first(jobs: Jobs) -> None:
    for person in ("thief", "friend"):
        for number in range(4):
            jobs.ask(f"{person}{number}", person)
    assert within(lambda: len(jobs.begun) == 4)
    time.sleep(0.05)
    jobs.ask("honest", "other")
    jobs.end("thief0")
    assert within(lambda: len(jobs.begun) == 5)
    assert jobs.begun[-1] == "honest"


def test_a_job_that_waits_has_no_thread_and_is_forgotten(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of tasks must not be thousands of threads, nor be fetched after they have ended."""
    monkeypatch.setattr(background, "FORGOTTEN", 0.1)
    for number in range(1000):
        jobs.ask(f"slow{number}", "thief")
    assert len(jobs.begun) <= 2
    time.sleep(0.2)
    jobs.ask("other", "other")
    jobs.end("slow0")
    assert within(lambda: "other" in jobs.begun)
    assert set(jobs.begun) == {"slow0", "slow1", "other"}


def test_what_nobody_wants_any_more_is_not_kept(jobs: Jobs) -> None:
    """Nor is there a second job of its key while the first one runs."""
    jobs.ask("slow", "x")
    jobs.background.drop(("file", "slow"))
    assert jobs.ask("slow", "x") is None  # wanted again
    assert within(lambda: jobs.begun == ["slow"])
    jobs.background.drop(("file", "slow"))
    jobs.end("slow")
    assert within(lambda: not jobs.background._jobs)
    for name in ("a", "b", "waits"):
        jobs.ask(name, "x")
    jobs.background.drop(("file", "waits"))
    jobs.end("a")
    assert within(lambda: jobs.ask("a", "x") == "a")
    assert "waits" not in jobs.begun


def test_kinds_do_not_wait_for_each_other(jobs: Jobs) -> None:
    for number in range(4):
        jobs.ask(f"slow{number}", f"thief{number}")
    assert within(lambda: jobs.background.poll(("trial", 1), lambda: 7) == 7)


def test_thousands_that_one_person_has_wait_cost_a_look_no_more_than_those_of_thousands() -> None:
    """A look asks for each. Choosing among all of them at each question took 1.2 s for 5,000, in every look."""

    def seconds(person: Callable[[int], str]) -> float:
        background, gate = Background({"file": Shares()}), Event()
        for _ in range(2):  # the first look makes the jobs
            began = time.monotonic()
            for number in range(4_000):
                background.poll(("file", number), gate.wait, person(number), f"host{number}")
        gate.set()
        return time.monotonic() - began

    assert seconds(lambda number: "thief") < 10 * seconds(str)


def test_who_may_begin_does_where_thousands_of_another_may_not(jobs: Jobs) -> None:
    """Also who shares the host of those that wait, once one of them ends."""
    for number in range(20):
        jobs.ask(f"slow{number}", "thief", "host")
    jobs.ask("other", "other", "host")
    jobs.ask("third", "other", "host")  # the host has its share
    assert within(lambda: len(jobs.begun) == 3)
    jobs.ask("honest", "honest", "elsewhere")
    assert within(lambda: jobs.begun[-1] == "honest")
    jobs.end("slow0")
    assert within(lambda: "third" in jobs.begun)


def test_a_job_makes_place_for_who_had_less_than_half_of_its_time(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    yields = jobs.background.yields
    for name, person in (("slow0", "thief"), ("slow1", "thief"), ("slow2", "thief")):
        jobs.ask(name, person)
    time.sleep(0.2)
    assert not yields(("file", "slow0"))  # there are places, which are not for that person
    jobs.ask("other", "other")
    jobs.ask("friend", "friend")
    jobs.ask("honest", "honest")
    assert yields(("file", "slow0"))
    assert not yields(("file", "slow2")) and not yields(("file", "honest"))  # they wait
    jobs.end("friend")
    assert within(lambda: "honest" in jobs.begun)
    jobs.background._taken["file", "friend"] = 1_000.0, time.monotonic()
    jobs.ask("again", "friend")
    assert not yields(("file", "honest"))
    jobs.background._taken["file", "friend"] = 0.01, time.monotonic()
    assert within(lambda: yields(("file", "honest")))  # once it has had twice as much
    assert not yields(("state", "honest"))


def test_what_somebody_had_is_forgotten(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or whoever takes a new name for each task would always come before who has worked here for a year."""
    jobs.ask("first", "honest")
    time.sleep(0.1)
    jobs.end("first")
    assert within(lambda: jobs.ask("first", "honest") == "first")
    assert jobs.background._had("file", "honest") > 0.09
    monkeypatch.setattr(background, "HALF", 0.01)
    assert within(lambda: jobs.background._had("file", "honest") < 0.001)
    assert jobs.background._had("file", "nobody") == 0
