#!/usr/bin/env python3
"""TLS as clients of all kinds see it, and certificates that change while 2,000 WebSockets are open: none is dropped.

The published Python SDK, curl, grpcio and websockets, each with the authority's certificate and nothing else; OpenSSL with
other versions and protocols; certificates of clients.
"""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import uuid
import warnings
from collections.abc import Callable
from pathlib import Path

import grpc
from checks import expect, refused, run
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from gateway import DEVELOPMENT, Gateway, secret
from macp.v1 import core_pb2, core_pb2_grpc
from macp_sdk import AuthConfig, DecisionSession, MacpClient
from websockets.asyncio.client import ClientConnection, connect
from ws_session import bearer

ANN = "agent://ann"
SOCKETS = 2_000
#: Handshakes under way at a time.
AT_ONCE = 50
#: How soon a new certificate is seen after its file was written.
SEEN_WITHIN = 10.0
#: What the log says about files that cannot be used.
REFUSED = "cannot be used; those before stay in use"


class Authority:
    """Signs certificates of servers on loopback and of clients."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        #: A line of each key that it has given out.
        self.secrets: list[str] = []
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "macp e2e")])
        builder = self._builder(self._name, self._key).add_extension(x509.BasicConstraints(True, None), True)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), False)
        self._certificate = builder.sign(self._key, hashes.SHA256())
        self.pem = self._certificate.public_bytes(serialization.Encoding.PEM)

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self._name)
        builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
        return builder.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(
            now + datetime.timedelta(days=1)
        )

    def sign(self, *names: x509.GeneralName) -> Pair:
        """A certificate with these names, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(x509.Name([]), key).add_extension(x509.SubjectAlternativeName(names), True)
        builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), False)
        certificate = builder.sign(self._key, hashes.SHA256())
        pair = Pair(certificate, key)
        self.secrets.append(pair.key.decode().splitlines()[1])
        secret(self.secrets[-1])
        return pair

    def server(self) -> Pair:
        """A certificate for localhost and 127.0.0.1."""
        loopback = ipaddress.ip_address("127.0.0.1")
        return self.sign(x509.DNSName("localhost"), x509.IPAddress(loopback))

    def context(self) -> ssl.SSLContext:
        """What trusts this authority and no other."""
        return ssl.create_default_context(cadata=self.pem.decode())


