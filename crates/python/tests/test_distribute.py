"""Analyses by several processes: the same bytes as by one, whatever dies on the way."""

import concurrent.futures
import multiprocessing
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import resolvent
from resolvent import Model, Work, distribute, logit_diff, open_results

PAIRS = [
    {"clean": [7 + n, 3, 21, 9, 30][: 5 - n % 3], "corrupted": [7 + n, 3, 8, 9, 30][: 5 - n % 3], "target": "#11"}
    for n in range(10)
] + [{"clean": [1, 2, 3], "target": "#4", "label": "alone"}]

# Processes are started anew: a fork would copy threads and devices.
SPAWN = multiprocessing.get_context("spawn")


def pool(workers=2):
    return concurrent.futures.ProcessPoolExecutor(workers, mp_context=SPAWN)


def work(out, analysis="patch", **more):
    return Work(analysis, PAIRS, out, model="random", device="host", shard_size=2, **more)


def whole(tmp_path, analysis="patch", **options):
    """The file of one process. Its batches are those of the shards, because costs are of a batch."""
    out = tmp_path / "one"
    alone = work(out, analysis, options=options)
    assert alone.compute(range(6)) == 6
    alone.merge(tmp_path / "one.safetensors")
    return (tmp_path / "one.safetensors").read_bytes()


def merged(tmp_path, shards):
    open_results(shards).merge(tmp_path / "merged.safetensors")
    return (tmp_path / "merged.safetensors").read_bytes()


@pytest.fixture(autouse=True)
def own_device(monkeypatch):
    monkeypatch.delenv("RESOLVENT_DEVICE", raising=False)


def test_shards_have_the_bytes_of_one_call(tmp_path):
    model = Model.from_pretrained("random", device="host")
    alone = model.prompts(PAIRS).sensitivity()
    alone.save(tmp_path / "alone.safetensors")
    out = tmp_path / "shards"
    seen = []
    found = distribute(work(out, "sensitivity"), pool, progress=False, callback=lambda *at: seen.append(at))
    assert seen[0] == (0, 6) and seen[-1] == (6, 6) and len(seen) == 7
    assert merged(tmp_path, out) == (tmp_path / "alone.safetensors").read_bytes()
    assert len(found) == len(PAIRS) and found.prompts[-1] == "alone"
    np.testing.assert_array_equal(found[4]["norm"], alone["norm"][4, :, : len(PAIRS[4]["clean"])])
    assert isinstance(found[4]["norm"], np.memmap) and found[4].axes_of("norm") == ("level", "token")
    assert found[4].metadata["analysis"] == "sensitivity" and "certificate.adjoint" in found[4].metadata
    table = found.to_pandas("norm")
    assert table.index.names == ["prompt", "level", "token"]
    assert table.loc[(4, 1, 0), "norm"] == alone["norm"][4, 1, 0]
    file = open_results(tmp_path / "merged.safetensors")
    np.testing.assert_array_equal(file["norm.mean"], alone["norm.mean"])
    assert set(file) == set(alone.keys()) and file.axes_of("norm") == ("prompt", "level", "token")
    assert file.metadata == {**alone.metadata, **{k: v for k, v in file.metadata.items() if "." in k}}
    with pytest.raises(KeyError, match="no array `x`; there are sensitivity"):
        file["x"]


def test_threads_of_a_worker_share_a_model(tmp_path, monkeypatch):
    opened = []

    class Slow:
        @staticmethod
        def from_pretrained(*arguments, **more):
            opened.append(arguments)
            time.sleep(0.2)
            return Model.from_pretrained(*arguments, **more)

    # The package exports the function of the same name.
    monkeypatch.setattr(sys.modules["resolvent.distribute"], "Model", Slow)
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        assert list(threads.map(work(tmp_path / "threads").compute, [[n] for n in range(6)])) == [1] * 6
    assert len(opened) == 1
    assert merged(tmp_path, tmp_path / "threads") == whole(tmp_path)


def test_what_is_there_is_not_computed_again(tmp_path):
    out = tmp_path / "shards"
    assert work(out).compute([4, 1]) == 2 and work(out).missing() == [0, 2, 3, 5]
    with pytest.raises(FileNotFoundError, match="4 of 6 shards are missing: 0, 2, 3, 5"):
        open_results(out)
    times = {path: path.stat().st_mtime_ns for path in out.glob("*.safetensors")}
    found = distribute(work(out), pool, shards_per_task=2, progress=False)
    # The row without a corrupted prompt is left out, and the others have their results.
    assert [row["what"] for row in found.left_out] == ["alone"] and len(found) == 10
    assert all(path.stat().st_mtime_ns == then for path, then in times.items())
    assert merged(tmp_path, out) == whole(tmp_path)
    assert work(out).compute(range(6)) == 0


