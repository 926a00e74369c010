"""Faults of distributed analyses: killed workers, schedulers and programs, deadly prompts, lost devices."""

import concurrent.futures
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from test_distribute import PAIRS, merged, own_device, pool, whole, work

from resolvent import Model, Work, distribute, open_results

# It is used by name.
assert own_device


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
    """Work of which some shards kill their worker."""

    deadly = (3,)

    def compute(self, shards):
        if set(shards) & set(self.deadly):
            die()
        return super().compute(shards)


class DyingTwice(Dying):
    deadly = (0, 4)


class DyingAlways(Dying):
    deadly = tuple(range(6))


@pytest.mark.parametrize("dying, given_up, size", [(Dying, [3], 1), (DyingTwice, [0, 4], 1), (Dying, [2, 3], 2)])
def test_a_shard_that_kills_its_worker_is_named_when_the_others_are_there(tmp_path, dying, given_up, size):
    deadly = dying("sensitivity", PAIRS, tmp_path / "s", model="random", device="host", shard_size=2)
    named = ".*".join(map(str, given_up))
    with pytest.raises(RuntimeError, match=f"^shards {named}.* ended their worker 2 times.*") as failed:
        distribute(deadly, pool, progress=False, shards_per_task=size)
    same = Work("sensitivity", PAIRS, tmp_path / "s", model="random", device="host", shard_size=2)
    assert same.missing() == given_up, failed.value
    # A task of several shards is given up whole. The cause removed, only these are computed.
    distribute(same, pool, progress=False)
    assert same.missing() == []


def test_workers_that_always_die_are_not_replaced_for_ever(tmp_path):
    common = dict(model="random", device="host", shard_size=2)
    with pytest.raises(RuntimeError, match="a worker or the scheduler died .*call distribute again with a new executor"), pool() as once:
        distribute(Dying("sensitivity", PAIRS, tmp_path / "s", **common), once, progress=False)
    pools = []

    def counted():
        pools.append(pool(1))
        return pools[-1]

    with pytest.raises(RuntimeError, match="ended their worker 2 times|workers died .* times without a result"):
        distribute(DyingAlways("sensitivity", PAIRS, tmp_path / "t", **common), counted, retries=1, progress=False)
    assert len(pools) < 12


def test_a_replaced_row_computes_its_shard_alone(tmp_path):
    common = dict(model="random", device="host", shard_size=2)
    file = tmp_path / "prompts.jsonl"

    def write(rows):
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))

    write(PAIRS)
    with pytest.raises(RuntimeError, match="shards 3 ended their worker"):
        distribute(Dying("sensitivity", file, tmp_path / "s", **common), pool, progress=False)
    # The row keeps its line, so the others keep theirs.
    rows = [*PAIRS]
    rows[6] = {"clean": [999999999]}
    write(rows)
    mended = Work("sensitivity", file, tmp_path / "s", **common)
    assert mended.compute(range(6)) == 1
    mended.merge(tmp_path / "mended.safetensors")
    prompts = Model.from_pretrained("random", device="host").prompts(file)
    assert [name for name, _ in prompts.left_out] == ["line 7"]
    prompts.sensitivity().save(tmp_path / "alone.safetensors")
    # Batches of another size have other costs, so arrays are compared, and not bytes.
    one, other = (open_results(tmp_path / f"{name}.safetensors") for name in ["mended", "alone"])
    assert set(one) == set(other)
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])
    # Rows at the end compute the last shard and those after it; the set before is refused.
    write([*rows, *PAIRS[:4]])
    assert Work("sensitivity", file, tmp_path / "s", **common).compute(range(8)) == 3
    write(rows)
    with pytest.raises(OSError, match="`prompts` was 15 and is now 11"):
        Work("sensitivity", file, tmp_path / "s", **common).compute([0])


def test_options_that_fit_no_prompt_are_an_error(tmp_path):
    nowhere = work(tmp_path / "nowhere", "green", options={"at": (99, 0)})
    for call in [lambda: nowhere.compute([2]), lambda: distribute(nowhere, pool, progress=False)]:
        with pytest.raises(ValueError, match="no prompt can be analysed; row [04]: .*99"):
            call()
    assert [path.name for path in (tmp_path / "nowhere").iterdir()] == ["work.json"]
    # A shard whose only row cannot be patched is a shard.
    alone = work(tmp_path / "alone")
    assert alone.compute([5]) == 1 and alone.missing() == [0, 1, 2, 3, 4]


def test_a_lost_device_is_opened_again(tmp_path, monkeypatch):
    module, opened = sys.modules["resolvent.distribute"], []
    native = module._shards

    class Lost:
        """Shards on a device that is lost."""

        def compute(self, shard):
            raise RuntimeError(f"device lost at shard {shard}")

    def shards(*arguments):
        opened.append(native(*arguments))
        return Lost() if len(opened) == 1 else opened[-1]

    monkeypatch.setattr(module, "_shards", shards)
    some = work(tmp_path / "lost")
    with pytest.raises(RuntimeError, match="device lost at shard 4"):
        some.compute([4])
    assert some.compute([4, 5]) == 2 and len(opened) == 2
    # An error of the arguments says nothing about the device.
    with pytest.raises(ValueError, match="no shard 6"):
        some.compute([6])
    assert some.compute([0]) == 1 and len(opened) == 2


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


