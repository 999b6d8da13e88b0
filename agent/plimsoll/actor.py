"""
Lets the policies decide on each snapshot, and carries out what they want.

It owns the journal and the applier, and a thread of their own for them: a write that hangs in the kernel must not hang
the tick. It must not know any policy's reasons, nor how the outcome is shown.
"""

from __future__ import annotations

import errno
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from queue import Empty, SimpleQueue
from random import Random
from types import MappingProxyType
from typing import NamedTuple

from plimsoll.actuators.applier import Applier
from plimsoll.actuators.doubts import doubted
from plimsoll.actuators.evicting import Evictions, Evictor
from plimsoll.actuators.journal import Journal, State
from plimsoll.actuators.reclaimer import Reclaimer
from plimsoll.actuators.standing import Place
from plimsoll.config.schema import Config
from plimsoll.draining import Drained, drain
from plimsoll.kernel.cgroup import Hierarchies
from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.isst.registers import REGISTERS
from plimsoll.kernel.knob import Knobs
from plimsoll.kernel.proc import read_boot_id
from plimsoll.kernel.reclaim.damon import DamonMemory
from plimsoll.kernel.reclaim.mglru import GenerationalMemory
from plimsoll.kernel.speed_select import SpeedSelect
from plimsoll.log import Event, Log
from plimsoll.model.acting import Acting, Mode, Report, Status
from plimsoll.model.outcome import Outcome, outcome_of
from plimsoll.model.overcommit import ALARMS
from plimsoll.model.plan import Knob, Plan, Reclaimed, Result
from plimsoll.model.snapshot import Snapshot
from plimsoll.policies import registry
from plimsoll.sources.worker import Stuck, Worker

# A tick's writes take milliseconds; what takes this long is hung in the kernel.
ACT_DEADLINE = 10.0
# As long as DAMON's slow brake may take. A reclaim ends within seconds.
BRAKE_SECONDS = 15.0
# The kubelet gives thirty seconds from SIGTERM to SIGKILL, and the loop may be in an observation when it comes.
RESTORE_SECONDS = 10.0
# The deadline counts between two system calls.
RESTORE_GRACE_SECONDS = 1.0

# Reclaiming takes as long as it takes: the next tick only asks how far it has come. What it may do in one go is
# bounded so that it ends soon when it is not wanted any more.
RECLAIM_SECONDS = 5.0
RECLAIM_END_SECONDS = 5.0

# A preview reads every knob it names: as often as a person looks, not every tick.
PREVIEW_SECONDS = 10.0


class _Turn(NamedTuple):
    """What one tick's writing came to, with the figures as they were then: read by who writes, while nobody does."""

    results: tuple[Result, ...] = ()
    observed: tuple[Result, ...] = ()
    held: int = 0
    writes: Mapping[tuple[str, Knob, Outcome], int] = MappingProxyType({})
    drifts: Mapping[Knob, int] = MappingProxyType({})
    disabled: Mapping[Knob, int] = MappingProxyType({})


