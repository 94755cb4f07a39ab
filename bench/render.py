"""The report: tables of ratios, and a picture of how far each goal is reached."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import date
from math import log2
from pathlib import Path
from statistics import median

from workloads import BARE, DISK, GOALS, OURS, REFERENCE, WORKLOADS, Cell, Goal, Workload, metric

BEGIN, END = "<!-- bench/compare writes from here -->", "<!-- to here -->"
NAMES = {OURS: "macp-gateway", REFERENCE: "reference", BARE: "bare server", DISK: "bare disk"}


def machine(data: Path) -> str:
    """The machine in one line."""
    processors = Path("/proc/cpuinfo").read_text().splitlines()
    names = (line.split(":", 1)[1].strip() for line in processors if line.startswith("model name"))
    model = next(names, platform.machine())
    while not data.exists():
        data = data.parent
    found = subprocess.run(["stat", "-f", "-c", "%T", str(data)], capture_output=True, text=True, check=False)
    system = found.stdout.strip() or "unknown"
    return f"{model}, {os.cpu_count()} cores, Linux {platform.release().split('-')[0]}, data on {system}"


def versions(programs: dict[str, Path]) -> dict[str, str]:
    """What was measured."""
    revision = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=Path(__file__).parent, capture_output=True, text=True, check=False,
    ).stdout.strip()
    sizes = {name: path.stat().st_size for name, path in programs.items()}
    found = {NAMES[OURS]: f"revision {revision}, {sizes[OURS] / 2**20:.1f} MiB"}
    if REFERENCE in programs:
        found[NAMES[REFERENCE]] = f"macp-runtime 0.13.0, {sizes[REFERENCE] / 2**20:.1f} MiB"
    return found


def ratios(results: dict, goal: Goal) -> list[float]:
    """The goal's ratio in each round that has all of its figures."""
    over = results["reports"].get(str(goal.over), [])
    under = [(results["reports"].get(str(cell), []), name) for cell, name in goal.under]
    found = []
    for number, report in enumerate(over):
        value = metric(report, goal.metric) if report else None
        parts = [metric(reports[number], name) if number < len(reports) and reports[number] else None
                 for reports, name in under]
        if value is None or None in parts:
            continue
        whole = sum(parts) if under else goal.constant
        if whole:
            found.append(value / whole)
    return found


def middle(reports: list, name: str) -> float | None:
    values = [value for report in reports if report and (value := metric(report, name)) is not None]
    return median(values) if values else None


def number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def goals(results: dict) -> list[str]:
    lines = ["| goal | ratio | rounds | wanted | |", "|---|---|---|---|---|"]
    for goal in GOALS:
        found = ratios(results, goal)
        if not found:
            continue
        ratio = median(found)
        wanted = f"≥ {goal.at_least:g}" if goal.at_least is not None else f"≤ {goal.at_most:g}"
        spread = f"{number(min(found))} to {number(max(found))}" if len(found) > 1 else "one"
        verdict = "met" if goal.met(ratio) else "**missed**"
        pinned = " (pinned)" if goal.over.pinned and "pinned" not in goal.text else ""
        lines.append(f"| {goal.text}{pinned} | {number(ratio)} | {spread} | {wanted} | {verdict} |")
    return lines if len(lines) > 2 else []


def figures(results: dict, workload: Workload) -> list[str]:
    """One workload: each contestant with its ratio to the bare server and to the reference."""
    lines = []
    for pinned in workload.pinned:
        cells = [Cell(workload.name, who, storage, pinned) for who, storage in workload.cells]
        rows = [(cell, results["reports"].get(str(cell), [])) for cell in cells]
        rows = [(cell, reports) for cell, reports in rows if any(reports)]
        for cell, reports in rows:
            name = NAMES[cell.contestant] + (f", {cell.storage}" if cell.storage else "")
            cost = middle(reports, "server_us") if workload.timed else None
            each = middle(reports, "bytes_each")
            columns = [
                "pinned" if pinned else "",
                name,
                number(middle(reports, "rate")),
                of(rows, cell, BARE, results),
                of(rows, cell, REFERENCE, results),
                number(middle(reports, "p50")),
                number(middle(reports, "p99")),
                number(cost),
                f"{each:,.0f}" if each is not None else "",
            ]
            lines.append(f"| {' | '.join(columns)} |")
    return lines


