#!/usr/bin/env python3
"""A hostile network against the release binary: whoever attacks is cut off in time, and nobody else notices.

Slow clients in every phase, TLS handshakes that are not finished, floods of HTTP/2 frames, ten thousand connections,
subscribers that read nothing, and more than a peer may have. All the while a well-behaved client on each transport must
be answered; afterwards the server's files, threads, tasks and memory must be back. Deadlines are shortened by settings,
so that all of it takes less than a minute.

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
import ssl
import struct
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import grpc
from bare import (
    ANN, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, LATE, PING, PREFACE, RST_STREAM, SETTINGS_FRAME, Client,
    answer_ends, call, close_code, closes, connect, dribble, flood, frame, in_parallel, open_http2, read_to_end, ws_head,
)  # fmt: skip
from checks import expect, record, refused
from gateway import Gateway
from idle import masked, resident
from macp.v1 import core_pb2, core_pb2_grpc
from stalled import Peer, proposal
from tls import Authority
from well_behaved import WellBehaved

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
#: Attackers of a kind.
EACH = 20
CONNECTIONS = 10_000
#: Connections with a part of a TLS handshake of each kind, on each listener; fewer in all than a listener holds.
HALVES = 80
#: How long the runtime keeps a thread that has read from the disk.
POOL = 10
#: What may be left of memory when all attackers are gone: what the allocator keeps.
KEPT_MIB = 64
#: By how much memory may be more in the last third of the rounds than in the third before; what the store has of it is
#: bounded by itself and left out.
DRIFT_MIB = 4


# --- attacks ----------------------------------------------------------------------------------------------------------


def slow_in_every_phase(gateway: Gateway) -> None:
    """Whoever is slow is cut off: before the first byte, in a head, a body, a preface, an upgrade, a frame"""
    rpc = "POST /macp/v1/ListModes HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
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
        closes(tcp, HANDSHAKE, HANDSHAKE)

    def dribbles_head(address: str) -> None:
        dribble(connect(address), b"GET /.well-known/macp.json HTTP/1.1\r\nX: " + b"x" * 1000, HANDSHAKE)

    def stops_in_body(address: str) -> None:
        tcp = connect(address)
        tcp.sendall(f"{rpc}Content-Length: 100\r\n\r\n{{".encode())
        said = closes(tcp, BODY, BODY + IDLE)
        assert said.startswith(b"HTTP/1.1 400") and b"MACP_BODY_TIMEOUT_SECS" in said, said

    def dribbles_body(address: str) -> None:
        tcp = connect(address)
        tcp.sendall(f"{rpc}Content-Length: 1000\r\n\r\n".encode())
        said = dribble(tcp, b" " * 1000, BODY + HANDSHAKE)
        assert b"MACP_BODY_TIMEOUT_SECS" in said, said

    def keeps_alive(address: str) -> None:
        tcp = connect(address)
        tcp.sendall(b"GET /.well-known/macp.json HTTP/1.1\r\nHost: localhost\r\n\r\n")
        closes(tcp, IDLE, IDLE)

    def says_its_preface_only(address: str) -> None:
        closes(open_http2(address), IDLE, IDLE)

    def stops_in_header_block(address: str) -> None:
        tcp = open_http2(address)
        tcp.sendall(frame(HEADERS, 0, 1, call("Send")[:20]))
        closes(tcp, IDLE, IDLE)

    def stops_in_message(address: str) -> None:
        tcp = open_http2(address)
        tcp.sendall(frame(HEADERS, END_HEADERS, 1, call("Send")) + frame(DATA, 0, 1, b"\0\0\0\0\x20half"))
        said = closes(tcp, BODY, BODY + IDLE)
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
                        break
                # So few that they are no flood.
                time.sleep(0.2)
        assert tcp.took() > IDLE, f"cut off after {tcp.took():.2f} s"

    def stops_in_frame(address: str) -> None:
        tcp = connect(address)
        tcp.sendall(ws_head(address) + struct.pack("!BB4x", 0x81, 0x80 | 100) + b"{")
        expect(close_code(closes(tcp, HEARTBEAT, 2 * HEARTBEAT)), 4408, "the code for silence")

    def dribbles_frame(address: str) -> None:
        tcp = connect(address)
        tcp.sendall(ws_head(address) + struct.pack("!BBH4x", 0x81, 0x80 | 126, 1000))
        cut_off_with(tcp, dribble(tcp, b" " * 1000, BODY), 1008)

    def answers_no_ping(address: str) -> None:
        tcp = connect(address)
        tcp.sendall(ws_head(address))
        expect(close_code(closes(tcp, HEARTBEAT, 2 * HEARTBEAT)), 4408, "the code for silence")

    def never_authenticates(address: str) -> None:
        tcp = connect(address)
        tcp.sendall(ws_head(address, None))
        cut_off_with(tcp, dribble(tcp, masked(10, b"") * 100, HANDSHAKE), 4401)

    def cut_off_with(tcp: Client, said: bytes, code: int) -> None:
        # On a busy machine it may itself have been silent for so long that this is the reason.
        codes = (code, 4408) if tcp.silent > HEARTBEAT else (code,)
        assert close_code(said) in codes, (close_code(said), codes)

    attacks: list[Callable[[], object]] = []
    for number in range(EACH):
        address = (gateway.grpc, gateway.http)[number % 2]
        attacks += [lambda address=address, said=said: stops(address, said) for said in begun]
        for attack in (
            dribbles_head, stops_in_body, dribbles_body, keeps_alive, says_its_preface_only, stops_in_header_block,
            stops_in_message, only_pings, stops_in_frame, dribbles_frame, answers_no_ping, never_authenticates,
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
            f"POST /macp/v1/StreamSession HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n"
            f"Authorization: Bearer {ANN}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        cut_off_unread(tcp, tcp.began, b"x")

    def websocket(address: str) -> None:
        peer = Peer(address, 8192)
        peer.say({"subscribe": {"session_id": session, "after_sequence": 0}})
        cut_off_unread(peer.tcp, peer.began, masked(10, b""))

    def no_window(address: str) -> None:
        tcp = open_http2(address, (4, 0))
        for stream in range(1, 21, 2):
            message = b"\0\0\0\0\0"
            tcp.sendall(frame(HEADERS, END_HEADERS, stream, call("ListModes")) + frame(DATA, END_STREAM, stream, message))
        closes(tcp, STALL, STALL)

    def cut_off_unread(tcp: socket.socket, connected: float, alive: bytes) -> None:
        """Shows that it is alive, and takes nothing, until what it says is refused. Of an end behind bytes that it does
        not take nobody could tell it."""
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while True:
                took = time.monotonic() - began
                assert took < STALL + 2 * LATE, "a client that reads nothing is still connected"
                tcp.sendall(alive)
                time.sleep(0.3)
        assert time.monotonic() - connected > STALL, "too soon"
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
        # The sockets that hold places answer no pings.
        "MACP_WS_HEARTBEAT_SECS": "60",
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
        deadline, refusal = time.monotonic() + 20, None
        while not refusal or refusal.status == 200:
            assert time.monotonic() < deadline, "so many are too many"
            for _ in range(100):
                connect(gateway.http, "127.0.0.4").close()
            # Of very many at once not all are told why; and if that took long, one more is not too many.
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
                f"POST /macp/v1/WatchSignals HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n"
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


class Holds(NamedTuple):
    """What a gateway holds: open files, threads, tasks, resident memory, and what of that its store has a bound for."""

    files: int
    threads: int
    tasks: int
    mib: float
    store_mib: float

    def __str__(self) -> str:
        return (
            f"{self.files} files, {self.threads} threads, {self.tasks} tasks, {self.mib:.1f} MiB, "
            f"of which the store has {self.store_mib:.1f}"
        )


def holds(gateway: Gateway, context: ssl.SSLContext | None = None) -> Holds:
    connection = http.client.HTTPConnection(gateway.http, timeout=10)
    if context:
        connection = http.client.HTTPSConnection(gateway.http, timeout=10, context=context)
    with contextlib.closing(connection):
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
    told = {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}
    process = Path(f"/proc/{gateway.pid}")
    return Holds(
        len(os.listdir(process / "fd")),
        len(os.listdir(process / "task")),
        int(told["macp_tokio_alive_tasks"]),
        resident(gateway.pid) / 2**20,
        (told["macp_store_cache_bytes"] + told["macp_store_unflushed_bytes"]) / 2**20,
    )


def is_back(gateway: Gateway, before: Holds, context: ssl.SSLContext | None = None) -> Holds:
    """Waits until files, threads and tasks are as before, give or take the client that was just there, and memory nearly."""
    process = Path(f"/proc/{gateway.pid}")
    deadline = time.monotonic() + IDLE + POOL + 2 * LATE
    # Nothing is asked meanwhile: each question wakes a thread, which then rests for as long again.
    while True:
        files, threads = len(os.listdir(process / "fd")), len(os.listdir(process / "task"))
        if files <= before.files + 4 and threads <= before.threads + 1:
            break
        assert time.monotonic() < deadline, f"{before} before, {files} files and {threads} threads now"
        time.sleep(0.2)
    while (now := holds(gateway, context)).tasks > before.tasks + 3 or now.mib > before.mib + KEPT_MIB:
        assert time.monotonic() < deadline, f"{before} before, {now} now"
        time.sleep(0.2)
    return now


def stays_level(rounds: list[Holds]) -> None:
    """What still grows when everything was done several times already would grow for ever."""
    third = len(rounds) // 3
    assert third >= 2, f"{len(rounds)} rounds are too few to tell"
    before, last = (
        sum(held.mib - held.store_mib for held in part) / third for part in (rounds[-2 * third : -third], rounds[-third:])
    )
    print(f"without the store: {before:.1f} MiB on average, and {last:.1f} in the last {third} rounds", flush=True)
    assert last <= before + DRIFT_MIB, "memory grows"


# --- attackers with a gateway of their own ----------------------------------------------------------------------------


def client_hello() -> bytes:
    """What a TLS client says first."""
    heard, said = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(heard, said, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return said.read()


def half_a_tls_hello(_: Gateway) -> None:
    """Whoever does not finish a TLS handshake is cut off, wherever it stops, and TLS clients are answered meanwhile"""
    hello = client_hello()
    # Nothing; a byte; the head of a record; half the hello; all but a byte; all of it, and nothing more; another kind.
    begun = [b"", hello[:1], hello[:5], hello[: len(hello) // 2], hello[:-1], hello]
    authority = Authority()

    def dribbles(address: str) -> None:
        dribble(connect(address), hello, HANDSHAKE)

    def shakes_hands_and_is_silent(address: str) -> None:
        tcp = connect(address)
        began = tcp.began
        with authority.context().wrap_socket(tcp, server_hostname="localhost") as tls:
            read_to_end(tls, HANDSHAKE + LATE)
            assert time.monotonic() - began > HANDSHAKE, "too soon"

    def many(gateway: Gateway) -> None:
        poll = select.poll()
        held: dict[int, Client] = {}
        for number in range(HALVES * len(begun) * 2):
            tcp = connect((gateway.grpc, gateway.http)[number % 2])
            tcp.sendall(begun[number // 2 % len(begun)])
            tcp.setblocking(False)
            held[tcp.fileno()] = tcp
            poll.register(tcp, select.POLLIN | select.POLLHUP)
        deadline = time.monotonic() + HANDSHAKE + LATE
        while held:
            assert time.monotonic() < deadline, f"{len(held)} of them are still open"
            for descriptor, _ in poll.poll(100):
                try:
                    ended = not held[descriptor].recv(1 << 16)
                except ConnectionError:
                    ended = True
                if ended:
                    poll.unregister(descriptor)
                    with held.pop(descriptor) as tcp:
                        assert tcp.took() > HANDSHAKE - 0.01, f"closed after {tcp.took():.2f} s"

    with tempfile.TemporaryDirectory(prefix="macp-tls-") as name:
        directory = Path(name)
        ca = directory / "ca.pem"
        ca.write_bytes(authority.pem)
        cert, key = authority.server().write(directory)
        files = {"MACP_TLS_CERT_PATH": str(cert), "MACP_TLS_KEY_PATH": str(key)}
        with Gateway({**SETTINGS, **files}) as gateway, WellBehaved(gateway, ca) as others:
            with others.beside():
                pass
            before = holds(gateway, authority.context())
            attacks: list[Callable[[], object]] = [lambda: many(gateway)]
            for number in range(EACH):
                address = (gateway.grpc, gateway.http)[number % 2]
                attacks += [lambda a=address: dribbles(a), lambda a=address: shakes_hands_and_is_silent(a)]
            with others.beside():
                in_parallel(attacks)
            print(f"       after it: {is_back(gateway, before, authority.context())}; before: {before}", flush=True)


def streams_end_with_their_connection(_: Gateway) -> None:
    """What a connection had open is gone with it, however it ends, and open streams of a sender are counted"""
    with Gateway({**SETTINGS, "MACP_MAX_STREAMS_PER_SENDER": "3"}) as gateway:
        with grpc.insecure_channel(gateway.grpc) as channel:
            stub = core_pb2_grpc.MACPRuntimeServiceStub(channel)

            def hold() -> Client:
                """A connection with all the places of the sender: of one that has just ended its place may come late."""
                tcp = open_http2(gateway.http)
                deadline, stream, held = time.monotonic() + 10, 1, 0
                while held < 3:
                    assert time.monotonic() < deadline, f"only {held} streams may be open"
                    tcp.sendall(frame(HEADERS, END_HEADERS, stream, call("WatchSignals")))
                    tcp.sendall(frame(DATA, END_STREAM, stream, b"\0\0\0\0\0"))
                    if answer_ends(tcp, stream):
                        time.sleep(0.05)
                    else:
                        held += 1
                    stream += 2
                watch = stub.WatchSignals(
                    core_pb2.WatchSignalsRequest(), metadata=(("authorization", f"Bearer {ANN}"),), timeout=10
                )
                trailers = dict(refused(grpc.RpcError, lambda: next(watch)).trailing_metadata() or ())
                expect(trailers.get("macp-error-code"), "RATE_LIMITED", "one more")
                return tcp

            ended = hold()
            ended.close()
            cut = hold()
            cut.setblocking(False)
            deadline = time.monotonic() + 2 * LATE
            with contextlib.suppress(ConnectionError):
                while not select.select([cut], [], [], 0)[0] or cut.recv(1 << 16):
                    assert time.monotonic() < deadline, "a flood is not cut off"
                    with contextlib.suppress(BlockingIOError):
                        cut.send(frame(PING, payload=b"12345678") * 200)
            broken = hold()
            broken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            broken.close()
            hold().close()


ATTACKS = (slow_in_every_phase, floods_of_frames, tiny_fragments, ten_thousand_connections, readers_of_nothing)


ALONE = (half_a_tls_hello, more_than_a_peer_may, streams_end_with_their_connection)


def main() -> int:
    parser = argparse.ArgumentParser(description="A hostile network.")
    parser.add_argument("--long", action="store_true", help="for five minutes")
    parser.add_argument("--only", help="one attack, by its name")
    arguments = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    failed: list[str] = []

    def check(attack: Callable[[Gateway], None], gateway: Gateway, others: WellBehaved | None) -> None:
        began = time.monotonic()
        try:
            with others.beside() if others else contextlib.nullcontext():
                attack(gateway)
        except BaseException:  # noqa: BLE001 - a check may fail in any way
            failed.append(attack.__name__)
            traceback.print_exc()
        record(str(attack.__doc__), attack.__name__ not in failed, time.monotonic() - began)

    chosen = [attack for attack in ATTACKS if arguments.only in (None, attack.__name__)]
    until = time.monotonic() + (300 if arguments.long else 0)
    with Gateway(SETTINGS) as gateway, WellBehaved(gateway) as others:
        with others.beside():
            time.sleep(0.5)
        before, rounds = holds(gateway), []
        print(f"before: {before}", flush=True)
        while chosen:
            for attack in chosen:
                check(attack, gateway, others)
            if failed:
                break
            rounds.append(is_back(gateway, before))
            print(f"after: {rounds[-1]}", flush=True)
            if time.monotonic() > until:
                break
        if arguments.long and not failed:
            stays_level(rounds)
        if failed:
            gateway.dump()
    for attack in ALONE:
        if arguments.only in (None, attack.__name__):
            check(attack, gateway, None)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
