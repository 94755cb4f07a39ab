"""A well-behaved client beside an attack: asks on every transport, on old connections and on new ones, and notes how long
it waits for each answer.

It is a process of its own, so that it waits for the gateway and not for the threads of the attackers. Parent and child
speak in lines: `begin` is answered with `begun` when every transport has answered once, `end` with what was seen, in JSON.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import select
import ssl
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
from gateway import Gateway
from idle import envelope
from macp.v1 import core_pb2, core_pb2_grpc
from stalled import Peer

ANN = "agent://ann"
#: What it may wait for an answer while the machine is busy with an attack.
ANSWERED_WITHIN = 5.0
#: What it rests between two questions of a kind.
REST = 0.06
#: Questions of each kind that there are at least.
ROUNDS = 6


class Client:
    """The child: one session, and a thread for each transport that asks about it."""

    def __init__(self, addresses: tuple[str, str], authority: str | None) -> None:
        self.grpc, self.http = addresses
        self.context = ssl.create_default_context(cafile=authority) if authority else None
        self.enough = threading.Event()
        self.slowest: dict[str, float] = {}
        self.rounds: dict[str, int] = {}
        self.failure = ""
        self.peer = Peer(self.http, context=self.context)
        self.peer.tcp.settimeout(ANSWERED_WITHIN)
        self.session = self.peer.start()
        self.channel = grpc.insecure_channel(self.grpc)
        if authority:
            credentials = grpc.ssl_channel_credentials(Path(authority).read_bytes())
            self.channel = grpc.secure_channel(f"localhost:{self.grpc.rsplit(':', 1)[1]}", credentials)
        self.stub = core_pb2_grpc.MACPRuntimeServiceStub(self.channel)
        asks = {"HTTP": self.ask_http, "gRPC": self.ask_grpc, "WebSocket": self.ask_ws}
        self.threads = [threading.Thread(target=self.run, args=one, daemon=True) for one in asks.items()]

    def run(self, transport: str, ask: Callable[[int], None]) -> None:
        number = 0
        try:
            while not self.failure and not (self.enough.is_set() and number >= ROUNDS):
                began = time.monotonic()
                ask(number)
                took = time.monotonic() - began
                number += 1
                self.slowest[transport] = max(took, self.slowest.get(transport, 0.0))
                self.rounds[transport] = number
                self.enough.wait(REST)
        except BaseException:  # noqa: BLE001 - told to whoever waits
            self.failure = f"{transport}, question {number}: {traceback.format_exc()}"

    def connection(self) -> http.client.HTTPConnection:
        if self.context:
            return http.client.HTTPSConnection(self.http, timeout=ANSWERED_WITHIN, context=self.context)
        return http.client.HTTPConnection(self.http, timeout=ANSWERED_WITHIN)

    def ask_http(self, number: int) -> None:
        with contextlib.closing(self.connection()) as connection:
            message = envelope(self.session, "Proposal", {"proposal_id": f"h{number}", "option": "o"})
            headers = {"content-type": "application/json", "authorization": f"Bearer {ANN}"}
            connection.request("POST", "/macp/v1/Send", json.dumps({"envelope": message}), headers)
            answer = json.loads(connection.getresponse().read())
            assert answer["ack"]["ok"], answer

    def ask_grpc(self, _: int) -> None:
        request = core_pb2.GetSessionRequest(session_id=self.session)
        metadata = (("authorization", f"Bearer {ANN}"),)
        self.stub.GetSession(request, metadata=metadata, timeout=ANSWERED_WITHIN, wait_for_ready=True)

    def ask_ws(self, number: int) -> None:
        self.peer.accept(self.session, "Proposal", {"proposal_id": f"w{number}", "option": "o"})

    def begin(self) -> None:
        for thread in self.threads:
            thread.start()
        deadline = time.monotonic() + 3 * ANSWERED_WITHIN
        while len(self.rounds) < len(self.threads) and not self.failure and time.monotonic() < deadline:
            self.enough.wait(0.01)

    def end(self) -> dict:
        self.enough.set()
        for thread in self.threads:
            thread.join(3 * ANSWERED_WITHIN)
        if any(thread.is_alive() for thread in self.threads):
            self.failure = self.failure or "an answer does not come"
        self.peer.tcp.close()
        self.channel.close()
        late = {transport: took for transport, took in self.slowest.items() if took > ANSWERED_WITHIN}
        failure = self.failure or (f"answers came late: {late}" if late else "")
        return {"rounds": sum(self.rounds.values()), "slowest": self.slowest, "failure": failure}


def child(settings: dict) -> None:
    client = None
    for line in sys.stdin:
        if line.strip() == "begin":
            client = Client(settings["addresses"], settings["authority"])
            client.begin()
            print("begun", flush=True)
        else:
            assert client
            print(json.dumps(client.end()), flush=True)


class WellBehaved:
    """The parent's side. With `authority`, the file of a certificate, everything goes by TLS."""

    def __init__(self, gateway: Gateway, authority: Path | None = None) -> None:
        settings = {"addresses": (gateway.grpc, gateway.http), "authority": authority and str(authority)}
        command = [sys.executable, __file__, json.dumps(settings)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)

    def __enter__(self) -> WellBehaved:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def _ask(self, line: str) -> str:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(f"{line}\n".encode())
        answered = select.select([self._process.stdout], [], [], 12 * ANSWERED_WITHIN)[0]
        answer = self._process.stdout.readline().decode().strip() if answered else ""
        assert answer, f"the well-behaved client has no answer to {line!r}"
        return answer

    @contextlib.contextmanager
    def beside(self) -> Iterator[None]:
        """For as long as this lasts it asks, and must be answered in time."""
        assert self._ask("begin") == "begun"
        try:
            yield
        finally:
            seen = json.loads(self._ask("end"))
            waits = ", ".join(f"{transport} {took * 1000:.0f} ms" for transport, took in sorted(seen["slowest"].items()))
            print(f"       meanwhile {seen['rounds']} questions of others; the longest waits: {waits}", flush=True)
        assert not seen["failure"], f"a well-behaved client: {seen['failure']}"


if __name__ == "__main__":
    child(json.loads(sys.argv[1]))
