"""The example configurations of deploy/ as they stand, run: nginx, Caddy and Envoy in front of a gateway.

Each proxy runs in namespaces of its own (Linux, root), with a network of nothing but loopback and an /etc that is a copy:
so the files are used with the addresses, names and paths that are written in them, three at a time, and the machine does
not notice. The clients come by TLS and by name, as from outside.

`--idle N` is how long streams are silent before something more is sent; 65 passes the defaults of all three. `NAME ...` are
the proxies to run, all unless told otherwise.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import datetime
import fcntl
import http.client
import json
import os
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import grpc
from checks import Feed, expect, run
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from gateway import REPOSITORY, Gateway, neighbour, secret
from macp.v1 import core_pb2, core_pb2_grpc
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

DEPLOY = REPOSITORY / "deploy"
NAME = "macp.example"
PLANNER, CONSOLE = "change-me-planner", "change-me-console"
MODE = "macp.mode.decision.v1"
SOON = 10.0
STOP_WITHIN = 20.0
# What a proxy that collects events would not keep.
PROMPT = 5.0
COMMANDS = {
    "nginx": ["nginx", "-c", str(DEPLOY / "nginx.conf"), "-g", "daemon off;"],
    "caddy": ["caddy", "run", "--adapter", "caddyfile", "--config", str(DEPLOY / "Caddyfile")],
    "envoy": ["envoy", "--config-path", str(DEPLOY / "envoy.yaml"), "--log-level", "warning", "--concurrency", "1"],
}
AUTHORITY = Path("/etc/ssl/macp/authority.pem")


# --- the machine that it runs on --------------------------------------------------------------------------------------


def settle() -> None:
    """In new namespaces: loopback is up, and what is written to /etc, /run and /var is nobody else's."""
    lo = struct.pack("16sh", b"lo", 1)
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, 0x8914, lo)  # SIOCSIFFLAGS, IFF_UP
    mount = ["mount", "-n"]
    subprocess.run([*mount, "--make-rprivate", "/"], check=True)
    for folder in ("/run", "/var/log", "/var/lib"):
        subprocess.run([*mount, "-t", "tmpfs", "tmpfs", folder], check=True)
    upper, work = Path("/run/etc/upper"), Path("/run/etc/work")
    upper.mkdir(parents=True)
    work.mkdir()
    layers = f"lowerdir=/etc,upperdir={upper},workdir={work}"
    subprocess.run([*mount, "-t", "overlay", "overlay", "-o", layers, "/etc"], check=True)
    for folder in ("/var/log/nginx", "/var/lib/nginx", "/etc/ssl/macp", "/etc/macp-gateway"):
        Path(folder).mkdir(parents=True, exist_ok=True)
    Path("/etc/hosts").write_text(f"127.0.0.1 localhost {NAME}\n", encoding="utf-8")
    shutil.copy(DEPLOY / "gateway.toml", "/etc/macp-gateway")
    shutil.copy(DEPLOY / "tokens.json", "/etc/macp-gateway")
    certificates(Path("/etc/ssl/macp"))


def certificates(folder: Path) -> None:
    """A certificate of the name, and the authority that signed it."""
    now = datetime.datetime.now(datetime.UTC)

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    def builder(subject: str, key: ec.EllipticCurvePublicKey, is_authority: bool) -> x509.CertificateBuilder:
        constraints = x509.BasicConstraints(ca=is_authority, path_length=None)
        begun = x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name("test authority"))
        begun = begun.public_key(key).serial_number(x509.random_serial_number())
        begun = begun.not_valid_before(now - datetime.timedelta(minutes=5))
        return begun.not_valid_after(now + datetime.timedelta(days=1)).add_extension(constraints, critical=True)

    authority, own = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = builder("test authority", authority.public_key(), True).sign(authority, hashes.SHA256())
    names = x509.SubjectAlternativeName([x509.DNSName(NAME)])
    leaf = builder(NAME, own.public_key(), False).add_extension(names, critical=False)
    pem = serialization.Encoding.PEM
    AUTHORITY.write_bytes(root.public_bytes(pem))
    (folder / "fullchain.pem").write_bytes(leaf.sign(authority, hashes.SHA256()).public_bytes(pem))
    key = own.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "privkey.pem").write_bytes(key)


@contextlib.contextmanager
def proxy(name: str) -> Iterator[Path]:
    """The proxy with its file of deploy/; its log."""
    command = COMMANDS[name]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin"
    program = shutil.which(command[0], path=path)
    if program is None:
        raise SystemExit(f"no {name}: `bash .ci/run e2e` installs it")
    log = Path("/var/log/proxy")
    command = [program, *command[1:]]
    # It stops with a stream that is still open, too.
    with neighbour(command, "127.0.0.1:443", log, {"HOME": "/run", "PATH": path}, stops_within=STOP_WITHIN):
        yield log


# --- clients ----------------------------------------------------------------------------------------------------------


def trust() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(AUTHORITY))


