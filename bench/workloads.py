"""What is measured, and which figures of it are set against which: the goals, as data."""

from __future__ import annotations

from dataclasses import dataclass, field

OURS, REFERENCE, BARE, DISK = "gateway", "reference", "bare", "disk"
MEMORY, DURABLE, NONE = "memory", "durable", ""


@dataclass(frozen=True)
class Cell:
    """One thing that is measured: a contestant with a storage under a workload."""

    workload: str
    contestant: str
    storage: str
    pinned: bool

    def __str__(self) -> str:
        words = [self.workload, self.contestant, self.storage, "pinned" if self.pinned else ""]
        return " ".join(word for word in words if word)


@dataclass(frozen=True)
class Workload:
    """Arguments for macp-bench, and who is put under them. `full` tells what only the full run measures."""

    name: str
    title: str
    arguments: str
    cells: tuple[tuple[str, str], ...]
    pinned: tuple[bool, ...] = (False,)
    # Which bare server is the ceiling, if there is one.
    bare: str = ""
    timed: bool = True
    full: bool = False
    # Arguments that replace some of the above in the short run.
    short: str = ""

    def all_cells(self, full: bool) -> list[Cell]:
        pins = self.pinned if full else self.pinned[:1]
        return [Cell(self.name, who, storage, pin) for pin in pins for who, storage in self.cells]


def memory(*contestants: str) -> tuple[tuple[str, str], ...]:
    return tuple((who, NONE if who == BARE else MEMORY) for who in contestants)


ONE = "send --transport grpc --senders 4 --sessions 4 --in-flight 1"
MANY = "--senders 16 --sessions 256 --in-flight 128"

