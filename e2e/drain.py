#!/usr/bin/env python3
"""The end by SIGTERM, measured: how soon readiness is gone, what each stream is told, and when the process is.

500 WebSockets, 500 event streams and 100 gRPC streams that are idle; clients that do not take part in their own end; and
senders in the middle of their work, whose session is read again from the disk: what was acknowledged is there, and what is
there was acknowledged.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
from checks import expect, run
from gateway import DEVELOPMENT, Gateway
from macp.v1 import core_pb2, core_pb2_grpc
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from ws_session import VERSIONS, bearer, envelope, proposal

ANN = "agent://ann"
WEBSOCKETS, EVENT_STREAMS, GRPC_STREAMS, CHANNELS = 500, 500, 100, 10
#: Handshakes under way at a time.
AT_ONCE = 50
#: Senders that are at work, and what each has sent without an answer.
SENDERS, AHEAD = 20, 8
#: How soon readiness is gone, and the whole process if nothing is in flight.
NOT_READY_WITHIN, GONE_WITHIN = 1.0, 2.0
WIDE = {
    **DEVELOPMENT,
    "MACP_HTTP_MAX_CONNECTIONS": "4096",
    "MACP_MESSAGE_LIMIT_PER_MINUTE": "1000000",
    "MACP_SESSION_START_LIMIT_PER_MINUTE": "1000000",
    "MACP_GRPC_REFLECTION": "1",
}
METADATA = (("authorization", f"Bearer {ANN}"),)


async def open_socket(gateway: Gateway) -> ClientConnection:
    """An authenticated WebSocket, its welcome read."""
    protocols = ["macp.v1.json", bearer(ANN)]
    ws = await connect(
        f"ws://{gateway.http}/macp/v1/ws", subprotocols=protocols, proxy=None, compression=None, ping_interval=None
    )
    assert "welcome" in json.loads(await ws.recv())
    return ws


async def ask(ws: ClientConnection, **body: Any) -> dict[str, Any]:
    """Sends a frame and waits for its answer."""
    await ws.send(json.dumps({"id": "ask", **body}))
    while (frame := json.loads(await ws.recv())).get("id") != "ask":
        pass
    return frame


def start(session_id: str) -> dict[str, Any]:
    payload = {"intent": "drain", "participants": [ANN, "agent://bob"], "ttl_ms": 3_600_000, **VERSIONS}
    return envelope(session_id, "SessionStart", payload)


async def begin(gateway: Gateway) -> str:
    """A session to subscribe to."""
    session_id = str(uuid.uuid4())
    async with await open_socket(gateway) as ws:
        frame = await ask(ws, send={"envelope": start(session_id)})
        assert frame["ack"]["ok"], frame
    return session_id


async def all_of(count: int, make: Callable[[], Awaitable[Any]]) -> list[Any]:
    """So many of them, some at a time."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one() -> Any:
        async with gate:
            return await make()

    return await asyncio.gather(*(one() for _ in range(count)))


async def subscribed(gateway: Gateway, session_id: str) -> ClientConnection:
    ws = await open_socket(gateway)
    assert "subscribed" in await ask(ws, subscribe={"session_id": session_id})
    return ws


async def socket_end(ws: ClientConnection) -> str:
    """How a WebSocket ends: its last frame and the close code."""
    last = ""
    try:
        while True:
            last = next(iter(set(json.loads(await ws.recv())) - {"id"}))
    except ConnectionClosed as closed:
        return f"{last} {closed.rcvd.code if closed.rcvd else 'cut'}"


Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def event_stream(gateway: Gateway, session_id: str) -> Stream:
    host, port = gateway.http.rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    body = json.dumps({"subscribe_session_id": session_id})
    writer.write(
        f"POST /macp/v1/StreamSession HTTP/1.1\r\nHost: {gateway.http}\r\nAuthorization: Bearer {ANN}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
    )
    assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200"), "an event stream"
    await reader.readuntil(b"\r\n\r\n")
    # The first envelope is the start of the session.
    await reader.readuntil(b"\n\n")
    return reader, writer


async def event_stream_end(stream: Stream) -> str:
    """How an event stream ends: the last chunk of its body, whole or not, and no error event."""
    rest = await stream[0].read()
    stream[1].close()
    if b"event: error" in rest:
        return "error event"
    return "end" if rest.endswith(b"0\r\n\r\n") else f"cut {rest[-40:]!r}"


async def grpc_stream(channel: grpc.aio.Channel, session_id: str) -> Any:
    call = core_pb2_grpc.MACPRuntimeServiceStub(channel).StreamSession(metadata=METADATA)
    await call.write(core_pb2.StreamSessionRequest(subscribe_session_id=session_id))
    await call.read()
    return call


async def status_of(call: Any) -> str:
    """How a gRPC stream ends."""
    code = (await call.code()).name
    trailers = dict(await call.trailing_metadata() or ())
    return f"{code} {trailers.get('macp-error-code', '')}"


def method(channel: grpc.aio.Channel, path: str) -> Any:
    """A call of bytes in both directions."""
    same = bytes
    return channel.stream_stream(path, request_serializer=same, response_deserializer=same)(metadata=METADATA)


