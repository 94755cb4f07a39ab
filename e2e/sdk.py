"""What the scripts with the published Python SDK share: identities, clients, streams, refusal codes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from checks import WAIT, Feed, expect, refused
from gateway import Gateway
from macp.v1 import envelope_pb2
from macp_sdk import AuthConfig, MacpAckError, MacpClient

INITIATOR, ALICE, BOB, OUTSIDER = "agent://coordinator", "agent://alice", "agent://bob", "agent://outsider"
EVERYONE = [INITIATOR, ALICE, BOB]

OPEN = envelope_pb2.SESSION_STATE_OPEN
RESOLVED = envelope_pb2.SESSION_STATE_RESOLVED
EXPIRED = envelope_pb2.SESSION_STATE_EXPIRED
CANCELLED = envelope_pb2.SESSION_STATE_CANCELLED
SUSPENDED = envelope_pb2.SESSION_STATE_SUSPENDED


def agent(name: str) -> AuthConfig:
    """A development-mode identity: the bearer is the sender."""
    return AuthConfig.for_dev_agent(name)


def token(value: str, sender: str) -> AuthConfig:
    """An identity with a static token."""
    return AuthConfig.for_bearer(value, expected_sender=sender)


def by(name: str) -> dict[str, Any]:
    """The keyword arguments with which a session helper sends as another agent."""
    return {"sender": name, "auth": agent(name)}


@contextmanager
def connect(gateway: Gateway, auth: AuthConfig | None = None) -> Iterator[MacpClient]:
    """A client of the gateway, the initiator unless told otherwise."""
    client = MacpClient(
        target=gateway.grpc, allow_insecure=True, auth=auth or agent(INITIATOR), default_timeout=2 * WAIT
    )
    try:
        yield client
    finally:
        client.close()


def code(call: Callable[[], Any]) -> str:
    """The code of the refusal that `call` must meet."""
    return refused(MacpAckError, call).failure.code


def envelopes(client: MacpClient, session_id: str, after: int, auth: AuthConfig) -> tuple[Any, Feed]:
    """A stream subscribed to one session, and the feed of what it delivers."""
    stream = client.open_stream(auth=auth)
    stream.send_subscribe(session_id, after_sequence=after)
    return stream, Feed(stream.responses)


def take(feed: Feed, count: int) -> list[envelope_pb2.Envelope]:
    """The next `count` items."""
    return [feed.next() for _ in range(count)]


def types(messages: list[envelope_pb2.Envelope]) -> list[str]:
    """The message types of envelopes."""
    return [message.message_type for message in messages]


def history(client: MacpClient, session_id: str, wanted: list[str], auth: AuthConfig | None = None) -> None:
    """Replay a session from its beginning and compare the message types."""
    stream, feed = envelopes(client, session_id, 0, auth or agent(INITIATOR))
    expect(types(take(feed, len(wanted))), wanted, "accepted history")
    stream.close()
