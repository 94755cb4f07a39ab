"""What operators see, as their tools see it: a Prometheus server, promtool, an OTLP collector, and the audit log.

The collector is a stand-in: an HTTP server that decodes what arrives with the messages of the package
opentelemetry-proto. Prometheus is Debian's (`apt-get install prometheus`).
"""

from __future__ import annotations

import base64
import http.client
import http.server
import json
import os
import secrets as random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
from checks import WAIT, expect, run
from gateway import DEVELOPMENT, REPOSITORY, Gateway, accepts, free_ports, secret
from macp.modes.decision.v1 import decision_pb2
from macp.v1 import core_pb2, core_pb2_grpc, envelope_pb2
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from websockets.sync.client import connect

MODE = "macp.mode.decision.v1"
ANN, OUTSIDER = "agent://observe-ann", "agent://observe-outsider"
TOKENS = {"ann": f"tok-{uuid.uuid4().hex}", "outsider": f"tok-{uuid.uuid4().hex}"}
UNKNOWN = f"tok-{uuid.uuid4().hex}"
FLOOD = 2_000
RULES = REPOSITORY / "deploy" / "prometheus" / "alerts.yml"

work = Path()
audit = Path()
admin = ""


def until(what: str, found: Callable[[], Any]) -> Any:
    """Wait for something to be there."""
    deadline = time.monotonic() + WAIT
    while not (value := found()):
        assert time.monotonic() < deadline, f"not within {WAIT:.0f} s: {what}"
        time.sleep(0.05)
    return value


class Collector:
    """Keeps the spans that are exported to it. With `silent` it takes requests and never answers."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.resources: list[dict[str, str]] = []
        self.raw = b""
        self.silent = threading.Event()
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # noqa: N802 - the name that the server calls
                body = self.rfile.read(int(self.headers["content-length"]))
                if collector.silent.is_set():
                    time.sleep(60)
                assert (self.path, self.headers["content-type"]) == ("/v1/traces", "application/x-protobuf"), self.path
                collector.take(body)
                self.send_response(200)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def take(self, body: bytes) -> None:
        self.raw += body
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resources.append({pair.key: pair.value.string_value for pair in resource.resource.attributes})
            for scope in resource.scope_spans:
                self.spans.extend(scope.spans)

    def of(self, trace: str) -> list[Any]:
        return [span for span in self.spans if span.trace_id.hex() == trace]


collector = Collector()


def attributes(span: Any) -> dict[str, Any]:
    return {pair.key: pair.value.string_value or pair.value.int_value for pair in span.attributes}


def get(address: str, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(address, timeout=WAIT)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def post(address: str, method: str, body: Any, token: str, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(address, timeout=WAIT)
    try:
        sent = {"Content-Type": "application/json", "Authorization": f"Bearer {token}", **(headers or {})}
        connection.request("POST", f"/macp/v1/{method}", json.dumps(body), sent)
        response = connection.getresponse()
        return response.status, json.loads(response.read() or b"{}")
    finally:
        connection.close()


def envelope(session: str, message_type: str, payload: Any) -> dict[str, Any]:
    """An envelope in JSON; its payload is one of the mode's messages."""
    return {
        "macp_version": "1.0",
        "mode": MODE,
        "message_type": message_type,
        "message_id": str(uuid.uuid4()),
        "session_id": session,
        "payload_b64": base64.b64encode(payload.SerializeToString()).decode(),
    }


def start(session: str) -> dict[str, Any]:
    versions = {"mode_version": "1.0.0", "configuration_version": "config.default", "policy_version": "policy.default"}
    payload = core_pb2.SessionStartPayload(intent="observe", participants=[ANN], ttl_ms=600_000, **versions)
    return envelope(session, "SessionStart", payload)


def proposal(session: str) -> dict[str, Any]:
    return envelope(session, "Proposal", decision_pb2.ProposalPayload(proposal_id=str(uuid.uuid4()), option="o"))


def begun(gateway: Gateway) -> str:
    session = str(uuid.uuid4())
    status, answer = post(gateway.http, "Send", {"envelope": start(session)}, TOKENS["ann"])
    assert status == 200 and answer["ack"]["ok"], answer
    return session


