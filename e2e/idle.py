#!/usr/bin/env python3
"""What an idle WebSocket costs, or with `--events` an event stream over HTTP/1.1: many authenticated ones with one
subscription each, and the server's memory.

With 2,000 sockets and a bound it is part of the CI; with as many as the docs tell of it takes a minute:
`python3 e2e/idle.py --sockets 20000`. Prints the resident memory
of the server before and after, and the difference for each socket. Then each of the sockets gets an envelope, to show
that all of them are alive, and the memory is read again.

Nothing but the standard library: the client is as small as it can be, so that one process holds all sockets.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import resource
import struct
import sys
import time
import uuid
from pathlib import Path

from gateway import DEVELOPMENT, Gateway

ANN = "agent://ann"
MODE = "macp.mode.decision.v1"
#: Sockets of which each source address gets so many, so that its ports last.
PER_ADDRESS = 10_000
#: Upgrades under way at a time.
AT_ONCE = 200


def resident(pid: int) -> int:
    """Bytes of a process that are in memory, shared pages included."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


def masked(opcode: int, payload: bytes) -> bytes:
    """A client's frame; a mask of zeros changes nothing."""
    if len(payload) < 126:
        return struct.pack("!BB4x", 0x80 | opcode, 0x80 | len(payload)) + payload
    return struct.pack("!BBH4x", 0x80 | opcode, 0x80 | 126, len(payload)) + payload


class Socket:
    """A WebSocket of which only text frames and pings are known."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, host: str, port: int, source: str) -> Socket:
        reader, writer = await asyncio.open_connection(host, port, local_addr=(source, 0), limit=4096)
        writer.write(
            (
                f"GET /macp/v1/ws HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                f"Authorization: Bearer {ANN}\r\n\r\n"
            ).encode()
        )
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101"), head
        socket = cls(reader, writer)
        assert "welcome" in await socket.frame()
        return socket

    def say(self, frame: dict) -> None:
        self.writer.write(masked(1, json.dumps(frame).encode()))

    async def frame(self) -> dict:
        """The next text frame; pings on the way are answered."""
        while True:
            first, length = await self.reader.readexactly(2)
            if length == 126:
                (length,) = struct.unpack("!H", await self.reader.readexactly(2))
            elif length == 127:
                (length,) = struct.unpack("!Q", await self.reader.readexactly(8))
            payload = await self.reader.readexactly(length)
            match first & 0x0F:
                case 1:
                    return json.loads(payload)
                case 9:
                    self.writer.write(masked(10, payload))
                case opcode:
                    raise AssertionError(f"opcode {opcode}: {payload!r}")

    async def until(self, kind: str) -> dict:
        while kind not in (frame := await self.frame()):
            assert "error" not in frame, frame
        return frame[kind]


class EventStream:
    """A subscription over HTTP/1.1, of which only the ids of its events are known."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, host: str, port: int, source: str, session: str) -> EventStream:
        reader, writer = await asyncio.open_connection(host, port, local_addr=(source, 0), limit=4096)
        body = json.dumps({"subscribe_session_id": session})
        writer.write(
            (
                f"POST /macp/v1/StreamSession HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
                f"Authorization: Bearer {ANN}\r\nContent-Length: {len(body)}\r\n\r\n{body}"
            ).encode()
        )
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        return cls(reader, writer)

    async def until(self, kind: str) -> dict:
        assert kind == "envelope", "there is nothing else"
        while True:
            event = await self.reader.readuntil(b"\n\n")
            if found := re.search(rb"^id: (\d+)$", event, re.MULTILINE):
                return {"sequence": int(found[1])}


def envelope(session: str, message_type: str, payload: dict) -> dict:
    return {
        "macp_version": "1.0",
        "mode": MODE,
        "message_type": message_type,
        "message_id": str(uuid.uuid4()),
        "session_id": session,
        "payload": payload,
    }


async def send(socket: Socket, session: str, message_type: str, payload: dict) -> None:
    socket.say({"send": {"envelope": envelope(session, message_type, payload)}})
    ack = await socket.until("ack")
    assert ack["ok"], ack