def with_tests():
    """The environment of processes that import these tests."""
    paths = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}


class Slow(Work):
    """Work whose shards take a moment, so that tasks are waiting when something dies."""

    def compute(self, shards):
        time.sleep(0.5)
        return super().compute(shards)


def started(command, sign):
    """Starts a process, and waits until its output has a text."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=with_tests())
    lines = []
    for line in process.stdout:
        lines.append(line)
        if sign in line:
            threading.Thread(target=process.stdout.read, daemon=True).start()
            return process
    raise AssertionError("".join(lines))


class Cluster:
    """A Dask scheduler and its workers, as processes on loopback."""

    def __init__(self, folder, workers=2):
        self.address = str(folder / "scheduler.json")
        self.processes, self.port = [], "0"
        self.schedule()
        for _ in range(workers):
            self.work()

    def schedule(self):
        command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"]
        self.scheduler = started([*command, *self.common()], "Scheduler at")
        self.processes.append(self.scheduler)

    def work(self):
        command = [sys.executable, "-m", "distributed.cli.dask_worker", "--nworkers", "1", "--nthreads", "1"]
        self.processes.append(started([*command, "--no-nanny", *self.common()], "Registered to"))
        return self.processes[-1]

    def common(self):
        return ["--scheduler-file", self.address, "--no-dashboard"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_dask_loses_nothing_when_a_worker_is_killed(tmp_path):
    distributed = pytest.importorskip("distributed")
    with Cluster(tmp_path) as cluster, distributed.Client(scheduler_file=cluster.address) as client:
        client.wait_for_workers(2, timeout=60)
        first = work(tmp_path / "first")
        distribute(first, client.get_executor(), progress=False)
        want = whole(tmp_path)
        assert merged(tmp_path, tmp_path / "first") == want
        worker = cluster.processes[1]

        # A worker dies while the second folder is computed. Dask gives its tasks to the other one.
        def kill(done, _all):
            if done == 1:
                worker.kill()

        distribute(work(tmp_path / "second"), client.get_executor(), progress=False, callback=kill)
        assert worker.poll() is not None
        assert merged(tmp_path, tmp_path / "second") == want


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_dask_loses_nothing_when_the_scheduler_is_killed(tmp_path):
    distributed = pytest.importorskip("distributed")
    out, seen = tmp_path / "shards", []
    with Cluster(tmp_path) as cluster:
        with distributed.Client(scheduler_file=cluster.address) as client:
            client.wait_for_workers(2, timeout=60)

            def kill(done, _all):
                seen.append(done)
                if done == 2:
                    cluster.scheduler.kill()
                    cluster.scheduler.wait()

            # Tasks are lost with the scheduler: the call fails, and does not wait for ever.
            with pytest.raises(RuntimeError, match="the scheduler died .*call distribute again with a new executor"):
                slow = Slow("patch", PAIRS, out, model="random", device="host", shard_size=2)
                distribute(slow, client.get_executor(), progress=False, callback=kill)
        assert seen[-1] < 6
    # The same call with a new scheduler and new workers goes on.
    with Cluster(tmp_path) as cluster, distributed.Client(scheduler_file=cluster.address) as client:
        client.wait_for_workers(2, timeout=60)
        seen.clear()
        distribute(work(out), client.get_executor(), progress=False, callback=lambda done, _: seen.append(done))
        assert seen[0] >= 2
    assert merged(tmp_path, out) == whole(tmp_path)


def children(parent):
    """The processes that a process has started, where the system lists them."""

    def its_parent(path):
        try:
            return path.read_text().rpartition(")")[2].split()[1]
        except OSError:
            return None

    return [path.parent for path in Path("/proc").glob("[0-9]*/stat") if its_parent(path) == str(parent)]


def is_running(process):
    try:
        # That of a process that has ended is empty, until the system forgets it.
        return (process / "cmdline").read_bytes() != b""
    except OSError:
        return False


PROGRAM = """
import sys
from resolvent import distribute
from test_distribute import work

if __name__ == "__main__":
    distribute(work(sys.argv[1]), workers=2, progress=False, callback=lambda done, every: print(done, flush=True))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_killed_program_goes_on_when_it_is_started_again(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    out = tmp_path / "shards"
    command = [sys.executable, str(tmp_path / "program.py"), str(out)]
    for at in [1, 2, 4]:
        program = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=with_tests())
        assert any(int(line) >= at for line in program.stdout)
        workers = children(program.pid)
        program.kill()
        program.wait()
        program.stdout.close()
        # Its workers end by themselves.
        until = time.monotonic() + 20
        while any(map(is_running, workers)) and time.monotonic() < until:
            time.sleep(0.05)
        assert not any(map(is_running, workers))
    subprocess.run(command, check=True, env=with_tests(), stdout=subprocess.DEVNULL, timeout=120)
    assert merged(tmp_path, out) == whole(tmp_path)