async def readiness_gone(gateway: Gateway, since: float) -> float:
    """When a load balancer that asks all the time is told, or finds nobody."""
    host, port = gateway.http.rsplit(":", 1)
    while True:
        try:
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(f"GET /readyz HTTP/1.1\r\nHost: {gateway.http}\r\nConnection: close\r\n\r\n".encode())
            answer = await reader.read()
            writer.close()
        except OSError:
            answer = b""
        if not answer.startswith(b"HTTP/1.1 200"):
            return time.monotonic() - since
        await asyncio.sleep(0.005)


async def ended(gateway: Gateway, since: float) -> float:
    """When the process ends, with exit code 0."""
    assert gateway.process
    code = await asyncio.to_thread(gateway.process.wait, 30)
    took = time.monotonic() - since
    expect(code, 0, "exit code")
    return took


@contextlib.asynccontextmanager
async def channels(gateway: Gateway, count: int) -> AsyncIterator[list[grpc.aio.Channel]]:
    # Each with a connection of its own, as of so many processes.
    options = [("grpc.use_local_subchannel_pool", 1)]
    made = [grpc.aio.insecure_channel(gateway.grpc, options=options) for _ in range(count)]
    try:
        yield made
    finally:
        await asyncio.gather(*(channel.close() for channel in made))


async def idle_streams(gateway: Gateway) -> None:
    session_id = await begin(gateway)
    async with channels(gateway, CHANNELS) as made:
        sockets = await all_of(WEBSOCKETS, lambda: subscribed(gateway, session_id))
        events = await all_of(EVENT_STREAMS, lambda: event_stream(gateway, session_id))
        streams = await asyncio.gather(
            *(grpc_stream(made[n % CHANNELS], session_id) for n in range(GRPC_STREAMS))
        )
        health = method(made[0], "/grpc.health.v1.Health/Watch")
        await health.write(b"")
        await health.done_writing()
        expect(await health.read(), b"\x08\x01", "SERVING")
        ends = [asyncio.create_task(socket_end(ws)) for ws in sockets]
        ends += [asyncio.create_task(event_stream_end(stream)) for stream in events]
        ends += [asyncio.create_task(status_of(call)) for call in streams]
        since = time.monotonic()
        gateway.signal(signal.SIGTERM)
        gone, took = asyncio.create_task(readiness_gone(gateway, since)), asyncio.create_task(ended(gateway, since))
        expect(await health.read(), b"\x08\x02", "NOT_SERVING")
        told = time.monotonic() - since
        counts = Counter(await asyncio.gather(*ends))
        all_ended = time.monotonic() - since
        wanted = {"draining 1001": WEBSOCKETS, "end": EVENT_STREAMS, "UNAVAILABLE UNAVAILABLE": GRPC_STREAMS}
        expect(dict(counts), wanted, "how streams end")
        gone, took = await gone, await took
    print(
        f"       not ready after {gone * 1000:.0f} ms, health watch told after {told * 1000:.0f} ms, "
        f"streams ended after {all_ended * 1000:.0f} ms, process gone after {took * 1000:.0f} ms"
    )
    assert gone < NOT_READY_WITHIN and told < NOT_READY_WITHIN, (gone, told)
    assert took < GONE_WITHIN, took


def idle(gateway: Gateway) -> None:
    """500 WebSockets, 500 event streams, 100 gRPC streams, all idle: told, ended, and gone within 2 s."""
    asyncio.run(idle_streams(gateway))


#: The beginning of an HTTP/2 connection and a request for /livez, with HPACK's static table alone.
HTTP2 = (
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
    b"\x00\x00\x0d\x01\x05\x00\x00\x00\x01\x82\x86\x41\x01x\x04\x06/livez"
)


def connection(address: str, said: bytes, answer: bytes) -> socket.socket:
    """A bare connection that says something and reads up to this answer, and never anything else."""
    host, port = address.rsplit(":", 1)
    one = socket.create_connection((host, int(port)), timeout=5)
    one.sendall(said)
    heard = b""
    while answer not in heard:
        part = one.recv(4096)
        assert part, heard
        heard += part
    return one


