"""
Runs in the guest: how regularly the agent observes, as its endpoint shows it.

    ticks.py SECONDS URL     JSON: ticks, and the longest time in seconds in which no new one was seen
"""

import json
import re
import sys
import time
import urllib.request

LOOK_SECONDS = 0.2


def ticks(url: str) -> int:
    with urllib.request.urlopen(url, timeout=60) as answer:
        page = answer.read().decode()
    found = re.search(r"^plimsoll_ticks_total (\S+)$", page, re.MULTILINE)
    if found is None:
        raise ValueError(f"no count of ticks in:\n{page}")
    return int(float(found[1]))


def main() -> None:
    seconds, url = float(sys.argv[1]), sys.argv[2]
    first = last = ticks(url)
    begun = seen = time.monotonic()
    longest = 0.0
    while (now := time.monotonic()) < begun + seconds:
        found = ticks(url)
        if found != last:
            last, seen = found, now
        longest = max(longest, now - seen)
        time.sleep(LOOK_SECONDS)
    json.dump({"ticks": last - first, "longest": longest}, sys.stdout)


if __name__ == "__main__":
    main()