def context() -> tuple[str, str, dict[str, str]]:
    """A caller's trace: its id, the id of the calling span, and the headers."""
    trace, span = random.token_hex(16), random.token_hex(8)
    return trace, span, {"traceparent": f"00-{trace}-{span}-01", "tracestate": "vendor=caller"}


def by_grpc(gateway: Gateway, session: str, headers: dict[str, str]) -> None:
    with grpc.insecure_channel(gateway.grpc) as channel:
        sent = proposal(session)
        payload = base64.b64decode(sent.pop("payload_b64"))
        request = core_pb2.SendRequest(envelope=envelope_pb2.Envelope(payload=payload, **sent))
        metadata = (("authorization", f"Bearer {TOKENS['ann']}"), *headers.items())
        stub = core_pb2_grpc.MACPRuntimeServiceStub(channel)
        assert stub.Send(request, metadata=metadata, timeout=WAIT).ack.ok


def by_http(gateway: Gateway, session: str, headers: dict[str, str]) -> None:
    status, answer = post(gateway.http, "Send", {"envelope": proposal(session)}, TOKENS["ann"], headers)
    assert status == 200 and answer["ack"]["ok"], answer


def by_websocket(gateway: Gateway, session: str, headers: dict[str, str]) -> None:
    bearer = "macp.bearer." + base64.urlsafe_b64encode(TOKENS["ann"].encode()).decode().rstrip("=")
    url = f"ws://{gateway.http}/macp/v1/ws"
    with connect(url, subprotocols=["macp.v1.json", bearer], additional_headers=headers) as socket:
        socket.recv(WAIT)
        socket.send(json.dumps({"id": "1", "send": {"envelope": proposal(session)}}))
        assert json.loads(socket.recv(WAIT))["ack"]["ok"]


def traces(gateway: Gateway) -> None:
    """OTLP: requests over gRPC, HTTP and WebSocket are spans of their caller's trace, with each envelope below."""
    session = begun(gateway)
    for call, name in [
        (by_grpc, "macp.v1.MACPRuntimeService/Send"),
        (by_http, "POST Send"),
        (by_websocket, "WebSocket"),
    ]:
        trace, caller, headers = context()
        call(gateway, session, headers)
        spans = until(f"two spans of {call.__name__}", lambda trace=trace: (s := collector.of(trace)) and len(s) == 2 and s)
        server = next(span for span in spans if span.name == name)
        process = next(span for span in spans if span is not server)
        expect((server.kind, server.parent_span_id.hex()), (server.SPAN_KIND_SERVER, caller), "the request's span")
        expect(server.trace_state, "vendor=caller", "its state")
        expect((process.name, process.parent_span_id), (f"process {MODE}", server.span_id), "the envelope's span")
        known = attributes(process)
        expect(
            (known["macp.mode.id"], known["macp.message.type"], known["macp.session.id"]),
            (MODE, "Proposal", session),
            "its attributes",
        )
        expect(known["macp.envelope.outcome"], "accepted", "its outcome")
        expect(attributes(server)["macp.sender.id"], ANN, "the authenticated sender")
    refused, _, headers = context()
    post(gateway.http, "Send", {"envelope": proposal(session)}, TOKENS["outsider"], headers)
    spans = until("the refused one's spans", lambda: (s := collector.of(refused)) and len(s) == 2 and s)
    process = next(span for span in spans if span.name.startswith("process"))
    expect(attributes(process)["error.type"], "FORBIDDEN", "the refusal's code")
    unsampled = random.token_hex(16)
    by_http(gateway, session, {"traceparent": f"00-{unsampled}-{random.token_hex(8)}-00"})
    broken = random.token_hex(16)
    by_http(gateway, session, {"traceparent": f"00-{broken}-x-01"})
    marker, _, headers = context()
    by_http(gateway, session, headers)
    until("a later span", lambda: collector.of(marker))
    expect((collector.of(unsampled), collector.of(broken)), ([], []), "spans of traces that are not to be sampled")
    expect({resource["service.name"] for resource in collector.resources}, {"macp-gateway"}, "who sends them")


