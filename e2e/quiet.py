#!/usr/bin/env python3
"""Streams on which nothing happens for longer than those on the way usually wait.

Server-sent events through nginx and Caddy as Debian ships them, with nothing set but where to: quiet for nginx's default
read timeout and ten seconds more, and then an envelope. At the same time stock gRPC clients that ping every 10 s, one
with a call open and one without, which gRPC's own servers would cut off.

`--seconds N` is how long it is quiet; 70 unless told otherwise.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import shutil
import sys
import tempfile
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
from checks import Feed, expect, record
from gateway import DEVELOPMENT, Gateway, free_ports, neighbour
from macp.v1 import core_pb2, core_pb2_grpc

ANN = "agent://ann"
MODE = "macp.mode.decision.v1"
SOON = 10.0
PING = [
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
]

NGINX = """
daemon off; master_process off; pid {folder}/pid; error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{ listen {address}; location / {{ proxy_pass http://{upstream}; }} }}
}}
"""
CADDY = """
{{
    admin off
    auto_https off
}}
http://{address} {{
    reverse_proxy {upstream}
}}
"""


@contextlib.contextmanager
def proxy(name: str, upstream: str) -> Iterator[str]:
    """A proxy with its defaults in front of HOST:PORT; its own address."""
    program = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if program is None:
        raise SystemExit(f"no {name}: apt-get install nginx-light caddy")
    address = f"127.0.0.1:{free_ports(1)[0]}"
    with tempfile.TemporaryDirectory(prefix="macp-e2e-") as folder:
        file = Path(folder, "config")
        text = NGINX if name == "nginx" else CADDY
        file.write_text(text.format(folder=folder, address=address, upstream=upstream), encoding="utf-8")
        nginx, caddy = ["-p", folder, "-c", str(file)], ["run", "--adapter", "caddyfile", "--config", str(file)]
        command = [program, *(nginx if name == "nginx" else caddy)]
        environment = {"HOME": folder, "XDG_DATA_HOME": folder, "XDG_CONFIG_HOME": folder}
        # With its defaults, Caddy waits for clients that are still there.
        with neighbour(command, address, Path(folder, "log"), environment, stops_within=SOON, must_stop=False):
            yield address


def post(address: str, method: str, body: dict) -> http.client.HTTPResponse:
    """A call over HTTP; the head of its answer. The socket has no deadline once that is there."""
    connection = http.client.HTTPConnection(address, timeout=SOON)
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {ANN}"}
    connection.request("POST", f"/macp/v1/{method}", json.dumps(body), headers)
    assert connection.sock
    connection.sock.settimeout(None)
    answer = connection.getresponse()
    expect(answer.status, 200, f"{method} at {address}")
    return answer


def events(address: str, session: str) -> http.client.HTTPResponse:
    """A session's event stream. By GET, as an EventSource asks: Caddy 2.6 cuts one stream in some dozens whose request has a
    body, when the answer begins before it has noticed the body's end."""
    connection = http.client.HTTPConnection(address, timeout=SOON)
    connection.request("GET", f"/macp/v1/sessions/{session}/events", headers={"Authorization": f"Bearer {ANN}"})
    assert connection.sock
    connection.sock.settimeout(None)
    answer = connection.getresponse()
    expect(answer.status, 200, f"an event stream at {address}")
    return answer


def send(gateway: Gateway, session: str, message_type: str, payload: dict) -> None:
    """Sends an envelope, not through a proxy."""
    envelope = {
        "macp_version": "1.0",
        "mode": MODE,
        "message_type": message_type,
        "message_id": str(uuid.uuid4()),
        "session_id": session,
        "payload": payload,
    }
    ack = json.load(post(gateway.http, "Send", {"envelope": envelope}))["ack"]
    assert ack["ok"], ack


def lines(answer: http.client.HTTPResponse) -> Iterator[str]:
    """The data of the events of a stream, without comments."""
    while line := answer.readline():
        if line.startswith(b"data: "):
            yield line[6:].decode().strip()
    raise AssertionError("the stream has ended")


def events_through(name: str, gateway: Gateway, seconds: float) -> None:
    session = str(uuid.uuid4())
    payload = {
        "intent": "wait",
        "participants": [ANN],
        "ttl_ms": 3_600_000,
        "mode_version": "1.0.0",
        "configuration_version": "1",
        "policy_version": "policy.default",
    }
    send(gateway, session, "SessionStart", payload)
    with proxy(name, gateway.http) as address:
        began = time.monotonic()
        answer = events(address, session)
        feed = Feed(lambda: lines(answer))
        assert "SessionStart" in feed.next(SOON)
        print(f"       {name}: the first event came after {(time.monotonic() - began) * 1000:.0f} ms", flush=True)
        assert not feed.arrived(seconds), feed.seen
        sent = time.monotonic()
        send(gateway, session, "Proposal", {"proposal_id": "p", "option": "o"})
        assert "Proposal" in feed.next(SOON)
        took = (time.monotonic() - sent) * 1000
        print(f"       {name}: after {seconds:.0f} s of silence an envelope came within {took:.0f} ms", flush=True)


def events_through_nginx(gateway: Gateway, seconds: float) -> None:
    """Server-sent events through nginx outlive its read timeout"""
    events_through("nginx", gateway, seconds)


def events_through_caddy(gateway: Gateway, seconds: float) -> None:
    """Server-sent events through Caddy outlive the same silence"""
    events_through("caddy", gateway, seconds)


def pinging_client(gateway: Gateway, seconds: float, with_call: bool) -> None:
    states: list[grpc.ChannelConnectivity] = []
    with grpc.insecure_channel(gateway.grpc, options=PING) as channel:
        stub = core_pb2_grpc.MACPRuntimeServiceStub(channel)
        stub.ListModes(core_pb2.ListModesRequest(), timeout=SOON)
        channel.subscribe(states.append)
        if with_call:
            watch = stub.WatchSignals(core_pb2.WatchSignalsRequest(), metadata=(("authorization", f"Bearer {ANN}"),))
            feed = Feed(lambda: watch)
            assert not feed.arrived(seconds), feed.seen
        else:
            time.sleep(seconds)
        stub.ListModes(core_pb2.ListModesRequest(), timeout=SOON)
        expect(states, [grpc.ChannelConnectivity.READY], "what became of the connection")
        if with_call:
            watch.cancel()


def pings_without_call(gateway: Gateway, seconds: float) -> None:
    """A stock gRPC client that pings every 10 s while it has no call is not cut off"""
    pinging_client(gateway, seconds, with_call=False)


def pings_with_call(gateway: Gateway, seconds: float) -> None:
    """A stock gRPC client that pings every 10 s on a silent stream is not cut off"""
    pinging_client(gateway, seconds, with_call=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="Streams on which nothing happens for a long time.")
    parser.add_argument("--seconds", type=float, default=70)
    seconds = parser.parse_args().seconds
    failed: list[str] = []

    def check(one: Callable[[Gateway, float], None]) -> None:
        began = time.monotonic()
        try:
            one(gateway, seconds)
        except BaseException:  # noqa: BLE001 - a check may fail in any way, and a thread tells nobody
            failed.append(one.__name__)
            traceback.print_exc()
        record(str(one.__doc__), one.__name__ not in failed, time.monotonic() - began)

    with Gateway({**DEVELOPMENT, "MACP_SHUTDOWN_DRAIN_SECS": "2"}) as gateway:
        checks = (events_through_nginx, events_through_caddy, pings_without_call, pings_with_call)
        threads = [threading.Thread(target=check, args=(one,)) for one in checks]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failed:
            gateway.dump()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