class Pair:
    """A certificate and its key."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self.der = certificate.public_bytes(serialization.Encoding.DER)
        self.cert = certificate.public_bytes(serialization.Encoding.PEM)
        encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        self.key = key.private_bytes(encoding, form, serialization.NoEncryption())

    def write(self, directory: Path) -> tuple[Path, Path]:
        cert, key = directory / "tls.crt", directory / "tls.key"
        cert.write_bytes(self.cert)
        key.write_bytes(self.key)
        return cert, key


def host_port(address: str) -> tuple[str, int]:
    host, port = address.rsplit(":", 1)
    return host, int(port)


def handshake(address: str, context: ssl.SSLContext) -> ssl.SSLSocket:
    return context.wrap_socket(socket.create_connection(host_port(address), 5), server_hostname="localhost")


def served(address: str, context: ssl.SSLContext) -> bytes:
    """The certificate that a new connection sees."""
    with handshake(address, context) as connection:
        return connection.getpeercert(binary_form=True) or b""


def curl(gateway: Gateway, ca: Path, *arguments: str) -> str:
    """What curl prints, over either version of HTTP."""
    command = ["curl", "--silent", "--show-error", "--fail", "--max-time", "10", "--cacert", str(ca), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


async def open_socket(gateway: Gateway, context: ssl.SSLContext, token: str | None = ANN) -> ClientConnection:
    """A WebSocket over TLS, its welcome read."""
    protocols = ["macp.v1.json", *([bearer(token)] if token else [])]
    url = f"wss://{gateway.http}/macp/v1/ws"
    ws = await connect(url, ssl=context, subprotocols=protocols, proxy=None, compression=None, ping_interval=None)
    assert "welcome" in json.loads(await ws.recv())
    return ws


async def answers(ws: ClientConnection) -> bool:
    """Whether a socket answers a `ping` frame."""
    await ws.send(json.dumps({"id": "p", "ping": {}}))
    return "pong" in json.loads(await asyncio.wait_for(ws.recv(), 20))


class Checks:
    def __init__(self, directory: Path, authority: Authority) -> None:
        self.directory, self.authority = directory, authority
        self.ca = directory / "ca.pem"
        self.ca.write_bytes(authority.pem)
        self.context = authority.context()

    def sdk(self, gateway: Gateway) -> None:
        """The Python SDK over TLS, with the authority's certificate alone: a whole decision begins."""
        port = host_port(gateway.grpc)[1]
        client = MacpClient(
            target=f"localhost:{port}",
            secure=True,
            root_certificates=self.authority.pem,
            auth=AuthConfig.for_dev_agent(ANN),
            default_timeout=15,
        )
        session = DecisionSession(client)
        session.start(intent="pick", participants=[ANN, "agent://bob"], ttl_ms=60_000)
        assert session.propose("p1", "one", rationale="r").ok
        client.close()
        plain = MacpClient(target=gateway.grpc, allow_insecure=True, default_timeout=5)
        assert refused(Exception, plain.initialize)
        plain.close()

    def curls(self, gateway: Gateway) -> None:
        """curl --cacert over HTTP/2 and HTTP/1.1, a call and an event stream; the manifest says https and wss."""
        for version, said in (("--http2", "2"), ("--http1.1", "1.1")):
            base = f"https://{gateway.http}"
            document = json.loads(curl(gateway, self.ca, version, f"{base}/.well-known/macp.json"))
            uris = json.dumps(document)
            assert f"https://{gateway.http}" in uris and f"wss://{gateway.http}/macp/v1/ws" in uris, uris
            assert '"http://' not in uris and '"ws://' not in uris, uris
            used = curl(gateway, self.ca, version, "-o", os.devnull, "-w", "%{http_version}", f"{base}/readyz")
            expect(used, said, "the version of HTTP that was negotiated")
            url = f"https://{gateway.grpc}/macp/v1/WatchModeRegistry"
            asked = ("-H", "Content-Type: application/json", "-d", "{}", "-N", "--max-time", "20")
            command = ["curl", "-s", "--cacert", str(self.ca), version, *asked, url]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watching:
                assert watching.stdout
                said = next((line for line in watching.stdout if line.startswith("data:")), "")
                watching.terminate()
            assert said, f"nothing came by {version}"

    def versions(self, gateway: Gateway) -> None:
        """OpenSSL with TLS 1.2 and 1.3 is served; with 1.1, and with an unknown protocol, it is refused."""
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = self.authority.context()
            context.minimum_version = context.maximum_version = version
            with handshake(gateway.http, context) as connection:
                expect(connection.version(), version.name.replace("_", "."), "the version")
        old = self.authority.context()
        old.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings():
            # That it is deprecated is the point.
            warnings.simplefilter("ignore", DeprecationWarning)
            old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        assert refused(ssl.SSLError, lambda: handshake(gateway.http, old))
        strange = self.authority.context()
        strange.set_alpn_protocols(["spdy/3"])
        error = refused(ssl.SSLError, lambda: handshake(gateway.http, strange))
        assert "no application protocol" in str(error).lower().replace("_", " "), error
        other = Authority().context()
        assert refused(ssl.SSLCertVerificationError, lambda: handshake(gateway.http, other))

    def rotation(self, gateway: Gateway) -> None:
        """2,000 WebSockets live through certificates that change, by files, a link and SIGHUP, and through bad files."""
        asyncio.run(self.rotated(gateway))

    async def rotated(self, gateway: Gateway) -> None:
        gate, began = asyncio.Semaphore(AT_ONCE), time.monotonic()

        async def one() -> ClientConnection:
            async with gate:
                return await open_socket(gateway, self.context)

        sockets = await asyncio.gather(*(one() for _ in range(SOCKETS)))
        opened = time.monotonic() - began
        context, slowest = self.context, 0.0

        def in_place(pair: Pair) -> None:
            pair.write(self.directory)

        def by_link(pair: Pair) -> None:
            # As Kubernetes does: a new directory, and one link to it that is swapped.
            version = self.directory / f"..{uuid.uuid4()}"
            version.mkdir()
            pair.write(version)
            swap = self.directory / "..tmp"
            swap.symlink_to(version.name)
            swap.rename(self.directory / "..data")
            for name in ("tls.crt", "tls.key"):
                file = self.directory / name
                if not file.is_symlink():
                    file.unlink()
                    file.symlink_to(f"..data/{name}")

        changes: list[Callable[[Pair], None]] = [in_place, in_place, by_link, by_link]
        for change in changes:
            pair = self.authority.server()
            since = time.monotonic()
            change(pair)
            await self.until_served(gateway, pair)
            slowest = max(slowest, time.monotonic() - since)
            expect(served(gateway.grpc, context), pair.der, "the certificate of the other listener")
            assert all(await asyncio.gather(*(answers(ws) for ws in sockets[:50])))
        gateway.signal(signal.SIGHUP)
        # Nothing that can be read as a pair, and the key of another one.
        cert, key = self.directory / "..data" / "tls.crt", self.directory / "..data" / "tls.key"
        for file, bad in ((key, self.authority.server().key), (cert, b"garbage"), (cert, b"")):
            refusals = gateway.output().count(REFUSED)
            file.write_bytes(bad)
            gateway.signal(signal.SIGHUP)
            await self.until_refused(gateway, refusals)
            expect(served(gateway.http, context), pair.der, "what is served in spite of a bad file")
        assert all(await asyncio.gather(*(answers(ws) for ws in sockets))), "every socket answers"
        fresh = await open_socket(gateway, self.context)
        assert await answers(fresh)
        await asyncio.gather(*(ws.close() for ws in [*sockets, fresh]))
        shown = [line for line in self.authority.secrets if line in gateway.output()]
        assert not shown, "a key is in the log"
        print(
            f"       {SOCKETS} sockets opened in {opened:.1f} s; new certificates were served after "
            f"{slowest * 1000:.0f} ms at most; none of the sockets was dropped"
        )

    async def until_served(self, gateway: Gateway, pair: Pair) -> None:
        by = time.monotonic() + SEEN_WITHIN
        while served(gateway.http, self.context) != pair.der:
            assert time.monotonic() < by, "the new certificate is not served"
            await asyncio.sleep(0.01)

    async def until_refused(self, gateway: Gateway, before: int) -> None:
        by = time.monotonic() + SEEN_WITHIN
        while gateway.output().count(REFUSED) == before:
            assert time.monotonic() < by, "that the file cannot be used is not in the log"
            await asyncio.sleep(0.01)

    def certificates(self, gateway: Gateway) -> None:
        """Certificates of clients, by grpcio, curl and websockets: the sender that they name, and nobody without one."""
        pair = self.authority.sign(x509.UniformResourceIdentifier(ANN))
        folder = self.directory / "client"
        folder.mkdir()
        cert, key = pair.write(folder)
        credentials = grpc.ssl_channel_credentials(self.authority.pem, pair.key, pair.cert)
        with grpc.secure_channel(f"localhost:{host_port(gateway.grpc)[1]}", credentials) as channel:
            stub = core_pb2_grpc.MACPRuntimeServiceStub(channel)
            stub.ListSessions(core_pb2.ListSessionsRequest(), timeout=10)
            other = (("authorization", "Bearer agent://bob"),)
            error = refused(grpc.RpcError, lambda: stub.ListSessions(core_pb2.ListSessionsRequest(), metadata=other))
            expect(error.code(), grpc.StatusCode.UNAUTHENTICATED, "a bearer of another sender")
        call = ("-H", "Content-Type: application/json", "-d", "{}", f"https://{gateway.http}/macp/v1/ListSessions")
        curl(gateway, self.ca, "--cert", str(cert), "--key", str(key), *call)
        assert refused(subprocess.CalledProcessError, lambda: curl(gateway, self.ca, *call))
        context = self.authority.context()
        context.load_cert_chain(cert, key)

        async def welcomed() -> None:
            async with await open_socket(gateway, context, None) as ws:
                await ws.send(json.dumps({"id": "c", "call": {"method": "ListSessions", "request": {}}}))
                assert "result" in json.loads(await ws.recv())

        asyncio.run(welcomed())


def main() -> int:
    authority = Authority()
    with tempfile.TemporaryDirectory(prefix="macp-tls-") as name:
        directory = Path(name)
        cert, key = authority.server().write(directory)
        files = {"MACP_TLS_CERT_PATH": str(cert), "MACP_TLS_KEY_PATH": str(key)}
        checks = Checks(directory, authority)
        with Gateway({**DEVELOPMENT, **files, "MACP_HTTP_MAX_CONNECTIONS": "8192"}) as gateway:
            failed = run(gateway, checks.sdk, checks.curls, checks.versions, checks.rotation)
    with tempfile.TemporaryDirectory(prefix="macp-tls-") as name:
        directory = Path(name)
        cert, key = authority.server().write(directory)
        checks = Checks(directory, authority)
        files = {"MACP_TLS_CERT_PATH": str(cert), "MACP_TLS_KEY_PATH": str(key)}
        clients = {"MACP_TLS_CLIENT_CA_PATH": str(checks.ca), "MACP_TLS_CLIENT_AUTH": "optional"}
        with Gateway({**DEVELOPMENT, **files, **clients}) as gateway:
            failed += run(gateway, checks.certificates)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