def request(
    verb: str, path: str, body: bytes | None = None, token: str = PLANNER, **headers: str
) -> http.client.HTTPResponse:
    """An HTTP request; the head of its answer. What follows the head has no deadline."""
    connection = http.client.HTTPSConnection(NAME, 443, timeout=SOON, context=trust())
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(verb, path, body, {"Authorization": f"Bearer {token}", **named})
    assert connection.sock
    connection.sock.settimeout(None)
    return connection.getresponse()


def call(method: str, body: dict, token: str = PLANNER) -> http.client.HTTPResponse:
    return request("POST", f"/macp/v1/{method}", json.dumps(body).encode(), token, Content_Type="application/json")


def ack_of(session: str, message_type: str, payload: dict) -> dict:
    envelope = {
        "macp_version": "1.0",
        "mode": MODE,
        "message_type": message_type,
        "message_id": str(uuid.uuid4()),
        "session_id": session,
        "payload": payload,
    }
    answer = call("Send", {"envelope": envelope})
    expect(answer.status, 200, message_type)
    return json.load(answer)["ack"]


def send(session: str, message_type: str, payload: dict) -> None:
    ack = ack_of(session, message_type, payload)
    assert ack["ok"], ack


def start() -> str:
    session = str(uuid.uuid4())
    payload = {
        "intent": "wait",
        "participants": ["agent://planner"],
        "ttl_ms": 3_600_000,
        "mode_version": "1.0.0",
        "configuration_version": "1",
        "policy_version": "policy.default",
    }
    send(session, "SessionStart", payload)
    return session


def propose(session: str, proposal: str, **more: str) -> None:
    send(session, "Proposal", {"proposal_id": proposal, "option": "o", **more})


def socket_to_gateway(query: str = "", **more):
    token = base64.urlsafe_b64encode(CONSOLE.encode()).decode().rstrip("=")
    protocols = ["macp.v1.json"] if query else ["macp.v1.json", f"macp.bearer.{token}"]
    url = f"wss://{NAME}/macp/v1/ws{query}"
    return connect(url, ssl=trust(), subprotocols=protocols, open_timeout=SOON, **more)


def channel() -> grpc.Channel:
    # No pings: a silent stream is to be silent.
    credentials = grpc.ssl_channel_credentials(AUTHORITY.read_bytes())
    return grpc.secure_channel(f"{NAME}:443", credentials, options=[("grpc.enable_retries", 0)])


def followers(session: str, stack: contextlib.ExitStack) -> dict[str, Feed]:
    """The session as it is followed on each transport, by an observer: the envelopes' types."""

    def events(answer: http.client.HTTPResponse) -> Iterator[str]:
        while line := answer.readline():
            if line.startswith(b"data: "):
                yield json.loads(line[6:])["envelope"]["message_type"]

    # By GET: Caddy 2.6 now and then cuts a stream whose request has a body; see deploy/README.md.
    answer = request("GET", f"/macp/v1/sessions/{session}/events", None, CONSOLE)
    expect(answer.status, 200, "an event stream")

    ws = stack.enter_context(socket_to_gateway(origin=f"https://{NAME}"))
    ws.send(json.dumps({"id": "1", "subscribe": {"session_id": session}}))

    def frames() -> Iterator[str]:
        for text in ws:
            if "envelope" in (frame := json.loads(text)):
                yield frame["envelope"]["envelope"]["message_type"]

    stub = core_pb2_grpc.MACPRuntimeServiceStub(stack.enter_context(channel()))

    over = threading.Event()

    def silent() -> Iterator[core_pb2.StreamSessionRequest]:
        # The client's half stays open, and nothing more is sent on it.
        yield core_pb2.StreamSessionRequest(subscribe_session_id=session)
        over.wait()

    stream = stub.StreamSession(silent(), metadata=(("authorization", f"Bearer {CONSOLE}"),))
    stack.callback(stream.cancel)
    stack.callback(over.set)
    return {
        "event stream": Feed(lambda: events(answer)),
        "WebSocket": Feed(frames),
        "gRPC": Feed(lambda: (response.envelope.message_type for response in stream)),
    }


# --- what must hold ---------------------------------------------------------------------------------------------------


def discovery(_: Gateway) -> None:
    """The manifest tells the public name"""
    manifest = json.load(request("GET", "/.well-known/macp.json"))
    uris = [endpoint["uri"] for endpoint in manifest["transport_endpoints"]]
    assert f"https://{NAME}" in uris and f"wss://{NAME}/macp/v1/ws" in uris, uris


def metrics(_: Gateway) -> None:
    """Metrics are for the machine itself, and not for whoever comes through the proxy"""
    expect(request("GET", "/metrics").status, 404, "/metrics at the proxy")
    admin = http.client.HTTPConnection("127.0.0.1", 9464, timeout=SOON)
    admin.request("GET", "/metrics")
    expect(admin.getresponse().status, 200, "/metrics at the address of the settings")


def sizes(_: Gateway) -> None:
    """The largest payload goes through, and more is refused by the gateway and not by the proxy"""
    session = start()
    propose(session, "large", rationale="x" * 1_000_000)
    refusal = ack_of(session, "Proposal", {"proposal_id": "larger", "option": "o", "rationale": "x" * 1_100_000})
    expect(refusal["error"]["code"], "PAYLOAD_TOO_LARGE", "a larger payload")


