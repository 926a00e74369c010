"""Long work: other threads run, Ctrl-C stops it, and tqdm shows its progress."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest
from conftest import JOHN, MARY
from resolvent import logit_diff

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has other signals")


# Processes that a shell starts in the background ignore Ctrl-C, and so do their children without a handler.
HANDLER = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"


def interrupted(code, started, tmp_path):
    """Runs `code` in a child process and sends Ctrl-C once `started(folder)` is true.

    Returns the output, the errors, and the seconds from Ctrl-C to the end of the process.
    """
    child = subprocess.Popen(
        [sys.executable, "-c", HANDLER + textwrap.dedent(code)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not started(tmp_path):
        assert child.poll() is None, child.communicate()
        assert time.monotonic() < deadline, "it never started"
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    sent = time.monotonic()
    out, err = child.communicate(timeout=120)
    return out, err, time.monotonic() - sent


def test_ctrl_c_stops_a_study_which_can_be_resumed(model, tmp_path):
    code = """
        from resolvent import Model
        model = Model.from_pretrained("atlas-small", device="host")
        try:
            model.study(tasks=["ioi"], limit=4, quick=True, nulls=False, out="study")
        except KeyboardInterrupt:
            print("interrupted")
            print(model.run([1, 2]).field.shape)
    """

    def started(folder):
        return (folder / "study/regimes.ioi.safetensors").exists()

    out, err, took = interrupted(code, started, tmp_path)
    assert out.splitlines() == ["interrupted", "(9, 2, 192)"], err
    assert took < 20, "the study did not stop at its next launch"
    files = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "study").iterdir()}
    assert "regimes.ioi.safetensors" in files and "inverse.ioi.safetensors" not in files
    assert all(name.endswith(".safetensors") for name in files), "nothing half-written is left"

    study = model.study(tasks=["ioi"], limit=4, quick=True, nulls=False, out=tmp_path / "study", progress=False)
    assert study.page.is_file() and {"patching.ioi", "inverse.ioi"} <= set(study.results)
    assert study.results["patching.ioi"]["predicted"].ndim == 1
    assert {s["verdict"] for s in study.statements} <= {"too few prompts", "not measured"}, (
        "four prompts decide nothing"
    )
    assert all(s["nulls"] == [] and s["beyond"] is None for s in study.statements)
    assert "<table>" in study._repr_html_()
    for name, when in files.items():
        assert (tmp_path / "study" / name).stat().st_mtime_ns == when, "a complete result was computed again"


def test_ctrl_c_stops_one_long_analysis(tmp_path):
    code = """
        import pathlib
        from resolvent import Model, logit
        model = Model.from_pretrained("random-gpt2", device="host")
        run = model.run(list(range(64)))
        pathlib.Path("ready").touch()
        try:
            run.slice("random", rank=64, sources=[(0, t) for t in range(64)])  # minutes
        except KeyboardInterrupt:
            print("interrupted")
    """
    out, err, took = interrupted(code, lambda folder: (folder / "ready").exists(), tmp_path)
    assert out.split() == ["interrupted"], err
    assert took < 30


def test_other_threads_run_meanwhile(model):
    ticks, done = [], threading.Event()

    def tick():
        while not done.is_set():
            ticks.append(time.monotonic())
            time.sleep(0.005)

    thread = threading.Thread(target=tick)
    thread.start()
    start = time.monotonic()
    model.patch_sweep(MARY, JOHN, logit_diff(" Mary", " John"), sites=["resid", "q", "k"])
    end = time.monotonic()
    done.set()
    thread.join()
    during = [t for t in ticks if start <= t <= end]
    assert len(during) > 5, f"{len(during)} ticks in {end - start:.2f} s"


def test_threads_share_a_model(tiny):
    results, j = [None] * 4, logit_diff(2, 6)

    def work(i):
        results[i] = tiny.run([3, 1, 4, 1, i]).sensitivity(j).values

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, chi in enumerate(results):
        assert (chi == tiny.run([3, 1, 4, 1, i]).sensitivity(j).values).all()


def test_progress_is_shown_by_tqdm(run, monkeypatch):
    import tqdm.auto

    seen = []

    class Bar:
        def __init__(self, **options):
            seen.append(options["desc"])
            self.total = 0

        def update(self, n):
            seen.append((n, self.total))

        def set_postfix_str(self, text):
            seen.append(text)

        def close(self):
            seen.append("closed")

    monkeypatch.setattr(tqdm.auto, "tqdm", Bar)
    run.slice("random", rank=2)
    assert seen[0] == "slice" and seen[-1] == "closed"
    steps = [n for n, _ in seen[1:-1]]
    assert sum(steps) == seen[-2][1] > 0
    seen.clear()
    run.slice("random", rank=2, progress=False)
    assert not seen

    class Broken(Bar):
        def update(self, n):
            raise RuntimeError("no room on the screen")

    monkeypatch.setattr(tqdm.auto, "tqdm", Broken)
    with pytest.raises(RuntimeError, match="no room"):
        run.slice("random", rank=2)