def test_a_worker_tokenizes_only_its_rows(tmp_path):
    lines = ['{"clean": [%d, 3, 21, 9], "corrupted": [%d, 3, 8, 9], "target": "#11"}' % (n, n) for n in range(4, 12)]
    lines[0] = '{"clean": [1, 2], "corrupted": [1, 2, 3], "target": "#11"}'
    lines[3] = "no row"
    lines[5] = '{"clean": [1, 2, 999999], "target": "#11"}'
    file = tmp_path / "prompts.jsonl"
    file.write_text("\n".join(lines) + "\n")

    def made(name, shard_size=2, **more):
        return Work("sensitivity", file, tmp_path / name, model="random", device="host", shard_size=shard_size, **more)

    opened = made("one")._open()
    # Seven rows are left; the first does not fit, so the second is read to find one that does.
    assert len(opened) == 4 and opened.tokenized == 2
    assert opened.compute(2) and opened.tokenized == 4
    assert not opened.compute(2) and opened.tokenized == 4
    for shard in [3, 0, 1]:
        assert opened.compute(shard)
    open_results(tmp_path / "one").merge(tmp_path / "one.safetensors")
    model = Model.from_pretrained("random", device="host")
    prompts = model.prompts(file)
    assert [name for name, _ in prompts.left_out] == ["line 4", "line 1", "line 6"]
    prompts.sensitivity().save(tmp_path / "alone.safetensors")
    assert (tmp_path / "one.safetensors").read_bytes() == (tmp_path / "alone.safetensors").read_bytes()
    # Edges of a prompt need no other prompts, but for controls, which are drawn from all.
    alone = work(tmp_path / "own", "edges", options={"exact": True})
    own = alone._open()
    assert own.compute(0) and own.tokenized == 3 and own.compute(5) and own.tokenized == 4
    assert alone.compute(range(6)) == 4
    alone.merge(tmp_path / "own.safetensors")
    model.prompts(PAIRS).edges(exact=True).save(tmp_path / "alone.safetensors")
    assert (tmp_path / "own.safetensors").read_bytes() == (tmp_path / "alone.safetensors").read_bytes()
    pairs = work(tmp_path / "edges", "edges", options={"controls": 2})._open()
    assert pairs.compute(0) and pairs.tokenized == 1 + len(PAIRS)
    file.write_text("no row\n" + lines[0] + "\n")
    with pytest.raises(ValueError, match="line 1: "):
        made("none")._open()


def test_other_work_is_refused(tmp_path):
    out = tmp_path / "shards"
    work(out).compute([0])
    for other in [
        work(out, options={"sites": ["z"]}),
        work(out, "sensitivity"),
        work(out, observable=logit_diff(3, 4)),
    ]:
        with pytest.raises((OSError, ValueError), match="has shards of other work: "):
            other.compute([0])
        with pytest.raises((OSError, ValueError), match="has shards of other work: "):
            distribute(other, pool, progress=False)
    manifest = out / "work.json"
    manifest.write_text(manifest.read_text().replace(f'"version":"{resolvent.__version__}"', '"version":"0.0.1"'))
    with pytest.raises((OSError, ValueError), match="`version` was 0.0.1 and is now"):
        distribute(work(out), pool, progress=False)
    with pytest.raises(ValueError, match="no shards of `logits`; expected one of run, "):
        work(tmp_path / "x", "logits").compute([0])
    with pytest.raises(TypeError, match="options of shards are numbers, texts and lists of them"):
        work(tmp_path / "x", options={"averaged": object()})
    with pytest.raises(ValueError, match="no shard 6; there are 6, from 0"):
        work(out.parent / "y").compute([6])


class Killed:
    """Kills a random worker of the pools that it makes, each time when a given number of shards is done."""

    def __init__(self, kills, seed):
        self.random, self.pool, self.kills = random.Random(seed), None, 0
        self.at = set(self.random.sample(range(6), kills))

    def __call__(self):
        self.pool = pool()
        return self.pool

    def callback(self, done, _all):
        if done in self.at:
            self.at.remove(done)
            workers = list(self.pool._processes)
            os.kill(self.random.choice(workers), signal.SIGKILL)
            self.kills += 1


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_ten_killed_workers_change_no_byte(tmp_path):
    want = whole(tmp_path)
    for seed in range(5):
        out, killed = tmp_path / f"shards{seed}", Killed(2, seed)
        distribute(work(out), killed, progress=False, callback=killed.callback)
        assert killed.kills == 2
        assert merged(tmp_path, out) == want
        assert len(list(out.glob("*.safetensors"))) == 6


def die(*_):
    os._exit(9)


class Dying(Work):
    """Work whose shard 3 kills its worker."""

    def compute(self, shards):
        if 3 in shards:
            die()
        return super().compute(shards)


