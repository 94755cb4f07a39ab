#!/usr/bin/env python3
"""What subscribers that stop reading cost: the server's memory, and everybody else's time.

On a release build; the first part, with a bound, in the CI. First, with the embedded store: 1,500 envelopes of 20 kB are accepted while a subscriber does
not read; then it reads, and must get all of them. The same traffic without it is what the memory is compared with.
Second: 1,000 subscribers of one session, all of them reading or a hundred of them stalled, and how long an envelope
takes from its `send` to the other nine hundred.

Nothing but the standard library, and no thread of a measured socket does more than to note the time.
"""

from __future__ import annotations

import argparse
import json
import selectors
import socket
import ssl
import struct
import sys
import time
import uuid
from pathlib import Path

from gateway import Gateway
from idle import envelope, masked, resident

ANN = "agent://ann"
SETTINGS = {
    "MACP_ALLOW_INSECURE": "1",
    "MACP_SESSION_START_LIMIT_PER_MINUTE": "1000000",
    "MACP_MESSAGE_LIMIT_PER_MINUTE": "1000000",
    "MACP_SHUTDOWN_DRAIN_SECS": "3",
    # Nobody is cut off here, however slow the disk is: that is for hostile.py.
    "MACP_STALL_TIMEOUT_SECS": "600",
    "MACP_WS_HEARTBEAT_SECS": "300",
}


class Peer:
    """A blocking WebSocket of which only text frames and pings are known."""

    def __init__(
        self, address: str, receive_buffer: int | None = None, context: ssl.SSLContext | None = None
    ) -> None:
        host, port = address.rsplit(":", 1)
        self.tcp = socket.socket()
        if receive_buffer:
            self.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.tcp.settimeout(60)
        #: Before the server could know of it.
        self.began = time.monotonic()
        self.tcp.connect((host, int(port)))
        self.tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context:
            self.tcp = context.wrap_socket(self.tcp, server_hostname="localhost")
        self.tcp.sendall(
            (
                f"GET /macp/v1/ws HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                f"Authorization: Bearer {ANN}\r\n\r\n"
            ).encode()
        )
        self.buffer = bytearray()
        while b"\r\n\r\n" not in self.buffer:
            self._fill()
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        assert head.startswith(b"HTTP/1.1 101"), head
        self.until("welcome")

    def _fill(self) -> None:
        data = self.tcp.recv(1 << 18)
        assert data, "the server has closed the connection"
        self.buffer += data

    def say(self, frame: dict) -> None:
        self.tcp.sendall(masked(1, json.dumps(frame).encode()))

    def frame(self) -> dict:
        while True:
            while len(self.buffer) < 2:
                self._fill()
            first, length, head = self.buffer[0], self.buffer[1], 2
            if length >= 126:
                head, form = (4, "!H") if length == 126 else (10, "!Q")
                while len(self.buffer) < head:
                    self._fill()
                (length,) = struct.unpack(form, self.buffer[2:head])
            while len(self.buffer) < head + length:
                self._fill()
            payload = bytes(self.buffer[head : head + length])
            del self.buffer[: head + length]
            if first & 0x0F == 1:
                return json.loads(payload)
            assert first & 0x0F == 9, f"{first:x} {payload!r}"
            self.tcp.sendall(masked(10, payload))

    def until(self, kind: str) -> dict:
        while kind not in (frame := self.frame()):
            assert "error" not in frame, frame
        return frame[kind]

    def accept(self, session: str, message_type: str, payload: dict, **more: str) -> None:
        self.say({"send": {"envelope": envelope(session, message_type, payload) | more}})
        ack = self.until("ack")
        assert ack["ok"], ack

    def start(self) -> str:
        session = str(uuid.uuid4())
        payload = {
            "intent": "wait",
            "participants": [ANN],
            "ttl_ms": 3_600_000,
            "mode_version": "1.0.0",
            "configuration_version": "1",
            "policy_version": "policy.default",
        }
        self.accept(session, "SessionStart", payload)
        return session

    def subscribe(self, session: str) -> None:
        self.say({"subscribe": {"session_id": session, "after_sequence": 1}})
        self.until("synced")


def proposal(number: int, size: int) -> dict:
    return {"proposal_id": f"p{number}", "option": "o", "rationale": "r" * size}


