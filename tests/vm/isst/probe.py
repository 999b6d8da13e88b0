"""
Runs in the guest: ioctls of /dev/isst_interface as given, in one process.

    probe.py '[[REQUEST, HEX], ...]'

Prints for each the answer or minus the errno, and the structure afterwards in hexadecimal digits.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys


def main(requests: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """What each answered."""
    file = os.open("/dev/isst_interface", os.O_RDWR)
    found = []
    for request, content in requests:
        buffer = bytearray.fromhex(content)
        try:
            result = fcntl.ioctl(file, request, buffer, True)
        except OSError as error:
            result = -(error.errno or 0)
        found.append((result, buffer.hex()))
    return found


if __name__ == "__main__":
    json.dump(main(json.loads(sys.argv[1])), sys.stdout)