WORKLOADS = (
    Workload(
        "grpc-many",
        "gRPC `Send`, 256 sessions, 128 in flight",
        f"send --transport grpc --connections 4 {MANY}",
        ((OURS, DURABLE), (REFERENCE, DURABLE), (OURS, MEMORY), (REFERENCE, MEMORY), (BARE, NONE)),
        bare="grpc",
    ),
    Workload(
        "grpc-hot",
        "gRPC `Send`, one hot session, 64 in flight",
        "send --transport grpc --connections 4 --senders 8 --sessions 1 --in-flight 64",
        ((OURS, DURABLE), (REFERENCE, DURABLE), (OURS, MEMORY)),
    ),
    Workload(
        "grpc-one",
        "gRPC `Send`, a single client",
        ONE,
        ((OURS, DURABLE), (REFERENCE, DURABLE), (OURS, MEMORY)),
    ),
    Workload(
        "disk-append",
        "the bare disk: 300 bytes and `fdatasync` at the end of a file, alone",
        "ceiling disk --size 300",
        ((DISK, NONE),),
    ),
    Workload(
        "disk-overwrite",
        "the same into blocks that exist",
        "ceiling disk --size 300 --overwrite",
        ((DISK, NONE),),
        full=True,
    ),
    Workload(
        "grpc-pinned",
        "gRPC `Send`, 256 sessions, 128 in flight, one core each",
        f"send --transport grpc --connections 4 {MANY}",
        memory(OURS, REFERENCE, BARE),
        pinned=(True,),
        bare="grpc",
    ),
    Workload(
        "grpc-one-pinned",
        "gRPC `Send`, a single client, one core each",
        ONE,
        memory(OURS, REFERENCE, BARE),
        pinned=(True, False),
        bare="grpc",
    ),
    Workload(
        "http",
        "HTTP `Send` (JSON), 256 sessions, 128 in flight",
        f"send --transport http {MANY}",
        memory(OURS, REFERENCE, BARE),
        pinned=(True, False),
        bare="http",
    ),
    Workload(
        "ws",
        "WebSocket `send` (protobuf), 256 sessions, 128 in flight",
        f"send --transport ws --connections 16 {MANY}",
        memory(OURS, BARE),
        pinned=(True, False),
        bare="ws",
    ),
    Workload(
        "ws-json",
        "WebSocket `send` (JSON), 256 sessions, 128 in flight",
        f"send --transport ws-json --connections 16 {MANY}",
        memory(OURS),
        pinned=(True, False),
        full=True,
    ),
    Workload(
        "lifecycle",
        "whole Decision sessions (six envelopes), 64 at a time",
        "lifecycle --transport grpc --connections 4 --senders 16 --in-flight 64",
        ((OURS, MEMORY), (REFERENCE, MEMORY), (OURS, DURABLE), (REFERENCE, DURABLE)),
    ),
    Workload(
        "fanout-grpc",
        "one session to 1,000 gRPC streams, as fast as it goes",
        "fanout --transport grpc --connections 16 --subscribers 1000",
        memory(OURS, REFERENCE, BARE),
        bare="grpc",
        short="--subscribers 200",
    ),
    Workload(
        "fanout-sse",
        "one session to 1,000 event streams, as fast as it goes",
        "fanout --transport http --subscribers 1000",
        memory(OURS, REFERENCE, BARE),
        bare="http",
        short="--subscribers 200",
    ),
    Workload(
        "fanout-ws",
        "one session to 1,000 WebSockets (protobuf), as fast as it goes",
        "fanout --transport ws --subscribers 1000",
        memory(OURS, BARE),
        bare="ws",
        short="--subscribers 200",
    ),
    Workload(
        "fanout-ws-json",
        "one session to 1,000 WebSockets (JSON), as fast as it goes",
        "fanout --transport ws-json --subscribers 1000",
        memory(OURS),
        full=True,
    ),
    Workload(
        "fanout-rate",
        "one session to 1,000 gRPC streams, 20,000 deliveries a second",
        "fanout --transport grpc --connections 16 --subscribers 1000 --rate 20",
        memory(OURS, REFERENCE, BARE),
        bare="grpc",
        full=True,
    ),
    Workload(
        "replay",
        "a history of 1,000 envelopes read by 4 gRPC readers",
        "replay --transport grpc --readers 4 --history 1000",
        ((OURS, DURABLE), (OURS, MEMORY), (REFERENCE, MEMORY)),
        full=True,
    ),
    Workload(
        "resume-grpc",
        "200 gRPC streams lose their connections at once and resume",
        "resume --transport grpc --connections 0 --subscribers 200",
        memory(OURS, REFERENCE),
        timed=False,
        full=True,
    ),
    Workload(
        "resume-ws",
        "200 WebSockets lose their connections at once and resume",
        "resume --transport ws --subscribers 200",
        memory(OURS),
        timed=False,
        full=True,
    ),
    Workload(
        "idle-ws",
        "1,000 idle WebSockets with one subscription each",
        "idle --transport ws --count 1000 --seconds 3",
        memory(OURS),
        timed=False,
        full=True,
    ),
    Workload(
        "idle-sse",
        "1,000 idle event streams",
        "idle --transport http --count 1000 --seconds 3",
        memory(OURS, REFERENCE),
        timed=False,
        full=True,
    ),
    Workload(
        "idle-grpc",
        "1,000 idle gRPC streams, a connection each",
        "idle --transport grpc --connections 0 --count 1000 --seconds 3",
        memory(OURS, REFERENCE),
        timed=False,
        full=True,
    ),
    Workload(
        "idle-sessions",
        "20,000 open idle sessions",
        "idle --transport grpc --connections 4 --hold sessions --count 20000 --seconds 3",
        ((OURS, DURABLE), (OURS, MEMORY), (REFERENCE, MEMORY)),
        timed=False,
        full=True,
    ),
)


@dataclass(frozen=True)
class Goal:
    """A figure of one cell over a figure of another (or over a constant), and what it has to be."""

    text: str
    metric: str
    over: Cell
    # Summed if there are several.
    under: tuple[tuple[Cell, str], ...] = ()
    constant: float = 0.0
    at_least: float | None = None
    at_most: float | None = None
    issue: int = 8
    unit: str = field(default="×")

    def met(self, ratio: float) -> bool:
        return ratio >= self.at_least if self.at_least is not None else ratio <= (self.at_most or 0)


def cell(workload: str, contestant: str, storage: str = MEMORY, pinned: bool = False) -> Cell:
    return Cell(workload, contestant, NONE if contestant in (BARE, DISK) else storage, pinned)


