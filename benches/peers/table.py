"""Makes one table of all measurements, and checks that the peers agree."""

from __future__ import annotations

from typing import Any

Result = dict[str, Any]
"""The JSON of a peer or of `resolvent bench`."""

OURS = {"host": "resolvent, host", "gpu": "resolvent, GPU"}
PASSES = ["forward, two logits", "forward and sensitivity", "exhaustive patch sweep", "32 tangents"]


def agreed(results: dict[str, Result]) -> list[str]:
    """Returns a line for each answer on which two peers with the same weights differ by more than a thousandth."""
    lines: list[str] = []
    first: dict[str, tuple[str, float]] = {}
    for name, result in results.items():
        for what, value in result.get("answers", {}).items():
            other, expected = first.setdefault(what, (name, value))
            if not abs(value - expected) <= 1e-3 * abs(expected):
                lines.append(f"{what}: {value} by {name}, {expected} by {other}")
    return lines


def passes(results: dict[str, Result], name: str) -> dict[str, Result]:
    """Returns all times of one piece of work: ours first, then by time."""

    def of(result: Result) -> list[Result]:
        return [timing for timing in result["passes"] if timing["name"] == name]

    mine = {OURS[who]: timing for who in OURS if who in results for timing in of(results[who])}
    theirs = [timing for who, result in results.items() if who not in OURS for timing in of(result)]
    return mine | {timing["variant"]: timing for timing in sorted(theirs, key=lambda timing: timing["seconds"])}


def markdown(results: dict[str, Result], machine: dict[str, Any]) -> str:
    """Returns the table, below a line with the versions and the machine."""
    where = f"{machine['cores']} cores of {machine['processor']}, {machine['system']}"
    lines = [
        f"measured {machine['date']}, {where}; {versions(results)}",
        "",
        "| work | by | median, ms | least to most | times ours, host | times ours, GPU |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for name in PASSES:
        timings = passes(results, name)
        for by, timing in timings.items():
            ratios = (ratio(timing, timings.get(whose)) for whose in OURS.values())
            spread = f"{ms(timing['low'])} to {ms(timing['high'])}"
            lines.append(f"| {name} | {by} | {ms(timing['seconds'])} | {spread} | {' | '.join(ratios)} |")
    return "\n".join(lines)


def versions(results: dict[str, Result]) -> str:
    """Lists packages and devices, each once."""
    named: dict[str, str] = {}
    devices: dict[str, None] = {}
    for who, result in results.items():
        named |= {"resolvent": result["version"]} if who in OURS else result["packages"]
        if "device" in result:
            devices[result["device"]] = None
    return ", ".join([f"{package} {version}" for package, version in named.items()] + list(devices))


def ms(seconds: float) -> str:
    """Formats milliseconds with three digits or more."""
    return f"{1e3 * seconds:.0f}" if seconds >= 0.1 else f"{1e3 * seconds:.1f}"


def ratio(timing: Result, base: Result | None) -> str:
    """Returns the time relative to the base; empty without a base."""
    return f"{timing['seconds'] / base['seconds']:.2f}" if base else ""
