"""Connections by hand, for attacks and their like: sockets that note when they began, ends that must come in time, and
HTTP/2 frame by frame. Nothing but the standard library.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
import time
import traceback
from collections.abc import Callable

ANN = "agent://ann"
#: A deadline is kept to within this, on a machine that is busy with the attack itself.
LATE = 4.0


class Client(socket.socket):
    """A connection. `began` is before the server could know of it: what the server measures begins later."""

    began: float
    #: The longest that it has said nothing while it dribbled; more than it meant to on a machine that is busy.
    silent: float = 0.0

    def took(self) -> float:
        return time.monotonic() - self.began


def connect(address: str, source: str | None = None, receive_buffer: int | None = None) -> Client:
    host, port = address.rsplit(":", 1)
    tcp = Client()
    if receive_buffer:
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    if source:
        tcp.bind((source, 0))
    tcp.settimeout(10)
    tcp.began = time.monotonic()
    tcp.connect((host, int(port)))
    return tcp


def read_to_end(tcp: socket.socket, within: float) -> bytes:
    """Everything until the server closes, which it must do in time."""
    deadline, said = time.monotonic() + within, b""
    while True:
        left = deadline - time.monotonic()
        assert left > 0, f"still open after {within:.1f} s; it said {said[-200:]!r}"
        tcp.settimeout(left)
        try:
            data = tcp.recv(1 << 16)
        except TimeoutError:
            continue
        except ConnectionError:
            return said
        if not data:
            return said
        said += data


def closes(tcp: Client, soonest: float, within: float) -> bytes:
    """The same, and no sooner than that after it began: who is only slow has its time."""
    said = read_to_end(tcp, within + LATE)
    took = tcp.took()
    # Its clock counts whole milliseconds.
    assert took > soonest - 0.01, f"closed after {took:.2f} s; it said {said[-200:]!r}"
    tcp.close()
    return said


def dribble(tcp: Client, bytes_: bytes, within: float) -> bytes:
    """Says a byte now and then until it is cut off; what it was told."""
    deadline = time.monotonic() + within + LATE
    said, spoke = b"", time.monotonic()
    tcp.setblocking(False)
    for byte in bytes_:
        now = time.monotonic()
        assert now < deadline, "still open"
        tcp.silent, spoke = max(tcp.silent, now - spoke), now
        try:
            tcp.send(bytes([byte]))
            if select.select([tcp], [], [], 0.25)[0]:
                data = tcp.recv(1 << 16)
                if not data:
                    return said
                said += data
        except ConnectionError:
            # What was said before the end is still there to be read.
            return said + read_to_end(tcp, LATE)
    raise AssertionError("there was time for everything")


def in_parallel(attacks: list[Callable[[], object]]) -> None:
    """All of them at once, each in a thread; the first failure is raised when all have ended."""
    failures: list[BaseException] = []

    def run(attack: Callable[[], object]) -> None:
        try:
            attack()
        except BaseException as failure:  # noqa: BLE001 - told below
            traceback.print_exc()
            failures.append(failure)

    threads = [threading.Thread(target=run, args=(attack,), daemon=True) for attack in attacks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "an attack does not come to its end"
    assert not failures, f"{len(failures)} of {len(attacks)} failed, the first with: {failures[0]!r}"


def ws_head(address: str, token: str | None = ANN) -> bytes:
    """The head of an upgrade to WebSocket."""
    authorization = f"Authorization: Bearer {token}\r\n" if token else ""
    return (
        f"GET /macp/v1/ws HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{authorization}\r\n"
    ).encode()


def close_code(said: bytes) -> int:
    """The code of the close frame, which is the last of what a WebSocket says."""
    at = said.rfind(b"\x88")
    assert at >= 0, said
    return struct.unpack("!H", said[at + 2 : at + 4])[0]


# --- HTTP/2 -----------------------------------------------------------------------------------------------------------

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS_FRAME, PING, CONTINUATION = 0, 1, 3, 4, 6, 9
END_STREAM, END_HEADERS = 1, 4


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return struct.pack("!I", len(payload))[1:] + struct.pack("!BBI", kind, flags, stream) + payload


def text(value: str) -> bytes:
    assert len(value) < 127
    return bytes([len(value)]) + value.encode()


def call(method: str) -> bytes:
    """A header block of a gRPC call, without the dynamic table: every one is whole."""
    return (
        b"\x83\x86\x04" + text(f"/macp.v1.MACPRuntimeService/{method}")
        + b"\x01" + text("localhost")
        + b"\x0f\x10" + text("application/grpc")
        + b"\x00" + text("te") + text("trailers")
        + b"\x0f\x08" + text(f"Bearer {ANN}")
    )


def open_http2(address: str, *settings: tuple[int, int]) -> Client:
    """A connection that has said its preface and settings, and has agreed to the server's in advance."""
    tcp = connect(address)
    payload = b"".join(struct.pack("!HI", name, value) for name, value in settings)
    tcp.sendall(PREFACE + frame(SETTINGS_FRAME, payload=payload) + frame(SETTINGS_FRAME, flags=1))
    return tcp


def answer_ends(tcp: socket.socket, stream: int) -> bool:
    """Whether the first that comes back on this stream is its end too, as a refusal is. Skips other frames."""

    def exactly(size: int) -> bytes:
        said = b""
        while len(said) < size:
            data = tcp.recv(size - len(said))
            assert data, "the connection is closed"
            said += data
        return said

    while True:
        head = exactly(9)
        exactly(int.from_bytes(head[:3], "big"))
        if head[3] == HEADERS and int.from_bytes(head[5:], "big") == stream:
            return bool(head[4] & END_STREAM)


def flood(address: str, frames: Callable[[int], bytes], begin: bytes = b"") -> None:
    """Sends these frames as fast as they go; the server must end the connection."""
    tcp = open_http2(address)
    began, number, said = time.monotonic(), 0, b""
    with tcp:
        tcp.sendall(begin)
        tcp.setblocking(False)
        waiting = b""
        while True:
            took = time.monotonic() - began
            assert took < 2 * LATE, f"{number} frames in {took:.1f} s and no end; it said {said[-100:]!r}"
            if not waiting:
                waiting = b"".join(frames(number + n) for n in range(200))
                number += 200
            readable, writable, _ = select.select([tcp], [tcp], [], 0.5)
            try:
                if readable:
                    data = tcp.recv(1 << 16)
                    if not data:
                        return
                    said += data
                if writable:
                    waiting = waiting[tcp.send(waiting) :]
            except ConnectionError:
                return