def test_a_shard_that_kills_its_worker_is_named(tmp_path):
    dying = Dying("sensitivity", PAIRS, tmp_path / "s", model="random", device="host", shard_size=2)
    with pytest.raises(RuntimeError, match="workers died 2 times without a result, at shards .*3"):
        distribute(dying, pool, retries=1, progress=False)
    with pytest.raises(RuntimeError, match="a worker died .*call distribute again with a new executor"), pool() as once:
        distribute(dying, once, progress=False)
    # All others are there, and the cause removed, only this one is computed.
    same = Work("sensitivity", PAIRS, tmp_path / "s", model="random", device="host", shard_size=2)
    assert 3 in same.missing()
    distribute(same, pool, progress=False)
    assert same.missing() == []


class Failing:
    """An executor whose first tasks fail, as on a network folder that comes and goes."""

    def __init__(self, failures):
        self.left = failures

    def submit(self, function, *arguments):
        future = concurrent.futures.Future()
        if function.__name__ == "_compute" and self.left:
            self.left -= 1
            future.set_exception(OSError("stale file handle"))
        else:
            future.set_result(function(*arguments))
        return future


def test_failures_are_retried_and_then_named(tmp_path):
    found = distribute(work(tmp_path / "a", "sensitivity"), Failing(9), retries=3, progress=False)
    assert len(found) == len(PAIRS)
    with pytest.raises(RuntimeError, match="failed 3 times: stale file handle"):
        distribute(work(tmp_path / "b", "sensitivity"), Failing(99), retries=2, progress=False)


def test_a_worker_chooses_its_device(monkeypatch):
    some = work("x")
    assert some._its_device() == "host"
    monkeypatch.setenv("RESOLVENT_DEVICE", "0, 1,host")
    for index, device in [("0", "0"), ("1", "1"), ("5", "host")]:
        monkeypatch.setenv("SLURM_LOCALID", index)
        assert some._its_device() == device
    again = pickle.loads(pickle.dumps(some))
    assert repr(again) == repr(some) and "random" in repr(some)


def started(command, sign):
    """Starts a process, and waits until its output has a text."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    lines = []
    for line in process.stdout:
        lines.append(line)
        if sign in line:
            threading.Thread(target=process.stdout.read, daemon=True).start()
            return process
    raise AssertionError("".join(lines))


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_dask_loses_nothing_when_a_worker_is_killed(tmp_path):
    distributed = pytest.importorskip("distributed")
    address = tmp_path / "scheduler.json"
    common = ["--scheduler-file", str(address), "--no-dashboard"]
    processes = []
    try:
        scheduler = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"]
        processes.append(started([*scheduler, *common], "Scheduler at"))
        for _ in range(2):
            worker = [sys.executable, "-m", "distributed.cli.dask_worker", "--nworkers", "1", "--nthreads", "1"]
            processes.append(started([*worker, "--no-nanny", *common], "Registered to"))
        with distributed.Client(scheduler_file=str(address)) as client:
            client.wait_for_workers(2, timeout=60)
            first = work(tmp_path / "first")
            distribute(first, client.get_executor(), progress=False)
            want = whole(tmp_path)
            assert merged(tmp_path, tmp_path / "first") == want
            # A worker dies while the second folder is computed. Dask gives its tasks to the other one.
            def kill(done, _all):
                if done == 1:
                    processes[1].kill()

            distribute(work(tmp_path / "second"), client.get_executor(), progress=False, callback=kill)
            assert processes[1].poll() is not None
            assert merged(tmp_path, tmp_path / "second") == want
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_sets_of_results_are_compared(tmp_path):
    for name, observable in [("a", logit_diff("#11", "#3")), ("b", logit_diff("#11", "#4"))]:
        found = work(tmp_path / name, observable=observable)
        found.compute(range(6))
        found.merge(tmp_path / f"{name}.safetensors")
    result = resolvent.compare(tmp_path / "a", tmp_path / "b", arrays="clean_value")
    a, b = (open_results(tmp_path / f"{name}.safetensors")["clean_value"] for name in "ab")
    differences = np.asarray(b - a, np.float64)[:, 0]
    assert result.metadata["prompts"] == "10" and result.metadata["of"] == "patch"
    np.testing.assert_allclose(result["clean_value.difference"], [differences.mean()], rtol=1e-6)
    assert result["clean_value.low"][0] < differences.mean() < result["clean_value.high"][0]
    assert 0 < result["clean_value.p"][0] == result["clean_value.p_holm"][0] <= 1
    summary = resolvent.summarise(tmp_path / "a.safetensors", arrays=["clean_value"])
    np.testing.assert_allclose(summary["clean_value.median"], np.median(a), rtol=1e-6)
    with pytest.raises(ValueError, match="did you mean `effect`"):
        resolvent.compare(tmp_path / "a", tmp_path / "b", arrays="efect")
