"""What a worker computes: it checks tasks, trains and audits, and notes the results."""

from __future__ import annotations

from typing import Final

from offchain.commit.closing import Reached
from offchain.commit.logs import LogChunk
from offchain.errors import OffchainError, Unreachable
from offchain.market.notes import Notes
from offchain.market.view import ChainView, Status, TaskView
from offchain.worker.claimed import NotAhead, OutputWrong
from offchain.worker.course import Course
from offchain.worker.database import LONGEST_REST, Database
from offchain.worker.events import (
    Audited,
    Computing,
    NotJudged,
    Progress,
    Purpose,
    TaskFit,
    TaskUnfit,
    Tell,
    Trained,
)
from offchain.worker.fit import Unfit, needs, require_fit
from offchain.worker.materials import Materials
from offchain.worker.names import state_name
from offchain.worker.options import WorkerOptions

NOT_REACHED: Final = b""  # in place of a root: a step before it contradicts the one on chain


class Work:
    """Turns task files into roots and verdicts, and writes those into the database, from which roles decide."""

    def __init__(self, materials: Materials, db: Database, options: WorkerOptions, tell: Tell) -> None:
        self._materials, self._db, self._options, self._tell = materials, db, options, tell
        self._courses: dict[tuple[str, int], Course] = {}  # (purpose, task)
        self._over: set[int] = set()  # tasks whose files were removed
        self._logs: dict[tuple[int, int], LogChunk] = {}  # ends of logs of replayed intervals, by task and checkpoint
        self._pruned: dict[int, int] = {}  # task -> how many of its first states were removed
        self._left: dict[int, str] = {}  # task -> why it was left alone when that was told
        self._before: tuple[TaskView, ...] = ()  # the tasks of the last look

    def notes(self, view: ChainView) -> Notes:
        """What this worker has noted of every task."""
        disputed: dict[int, set[int]] = {}
        for task_id, attempt, checkpoint in view.opened:
            if task_id in view and view.task(task_id).attempt == attempt:
                disputed.setdefault(task_id, set()).add(checkpoint)
        noted = self._db.noted() | disputed.keys()
        return {
            task_id: self._db.notes(view.task(task_id), disputed.get(task_id, ()))
            for task_id in noted
            if task_id in view
        }

    def fetch(self, task: TaskView) -> None:
        """Fetch the task's file, try it, and note the verdict. One whose cause is not in the task holds for a while."""
        try:
            figures = self._materials.judge(task)
            if figures is None:
                return
            require_fit(figures, task.terms, self._options)
        except Unfit as error:
            self._db.set_unfit(task)
            self._materials.forget_file(task.terms)
            self._leave(task, str(error))
        except (OffchainError, OSError, MemoryError) as error:
            rest = self._db.add_failure(task, _rest(task, error))
            self._leave(task, str(error) or type(error).__name__, rest)
        else:
            self._left.pop(task.id, None)
            self._db.set_fit(task, needs(figures, task.terms, self._options))
            self._tell(TaskFit(task.id, f"{figures.cost.plain:.3g} s a step"))

    def _leave(self, task: TaskView, why: str, rest: float | None = None) -> None:
        """Tell why a task is left alone, once for each reason: it may be tried for as long as it is there."""
        if self._left.get(task.id) != why:
            self._left[task.id] = why
            self._tell(TaskUnfit(task.id, why, rest))

    def prepare(self, task: TaskView) -> bool:
        """Open a task that this account is about to get, so that it can be computed at once. False as in `train`."""
        return self._materials.open(task) is not None

    def train(self, task: TaskView, checkpoint: int, seconds: float) -> bool:
        """Compute towards a checkpoint for a while. False while files for it are being fetched."""
        course = self._course("train", task, checkpoint)
        if course is None:
            return False

        def keep(end: Reached) -> None:
            self._materials.store(task.terms, course.task.graph, end.state, end.tree, course.task)

        reached = course.work(seconds, keep)
        self._tell(Progress(task.id, "train", course.done, task.terms.steps))
        if reached is not None:
            self._db.add_trained(task, reached.checkpoint, reached.root, state_name(task.terms, reached.root))
            self._tell(Trained(task.id, reached.checkpoint, reached.root))
        return True

    def audit(self, task: TaskView, checkpoint: int, seconds: float) -> bool:
        """Replay towards a checkpoint for a while; judge it and those on the way. False as in `train`."""
        course = self._course("audit", task, checkpoint)
        if course is None or not self._is_told(task, course) or not self._is_settled(task, course):
            return False

        def keep(end: Reached) -> None:
            if end.root == task.checkpoints[end.checkpoint].root:
                lo, hi = task.terms.steps_of(end.checkpoint)
                shown = LogChunk.of(end.state[-1], end.tree, task.terms.interval, hi - lo)
                self._logs[task.id, end.checkpoint] = shown
                self._materials.store(task.terms, course.task.graph, end.state, end.tree)

        reached = course.work(seconds, keep)
        self._tell(Progress(task.id, "audit", course.done, task.terms.steps))
        if course.wrong is not None:
            self._tell(OutputWrong(task.id, course.wrong // task.terms.interval, course.wrong))
            course.wrong = None
        if course.failed is not None:
            self._tell(NotAhead(task.id, *course.failed))
            course.failed = None
        if reached is not None:
            self._verdict(task, course, reached.checkpoint, reached.root)
        elif course.contradicted is not None and course.due == course.checkpoint:
            self._verdict(task, course, course.due, NOT_REACHED)
        return True

    def _verdict(self, task: TaskView, course: Course, k: int, computed: bytes) -> None:
        claimed = task.checkpoints[k].root
        right = computed == claimed
        shown = self._logs.pop((task.id, k), None)
        vouches = task.terms.audit_fee and self._options.signing_key is not None
        if right and shown is not None and vouches:  # its lot may win later: of this attempt or the next
            self._db.add_log(task, k, shown)  # before anything is committed to
        self._db.add_audited(task, k, right)
        self._tell(Audited(task.id, k, right, claimed, computed))
        if right:
            self._materials.claims.drop(task, k)
            return
        self._courses.pop(("audit", task.id), None)
        if k < course.target:
            # The solver's own states after a wrong checkpoint are known only to the solver, who withholds them. So
            # later checkpoints cannot be judged; only the first wrong one is challenged.
            self._db.add_audited(task, course.target, True)
            self._tell(NotJudged(task.id, course.target, "the state before it is withheld"))

    def _course(self, purpose: Purpose, task: TaskView, checkpoint: int) -> Course | None:
        """The course towards a checkpoint, begun if necessary; None while files for it are being fetched."""
        course = self._courses.get((purpose, task.id))
        asked = course is not None and course.due <= checkpoint and checkpoint in (course.due, course.target)
        if course is not None and asked and course.follows(task):
            course.target = checkpoint
            return course
        opened = self._materials.open(task)
        if opened is None:
            return None
        start = self._materials.start(task, opened, checkpoint, self.own_roots(task))
        if start is None:
            return None
        course = Course(opened.task, opened.executor, start, checkpoint, task.terms, ahead=purpose == "train")
        self._courses[purpose, task.id] = course
        self._tell(Computing(task.id, purpose, checkpoint, course.done))
        return course

    def _is_told(self, task: TaskView, course: Course) -> bool:
        """Whether it is known what the solver says, if anything, of the intervals that are about to be audited."""
        opened = self._materials.open(task)
        for k in range(course.checkpoint, course.target + 1 if course.told else 0):
            if k not in course.claims:
                claim = self._materials.claims.of(task, opened.task, opened.executor, k) if opened else None
                if claim is None:
                    return False
                course.claims[k] = claim
        return True

    def _is_settled(self, task: TaskView, course: Course) -> bool:
        """Whether there is no doubt, or the state that is claimed has ended it, or nobody shows that in time."""
        if course.doubt is not None:
            end = self._materials.claims.end(task, course.task, course.checkpoint)
            if end is None:
                return False
            course.settle(end)
        return True

    def own_roots(self, task: TaskView) -> dict[int, bytes]:
        return {k: root for k, (root, _) in self._db.trained_blobs(task).items()}

    def tidy(self, view: ChainView) -> None:
        """Free what tasks that are over hold; remove states that are paid for, but for each task's last one."""
        disputed = {d.task_id for d in view.disputes if view.me in (d.solver, d.challenger)}
        owed = {task_id for task_id, _ in view.denied}  # what was signed for may have to be shown
        signed = {task_id for task_id, *_ in view.seats if task_id in view and self._db.signed(view.task(task_id))}
        needed = disputed | owed | signed
        self._materials.need(task.terms for task in view.tasks if task.id in needed or view.engaged(task))
        self._materials.tidy(view)
        gone = [task for task in self._before if task.id not in view]  # others' tasks, in which nothing is left to do
        self._before = view.tasks
        for task in (*view.tasks, *gone):
            over = (task.id not in view or task.status.ended) and task.id not in owed
            if over or (task.status is Status.BIDDING and task.leader != view.me):  # another's bid is better, or may be
                self._courses.pop(("train", task.id), None)
                self._courses.pop(("audit", task.id), None)
                self._materials.close_task(task)
            if over and task.id not in self._over:
                self._over.add(task.id)
                self._left.pop(task.id, None)
                self._end(task, own=task.solver == view.me)
            if task.id not in view or not over:
                self._over.discard(task.id)  # it may come back
            first = max(task.paid - 1, 0)  # the last paid state is kept: the next interval, or the requester, needs it
            pruned = self._pruned.get(task.id, 0)
            if first > pruned:
                self._materials.forget_states(task.terms, [point.root for point in task.checkpoints[pruned:first]])
                self._pruned[task.id] = first
            if task.id not in view:
                self._pruned.pop(task.id, None)

    def _end(self, task: TaskView, own: bool) -> None:
        """Free the disk of a task that is over. What others may want of one that was trained to its end is kept."""
        roots = [point.root for point in task.checkpoints]
        if self._options.keep and len(roots) == task.terms.intervals:
            self._materials.keep_on(task.terms, roots.pop())
        else:
            self._materials.forget_file(task.terms)
        if not own:  # only its solver owes the requester a state
            self._materials.forget_states(task.terms, roots)


def _rest(task: TaskView, error: Exception) -> float:
    """Most seconds until the next try of a task: a server that was away may be back while its file is still of use."""
    span = task.terms.bidding_time if task.status is Status.BIDDING else task.terms.challenge_window
    return span / 8 if isinstance(error, Unreachable) else LONGEST_REST
