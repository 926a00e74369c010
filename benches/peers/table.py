"""One table of all that was measured, and whether the peers found the same numbers."""

from __future__ import annotations

from typing import Any

Result = dict[str, Any]
"""A peer's JSON, or that of `resolvent bench`."""

OURS = {"host": "resolvent, host", "gpu": "resolvent, GPU"}
PASSES = ["forward, two logits", "forward and sensitivity", "exhaustive patch sweep", "32 tangents"]


def agreed(results: dict[str, Result]) -> list[str]:
    """A line for each number on which two peers with the same weights differ by more than a thousandth."""
    lines: list[str] = []
    first: dict[str, tuple[str, float]] = {}
    for name, result in results.items():
        for what, value in result.get("answers", {}).items():
            other, expected = first.setdefault(what, (name, value))
            if not abs(value - expected) <= 1e-3 * abs(expected):
                lines.append(f"{what}: {value} by {name}, {expected} by {other}")
    return lines


def passes(results: dict[str, Result], name: str) -> dict[str, Result]:
    """All ways of doing one piece of work: ours first, then by time."""

    def of(result: Result) -> list[Result]:
        return [way for way in result["passes"] if way["name"] == name]

    mine = {OURS[who]: way for who in OURS if who in results for way in of(results[who])}
    theirs = [way for who, result in results.items() if who not in OURS for way in of(result)]
    return mine | {way["variant"]: way for way in sorted(theirs, key=lambda way: way["seconds"])}


def markdown(results: dict[str, Result], machine: dict[str, Any]) -> str:
    """The table, under the versions and the machine."""
    where = f"{machine['cores']} cores of {machine['processor']}, {machine['system']}"
    lines = [
        f"measured {machine['date']}, {where}; {versions(results)}",
        "",
        "| work | by | median, ms | least to most | times ours, host | times ours, GPU |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for name in PASSES:
        ways = passes(results, name)
        for by, way in ways.items():
            ratios = (ratio(way, ways.get(whose)) for whose in OURS.values())
            spread = f"{ms(way['low'])} to {ms(way['high'])}"
            lines.append(f"| {name} | {by} | {ms(way['seconds'])} | {spread} | {' | '.join(ratios)} |")
    return "\n".join(lines)


def versions(results: dict[str, Result]) -> str:
    """Devices and packages, each once."""
    named: dict[str, str] = {}
    devices: dict[str, None] = {}
    for who, result in results.items():
        named |= {"resolvent": result["version"]} if who in OURS else result["packages"]
        if "device" in result:
            devices[result["device"]] = None
    return ", ".join([f"{package} {version}" for package, version in named.items()] + list(devices))


def ms(seconds: float) -> str:
    """Milliseconds with three digits or more."""
    return f"{1e3 * seconds:.0f}" if seconds >= 0.1 else f"{1e3 * seconds:.1f}"


def ratio(way: Result, base: Result | None) -> str:
    """How many times as long as the base; none without it."""
    return f"{way['seconds'] / base['seconds']:.2f}" if base else ""
