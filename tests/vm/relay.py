"""
One connection of a guest, carried on to a port of this machine's loopback; QEMU starts one for each (``guestfwd``).

    python -I relay.py PORT

Only the standard library. The connection is standard input and output, and standard error, too: nothing is printed.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading

CHUNK = 1 << 16


def carry(source: socket.socket, target: socket.socket) -> None:
    """Everything from one to the other until the one ends; the other then gets an end as well."""
    with contextlib.suppress(OSError):  # either side may hang up at any moment
        while data := source.recv(CHUNK):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def main(port: int) -> None:
    guest = socket.socket(fileno=0)
    try:
        server = socket.create_connection(("127.0.0.1", port))
    except OSError:
        # The guest sees a connection that ends at once: nobody listens.
        return
    # A thread that still waits for the guest does not hold up the end: the server's is the end of both.
    threading.Thread(target=carry, args=(guest, server), daemon=True).start()
    carry(server, guest)


if __name__ == "__main__":
    main(int(sys.argv[1]))
