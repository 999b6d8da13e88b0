"""
Frequency groups: high-priority pods on fast CPUs, low-priority ones on slow CPUs, and as many fast ones as are needed.

Decides only; ``docs/policies/frequency.md`` is the contract with administrators and pod owners. At no instant may a
high-priority pod that was steered run on a CPU that was made slow.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from plimsoll.config.frequency_section import FrequencySection
from plimsoll.model.acting import Note
from plimsoll.model.frequency import Backend, FrequencySample, Unit
from plimsoll.model.frequency_groups import Cause, FrequencyGroups
from plimsoll.model.plan import Knob
from plimsoll.model.snapshot import Snapshot
from plimsoll.policies.frequency_ceiling import low_ceiling, shared_ceiling
from plimsoll.policies.frequency_demand import Demand, measure
from plimsoll.policies.frequency_figures import SENTENCES, figures
from plimsoll.policies.frequency_groups import STRAY_SECONDS, Ground, Groups, regroup, settle
from plimsoll.policies.frequency_place import Site, crossing, place
from plimsoll.policies.frequency_roles import Home, Roles, homes, node_of, reach, requested, roles
from plimsoll.policies.frequency_size import Group, Size, Wish, resize
from plimsoll.policies.frequency_writes import CPUSET_V1, CPUSET_V2, Scheme, writes
from plimsoll.policies.policy import Decision, Policy

NAME = "frequency"
EXCLUSIVE = "frequency-exclusive"
"""What is lacking while somebody else manages Speed Select; no probe can tell it once and for all."""

MANAGED_ELSEWHERE = "FrequencyManagedElsewhere"
NOT_STEERED = "FrequencyNotSteered"
REASONS = (MANAGED_ELSEWHERE, NOT_STEERED)
"""Every reason a note of this policy may carry."""


class State(NamedTuple):
    """
    ``homes``: see :func:`frequency_roles.homes`. ``armed``: a unit was slow once, so the hardware heeds classes.
    ``turbo``: packages whose turbo frequency was wanted once. ``cause``: why the high group is as it is; ``moves``:
    units that joined or left it so far.
    """

    size: Size = Size()
    groups: Groups = Groups()
    homes: tuple[tuple[str, Home], ...] = ()
    armed: bool = False
    turbo: frozenset[int] = frozenset()
    cause: Cause | None = None
    moves: int = 0


def decide(snapshot: Snapshot, config: FrequencySection, state: State) -> Decision[State]:
    """Everything this policy wants of the node that the snapshot shows."""
    sample = snapshot.node.frequency
    available = frozenset(each.name for each in snapshot.capabilities if each.available)
    lacking = () if available & {CPUSET_V1, CPUSET_V2} else (CPUSET_V2,)
    if sample is None or sample.backend is Backend.NONE or not sample.units or lacking:
        # Slow CPUs without pods kept off them would be worse than none.
        return Decision((), State(), lacking=lacking or ("frequency",))
    pods = roles(snapshot.pods, config)
    if sample.foreign:
        return Decision((), State(), tuple(_elsewhere(pods, sample)), (EXCLUSIVE,))
    known = homes(snapshot.pods, sample.units, state.homes)
    ground = Ground(sample, sample.units, _lowerable(sample, config, pods), pods, snapshot.monotonic, config.cool_down)
    settled = settle(state.groups, ground)
    turbo = state.turbo & {each for each, buckets in sample.buckets.items() if buckets}
    demand = measure(pods.high, dict(known), frozenset(map(node_of, sample.units)), config)
    site = _site(ground, settled, demand, turbo, config)
    wish, size = _wish(ground, settled.high, demand, site, config=config, size=state.size)
    high = place(settled.high, wish.cpus, site)
    if pods.high and not site.cpus(high):
        # Not one CPU for them, all taken by the kubelet or not to be made fast: then let everything be fast.
        high = frozenset(each.name for each in site.units)
    groups = regroup(state.groups, settled, high, ground)
    cause, moves = state.cause, state.moves + len(high ^ state.groups.high)
    if high != state.groups.high:
        size, cause = size._replace(changed=snapshot.monotonic), wish.cause
    armed = state.armed or bool(groups.low)
    turbo = _turbo(ground, groups, turbo, config) if armed else frozenset()
    why = "" if cause is None else SENTENCES[cause]
    scheme = Scheme(NAME, ground, groups, site.cpus(high), dict(known), turbo, armed, why)
    busy = demand.known and demand.used >= config.grow_above * len(site.cpus(high))
    found = FrequencyGroups(
        sample.backend,
        figures(ground, groups, config, busy=busy),
        wish.cpus,
        demand.used if demand.known else None,
        moves,
        cause,
    )
    return Decision(
        writes(scheme, config, available),
        State(size, groups, known, armed, turbo, cause, moves),
        tuple(_not_steered(groups, snapshot.monotonic)),
        frequency=found,
    )


def _lowerable(sample: FrequencySample, config: FrequencySection, pods: Roles) -> dict[str, int]:
    """By unit, the ceiling it would have in the low group. What the kubelet gave to one container alone stays fast."""
    domains: dict[object, list[Unit]] = {}
    for each in sample.units:
        # A class of service has one ceiling in all of its domain; a policy of cpufreq has its own.
        key = each.name if sample.backend is Backend.CPUFREQ else (each.package, each.domain)
        domains.setdefault(key, []).append(each)
    found: dict[str, int] = {}
    for units in domains.values():
        choose = shared_ceiling(units, config.low_group_max_mhz)
        if sample.backend is Backend.CPUFREQ:
            choose = low_ceiling(units[0], config.low_group_max_mhz)
        if choose is not None:
            found.update((each.name, choose) for each in units if each.cpus and not each.cpus & pods.taken)
    return found


def _site(ground: Ground, settled: Groups, demand: Demand, turbo: frozenset[int], config: FrequencySection) -> Site:
    exclusive = frozenset(each.name for each in ground.units if each.cpus & ground.pods.exclusive)
    able = tuple(each for each in ground.units if each.name in ground.lowerable or each.name in exclusive)
    free = sum(1 for each in able if each.name not in exclusive)
    most = max(min(math.floor(config.max_high_ratio * free), free - config.min_low_units), 1)
    pull = demand.pull
    if not ground.pods.high and able:
        # Where the next one will be is not known.
        pull = {node_of(next((each for each in able if each.name in settled.high), able[0])): 1.0}
    return Site(
        units=able,
        fixed=exclusive,
        closed=frozenset(name for name, _ in settled.refused),
        ready=frozenset(each.name for each in able) - settled.low,
        taken=ground.pods.taken,
        pull=pull,
        least=demand.local,
        least_units=config.min_high_units,
        most=most + len(exclusive),
        buckets={each: ground.sample.buckets.get(each, ()) for each in turbo},
    )


def _wish(
    ground: Ground, current: frozenset[str], demand: Demand, site: Site, *, config: FrequencySection, size: Size
) -> tuple[Wish, Size]:
    total, largest = requested(ground.pods.high)
    cpus = site.cpus(current)
    everything = ground.everything
    group = Group(
        cpus=len(cpus),
        floor=max(config.request_floor_ratio * total, math.ceil(largest), float(bool(ground.pods.high))),
        grain=max((len(each.cpus) for each in site.units), default=1),
        confined=all(reach(each, everything) <= cpus for each in ground.pods.high) and bool(cpus),
        crossing=crossing(current, site),
    )
    wish, following = resize(group, demand, ground.now, config, size)
    if size.changed is None and ground.pods.high:
        # How much was used before is not known: begin with all there may be, and find out.
        wish = Wish(float(len(everything)), Cause.START)
    return wish, following


def _turbo(ground: Ground, groups: Groups, before: frozenset[int], config: FrequencySection) -> frozenset[int]:
    """Packages whose turbo frequency is to be on. Once it is, it stays: every change costs all of the package."""
    if config.turbo_frequency == "off":
        return frozenset()
    found = set(before)
    for package, buckets in ground.sample.buckets.items():
        if not buckets:
            continue
        fast = sum(1 for each in ground.units if each.package == package and each.name not in groups.low)
        if config.turbo_frequency == "on" or fast <= buckets[-1].units:
            found.add(package)
    return frozenset(found)


def _elsewhere(pods: Roles, sample: FrequencySample) -> list[Note]:
    message = f"Somebody else manages the CPU frequencies of this node, and is left to it: {sample.foreign}"
    return [Note(each.pod.uid, MANAGED_ELSEWHERE, message) for each in pods.high]


def _not_steered(groups: Groups, now: float) -> list[Note]:
    return [
        Note(
            uid,
            NOT_STEERED,
            "This pod has high priority, but its cpuset does not keep it on fast CPUs: somebody else writes it, or the "
            "kernel refuses it. Every CPU it may run on is kept fast meanwhile.",
        )
        for uid, since in groups.strays
        if now - since >= STRAY_SECONDS
    ]


POLICY: Policy[FrequencySection, State] = Policy(
    name=NAME,
    # A little less than a second: a tick that comes early must not wait for the next one.
    interval=0.9,
    needs=("cgroup", "kubepods", "frequency"),
    bounds=frozenset(
        {
            Knob.CLOS_ASSOCIATION,
            Knob.CLOS_PARAMETERS,
            Knob.CORE_POWER,
            Knob.TURBO_FREQUENCY,
            Knob.TURBO_LIMITS,
            Knob.SCALING_MAX_FREQ,
            Knob.SCALING_MIN_FREQ,
            Knob.ENERGY_PREFERENCE,
            Knob.CPUSET_CPUS,
        }
    ),
    initial=State(),
    decide=decide,
)
