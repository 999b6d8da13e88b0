"""
Runs in the guest: sends a list of requests to server.py, prints the list of answers.

    ask.py SOCKET '[{"do": ...}, ...]'

Apart from the server, for its imports take a second where the processor is emulated.
"""

import socket
import sys

with socket.socket(socket.AF_UNIX) as client:
    client.connect(sys.argv[1])
    client.sendall(f"{sys.argv[2]}\n".encode())
    with client.makefile("rb") as answers:
        sys.stdout.buffer.write(answers.read())