async def silent_clients(gateway: Gateway) -> None:
    session_id = await begin(gateway)
    host = gateway.http
    upgrade = (
        f"GET /macp/v1/ws HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        f"Authorization: Bearer {ANN}\r\nSec-WebSocket-Protocol: macp.v1.json\r\n\r\n"
    ).encode()
    kept = f"GET /livez HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    asked = ((upgrade, b"welcome"), (HTTP2, b"live\n"), (kept, b"live\n"))
    silent = [connection(host, said, answer) for said, answer in asked for _ in range(5)]
    async with channels(gateway, 3) as made:
        # Streams on which neither side says anything.
        reflection = method(made[0], "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
        await reflection.write(b"\x3a\x00")
        await reflection.read()
        health = method(made[1], "/grpc.health.v1.Health/Watch")
        await health.write(b"")
        await health.done_writing()
        await health.read()
        unsubscribed = core_pb2_grpc.MACPRuntimeServiceStub(made[2]).StreamSession(metadata=METADATA)
        await unsubscribed.wait_for_connection()
        stream = await event_stream(gateway, session_id)
        since = time.monotonic()
        gateway.signal(signal.SIGTERM)
        took = await ended(gateway, since)
        for one in silent:
            one.close()
        stream[1].close()
    print(f"       process gone after {took * 1000:.0f} ms")
    assert took < GONE_WITHIN, took


def silent(gateway: Gateway) -> None:
    """Clients that read nothing, answer nothing and close nothing hold nobody up."""
    asyncio.run(silent_clients(gateway))


async def sender(gateway: Gateway, session_id: str, stop: asyncio.Event) -> set[str]:
    """Proposes as fast as it may; the ids of the messages that were acknowledged, up to the close with 1001."""
    acked: set[str] = set()
    ws = await open_socket(gateway)
    frame = await ask(ws, send={"envelope": start(session_id)})
    acked.add(frame["ack"]["message_id"])
    allowed = asyncio.Semaphore(AHEAD)

    async def propose() -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                await allowed.acquire()
                message = proposal(session_id, str(uuid.uuid4()))
                await ws.send(json.dumps({"id": message["message_id"], "send": {"envelope": message}}))

    proposing = asyncio.create_task(propose())
    try:
        while True:
            frame = json.loads(await ws.recv())
            if ack := frame.get("ack"):
                allowed.release()
                if len(acked) > 50:
                    stop.set()
                if ack["ok"]:
                    acked.add(ack["message_id"])
                else:
                    # What comes after the signal may be refused, and says when to come back.
                    expect(ack["error"]["code"], "UNAVAILABLE", "the code of a refused envelope")
    except ConnectionClosed as closed:
        assert closed.rcvd and closed.rcvd.code == 1001, closed
    proposing.cancel()
    return acked


async def accepted(gateway: Gateway, session_id: str, count: int) -> set[str]:
    """The ids of the messages of a session: so many, and nothing behind them."""
    ws = await subscribed(gateway, session_id)
    seen: set[str] = set()
    await ws.send(json.dumps({"id": "mark", "ping": {}}))
    synced = False
    while not (synced and len(seen) >= count):
        frame = json.loads(await asyncio.wait_for(ws.recv(), 10))
        if "envelope" in frame:
            seen.add(frame["envelope"]["envelope"]["message_id"])
        synced = synced or "synced" in frame
    await ws.close()
    return seen


async def senders_at_work(gateway: Gateway) -> dict[str, set[str]]:
    sessions = [str(uuid.uuid4()) for _ in range(SENDERS)]
    busy = asyncio.Event()
    # A request of which the gateway has half: it is waited for.
    host, port = gateway.http.rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"POST /macp/v1/ListModes HTTP/1.1\r\nHost: {gateway.http}\r\nContent-Type: application/json\r\n"
        "Content-Length: 2\r\n\r\n{".encode()
    )
    tasks = [asyncio.create_task(sender(gateway, session_id, busy)) for session_id in sessions]
    await asyncio.wait_for(busy.wait(), 20)
    since = time.monotonic()
    gateway.signal(signal.SIGTERM)
    gone = asyncio.create_task(ended(gateway, since))
    acked = await asyncio.gather(*tasks)
    told = time.monotonic() - since
    assert not gone.done(), "a request is in flight"
    writer.write(b"}")
    assert (await reader.read()).startswith(b"HTTP/1.1 200"), "the answer to a request in flight"
    finished = time.monotonic()
    took = await gone
    print(
        f"       {sum(map(len, acked))} acknowledged; sockets closed after {told * 1000:.0f} ms, process gone "
        f"{(took - (finished - since)) * 1000:.0f} ms after the last answer"
    )
    assert told < GONE_WITHIN and took - (finished - since) < GONE_WITHIN
    return dict(zip(sessions, acked, strict=True))


async def compare(gateway: Gateway, acked: dict[str, set[str]]) -> None:
    for session_id, ids in acked.items():
        expect(await accepted(gateway, session_id, len(ids)), ids, "what is stored and what was acknowledged")


def acknowledged(acked: dict[str, set[str]]) -> Callable[[Gateway], None]:
    def check(gateway: Gateway) -> None:
        """After the restart: what was acknowledged is stored, and nothing else."""
        asyncio.run(compare(gateway, acked))

    return check


def main() -> int:
    with Gateway(WIDE) as gateway:
        failed = run(gateway, idle)
    with Gateway(WIDE) as gateway:
        failed += run(gateway, silent)
    acked: dict[str, set[str]] = {}

    def in_flight(gateway: Gateway) -> None:
        """Senders at work: what was taken in is answered, and requests in flight end well."""
        acked.update(asyncio.run(senders_at_work(gateway)))

    with tempfile.TemporaryDirectory(prefix="macp-drain-") as directory:
        durable = {**WIDE, "MACP_MEMORY_ONLY": "0", "MACP_DATA_DIR": directory}
        with Gateway(durable) as gateway:
            failed += run(gateway, in_flight)
        with Gateway(durable) as gateway:
            failed += run(gateway, acknowledged(acked))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
