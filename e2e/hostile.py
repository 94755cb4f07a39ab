#!/usr/bin/env python3
"""A hostile network against the release binary: whoever attacks is cut off in time, and nobody else notices.

Slow clients in every phase, floods of HTTP/2 frames, ten thousand connections, subscribers that read nothing, and more
than a peer may have. All the while a well-behaved client on each transport must be answered; afterwards the server's
files, threads and memory must be back. Deadlines are shortened by settings, so that all of it takes less than a minute.

`--long` repeats the attacks for five minutes and prints what the server holds after each round. `--only NAME` runs one.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import resource
import select
import socket
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
from checks import expect, record, refused
from gateway import Gateway
from idle import envelope, masked, resident
from macp.v1 import core_pb2, core_pb2_grpc
from stalled import Peer, proposal

ANN = "agent://ann"
HANDSHAKE, BODY, STALL, IDLE, HEARTBEAT = 2, 3, 3, 5, 1
SETTINGS = {
    # On disk: what is sent is kept, and must not be taken for a leak.
    "MACP_ALLOW_INSECURE": "1",
    "MACP_SESSION_START_LIMIT_PER_MINUTE": "1000000",
    "MACP_MESSAGE_LIMIT_PER_MINUTE": "1000000",
    "MACP_SHUTDOWN_DRAIN_SECS": "3",
    "MACP_HANDSHAKE_TIMEOUT_SECS": str(HANDSHAKE),
    "MACP_BODY_TIMEOUT_SECS": str(BODY),
    "MACP_STALL_TIMEOUT_SECS": str(STALL),
    "MACP_IDLE_TIMEOUT_SECS": str(IDLE),
    "MACP_WS_HEARTBEAT_SECS": str(HEARTBEAT),
}
#: A deadline is kept to within this, on a machine that is busy with the attack itself.
LATE = 4.0
#: What a well-behaved client may wait for an answer while the machine is busy with an attack.
ANSWERED_WITHIN = 5.0
#: Attackers of a kind.
EACH = 20
CONNECTIONS = 10_000
#: What may be left of memory when all attackers are gone: what the allocator keeps.
KEPT_MIB = 64


# --- the well-behaved -----------------------------------------------------------------------------------------------


class WellBehaved(threading.Thread):
    """Asks on every transport, on old connections and on new ones, for as long as it is not stopped."""

    def __init__(self, gateway: Gateway) -> None:
        super().__init__(daemon=True)
        self.gateway = gateway
        self.enough = threading.Event()
        self.slowest: dict[str, float] = {}
        self.rounds = 0
        self.failure: BaseException | None = None
        self.peer = Peer(gateway.http)
        self.session = self.peer.start()
        self.channel = grpc.insecure_channel(gateway.grpc)
        self.stub = core_pb2_grpc.MACPRuntimeServiceStub(self.channel)

    def run(self) -> None:
        try:
            while not (self.enough.is_set() and self.rounds > 5):
                self.rounds += 1
                for transport, ask in (("HTTP", self.ask_http), ("gRPC", self.ask_grpc), ("WebSocket", self.ask_ws)):
                    began = time.monotonic()
                    ask()
                    took = time.monotonic() - began
                    self.slowest[transport] = max(took, self.slowest.get(transport, 0.0))
                self.enough.wait(0.02)
        except BaseException as failure:  # noqa: BLE001 - told to whoever waits
            self.failure = failure
            traceback.print_exc()

    def ask_http(self) -> None:
        connection = http.client.HTTPConnection(self.gateway.http, timeout=ANSWERED_WITHIN)
        with contextlib.closing(connection):
            message = envelope(self.session, "Proposal", {"proposal_id": f"h{self.rounds}", "option": "o"})
            body = json.dumps({"envelope": message})
            headers = {"content-type": "application/json", "authorization": f"Bearer {ANN}"}
            connection.request("POST", "/macp/v1/Send", body, headers)
            answer = json.loads(connection.getresponse().read())
            assert answer["ack"]["ok"], answer

    def ask_grpc(self) -> None:
        request = core_pb2.GetSessionRequest(session_id=self.session)
        metadata = (("authorization", f"Bearer {ANN}"),)
        self.stub.GetSession(request, metadata=metadata, timeout=ANSWERED_WITHIN, wait_for_ready=True)

    def ask_ws(self) -> None:
        self.peer.tcp.settimeout(ANSWERED_WITHIN)
        self.peer.accept(self.session, "Proposal", {"proposal_id": f"w{self.rounds}", "option": "o"})

    def stop(self) -> None:
        self.enough.set()
        self.join(3 * ANSWERED_WITHIN)
        assert not self.is_alive(), "a well-behaved client is not answered"
        assert self.failure is None, self.failure
        late = {transport: took for transport, took in self.slowest.items() if took > ANSWERED_WITHIN}
        assert not late, late
        self.peer.tcp.close()
        self.channel.close()


@contextlib.contextmanager
def beside_a_well_behaved(gateway: Gateway) -> Iterator[WellBehaved]:
    client = WellBehaved(gateway)
    client.start()
    yield client
    client.stop()
    waits = ", ".join(f"{transport} {took * 1000:.0f} ms" for transport, took in client.slowest.items())
    print(f"       meanwhile {client.rounds} rounds of a well-behaved client; the longest waits: {waits}", flush=True)


# --- tools of the attackers -------------------------------------------------------------------------------------------


def connect(address: str, source: str | None = None, receive_buffer: int | None = None) -> socket.socket:
    host, port = address.rsplit(":", 1)
    tcp = socket.socket()
    if receive_buffer:
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    if source:
        tcp.bind((source, 0))
    tcp.settimeout(10)
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


def closes(tcp: socket.socket, soonest: float, within: float) -> bytes:
    """The same, and no sooner than that: who is only slow has its time."""
    began = time.monotonic()
    said = read_to_end(tcp, within + LATE)
    took = time.monotonic() - began
    assert took > soonest, f"closed after {took:.2f} s; it said {said[-200:]!r}"
    tcp.close()
    return said


def dribble(tcp: socket.socket, bytes_: bytes, within: float) -> bytes:
    """Says a byte now and then until it is cut off."""
    deadline = time.monotonic() + within + LATE
    said = b""
    tcp.setblocking(False)
    for byte in bytes_:
        assert time.monotonic() < deadline, "still open"
        try:
            tcp.send(bytes([byte]))
            if select.select([tcp], [], [], 0.25)[0]:
                data = tcp.recv(1 << 16)
                if not data:
                    return said
                said += data
        except ConnectionError:
            return said
    raise AssertionError("there was time for everything")


def in_parallel(attacks: list[Callable[[], object]]) -> None:
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


# --- HTTP/2 by hand ---------------------------------------------------------------------------------------------------

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


def open_http2(address: str, *settings: tuple[int, int]) -> socket.socket:
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
    with contextlib.closing(tcp), contextlib.suppress(ConnectionError):
        tcp.sendall(begin)
        tcp.setblocking(False)
        waiting = b""
        while True:
            took = time.monotonic() - began
            assert took < LATE, f"{number} frames in {took:.1f} s and no end; it said {said[-100:]!r}"
            if not waiting:
                waiting = b"".join(frames(number + n) for n in range(200))
                number += 200
            readable, writable, _ = select.select([tcp], [tcp], [], 0.5)
            if readable:
                data = tcp.recv(1 << 16)
                if not data:
                    return
                said += data
            if writable:
                waiting = waiting[tcp.send(waiting) :]


# --- attacks ----------------------------------------------------------------------------------------------------------


def slow_in_every_phase(gateway: Gateway) -> None:
    """Whoever is slow is cut off: before the first byte, in a head, a body, a preface, an upgrade, a frame"""
    rpc = "POST /macp/v1/ListModes HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    begun = [
        b"",
        b"GET /.we",
        b"GET /.well-known/macp.json HTTP/1.1\r\nHost: local",
        PREFACE[:20],
        ws_head(gateway.http)[:-20],
    ]

    def stops(address: str, said: bytes) -> None:
        tcp = connect(address)
        tcp.sendall(said)
        closes(tcp, HANDSHAKE - 0.7, HANDSHAKE)

    def dribbles_head(address: str) -> None:
        dribble(connect(address), b"GET /.well-known/macp.json HTTP/1.1\r\nX: " + b"x" * 1000, HANDSHAKE)

    def stops_in_body(address: str) -> None:
        tcp = connect(address)
        tcp.sendall(f"{rpc}Content-Length: 100\r\n\r\n{{".encode())
        said = closes(tcp, BODY - 0.7, BODY + IDLE)
        assert said.startswith(b"HTTP/1.1 400") and b"MACP_BODY_TIMEOUT_SECS" in said, said

    def dribbles_body(address: str) -> None:
        tcp = connect(address)
        tcp.sendall(f"{rpc}Content-Length: 1000\r\n\r\n".encode())
        said = dribble(tcp, b" " * 1000, BODY + HANDSHAKE)
        assert b"MACP_BODY_TIMEOUT_SECS" in said, said

    def keeps_alive(address: str) -> None:
        tcp = connect(address)
        tcp.sendall(b"GET /.well-known/macp.json HTTP/1.1\r\nHost: x\r\n\r\n")
        closes(tcp, IDLE - 1.0, IDLE)

    def stops_in_message(address: str) -> None:
        tcp = open_http2(address)
        tcp.sendall(frame(HEADERS, END_HEADERS, 1, call("Send")) + frame(DATA, 0, 1, b"\0\0\0\0\x20half"))
        said = closes(tcp, BODY - 0.7, BODY + IDLE)
        assert b"INVALID_REQUEST" in said or len(said) > 100, said

    def only_pings(address: str) -> None:
        tcp = open_http2(address)
        deadline = time.monotonic() + IDLE + LATE
        with contextlib.suppress(ConnectionError):
            while True:
                assert time.monotonic() < deadline, "an HTTP/2 client that only pings is still there"
                tcp.sendall(frame(PING, payload=b"12345678"))
                tcp.settimeout(0.3)
                with contextlib.suppress(TimeoutError):
                    if not tcp.recv(1 << 16):
                        return

    def stops_in_frame(address: str) -> None:
        tcp = connect(address)
        tcp.sendall(ws_head(address) + struct.pack("!BB4x", 0x81, 0x80 | 100) + b"{")
        expect(close_code(closes(tcp, HEARTBEAT, 2 * HEARTBEAT)), 4408, "the code for silence")

    def dribbles_frame(address: str) -> None:
        tcp = connect(address)
        tcp.sendall(ws_head(address) + struct.pack("!BBH4x", 0x81, 0x80 | 126, 1000))
        expect(close_code(dribble(tcp, b" " * 1000, BODY)), 1008, "the code for an unfinished message")

    def answers_no_ping(address: str) -> None:
        tcp = connect(address)
        tcp.sendall(ws_head(address))
        expect(close_code(closes(tcp, HEARTBEAT, 2 * HEARTBEAT)), 4408, "the code for silence")

    def never_authenticates(address: str) -> None:
        tcp = connect(address)
        tcp.sendall(ws_head(address, None))
        said = dribble(tcp, masked(10, b"") * 100, HANDSHAKE)
        expect(close_code(said), 4401, "the code for no credential")

    attacks: list[Callable[[], object]] = []
    for number in range(EACH):
        address = (gateway.grpc, gateway.http)[number % 2]
        attacks += [lambda address=address, said=said: stops(address, said) for said in begun]
        for attack in (
            dribbles_head, stops_in_body, dribbles_body, keeps_alive, stops_in_message, only_pings, stops_in_frame,
            dribbles_frame, answers_no_ping, never_authenticates,
        ):  # fmt: skip
            attacks.append(lambda address=address, attack=attack: attack(address))
    in_parallel(attacks)


def floods_of_frames(gateway: Gateway) -> None:
    """Floods end their connection: rapid reset, pings, settings, CONTINUATION, empty DATA, unknown frames"""
    first = frame(HEADERS, END_HEADERS, 1, call("StreamSession"))
    block = call("ListModes")

    def rapid_reset(number: int) -> bytes:
        stream = 2 * number + 1
        return frame(HEADERS, END_HEADERS | END_STREAM, stream, block) + frame(RST_STREAM, 0, stream, b"\0\0\0\x08")

    kinds: list[tuple[Callable[[int], bytes], bytes]] = [
        (rapid_reset, b""),
        (lambda _: frame(PING, payload=b"12345678"), b""),
        (lambda _: frame(SETTINGS_FRAME), b""),
        (lambda _: frame(CONTINUATION, 0, 1, b"\x00\x01a\x01b"), frame(HEADERS, 0, 1, block)),
        (lambda _: frame(DATA, 0, 1), first),
        (lambda _: frame(0xEE), b""),
    ]
    ports = (gateway.grpc, gateway.http)
    in_parallel([lambda a=a, k=k, b=b: flood(a, k, b) for k, b in kinds for a in ports])


def tiny_fragments(gateway: Gateway) -> None:
    """A WebSocket message in ten thousand fragments of a byte is a message"""

    def speak() -> None:
        peer = Peer(gateway.http)
        message = b'{"ping":{}}'.rjust(10_000)
        fragments = [bytes([byte]) for byte in message]
        first, *middle, last = fragments
        said = struct.pack("!BB4x", 0x01, 0x81) + first
        said += b"".join(struct.pack("!BB4x", 0x00, 0x81) + byte for byte in middle)
        said += struct.pack("!BB4x", 0x80, 0x81) + last
        peer.tcp.sendall(said)
        peer.until("pong")
        peer.tcp.close()

    in_parallel([speak] * EACH)


def ten_thousand_connections(gateway: Gateway) -> None:
    """Ten thousand connections that say nothing, from several addresses, keep nobody out and are all closed"""
    poll = select.poll()
    held: dict[int, socket.socket] = {}

    def settle(within: float) -> None:
        for descriptor, _ in poll.poll(within):
            poll.unregister(descriptor)
            held.pop(descriptor).close()

    for number in range(CONNECTIONS):
        tcp = socket.socket()
        tcp.bind((f"127.0.0.{2 + number % 5}", 0))
        tcp.settimeout(10)
        host, port = (gateway.grpc, gateway.http)[number % 2].rsplit(":", 1)
        tcp.connect((host, int(port)))
        held[tcp.fileno()] = tcp
        poll.register(tcp, select.POLLIN | select.POLLHUP)
        if number % 200 == 0:
            settle(0)
    deadline = time.monotonic() + HANDSHAKE + 2 * LATE
    while held:
        settle(100)
        assert time.monotonic() < deadline, f"{len(held)} of them are still open"


def large_session(gateway: Gateway) -> str:
    """A session with more in it than the kernel holds for a client."""
    if gateway.pid not in LARGE:
        writer = Peer(gateway.http)
        LARGE[gateway.pid] = writer.start()
        for number in range(200):
            writer.accept(LARGE[gateway.pid], "Proposal", proposal(number, 20_000))
        writer.tcp.close()
    return LARGE[gateway.pid]


#: By the gateway's process.
LARGE: dict[int, str] = {}


def readers_of_nothing(gateway: Gateway) -> None:
    """Subscribers that take nothing are cut off: event streams, WebSockets, HTTP/2 without a window"""
    session = large_session(gateway)

    def event_stream(address: str) -> None:
        tcp = connect(address, receive_buffer=8192)
        body = json.dumps({"subscribe_session_id": session, "after_sequence": 0}).encode()
        tcp.sendall(
            f"POST /macp/v1/StreamSession HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n"
            f"Authorization: Bearer {ANN}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        cut_off_unread(tcp, b"x")

    def websocket(address: str) -> None:
        peer = Peer(address, 8192)
        peer.say({"subscribe": {"session_id": session, "after_sequence": 0}})
        cut_off_unread(peer.tcp, masked(10, b""))

    def no_window(address: str) -> None:
        tcp = open_http2(address, (4, 0))
        for stream in range(1, 21, 2):
            message = b"\0\0\0\0\0"
            tcp.sendall(frame(HEADERS, END_HEADERS, stream, call("ListModes")) + frame(DATA, END_STREAM, stream, message))
        closes(tcp, STALL - 1.0, STALL)

    def cut_off_unread(tcp: socket.socket, alive: bytes) -> None:
        """Shows that it is alive, and takes nothing, until what it says is refused. Of an end behind bytes that it does
        not take nobody could tell it."""
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while True:
                took = time.monotonic() - began
                assert took < STALL + 2 * LATE, "a client that reads nothing is still connected"
                tcp.sendall(alive)
                time.sleep(0.3)
        assert time.monotonic() - began > STALL - 1.0, "too soon"
        tcp.close()

    ports = (gateway.grpc, gateway.http)
    in_parallel([lambda a=a, k=k: k(a) for k in (event_stream, websocket, no_window) for a in ports for _ in range(5)])


# --- limits of each peer ----------------------------------------------------------------------------------------------


def ask(address: str, source: str, headers: dict[str, str] | None = None) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(address, timeout=5, source_address=(source, 0))
    connection.request("GET", "/.well-known/macp.json", headers=headers or {})
    response = connection.getresponse()
    response.body = response.read()  # type: ignore[attr-defined]
    connection.close()
    return response


def refused_by(response: http.client.HTTPResponse, status: int, code: str, setting: str) -> None:
    expect((response.status, response.getheader("macp-error-code")), (status, code), "the refusal")
    assert response.getheader("retry-after"), response.getheaders()
    assert setting.encode() in response.body, response.body  # type: ignore[attr-defined]


def more_than_a_peer_may(_: Gateway) -> None:
    """What a peer has too many of is refused by code and setting, on every transport, and of nobody else"""
    limits = {
        "MACP_UNLIMITED_PEERS": "127.0.0.1",
        "MACP_MAX_CONNECTIONS_PER_PEER": "3",
        "MACP_NEW_CONNECTIONS_PER_SECOND_PER_PEER": "20",
        "MACP_TRUSTED_PROXIES": "127.0.0.9",
        "MACP_IDLE_TIMEOUT_SECS": "60",
        "MACP_HANDSHAKE_TIMEOUT_SECS": "60",
    }
    with Gateway({**SETTINGS, **limits}) as gateway:
        # WebSockets among them, on both listeners together.
        sockets = [connect(gateway.http, "127.0.0.2") for _ in range(2)]
        for tcp in sockets:
            tcp.sendall(ws_head(gateway.http))
            assert tcp.recv(4096).startswith(b"HTTP/1.1 101")
        silent = connect(gateway.grpc, "127.0.0.2")
        # The listener of `silent` first: it takes its connections in their order, and so has counted that one.
        for address in (gateway.grpc, gateway.http):
            refused_by(ask(address, "127.0.0.2"), 429, "RATE_LIMITED", "MACP_MAX_CONNECTIONS_PER_PEER")
        tcp = connect(gateway.http, "127.0.0.2")
        tcp.sendall(ws_head(gateway.http))
        assert tcp.recv(4096).startswith(b"HTTP/1.1 429"), "a WebSocket"
        tcp.close()
        tcp = connect(gateway.grpc, "127.0.0.2")
        tcp.sendall(PREFACE + frame(SETTINGS_FRAME) + frame(HEADERS, END_HEADERS | END_STREAM, 1, call("ListModes")))
        said = read_to_end(tcp, 5)
        # The trailers are compressed; that there are some is told by their size.
        assert len(said) > 60, said
        expect(ask(gateway.http, "127.0.0.3").status, 200, "another peer")
        expect(ask(gateway.http, "127.0.0.1").status, 200, "an unlimited peer")
        silent.close()
        deadline = time.monotonic() + 5
        while ask(gateway.grpc, "127.0.0.2").status != 200:
            assert time.monotonic() < deadline, "a place does not come back"
            time.sleep(0.05)
        for tcp in sockets:
            tcp.close()

        # Too many in a second, whether they last or not.
        for _ in range(100):
            connect(gateway.http, "127.0.0.4").close()
        refusal = None
        while not refusal:
            # Of very many at once not all are told why.
            with contextlib.suppress(ConnectionError):
                refusal = ask(gateway.http, "127.0.0.4")
        refused_by(refusal, 429, "RATE_LIMITED", "MACP_NEW_CONNECTIONS_PER_SECOND_PER_PEER")

        # By way of a proxy: its clients are limited, and what they write themselves is not believed.
        client = {"x-forwarded-for": "127.0.0.1, 192.0.2.7"}
        held = []
        for _ in range(3):
            tcp = connect(gateway.http, "127.0.0.9")
            tcp.sendall(ws_head(gateway.http).replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n"))
            assert tcp.recv(4096).startswith(b"HTTP/1.1 101")
            held.append(tcp)
        refused_by(ask(gateway.http, "127.0.0.9", client), 429, "RATE_LIMITED", "MACP_MAX_CONNECTIONS_PER_PEER")
        expect(ask(gateway.http, "127.0.0.9", {"x-forwarded-for": "192.0.2.8"}).status, 200, "another client")
        expect(ask(gateway.http, "127.0.0.5", client).status, 200, "the headers of somebody else")
        for tcp in held:
            tcp.close()

    with Gateway({**SETTINGS, "MACP_HTTP_MAX_CONNECTIONS": "4"}) as gateway:
        streams = []
        for _ in range(4):
            tcp = connect(gateway.http)
            tcp.sendall(
                f"POST /macp/v1/WatchSignals HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n"
                f"Authorization: Bearer {ANN}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}".encode()
            )
            assert tcp.recv(4096).startswith(b"HTTP/1.1 200")
            streams.append(tcp)
        refused_by(ask(gateway.http, "127.0.0.1"), 503, "UNAVAILABLE", "MACP_HTTP_MAX_CONNECTIONS")
        with grpc.insecure_channel(gateway.http) as channel:
            stub = core_pb2_grpc.MACPRuntimeServiceStub(channel)
            refusal = refused(grpc.RpcError, lambda: stub.ListModes(core_pb2.ListModesRequest(), timeout=5))
            trailers = dict(refusal.trailing_metadata())
            expect((refusal.code(), trailers.get("macp-error-code")), (grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE"), "gRPC")
            assert "MACP_HTTP_MAX_CONNECTIONS" in refusal.details(), refusal.details()
        streams.pop().close()
        deadline = time.monotonic() + 5
        while ask(gateway.http, "127.0.0.1").status != 200:
            assert time.monotonic() < deadline, "a place does not come back"
        for tcp in streams:
            tcp.close()


# --- what is left ------------------------------------------------------------------------------------------------------


def holds(pid: int) -> tuple[int, int, float]:
    """Open files, threads and resident MiB of a process."""
    process = Path(f"/proc/{pid}")
    return len(os.listdir(process / "fd")), len(os.listdir(process / "task")), resident(pid) / 2**20


def is_back(gateway: Gateway, before: tuple[int, int, float]) -> tuple[int, int, float]:
    """Waits until files and threads are as before, give or take the client that was just there, and memory nearly."""
    deadline = time.monotonic() + IDLE + 2 * LATE
    while True:
        now = holds(gateway.pid)
        if now[0] <= before[0] + 4 and now[1] <= before[1] + 1 and now[2] <= before[2] + KEPT_MIB:
            return now
        assert time.monotonic() < deadline, f"files, threads, MiB: {before} before, {now} now"
        time.sleep(0.2)


def streams_end_with_their_connection(_: Gateway) -> None:
    """What a connection had open is gone with it, however it ends, and open streams of a sender are counted"""
    with Gateway({**SETTINGS, "MACP_MAX_STREAMS_PER_SENDER": "3"}) as gateway:
        with grpc.insecure_channel(gateway.grpc) as channel:
            stub = core_pb2_grpc.MACPRuntimeServiceStub(channel)

            def watch() -> str:
                """The code that a watch is refused with, or nothing if it begins."""
                call = stub.WatchSignals(core_pb2.WatchSignalsRequest(), metadata=(("authorization", f"Bearer {ANN}"),))
                threading.Timer(0.2, call.cancel).start()
                refusal = refused(grpc.RpcError, lambda: next(call))
                return dict(refusal.trailing_metadata() or ()).get("macp-error-code", "")

            def soon(code: str) -> None:
                deadline = time.monotonic() + 5
                while (found := watch()) != code:
                    assert time.monotonic() < deadline, f"{found!r} and not {code!r}"

            def hold() -> socket.socket:
                """A connection with all the places of the sender: of one that has just ended its place may come late."""
                tcp = open_http2(gateway.http)
                deadline, stream, held = time.monotonic() + 5, 1, 0
                while held < 3:
                    assert time.monotonic() < deadline, f"only {held} streams may be open"
                    tcp.sendall(frame(HEADERS, END_HEADERS, stream, call("WatchSignals")))
                    tcp.sendall(frame(DATA, END_STREAM, stream, b"\0\0\0\0\0"))
                    held += not answer_ends(tcp, stream)
                    stream += 2
                expect(watch(), "RATE_LIMITED", "one more")
                return tcp

            soon("")
            ended = hold()
            ended.close()
            soon("")
            cut = hold()
            cut.setblocking(False)
            with contextlib.suppress(ConnectionError):
                while not select.select([cut], [], [], 0)[0] or cut.recv(1 << 16):
                    with contextlib.suppress(BlockingIOError):
                        cut.send(frame(PING, payload=b"12345678") * 200)
            soon("")
            broken = hold()
            broken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            broken.close()
            soon("")


ATTACKS = (slow_in_every_phase, floods_of_frames, tiny_fragments, ten_thousand_connections, readers_of_nothing)


def main() -> int:
    parser = argparse.ArgumentParser(description="A hostile network.")
    parser.add_argument("--long", action="store_true", help="for five minutes")
    parser.add_argument("--only", help="one attack, by its name")
    arguments = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    failed: list[str] = []

    def check(attack: Callable[[Gateway], None], gateway: Gateway, quiet: bool) -> None:
        began = time.monotonic()
        try:
            if quiet:
                attack(gateway)
            else:
                with beside_a_well_behaved(gateway):
                    attack(gateway)
        except BaseException:  # noqa: BLE001 - a check may fail in any way
            failed.append(attack.__name__)
            traceback.print_exc()
        record(str(attack.__doc__), attack.__name__ not in failed, time.monotonic() - began)

    chosen = [attack for attack in ATTACKS if arguments.only in (None, attack.__name__)]
    until = time.monotonic() + (300 if arguments.long else 0)
    with Gateway(SETTINGS) as gateway:
        with beside_a_well_behaved(gateway):
            time.sleep(0.5)
        before = holds(gateway.pid)
        print(f"before: {before[0]} files, {before[1]} threads, {before[2]:.1f} MiB", flush=True)
        while chosen:
            for attack in chosen:
                check(attack, gateway, quiet=False)
            if failed:
                break
            after = is_back(gateway, before)
            print(f"after: {after[0]} files, {after[1]} threads, {after[2]:.1f} MiB", flush=True)
            if time.monotonic() > until:
                break
        if failed:
            gateway.dump()
    for attack in (more_than_a_peer_may, streams_end_with_their_connection):
        if arguments.only in (None, attack.__name__):
            check(attack, gateway, quiet=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