def high_water(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM")


def memory_with(stalled: bool, count: int, size: int) -> int:
    """The growth of the server's memory by this traffic, at its highest, in bytes."""
    with Gateway(SETTINGS) as gateway:
        writer = Peer(gateway.http)
        # What the store and the server need once is not counted.
        warm = writer.start()
        for number in range(100):
            writer.accept(warm, "Proposal", proposal(number, size))
        session = writer.start()
        # A small window: what the kernel holds for the client is not the server's memory, but the less it holds the
        # more is left to the server.
        reader = Peer(gateway.http, 8192) if stalled else None
        if reader:
            reader.subscribe(session)
        Path(f"/proc/{gateway.pid}/clear_refs").write_text("5")
        before = resident(gateway.pid)
        for number in range(count):
            writer.accept(session, "Proposal", proposal(number, size))
        accepted = high_water(gateway.pid) - before
        if not reader:
            # What is read is kept in the store's cache, whoever reads it: so somebody reads it here, too.
            reader = Peer(gateway.http)
            reader.say({"subscribe": {"session_id": session, "after_sequence": 1}})
        began = time.monotonic()
        for sequence in range(2, count + 2):
            found = reader.until("envelope")["sequence"]
            assert found == sequence, (found, sequence)
        took = time.monotonic() - began
        grown = high_water(gateway.pid) - before
        who = "a subscriber that was stalled" if stalled else "one that comes afterwards"
        print(
            f"  {who}: {accepted / 2**20:+.1f} MiB when all was accepted, {grown / 2**20:+.1f} MiB when it had got all "
            f"{count} in order, in {took:.1f} s",
            flush=True,
        )
        return grown


def latencies(readers: int, stalled: int, envelopes: int) -> tuple[list[float], list[float]]:
    """Seconds from a `send` to each of the readers, sorted: with all reading, and with so many others stalled."""
    with Gateway(SETTINGS | {"MACP_MEMORY_ONLY": "1"}) as gateway:
        writer = Peer(gateway.http)
        session = writer.start()
        # From here on sequences have four digits, and the numbers of proposals five: envelopes of a kind have one length.
        numbers = iter(range(10_000, 100_000))
        for _ in range(1_000):
            writer.accept(session, "Proposal", proposal(next(numbers), 1))
        # Their windows are small, so that little is enough to stall them.
        peers = [Peer(gateway.http) for _ in range(readers)] + [Peer(gateway.http, 8192) for _ in range(stalled)]
        for peer in peers:
            peer.say({"subscribe": {"session_id": session, "after_sequence": 1_001}})
            peer.until("synced")
        selector = selectors.DefaultSelector()
        for place, peer in enumerate(peers):
            peer.tcp.setblocking(False)
            selector.register(peer.tcp, selectors.EVENT_READ, place)
        received = [0] * len(peers)
        lengths: dict[int, int] = {}
        # The gateway's own times have no fraction on the second.
        at = time.strftime("%Y-%m-%dT%H:%M:%S.500Z", time.gmtime())

        def deliver(size: int, among: int, note: list[float] | None = None) -> None:
            """Sends an envelope and reads until so many have it. That is told by its length: no time goes into JSON."""
            began = time.perf_counter()
            writer.accept(session, "Proposal", proposal(next(numbers), size), timestamp=at)
            waiting = among
            while waiting:
                ready = selector.select(20)
                assert ready, f"{waiting} of {among} have not got it"
                for key, _ in ready:
                    data = key.fileobj.recv(1 << 20)
                    assert data, "the server has closed a connection that reads"
                    received[key.data] += len(data)
                    # A ping of the server is two bytes more now and then.
                    if received[key.data] >= lengths[size]:
                        received[key.data] -= lengths[size]
                        waiting -= 1
                        if note is not None and key.data < readers:
                            note.append(time.perf_counter() - began)

        def writer_head() -> int:
            writer.say({"call": {"method": "GetSession", "request": {"session_id": session}}})
            activity = writer.until("result")["response"]["metadata"]["participant_activity"]
            return activity[0]["message_count"]

        def learn(size: int) -> None:
            """How many bytes an envelope of this size is for a subscriber."""
            probe = Peer(gateway.http)
            head = writer_head()
            probe.say({"subscribe": {"session_id": session, "after_sequence": head}})
            probe.until("synced")
            writer.accept(session, "Proposal", proposal(next(numbers), size), timestamp=at)
            text = json.dumps(probe.frame(), separators=(",", ":"), ensure_ascii=False).encode()
            lengths[size] = len(text) + 4
            probe.tcp.close()
            left = len(peers) * lengths[size]
            while left:
                for key, _ in selector.select(20):
                    left -= len(key.fileobj.recv(1 << 20))

        def sign_of_life() -> None:
            """Its pings are not answered one by one; any byte in time is enough."""
            for peer in peers[: len(selector.get_map())]:
                peer.tcp.send(masked(10, b""))

        for size in (20_000, 1_000):
            learn(size)
        for _ in range(20):
            deliver(1_000, len(peers))
        sign_of_life()
        reading: list[float] = []
        for _ in range(envelopes):
            deliver(1_000, len(peers), reading)
        for peer in peers[readers:]:
            selector.unregister(peer.tcp)
        # Enough to fill whatever the kernel holds for those who do not read.
        for _ in range(60):
            deliver(20_000, readers)
        sign_of_life()
        beside_stalled: list[float] = []
        for _ in range(envelopes):
            deliver(1_000, readers, beside_stalled)
        return sorted(reading), sorted(beside_stalled)


def main() -> int:
    parser = argparse.ArgumentParser(description="What subscribers that stop reading cost.")
    parser.add_argument("--rounds", type=int, default=5, help="of the second, which needs a quiet machine")
    parser.add_argument("--at-most", type=float, help="fail if a stalled subscriber costs more MiB than that")
    arguments = parser.parse_args()
    print("1,500 envelopes of 20 kB past a subscriber that does not read:", flush=True)
    without, with_it = memory_with(False, 1_500, 20_000), memory_with(True, 1_500, 20_000)
    costs = (with_it - without) / 2**20
    print(f"  because it was stalled: {costs:+.1f} MiB", flush=True)
    if arguments.at_most and costs > arguments.at_most:
        print(f"FAILED: more than {arguments.at_most} MiB", flush=True)
        return 1
    if not arguments.rounds:
        return 0
    print("1,000 subscribers, the time to nine hundred of them:", flush=True)
    changes = []
    for _ in range(arguments.rounds):
        both = latencies(900, 100, 100)
        (p50, p99), (p50_beside, p99_beside) = (
            (times[len(times) // 2] * 1000, times[len(times) * 99 // 100] * 1000) for times in both
        )
        changes.append((p99_beside / p99 - 1) * 100)
        print(
            f"  all read: p50 {p50:.1f} ms, p99 {p99:.1f} ms; a hundred others stalled: p50 {p50_beside:.1f} ms, "
            f"p99 {p99_beside:.1f} ms ({changes[-1]:+.0f} %)",
            flush=True,
        )
    print(f"  p99 changes by {sorted(changes)[len(changes) // 2]:+.0f} % (the middle one of the rounds)", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