def grpc_calls(_: Gateway) -> None:
    """gRPC: unary calls, with the codes of refusals in trailers"""
    with channel() as to_gateway:
        stub = core_pb2_grpc.MACPRuntimeServiceStub(to_gateway)
        modes = stub.ListModes(core_pb2.ListModesRequest(), timeout=SOON)
        assert len(modes.modes) >= 5
        try:
            metadata = (("authorization", f"Bearer {PLANNER}"),)
            stub.GetSession(core_pb2.GetSessionRequest(session_id="nope"), metadata=metadata, timeout=SOON)
        except grpc.RpcError as error:
            trailers = dict(error.trailing_metadata())
            expect((error.code(), trailers.get("macp-error-code")), (grpc.StatusCode.NOT_FOUND, "SESSION_NOT_FOUND"), "code")
        else:
            raise AssertionError("a session that is not there was found")


def grpc_web(_: Gateway) -> None:
    """gRPC-Web: a call, and the preflight of another site's page is answered by the gateway"""
    path = "/macp.v1.MACPRuntimeService/ListModes"
    answer = request("POST", path, b"\0\0\0\0\0", Content_Type="application/grpc-web+proto", X_Grpc_Web="1")
    body = answer.read()
    expect((answer.status, body[0]), (200, 0), "the answer to a call")
    assert b"grpc-status:0" in body.replace(b" ", b""), body[-80:]
    answer = request("OPTIONS", path, Origin="https://evil.example", Access_Control_Request_Method="POST")
    assert answer.status < 300 and not answer.getheader("Access-Control-Allow-Origin"), answer.headers


def origins(_: Gateway) -> None:
    """A WebSocket from another site's page is refused"""
    try:
        socket_to_gateway(origin="https://evil.example").close()
    except InvalidStatus as refusal:
        expect(refusal.response.status_code, 403, "the answer to the upgrade")
    else:
        raise AssertionError("connected")


def tickets(_: Gateway) -> None:
    """A ticket opens a WebSocket, and is in no log"""
    answer = json.load(request("POST", "/macp/ticket", b"", CONSOLE, Origin=f"https://{NAME}"))
    secret(answer["ticket"])
    with socket_to_gateway(f"?ticket={answer['ticket']}", origin=f"https://{NAME}") as ws:
        assert "welcome" in json.loads(ws.recv(SOON))
    for log in Path("/var/log").rglob("*"):
        if log.is_file():
            assert answer["ticket"] not in log.read_text(errors="replace"), log


def streams(idle: float):
    def check(_: Gateway) -> None:
        session = start()
        with contextlib.ExitStack() as stack:
            feeds = followers(session, stack)
            for place, feed in feeds.items():
                expect(feed.next(SOON), "SessionStart", place)
            for proposal, wait in (("at once", 0.0), ("after the silence", idle)):
                time.sleep(wait)
                sent = time.monotonic()
                propose(session, proposal)
                for place, feed in feeds.items():
                    expect(feed.next(SOON), "Proposal", place)
                    took = time.monotonic() - sent
                    assert took < PROMPT, f"{place}: {took:.1f} s, {proposal}"

    check.__doc__ = f"Event streams, WebSockets and gRPC streams go on at once, also after {idle:.0f} s of silence"
    return check


def inside(name: str, idle: float) -> int:
    settle()
    secret(PLANNER, CONSOLE)
    addresses = ("127.0.0.1:50051", "127.0.0.1:8080")
    with Gateway({"MACP_CONFIG": "/etc/macp-gateway/gateway.toml"}, addresses=addresses) as gateway, proxy(name) as log:
        checks = (discovery, metrics, sizes, grpc_calls, grpc_web, origins, tickets, streams(idle))
        failed = run(gateway, *checks)
        if failed:
            print(f"---- {name} ----", log.read_text(errors="replace")[-4000:], sep="\n", file=sys.stderr)
    return 1 if failed else 0


def main() -> int:
    parser = argparse.ArgumentParser(description="nginx, Caddy and Envoy with the files of deploy/.")
    parser.add_argument("--idle", type=float, default=3)
    parser.add_argument("--inside", action="store_true", help="this process is in the namespaces already")
    parser.add_argument("names", nargs="*", metavar="NAME")
    arguments = parser.parse_args()
    names = arguments.names or list(COMMANDS)
    if arguments.inside:
        return inside(names[0], arguments.idle)
    namespaces = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if os.geteuid() != 0:
        namespaces[1:1] = ["--user", "--map-root-user"]
    running = {}
    with contextlib.ExitStack() as stack:
        for name in names:
            output = stack.enter_context(tempfile.TemporaryFile("w+"))
            command = [*namespaces, sys.executable, __file__, "--inside", "--idle", str(arguments.idle), name]
            running[name] = (output, subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT))
        failed = 0
        for name, (output, process) in running.items():
            code = process.wait()
            output.seek(0)
            print(f"{name}:", output.read(), sep="\n", end="", flush=True)
            failed += code != 0
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
