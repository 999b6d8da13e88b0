"""
Runs in the guest: does what the host asks over a virtio-serial port, one request at a time.

Owns the guest's end of the protocol (the host's is tests/vm/channel.py). Only the standard library of the guest's
Python; it must not know Plimsoll.

A frame is the lengths of header and payload (big-endian, 4 and 8 bytes), a JSON header and the payload. Requests:
``run`` (argv, timeout in seconds, env; the payload is standard input), ``push`` (path, mode; the payload is the
content), ``pull`` (path). A reply carries the request's number, or ``error`` where the operation could not be done.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import tempfile
from pathlib import Path
from typing import Any, BinaryIO

PORT = "plimsoll"
HOME = "/root"
LENGTHS = struct.Struct(">IQ")
Header = dict[str, Any]


def port() -> Path:
    """The device of the port with our name. Raises FileNotFoundError."""
    for name in Path("/sys/class/virtio-ports").glob("*/name"):
        if name.read_text().strip() == PORT:
            return Path("/dev") / name.parent.name
    raise FileNotFoundError(f"no virtio-serial port is called {PORT}")


def receive(stream: BinaryIO) -> tuple[Header, bytes]:
    """The next request. Raises EOFError when the host has closed its end."""
    header, payload = LENGTHS.unpack(exactly(stream, LENGTHS.size))
    return json.loads(exactly(stream, header)), exactly(stream, payload)


def exactly(stream: BinaryIO, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        more = stream.read(size - len(data))
        if not more:
            raise EOFError
        data += more
    return bytes(data)


def send(stream: BinaryIO, header: Header, payload: bytes = b"") -> None:
    encoded = json.dumps(header).encode()
    frame = memoryview(LENGTHS.pack(len(encoded), len(payload)) + encoded + payload)
    while frame:
        frame = frame[stream.write(frame) :]


def run(request: Header, stdin: bytes) -> tuple[Header, bytes]:
    # Files, not pipes: a program that the script leaves in the background must not hold the answer back.
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors, tempfile.TemporaryFile() as given:
        given.write(stdin)
        given.seek(0)
        child = subprocess.Popen(
            request["argv"],
            stdin=given,
            stdout=output,
            stderr=errors,
            env={**os.environ, **request["env"]},
            cwd=HOME,
            start_new_session=True,
        )
        try:
            status: int | None = child.wait(request["timeout"])
        except subprocess.TimeoutExpired:
            status = None
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        output.seek(0)
        errors.seek(0)
        text = output.read()
        return {"status": status, "stdout": len(text)}, text + errors.read()


def push(request: Header, content: bytes) -> tuple[Header, bytes]:
    path = Path(request["path"])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(request["mode"])
    return {}, b""


def pull(request: Header, _payload: bytes) -> tuple[Header, bytes]:
    return {}, Path(request["path"]).read_bytes()


OPERATIONS = {"run": run, "push": push, "pull": pull}


def serve(stream: BinaryIO) -> None:
    """Answer requests until the host goes away."""
    send(stream, {"ready": True})
    while True:
        try:
            request, payload = receive(stream)
        except EOFError:
            return
        try:
            header, answer = OPERATIONS[request["operation"]](request, payload)
        except OSError as error:
            header, answer = {"error": str(error)}, b""
        send(stream, {**header, "number": request["number"]}, answer)


if __name__ == "__main__":
    with port().open("r+b", buffering=0) as file:
        serve(file)