class Actor:
    """
    The hands of one agent on one host. ``evictor``: who evicts, ``None`` where nobody can.

    ``host``, ``hierarchies`` and ``speed_select`` stay the caller's. ``state_directory`` is a path below the host's
    root, whose lock the caller holds unless ``read_only``: then nothing is ever written, and :meth:`act` only says what
    would be.
    """

    def __init__(
        self,
        host: HostFs,
        hierarchies: Hierarchies,
        speed_select: SpeedSelect,
        state_directory: str,
        config: Config,
        *,
        clock: Callable[[], float] = time.monotonic,
        read_only: bool = False,
        evictor: Evictor | None = None,
    ) -> None:
        self._host = host
        self._hierarchies = hierarchies
        self._config = config
        self._enrolled = registry.configured(config)
        self._evictions = Evictions(None if read_only else evictor)
        self._reclaim_counts: Counter[tuple[str, Outcome]] = Counter()
        self._past: registry.Past = {}
        self._clock = clock
        self._read_only = read_only
        self._journal = _journal(host, state_directory, read_only=read_only)
        if self._journal.state in (State.QUARANTINED, State.NEWER):
            _log.warning(Event.JOURNAL_SET_ASIDE, state=self._journal.state, reason=self._journal.reason)
        self._applier = Applier(
            Knobs(host, hierarchies, lambda: speed_select.registers),
            self._journal,
            clock=clock,
            random=Random().random,
            pause=time.sleep,
        )
        self._adopted: tuple[Result, ...] | None = None
        self._adoption_told = False
        self.pace = math.inf
        """Within how many seconds the next snapshot is wanted."""
        self._previewed = Plan()
        self._preview_due = float("-inf")
        self._preview_results: tuple[Result, ...] = ()
        self._worker: Worker[tuple[Result, ...]] = Worker("act", clock)
        self._turns: SimpleQueue[_Turn] = SimpleQueue()
        self._last = _Turn(held=self._applier.held)
        self._damon: Worker[None] = Worker("damon", clock)
        selectors = (
            DamonMemory(host, hierarchies, apart=lambda change: self._damon.call(change, deadline=0.0)),
            GenerationalMemory(host, clock=clock),
        )
        self.reclaimer = Reclaimer(hierarchies, selectors, clock=clock)
        self._reclaims: Worker[None] = Worker("reclaim", clock)
        self._reclaiming_for = 0.0

    def reconfigure(self, config: Config) -> None:
        """From the next tick on. What a policy remembers is kept; what it no longer wants is put back."""
        self._config = config
        self._enrolled = registry.configured(config)

    def act(self, snapshot: Snapshot) -> Acting:
        """Decide, write, and say what became of it. Raises nothing a policy or the kernel may cause."""
        decisions, self._past = registry.decide(self._enrolled, snapshot, snapshot.monotonic, self._past)
        self.pace = self._wanted_pace(decisions.reports)
        for report in decisions.reports:
            if report.status is Status.SKIPPED:
                _log.error(
                    Event.POLICY_SKIPPED,
                    policy=report.policy,
                    reason=report.reason,
                    detail=report.detail,
                    limit=report.policy,
                )
        stuck = 0.0
        self._reclaim(decisions, frozenset(each.pod.uid for each in snapshot.pods))
        evicted = self._evictions.want(decisions.plan.evictions)
        would_evict = decisions.observed.evictions + (decisions.plan.evictions if self._read_only else ())
        self._evictions.observe(would_evict)
        if decisions.ready:
            doubts = doubted(snapshot.pods, decisions.plan)
            answer = self._worker.call(lambda: self._carry_out(decisions, doubts), ACT_DEADLINE)
            if isinstance(answer, Stuck):
                stuck = answer.seconds
                _log.warning(Event.SOURCE_STUCK, source="act", seconds=round(stuck, 1), limit="act")
            elif answer.error is not None:
                _log.error(Event.TICK_FAILED, source="act", error=repr(answer.error), limit="act")
        results, observed = self._come_to_an_end()
        for each in results:
            if each.outcome not in (Outcome.UNCHANGED, Outcome.OK, Outcome.GONE):
                _log.warning(
                    Event.WRITE_FAILED,
                    knob=each.write.knob,
                    target=each.write.target.path,
                    value=each.write.value,
                    found=each.after,
                    outcome=each.outcome,
                    limit=f"{each.write.knob} {each.outcome}",
                )
        return Acting(
            reports=decisions.reports,
            results=results,
            observed=observed,
            conflicts=decisions.plan.conflicts + decisions.observed.conflicts,
            held=self._last.held,
            writes=self._last.writes,
            drifts=self._last.drifts,
            disabled=self._last.disabled,
            journal=self._journal.state,
            journal_ok=self._journal.writable is Outcome.OK,
            stuck_seconds=stuck,
            adopted=self._adoption_news(),
            reclaimed=self._taken(),
            reclaims=dict(self._reclaim_counts),
            would_evict=would_evict,
            evicted=evicted,
            evictions=self._evictions.counts,
            evictions_observed=self._evictions.observed,
        )

    def _wanted_pace(self, reports: Sequence[Report]) -> float:
        # One that has nothing to decide on needs no hurry.
        acting = (each for each in reports if each.mode is Mode.ENFORCE and each.status is not Status.MISSING)
        names = {each.policy for each in acting}
        return min((each.pace for each in self._enrolled if each.policy.name in names), default=math.inf)

    def _reclaim(self, decisions: registry.Decisions, known: frozenset[str]) -> None:
        """Have memory reclaimed beside the tick. While the last time is not over nothing is added to it."""
        if self._read_only:
            return
        plan = decisions.plan
        # A request is made once, and takes longer than a tick: it goes on while its pod is watched and nothing alarms.
        alarmed = any(each.overcommit and each.overcommit.pause in ALARMS for each in decisions.reports)
        self.reclaimer.want(() if alarmed else (each.pod for each in plan.watches))
        # A slow brake is told by the thread that reclaims; while that hangs, there is the fast one only.
        hung = self._reclaiming_for > BRAKE_SECONDS
        self.reclaimer.keep(each.pod for each in plan.watches if not each.halt and (each.rate > 0 or not hung))
        if not plan.watches and not self.reclaimer.watching:
            return
        answer = self._reclaims.call(lambda: self._run_reclaims(plan, known), deadline=0.0)
        self._reclaiming_for = answer.seconds if isinstance(answer, Stuck) else 0.0

    def _run_reclaims(self, plan: Plan, known: frozenset[str]) -> None:
        try:
            before = self.reclaimer.failing
            self.reclaimer.run(plan.watches, plan.reclaims, RECLAIM_SECONDS, known)
            for each in set(self.reclaimer.failing) - set(before):
                _log.warning(Event.SELECTOR_FAILED, selector=each, limit=each)
        except Exception:  # noqa: BLE001 - nobody waits for this call, so nobody else would hear of it
            _log.exception(Event.TICK_FAILED, source="reclaim", limit="reclaim")

    def _taken(self) -> tuple[Reclaimed, ...]:
        taken = self.reclaimer.take()
        for each in taken:
            self._reclaim_counts[each.reclaim.policy, each.outcome] += 1
        return taken

    def _adoption_news(self) -> tuple[Result, ...]:
        """Also when the tick that adopted took too long for its own results to be told."""
        if self._adopted is None or self._adoption_told:
            return ()
        self._adoption_told = True
        return self._adopted

    def _come_to_an_end(self) -> tuple[tuple[Result, ...], tuple[Result, ...]]:
        """What was carried out and previewed since this was asked last: also by a tick that was late for its own."""
        results: tuple[Result, ...] = ()
        observed: tuple[Result, ...] = ()
        with suppress(Empty):
            while True:
                self._last = self._turns.get_nowait()
                results, observed = results + self._last.results, self._last.observed
        return results, observed

    def _carry_out(self, decisions: registry.Decisions, doubts: AbstractSet[Place]) -> tuple[Result, ...]:
        applier = self._applier
        if self._read_only:
            results = applier.preview(decisions.plan)
        else:
            if self._adopted is None:
                self._adopted = applier.adopt()
            results = applier.execute(decisions.plan, doubted=doubts)
        observed = self._preview(decisions.observed)
        figures = dict(applier.writes), dict(applier.drifts), dict(applier.disabled)
        self._turns.put(_Turn(results, observed, applier.held, *figures))
        return results

    def _preview(self, plan: Plan) -> tuple[Result, ...]:
        now = self._clock()
        if plan != self._previewed or now >= self._preview_due:
            self._previewed, self._preview_due = plan, now + PREVIEW_SECONDS
            # What is held belongs to the policies that enforce.
            self._preview_results = self._applier.preview(plan, releases=False)
        return self._preview_results

    def drain(self) -> Drained | None:
        """
        Bring back what is on the swap device, where that is configured; to be called before :meth:`restore`.

        ``None``: it is not, or there is nothing to do.
        """
        config = self._config.overcommit
        if self._read_only or config.mode != "enforce" or config.on_exit != "drain":
            return None
        self.reclaimer.want(())
        if not (self._reclaims.settle(RECLAIM_END_SECONDS) and self._worker.settle(ACT_DEADLINE)):
            _log.error(Event.DRAIN_ENDED, reason="a write to the kernel does not come back")
            return None
        worker: Worker[Drained | None] = Worker("drain", self._clock)
        answer = worker.call(
            lambda: drain(self._applier, self._host, self._hierarchies, config, self._clock),
            config.drain_timeout + ACT_DEADLINE,
        )
        worker.stop()
        if isinstance(answer, Stuck) or answer.error is not None:
            _log.error(Event.DRAIN_ENDED, reason=repr(getattr(answer, "error", "stuck")))
            return None
        if answer.value is not None:
            told = _log.info if answer.value.outcome is Outcome.OK else _log.warning
            event = Event.DRAINED if answer.value.outcome is Outcome.OK else Event.DRAIN_ENDED
            told(event, outcome=answer.value.outcome, left_bytes=answer.value.left, reason=answer.value.detail)
        return answer.value

    def restore(self, seconds: float = RESTORE_SECONDS, *, kept: bool = False) -> tuple[Result, ...]:
        """
        Put back everything that still is as we left it, within ``seconds``; ``kept``: also what is meant to stay.

        What could not be put back stays in the journal. Results of a tick that was late come first.
        """
        if self._read_only:
            return ()
        # Neither what pages out by itself nor a request under way must go on while limits are lifted.
        self.reclaimer.keep(())
        self.reclaimer.want(())
        end = self._clock() + seconds
        # The last tick may only be late. What it has yet to write is to be put back, too.
        self._worker.settle(seconds)
        late, _ = self._come_to_an_end()
        if not self._applier.held:
            return late
        answer = self._worker.call(
            lambda: self._applier.restore(end, kept=kept), max(0.0, end - self._clock()) + RESTORE_GRACE_SECONDS
        )
        if isinstance(answer, Stuck) or answer.value is None:
            _log.error(Event.RESTORE_FAILED, held=self._applier.held, error=repr(getattr(answer, "error", "stuck")))
            return late
        back = answer.value
        _log.info(Event.RESTORED, restored=sum(each.outcome is Outcome.OK for each in back), left=self._applier.held)
        return late + back

    def registers_held(self) -> bool:
        """Whether the journal has registers of Speed Select to put back. May be asked from any thread."""
        # Copied in one step: whoever writes adds to it meanwhile.
        return any(key.knob in REGISTERS for key in tuple(self._journal.originals))

    @property
    def held(self) -> int:
        """How many knobs there are to put back."""
        return self._applier.held

    @property
    def staying(self) -> int:
        """How many of them cannot be taken back, or shall not."""
        return self._applier.staying

    @property
    def enforces(self) -> bool:
        """Whether any policy may write."""
        return any(each.mode is Mode.ENFORCE for each in self._enrolled)

    def close(self) -> None:
        """Let go of the journal. Puts nothing back, but for what selectors have set in the kernel."""
        self.reclaimer.want(())
        if self._reclaims.settle(RECLAIM_END_SECONDS):
            self.reclaimer.close()
        else:
            _log.error(Event.SOURCE_STUCK, source="reclaim", seconds=RECLAIM_END_SECONDS)
        self._reclaims.stop()
        self._damon.stop()
        self._worker.stop()
        self._journal.close()


def _journal(host: HostFs, state_directory: str, *, read_only: bool) -> Journal:
    boot = read_boot_id(host) or "unknown"
    try:
        descriptor = host.open(state_directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        outcome = outcome_of(error.errno or errno.EIO)
        if outcome is Outcome.MISSING and read_only:
            # The agent makes it when it starts.
            outcome = Outcome.OK
        # Else a journal that cannot be written lets nothing be touched; the capability `state-directory` says why.
        return Journal(None, boot, unusable=outcome, read_only=read_only)
    try:
        return Journal.open(descriptor, boot, fault=host.fault, read_only=read_only)
    finally:
        os.close(descriptor)


_log = Log("actor")