async def subscribed(
    host: str, port: int, number: int, sessions: list[str], places: asyncio.Semaphore, events: bool
) -> Socket | EventStream:
    async with places:
        source = f"127.0.0.{1 + number // PER_ADDRESS}"
        if events:
            stream = await EventStream.open(host, port, source, sessions[number % len(sessions)])
            await stream.until("envelope")
            return stream
        socket = await Socket.open(host, port, source)
        socket.say({"subscribe": {"session_id": sessions[number % len(sessions)], "after_sequence": 0}})
        await socket.until("synced")
        return socket


async def measure(gateway: Gateway, count: int, session_count: int, quiet: float, events: bool) -> float:
    """KiB for each socket beyond the base, when they are idle."""
    host, port = gateway.http.rsplit(":", 1)
    pid = gateway.pid
    speaker = await Socket.open(host, int(port), "127.0.0.1")
    sessions = [str(uuid.uuid4()) for _ in range(session_count)]
    for session in sessions:
        payload = {
            "intent": "wait",
            "participants": [ANN],
            "ttl_ms": 3_600_000,
            "mode_version": "1.0.0",
            "configuration_version": "1",
            "policy_version": "policy.default",
        }
        await send(speaker, session, "SessionStart", payload)
    base = resident(pid)
    print(f"base: {base / 2**20:.1f} MiB with {session_count} sessions and one socket", flush=True)

    began = time.monotonic()
    places = asyncio.Semaphore(AT_ONCE)
    sockets = await asyncio.gather(*(subscribed(host, int(port), n, sessions, places, events) for n in range(count)))
    took = time.monotonic() - began
    print(f"{count} sockets with a subscription each after {took:.1f} s ({count / took:.0f}/s)", flush=True)

    def report(when: str) -> float:
        now = resident(pid)
        each = (now - base) / count / 1024
        print(f"{when}: {now / 2**20:.1f} MiB, {each:.2f} KiB for each socket beyond the base", flush=True)
        return each

    report("at once")
    listening = [asyncio.create_task(socket.until("envelope")) for socket in sockets]
    until = time.monotonic() + quiet
    while time.monotonic() < until:
        await asyncio.sleep(min(5.0, quiet))
        # Whoever is not read does not answer the server's pings.
        speaker.say({"ping": {}})
        await speaker.until("pong")
    idle = report(f"idle for {quiet:.0f} s")
    began = time.monotonic()
    for session in sessions:
        await send(speaker, session, "Proposal", {"proposal_id": "p", "option": "o"})
    delivered = await asyncio.gather(*listening)
    assert all(one["sequence"] == 2 for one in delivered)
    print(f"an envelope for each within {time.monotonic() - began:.2f} s", flush=True)
    report("after it")
    for socket in sockets:
        socket.writer.transport.abort()
    return idle


def main() -> int:
    parser = argparse.ArgumentParser(description="What an idle WebSocket, or event stream, costs.")
    parser.add_argument("--events", action="store_true", help="event streams over HTTP/1.1 in place of WebSockets")
    parser.add_argument("--sockets", type=int, default=20_000)
    parser.add_argument("--sessions", type=int, default=200)
    parser.add_argument("--quiet", type=float, default=30.0, help="seconds, longer than a heartbeat")
    parser.add_argument("--at-most", type=float, help="fail if a socket costs more KiB than that when it is idle")
    arguments = parser.parse_args()
    wanted = arguments.sockets + 100
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise SystemExit(f"{wanted} files are needed, {hard} are allowed (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    unlimited = {name: "1000000" for name in ("MACP_SESSION_START_LIMIT_PER_MINUTE", "MACP_MESSAGE_LIMIT_PER_MINUTE")}
    places = {name: str(wanted) for name in ("MACP_WS_MAX_CONNECTIONS", "MACP_HTTP_MAX_CONNECTIONS")}
    sockets = {**places, "MACP_SHUTDOWN_DRAIN_SECS": "5"}
    store = {"MACP_ALLOW_INSECURE": "1"} if os.environ.get("MACP_IDLE_ON_DISK") else DEVELOPMENT
    with Gateway({**store, **unlimited, **sockets}) as gateway:
        count, sessions = arguments.sockets, arguments.sessions
        each = asyncio.run(measure(gateway, count, sessions, arguments.quiet, arguments.events))
    if arguments.at_most and each > arguments.at_most:
        print(f"FAILED: {each:.2f} KiB are more than {arguments.at_most}", flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
