"""
Runs in the guest: the kernel half of overcommit, one call at a time; prints what it answered as JSON.

    paging.py on DEVICE                       swapon
    paging.py off DEVICE FLOOR                swapoff, if FLOOR bytes stay free
    paging.py sample DEVICE ROOT HOLDERS      the device after two rounds; HOLDERS: {cgroup: role}
    paging.py reclaim CGROUP SIZE [SWAPPINESS]
    paging.py cold CGROUP INTERVAL PASSES     what is cold after each pass, with a window of two intervals
"""

import json
import sys
import time
from collections.abc import Callable

from plimsoll.kernel.cgroup import Hierarchies
from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.reclaim.mglru import GenerationalMemory
from plimsoll.kernel.reclaim.wording import Wording
from plimsoll.kernel.swap import DedicatedSwap
from plimsoll.kernel.swap_activation import swapoff, swapon
from plimsoll.kernel.swap_device import Device, DeviceName, identify
from plimsoll.kernel.swap_rounds import CONFIRM_SECONDS, Holder, Role
from plimsoll.model.plan import Selector, Watch, cgroup


def device(host: HostFs, name: str) -> Device:
    found = identify(host, DeviceName.parse(name))
    assert isinstance(found, Device), found
    return found


def on(host: HostFs, hierarchies: Hierarchies, name: str) -> object:
    return swapon(host, device(host, name))._asdict()


def off(host: HostFs, hierarchies: Hierarchies, name: str, floor: str) -> object:
    return swapoff(host, hierarchies, device(host, name), floor=int(floor))._asdict()


def sample(host: HostFs, hierarchies: Hierarchies, name: str, root: str, pods: str) -> object:
    swap = DedicatedSwap(host, hierarchies, name)
    assert hierarchies.unified is not None
    for turn in range(2):
        holders = [
            Holder(path, Role(role), int(hierarchies.unified.read(f"{path}/memory.swap.current").text() or ""))
            for path, role in json.loads(pods).items()
        ]
        seen = swap.sample([root], holders, turn * CONFIRM_SECONDS)
    return {name: getattr(seen, name) for name in seen.__slots__}


def reclaimed(host: HostFs, hierarchies: Hierarchies, path: str, size: str, *swappiness: str) -> object:
    assert hierarchies.unified is not None
    with hierarchies.unified.directory(path) as directory:
        return Wording().reclaim(directory, int(size), *(int(each) for each in swappiness))._asdict()


def cold(host: HostFs, hierarchies: Hierarchies, path: str, interval: str, passes: str) -> object:
    seconds = float(interval)
    memory = GenerationalMemory(host, clock=time.monotonic, rest=seconds)
    memory.watch([Watch("pod", (cgroup(path),), Selector.MGLRU, "overcommit", window=2 * seconds)])
    found = []
    due = time.monotonic()
    for _ in range(int(passes)):
        time.sleep(max(0.0, due - time.monotonic()))
        now = time.monotonic()
        due = now + seconds
        begun = time.process_time()
        memory.advance(now)
        found.append([memory.cold("pod"), time.process_time() - begun])
    return {"outcome": memory.outcome, "passes": found}


COMMANDS: dict[str, Callable[..., object]] = {
    "on": on,
    "off": off,
    "sample": sample,
    "reclaim": reclaimed,
    "cold": cold,
}

if __name__ == "__main__":
    with HostFs() as host, Hierarchies.detect(host) as hierarchies:
        print(json.dumps(COMMANDS[sys.argv[1]](host, hierarchies, *sys.argv[2:])))
