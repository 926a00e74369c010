"""What all Python peers share: shape and weights, prompts, the clock and the form of the answer."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np

LAYERS, WIDTH, HEADS, VOCABULARY, POSITIONS = 12, 768, 12, 50_257, 1024
TOKENS = 16
SOURCES = 32
TARGET, AGAINST = 1, 2
EPSILON = 1e-5

FORWARD = "forward, two logits"
SENSITIVITY = "forward and sensitivity"
SWEEP = "exhaustive patch sweep"
TANGENTS = "32 tangents"

Array = np.ndarray
Weights = dict[str, Array]


def prompt(seed: int) -> Array:
    """Tokens [T] of `resolvent bench`'s prompts: 1 is the clean one, 2 the corrupted one."""
    return (np.arange(TOKENS) * 7919 + seed * 104_729) % VOCABULARY


def sources() -> Array:
    """Tangents [K, T, d] at level 0: a random vector each, the k-th at token k % T."""
    drawn = np.random.default_rng(3).standard_normal((SOURCES, WIDTH), np.float32)
    placed = np.zeros((SOURCES, TOKENS, WIDTH), np.float32)
    placed[np.arange(SOURCES), np.arange(SOURCES) % TOKENS] = drawn
    return placed


def weights() -> Weights:
    """Random weights under the names of GPT-2's checkpoint; matrices are [in, out].

    Gains, shifts and biases are random too: a weight that does nothing would hide a mistake.
    """
    random = np.random.default_rng(0)

    def normal(*shape: int, mean: float = 0.0, std: float = 0.02) -> Array:
        return mean + std * random.standard_normal(shape, np.float32)

    drawn: Weights = {"wte.weight": normal(VOCABULARY, WIDTH), "wpe.weight": normal(POSITIONS, WIDTH)}

    def norm(name: str) -> None:
        drawn[f"{name}.weight"], drawn[f"{name}.bias"] = (
            normal(WIDTH, mean=1.0, std=0.1),
            normal(WIDTH, std=0.1),
        )

    def linear(name: str, into: int, out: int) -> None:
        drawn[f"{name}.weight"], drawn[f"{name}.bias"] = normal(into, out), normal(out)

    for layer in range(LAYERS):
        norm(f"h.{layer}.ln_1")
        linear(f"h.{layer}.attn.c_attn", WIDTH, 3 * WIDTH)
        linear(f"h.{layer}.attn.c_proj", WIDTH, WIDTH)
        norm(f"h.{layer}.ln_2")
        linear(f"h.{layer}.mlp.c_fc", WIDTH, 4 * WIDTH)
        linear(f"h.{layer}.mlp.c_proj", 4 * WIDTH, WIDTH)
    norm("ln_f")
    return drawn


@dataclass
class Pass:
    """One way of doing one piece of work; seconds are median, least and most."""

    name: str
    variant: str
    seconds: float
    low: float
    high: float
    repeats: int


@dataclass
class Report:
    """What a peer measured. `answers` are numbers that every peer must agree on, by name."""

    peer: str
    packages: list[str]
    threads: int
    quick: bool
    checks: dict[str, float] = field(default_factory=dict)
    answers: dict[str, float] = field(default_factory=dict)
    passes: list[Pass] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    def check(self, what: str, found: Array, expected: Array, most: float) -> None:
        """Stops unless the largest difference is at most `most` times the largest number expected."""
        error = float(np.max(np.abs(found - expected)) / np.max(np.abs(expected)))
        self.checks[what] = error
        say(f"check {what}: {error:.1e} (at most {most:.0e})")
        if not error <= most:
            sys.exit(
                f"{self.peer}: {what}: relative error {error:.1e}, allowed {most:.0e}; nothing more is timed"
            )

    def answer(self, name: str, value: Array) -> None:
        """Keeps a number for the comparison between peers."""
        self.answers[name] = float(value)

    def time(self, name: str, variant: str, work: Callable[[], object]) -> None:
        """Runs the work once, then until the time is up; it has to be done when it returns."""
        budget, least, most = (1.0, 1, 5) if self.quick else (10.0, 3, 25)
        work()
        seconds: list[float] = []
        while len(seconds) < least or (len(seconds) < most and sum(seconds) < budget):
            start = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - start)
        seconds.sort()
        done = Pass(name, variant, seconds[len(seconds) // 2], seconds[0], seconds[-1], len(seconds))
        self.passes.append(done)
        spread = f"({1e3 * done.low:.1f} to {1e3 * done.high:.1f}, {done.repeats})"
        say(f"{name:<24} {variant:<44} {1e3 * done.seconds:9.1f} ms {spread}")

    def to_json(self) -> str:
        """The form of the files."""
        form = asdict(self) | {"packages": {name: version(name) for name in self.packages}}
        return json.dumps({"schema": 1, "python": sys.version.split()[0], **form}, indent=1) + "\n"


def say(line: str) -> None:
    """Progress and the readable table go to stderr, so that stdout holds the JSON alone."""
    print(line, file=sys.stderr, flush=True)


def main(peer: str, packages: list[str], measure: Callable[[Report], None]) -> None:
    """The command line of a peer."""
    parser = argparse.ArgumentParser(description=f"GPT-2 small's shape in {peer}")
    parser.add_argument("--quick", action="store_true", help="about a second for each pass, in place of ten")
    parser.add_argument("--out", type=Path, help="write the JSON here, not to stdout")
    parsed = parser.parse_args()
    report = Report(peer, packages, threads(), parsed.quick)
    measure(report)
    if parsed.out:
        parsed.out.write_text(report.to_json())
    else:
        print(report.to_json(), end="")


def threads() -> int:
    """Threads of every peer: `PEERS_THREADS`, or 2."""
    return int(os.environ.get("PEERS_THREADS", "2"))