def of(rows: list, cell: Cell, other: str, results: dict) -> str:
    """The cell's rate over that of another contestant, if that was measured under the same conditions."""
    if cell.contestant == other:
        return "1" if any(c.contestant != other for c, _ in rows) else ""
    peers = [c for c, _ in rows if c.contestant == other and (other == BARE or c.storage == cell.storage)]
    if not peers:
        return ""
    goal = Goal("", "rate", cell, ((peers[0], "rate"),))
    found = ratios(results, goal)
    return number(median(found)) if found else ""


def report(results: dict) -> str:
    """The generated part of the page."""
    kind = "full" if results["full"] else "short"
    rounds = f"{results['rounds']} round{'s' if results['rounds'] > 1 else ''}"
    lines = [
        f"Measured on {date.today().isoformat()}: {results['machine']};",
        f"a {kind} run of {rounds} with {results['seconds']:g} s each, {results.get('took', 0)} s in all.",
        *(f"{name}: {what}." for name, what in results["programs"].items()),
        "",
    ]
    if table := goals(results):
        lines += ["### Goals", "", *table, "", "![How far each goal is reached](benchmarks.svg)", ""]
    lines += ["### Figures behind them", ""]
    for workload in WORKLOADS:
        if rows := figures(results, workload):
            lines += [
                f"**{workload.title}**: `macp-bench {workload.arguments}`",
                "",
                "| | | a second | of bare | of reference | p50 µs | p99 µs | server µs each | bytes each |",
                "|---|---|---|---|---|---|---|---|---|",
                *rows,
                "",
            ]
    for failure in results["failures"]:
        lines += ["Failed: " + failure.splitlines()[0], ""]
    return "\n".join(lines).rstrip() + "\n"


def write(text: str, results: dict, docs: Path) -> None:
    """Puts the report into the page, and the picture beside it."""
    page = docs / "benchmarks.md"
    whole = page.read_text()
    before, rest = whole.split(BEGIN, 1)
    _, after = rest.split(END, 1)
    page.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}")
    (docs / "benchmarks.svg").write_text(picture(results))


def picture(results: dict) -> str:
    """A bar for each goal: how far it is reached, on a logarithmic scale, where the line in the middle is the goal."""
    bars = []
    for goal in GOALS:
        if found := ratios(results, goal):
            ratio = median(found)
            reached = ratio / goal.at_least if goal.at_least is not None else (goal.at_most or 1) / max(ratio, 1e-9)
            bars.append((goal.text.replace("`", ""), reached, goal.met(ratio)))
    row, left, middle_, width = 22, 470, 600, 760
    height = row * len(bars) + 40
    font = 'font-family="sans-serif" font-size="11"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" {font}>',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    scale = 32.0
    for power in (-2, -1, 0, 1, 2, 3):
        x = middle_ + power * scale
        label = f"{2**power:g}×"
        stroke = "#333333" if power == 0 else "#dddddd"
        parts.append(f'<line x1="{x}" y1="24" x2="{x}" y2="{height - 8}" stroke="{stroke}"/>')
        parts.append(f'<text x="{x}" y="16" text-anchor="middle" fill="#333333">{label}</text>')
    parts.append(f'<text x="{left - 8}" y="16" text-anchor="end" fill="#333333">goal reached</text>')
    for place, (text, reached, met) in enumerate(bars):
        y = 28 + place * row
        end = middle_ + max(-3.5, min(4.5, log2(max(reached, 1e-9)))) * scale
        x, length = min(middle_, end), abs(end - middle_)
        parts.append(f'<text x="{left - 8}" y="{y + 14}" text-anchor="end" fill="#333333">{escaped(text)}</text>')
        colour = "#2b8a3e" if met else "#c92a2a"
        parts.append(f'<rect x="{x:.1f}" y="{y + 3}" width="{max(length, 1):.1f}" height="{row - 8}" fill="{colour}"/>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