def health(gateway: Gateway) -> None:
    """Health: the probes are on every listener and on the operators' own, which has nothing else but metrics."""
    for path in ("/livez", "/readyz", "/healthz"):
        for address in (gateway.grpc, gateway.http, admin):
            expect(get(address, path)[0], 200, f"{path} on {address}")
    expect(get(admin, "/metrics")[0], 200, "metrics on the operators' listener")
    expect(get(gateway.http, "/metrics")[0], 404, "metrics on the public listener")
    expect(get(admin, "/.well-known/macp.json")[0], 404, "discovery on the operators' listener")


def promtool(_: Gateway) -> None:
    """promtool: the scrape has nothing to complain about, and the rules are rules."""
    text = get(admin, "/metrics")[1]
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, text=True, capture_output=True, check=False)
    expect((checked.returncode, checked.stdout + checked.stderr), (0, ""), "promtool check metrics")
    subprocess.run(["promtool", "check", "rules", str(RULES)], check=True, capture_output=True)


def prometheus(gateway: Gateway) -> None:
    """Prometheus: a server scrapes the gateway, answers queries about its traffic, and evaluates the rules."""
    [port] = free_ports(1)
    shutil.copy(RULES, work / "alerts.yml")
    (work / "prometheus.yml").write_text(
        f"""
global: {{ scrape_interval: 500ms, evaluation_interval: 500ms }}
rule_files: [alerts.yml]
scrape_configs:
  - job_name: macp-gateway
    static_configs: [{{ targets: ["{admin}"] }}]
"""
    )
    subprocess.run(["promtool", "check", "config", str(work / "prometheus.yml")], check=True, capture_output=True)
    address = f"127.0.0.1:{port}"
    arguments = [f"--config.file={work / 'prometheus.yml'}", f"--storage.tsdb.path={work / 'tsdb'}"]
    server = subprocess.Popen(
        ["prometheus", *arguments, f"--web.listen-address={address}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def query(expression: str) -> float | None:
        answer = json.loads(get(address, "/api/v1/query?" + urllib.parse.urlencode({"query": expression}))[1])
        result = answer["data"]["result"]
        return float(result[0]["value"][1]) if result else None

    try:
        until("Prometheus is ready", lambda: accepts(address) and get(address, "/-/ready")[0] == 200)
        until("a scrape", lambda: query('up{job="macp-gateway"}') == 1)
        expect(query("macp_ready"), 1, "macp_ready")
        before = query('sum(macp_envelope_processed_total{macp_message_type="SessionStart"})') or 0
        begun(gateway)
        started = 'sum(macp_envelope_processed_total{macp_message_type="SessionStart"})'
        until("the session is counted", lambda: query(started) == before + 1)
        assert (query("macp_store_commit_seconds_count") or 0) > 0
        assert (query("process_resident_memory_bytes") or 0) > 1 << 20
        rules = until(
            "the rules were evaluated",
            lambda: (
                (groups := json.loads(get(address, "/api/v1/rules")[1])["data"]["groups"])
                and all(rule["health"] == "ok" for rule in groups[0]["rules"])
                and groups[0]["rules"]
            ),
        )
        firing = [rule["name"] for rule in rules if rule["state"] == "firing" and rule["name"] != "MacpInternalErrors"]
        expect(firing, [], "alerts of a gateway that is well")
    finally:
        server.terminate()
        server.wait(WAIT)


def events(kind: str) -> list[dict[str, Any]]:
    return [line for line in map(json.loads, audit.read_text().splitlines()) if line["event"] == kind]


def audited(gateway: Gateway) -> None:
    """Audit log: who was turned away, how sessions ended, who changed a registry; opened again on SIGHUP."""
    session = begun(gateway)
    post(gateway.http, "GetSession", {"session_id": session}, TOKENS["outsider"])
    refused = until("the refusal", lambda: [e for e in events("authorization_refused") if e["call"] == "GetSession"])[0]
    known = {name: refused[name] for name in ("sender", "peer", "transport", "code", "session_id")}
    wanted = {
        "sender": OUTSIDER,
        "peer": "127.0.0.1",
        "transport": "http",
        "code": "FORBIDDEN",
        "session_id": session,
    }
    expect(known, wanted, "the refusal")
    post(gateway.http, "CancelSession", {"session_id": session, "reason": "done"}, TOKENS["ann"])
    ended = until("the end", lambda: [e for e in events("session_ended") if e["session_id"] == session])[0]
    expect((ended["state"], ended["by"], ended["mode"]), ("CANCELLED", ANN, MODE), "the end")
    assert "done" not in json.dumps(ended)
    mode = {"mode": "ext.observed.v1", "mode_version": "1.0.0", "message_types": ["SessionStart", "Commitment"]}
    descriptor = {**mode, "terminal_message_types": ["Commitment"]}
    post(gateway.http, "RegisterExtMode", {"mode_descriptor": descriptor}, TOKENS["ann"])
    changed = until("the change", lambda: events("registry_changed"))[0]
    known = {name: changed[name] for name in ("action", "id", "by", "outcome")}
    wanted = {"action": "RegisterExtMode", "id": "ext.observed.v1", "by": ANN, "outcome": "done"}
    expect(known, wanted, "the change")

    moved = audit.with_suffix(".1")
    audit.rename(moved)
    os.kill(gateway.pid, signal.SIGHUP)
    until("the log is there again", audit.exists)
    post(gateway.http, "GetSession", {"session_id": session}, TOKENS["outsider"])
    until("it is written to", lambda: events("authorization_refused"))


def flood(gateway: Gateway) -> None:
    """Audit log: bad credentials in numbers are counted and do not fill it; the counts are told."""
    connection = http.client.HTTPConnection(gateway.http, timeout=WAIT)
    for _ in range(FLOOD):
        connection.request("POST", "/macp/v1/ListSessions", "{}", {
            "Content-Type": "application/json",
            "Authorization": f"Bearer {UNKNOWN}",
        })
        assert connection.getresponse().read()
    connection.close()

    def counted() -> int:
        return len(events("authentication_failed")) + sum(
            event["count"] for event in events("suppressed") if event["of"] == "authentication_failed"
        )

    until("all are accounted for", lambda: counted() >= FLOOD)
    expect(counted(), FLOOD, "failures")
    written = len(events("authentication_failed"))
    assert written < 200, f"{written} of {FLOOD} were written"
    assert events("authentication_failed")[0]["peer"] == "127.0.0.1"


def collector_is_away(gateway: Gateway) -> None:
    """OTLP: a collector that never answers holds up no request and no shutdown, and nothing holds a credential."""
    collector.silent.set()
    session = begun(gateway)
    began = time.monotonic()
    for _ in range(200):
        by_http(gateway, session, {})
    took = time.monotonic() - began
    assert took < 10, f"{took:.1f} s for 200 messages"
    text = get(admin, "/metrics")[1].encode()
    began = time.monotonic()
    expect(gateway.stop(), 0, "exit code")
    assert time.monotonic() - began < 8, "the shutdown waited for the collector"
    said = {"metrics": text, "spans": collector.raw, "audit log": audit.read_bytes() + gateway.output().encode()}
    for token in (*TOKENS.values(), UNKNOWN):
        for form in (token.encode(), base64.b64encode(token.encode()), base64.urlsafe_b64encode(token.encode())):
            for where, text in said.items():
                assert form.rstrip(b"=") not in text, f"a credential is in the {where}"


def main() -> int:
    global work, audit, admin
    secret(UNKNOWN)
    with tempfile.TemporaryDirectory(prefix="macp-observe-") as folder:
        work, audit = Path(folder), Path(folder, "audit.jsonl")
        admin = f"127.0.0.1:{free_ports(1)[0]}"
        tokens = [
            {"token": TOKENS["ann"], "sender": ANN, "can_manage_mode_registry": True},
            {"token": TOKENS["outsider"], "sender": OUTSIDER},
        ]
        settings = {
            **DEVELOPMENT,
            "MACP_MEMORY_ONLY": "0",
            "MACP_DATA_DIR": str(work / "data"),
            "MACP_AUTH_TOKENS_JSON": json.dumps(tokens),
            "MACP_ADMIN_BIND_ADDR": admin,
            "MACP_AUDIT_LOG": str(audit),
            "MACP_SHUTDOWN_DRAIN_SECS": "2",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "RUST_LOG": "debug,macp_auth=info",
        }
        with Gateway(settings) as gateway:
            checks = (traces, health, promtool, prometheus, audited, flood, collector_is_away)
            return 1 if run(gateway, *checks) else 0


if __name__ == "__main__":
    sys.exit(main())