def against(workload: str, other: str, metric: str, *, ours: str = MEMORY, pinned: bool = False, **goal) -> Goal:
    """Ours over the other contestant under one workload."""
    over = cell(workload, OURS, ours, pinned)
    return Goal(metric=metric, over=over, under=((cell(workload, other, ours, pinned), metric),), **goal)


KIB = 1024
GOALS = (
    against("grpc-many", REFERENCE, "rate", ours=DURABLE, at_least=10, issue=4,
            text="durable, many sessions, against the reference"),
    against("grpc-hot", REFERENCE, "rate", ours=DURABLE, at_least=30, issue=4,
            text="durable, one hot session, against the reference"),
    against("grpc-one", REFERENCE, "rate", ours=DURABLE, at_least=4, issue=4,
            text="durable, a single client, against the reference"),
    Goal("durable p50 of a single client, against memory's p50 + `fdatasync`'s p50", "p50",
         cell("grpc-one", OURS, DURABLE),
         ((cell("grpc-one", OURS), "p50"), (cell("disk-append", DISK), "p50")), at_most=1.3, issue=4),
    Goal("durable at 128 in flight, against memory", "rate", cell("grpc-many", OURS, DURABLE),
         ((cell("grpc-many", OURS), "rate"),), at_least=0.75, issue=4),
    against("grpc-pinned", BARE, "rate", pinned=True, at_least=0.85,
            text="gRPC `Send`, pinned, 128 in flight, against a bare tonic echo"),
    against("grpc-one-pinned", BARE, "p50", pinned=True, at_most=1.1,
            text="gRPC `Send`, pinned, p50 of a single client, against the echo's"),
    against("http", BARE, "rate", pinned=True, at_least=0.75,
            text="HTTP `Send`, pinned, against a bare axum JSON echo"),
    Goal("WebSocket `send` against gRPC `Send`, pinned", "rate", cell("ws", OURS, pinned=True),
         ((cell("grpc-pinned", OURS, pinned=True), "rate"),), at_least=2),
    against("fanout-grpc", BARE, "rate", at_least=1, text="gRPC fan-out against a bare tonic stream"),
    against("fanout-sse", BARE, "rate", at_least=0.95, text="SSE fan-out against a bare axum event stream"),
    Goal("WebSocket fan-out against SSE fan-out", "rate", cell("fanout-ws", OURS),
         ((cell("fanout-sse", OURS), "rate"),), at_least=1.5),
    against("fanout-rate", BARE, "p99", at_most=1.2,
            text="p99 at 20,000 deliveries a second, against the bare stream's"),
    Goal("processor time of a JSON delivery against a protobuf one (WebSocket)", "server_us",
         cell("fanout-ws-json", OURS), ((cell("fanout-ws", OURS), "server_us"),), at_most=2),
    against("lifecycle", REFERENCE, "rate", at_least=1.5, text="whole Decision sessions, memory, against the reference"),
    against("lifecycle", REFERENCE, "rate", ours=DURABLE, at_least=8,
            text="whole Decision sessions, durable, against the reference"),
    Goal("an idle WebSocket with a subscription, of 8 KiB", "bytes_each", cell("idle-ws", OURS),
         constant=8 * KIB, at_most=1),
    Goal("an idle event stream, of 8 KiB", "bytes_each", cell("idle-sse", OURS), constant=8 * KIB, at_most=1),
    Goal("an idle gRPC stream, of 16 KiB", "bytes_each", cell("idle-grpc", OURS), constant=16 * KIB, at_most=1),
    Goal("an open idle session, of 2 KiB resident", "bytes_each", cell("idle-sessions", OURS, DURABLE),
         constant=2 * KIB, at_most=1),
    Goal("base memory, of 20 MiB", "base_rss", cell("idle-ws", OURS), constant=20 * KIB * KIB, at_most=1),
)


def metric(report: dict, name: str) -> float | None:
    """A figure of a report of macp-bench."""
    server = report.get("server") or {}
    match name:
        case "rate":
            return report["rate"]
        case "p50" | "p99":
            return report["latency_us"][name]
        case "server_us":
            return server.get("cpu_us_each")
        case "bytes_each":
            return report.get("server_bytes_each")
        case "base_rss":
            return report.get("base_rss")
    raise KeyError(name)
