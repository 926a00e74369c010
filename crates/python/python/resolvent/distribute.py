"""Analyses of many prompts by many processes, with any executor of `concurrent.futures`.

The work is divided into shards, which are files in one folder. A worker computes a shard by the library's own code and
writes its file whole; only the numbers of shards pass between processes. So a worker may die at any moment: its shards
are computed again, and shards that are there never are. The results do not depend on the executor.
"""

from __future__ import annotations

import collections
import concurrent.futures
import json
import multiprocessing
import os
import pickle
import threading
import time

from ._mapped import MappedResult, MappedShards, open_results
from ._native import Model, _merge, _missing, _shards

__all__ = ["MappedResult", "MappedShards", "Work", "distribute", "open_results"]

_IN_FLIGHT = 256

# Dask cancels its tasks when it has lost the scheduler.
_LOST = (concurrent.futures.BrokenExecutor, concurrent.futures.CancelledError)


class Work:
    """An analysis of many prompts, and the folder for its shards.

    `analysis` is a method of `Prompts` that has a result for each prompt: run, sensitivity, patch, transfer, flow,
    edges, attribute, lens, green, slice, regime, quadratic, invert, identities, growth or subspace; `options` are its
    arguments. `prompts`, `observable`, `tasks` and `limit` are those of `Model.prompts`; a file that all
    workers can read is cheaper to pass on than rows. `out` is a folder that all workers can write to. `shard_size`
    prompts are a shard.

    `device` opens the model in each worker. In a worker's environment, RESOLVENT_DEVICE takes its place; it may list
    one device for each worker of a machine, as in `0,1,2,3`.
    """

    def __init__(
        self,
        analysis,
        prompts,
        out,
        *,
        model="atlas-small",
        options=None,
        observable=None,
        tasks=(),
        limit=None,
        shard_size=32,
        device="auto",
        memory=536870912,
        f16_weights=False,
        f16_inputs=False,
    ):
        self._analysis, self._options, self._size = analysis, dict(options or {}), shard_size
        try:
            self._description = json.dumps(self._options, sort_keys=True)
        except TypeError as error:
            raise TypeError(f"options of shards are numbers, texts and lists of them: {error}") from None
        self._out = os.path.abspath(os.fspath(out))
        is_path = isinstance(prompts, (str, os.PathLike))
        self._rows = os.path.abspath(os.fspath(prompts)) if is_path else prompts
        self._prompts = {"observable": observable, "tasks": tasks, "limit": limit}
        name = os.fspath(model)
        self._model = os.path.abspath(name) if os.path.exists(name) else name
        self._device = device
        self._opened = {"memory": memory, "f16_weights": f16_weights, "f16_inputs": f16_inputs}

    def __repr__(self):
        return f"<resolvent.Work: {self._analysis} of {self._model} in {self._out}>"

    def compute(self, shards):
        """Computes the shards with these numbers in this process, except those that are there.

        Returns how many it computed.
        """
        opened = self._open()
        try:
            return sum(opened.compute(shard) for shard in shards)
        except (TypeError, ValueError):
            raise
        except Exception:
            # The device may be lost. The next call opens it again, or fails on opening it.
            with _opening:
                if _opened.get("shards") is opened:
                    _opened.clear()
            raise

    def missing(self):
        """The numbers of the shards that are not there. The first call may open the model."""
        if not os.path.exists(os.path.join(self._out, "work.json")):
            self._open()
        return _missing(self._out)[0]

    def merge(self, out):
        """Joins all shards into a result file: the bytes that one process would have written."""
        _merge(self._out, os.fspath(out))

    def _open(self):
        """The shards, with the model. A process has one piece of work at a time, whichever of its threads opens it.

        A worker that outlives a change of the prompt file reads it again.
        """
        key = pickle.dumps(self), self._written()
        with _opening:
            if _opened.get("key") != key:
                _opened.clear()
                model = Model.from_pretrained(self._model, self._its_device(), progress=False, **self._opened)
                chosen = self._prompts["observable"], self._prompts["tasks"], self._prompts["limit"]
                described = self._options, self._description
                shards = _shards((model, self._rows), chosen, self._out, self._analysis, described, self._size)
                _opened.update(key=key, shards=shards)
            return _opened["shards"]

    def _written(self):
        """When the prompt file was written, and its size; None if there is none."""
        try:
            about = os.stat(self._rows) if isinstance(self._rows, str) else None
        except OSError:
            return None
        return about and (about.st_mtime_ns, about.st_size)

    def _its_device(self):
        """The device of this worker."""
        devices = os.environ.get("RESOLVENT_DEVICE", "")
        if not devices:
            return self._device
        devices = [device.strip() for device in devices.split(",")]
        return devices[_index() % len(devices)]


_opened, _opening = {}, threading.Lock()


def _index():
    """The index of this worker among those of its machine, from 0."""
    for name in ("SLURM_LOCALID", "OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "PMI_LOCAL_RANK"):
        if os.environ.get(name, "").isdigit():
            return int(os.environ[name])
    identity = multiprocessing.current_process()._identity
    return identity[0] - 1 if identity else 0


def _end_with_parent():
    """Ends this worker when the process that started it has ended: a killed one ends no worker."""
    parent = multiprocessing.parent_process()

    def watch():
        parent.join()
        # What a worker has not written whole does not exist.
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _plan(work):
    """Opens the work in a worker. Returns how many shards there are."""
    return len(work._open())


def _compute(work, shards):
    """Computes shards in a worker. Returns how many, the seconds, and the process."""
    began = time.perf_counter()
    return work.compute(shards), time.perf_counter() - began, os.getpid()


def distribute(work, executor=None, *, workers=None, retries=3, shards_per_task=1, progress=True, callback=None):
    """Computes all shards of `work` that are not there, and returns them as `open_results` does.

    `executor` is one of `concurrent.futures` or has its `submit`: a process pool, `Client.get_executor()` of Dask,
    `MPIPoolExecutor`, Parsl's. Without one, `workers` processes of this machine. Or it is a function that makes an
    executor: then a pool that a killed worker has broken is replaced. A shard that fails is computed again, up to
    `retries` times, and one that ends its worker twice is given up. All others are computed before the call fails and
    names these. An error of the arguments fails at once.

    `callback(done, all)` is called after each task; `progress` shows a bar where tqdm is installed.

    In a program, call it under `if __name__ == "__main__":`, as every use of processes.
    """
    if executor is None:
        context = multiprocessing.get_context("spawn")

        def executor():
            return concurrent.futures.ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent)

    run = _Distribution(work, executor, retries, shards_per_task)
    with _bar(progress) as bar:

        def report(done, every):
            bar(done, every)
            if callback is not None:
                callback(done, every)

        run.all(report)
    return open_results(work._out)


class _Distribution:
    """The tasks of one call of `distribute`."""

    def __init__(self, work, executor, retries, shards_per_task):
        self.work, self.retries, self.size = work, retries, max(1, shards_per_task)
        self.make = None if hasattr(executor, "submit") else executor
        self.pool = self.make() if self.make else executor
        # Broken pools, and tasks that were given up, since the last task that was computed.
        self.broken, self.failed = 0, 0
        # By the first shard of a task: errors, pools that broke meanwhile, and pools that broke at this task alone.
        self.errors, self.suspected, self.ended = collections.Counter(), collections.Counter(), collections.Counter()
        # Tasks that were given up, with the reasons.
        self.given_up = []

    def all(self, report):
        try:
            every = self.planned()
            missing = _missing(self.work._out)[0]
            report(every - len(missing), every)
            self.compute(missing, every, report)
            if self.given_up:
                self.fail()
            # A network folder may show files late.
            for pause in (0.0, 0.1, 1.0, 5.0):
                time.sleep(pause)
                missing = _missing(self.work._out)[0]
                if not missing:
                    return
            raise RuntimeError(
                f"shards {_some(missing)} are not in {self.work._out}; do all workers write to this folder?"
            )
        finally:
            if self.make:
                _close(self.pool, 5.0)

    def planned(self):
        while True:
            try:
                return self.pool.submit(_plan, self.work).result()
            except _LOST as error:
                self.replace([], error)

    def compute(self, missing, every, report):
        waiting = collections.deque(missing[i : i + self.size] for i in range(0, len(missing), self.size))
        done, running = every - len(missing), {}
        while waiting or running:
            try:
                while waiting and len(running) < self.most():
                    # A task that may end its worker runs after the others, and alone: then it cannot be another one.
                    alone = self.suspected[waiting[0][0]] > 1
                    if alone and running:
                        break
                    running[self.pool.submit(_compute, self.work, waiting[0])] = waiting[0]
                    waiting.popleft()
                    if alone:
                        break
            # A pool that breaks while it starts a process for the call gives an OSError.
            except (*_LOST, OSError) as error:
                waiting = self.lost(running, waiting, error)
                continue
            for future in concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED).done:
                shards = running.pop(future, None)
                if shards is None:
                    continue
                try:
                    future.result()
                except _LOST as error:
                    running[future] = shards
                    waiting = self.lost(running, waiting, error)
                    break
                except (TypeError, ValueError):
                    _cancel(running)
                    raise
                except Exception as error:
                    self.errors[shards[0]] += 1
                    # Dask has tried a task several times that ended its workers.
                    if type(error).__name__ == "KilledWorker":
                        self.give_up(shards, f"ended their workers: {error}", error, running)
                    elif self.errors[shards[0]] > self.retries:
                        self.give_up(shards, f"failed {self.retries + 1} times: {error}", error, running)
                    else:
                        waiting.append(shards)
                else:
                    self.broken = self.failed = 0
                    done += len(shards)
                    report(done, every)

    def most(self):
        """How many tasks run at a time. After a pool broke, few: each of them may have broken it."""
        return _IN_FLIGHT if not self.suspected else max(1, getattr(self.pool, "_max_workers", 2))

    def lost(self, running, waiting, error):
        """Returns what waits after a pool broke. What it finished is found by the workers."""
        tasks = sorted(running.values())
        running.clear()
        for task in tasks:
            self.suspected[task[0]] += 1
        alone = tasks[0] if len(tasks) == 1 else None
        self.replace([n for task in tasks for n in task], error)
        if alone is not None:
            self.ended[alone[0]] += 1
            if self.ended[alone[0]] > 1:
                tasks = []
                self.give_up(alone, f"ended their worker {self.ended[alone[0]]} times: {error}", error, running)
        # Those that two pools broke at come last.
        return collections.deque(sorted([*tasks, *waiting], key=lambda task: self.suspected[task[0]] > 1))

    def give_up(self, shards, reason, error, running):
        """Remembers a task that failed too often, with its reason.

        If several do so one after another, the cause is not in them.
        """
        self.given_up.append((shards, reason, error))
        self.failed, self.broken = self.failed + 1, 0
        if self.failed > self.retries + 1:
            _cancel(running)
            self.fail()

    def fail(self):
        _, reason, error = self.given_up[0]
        shards = sorted(n for task, *_ in self.given_up for n in task)
        raise RuntimeError(f"shards {_some(shards)} {reason}; call distribute again for these") from error

    def replace(self, shards, error):
        """Replaces a broken pool."""
        self.broken += 1
        if self.make is None:
            raise RuntimeError(
                f"a worker or the scheduler died ({error or type(error).__name__}); call distribute again with a new "
                "executor: what is there is not computed again. With a function that makes executors, this happens by "
                "itself"
            ) from error
        if self.broken > self.retries + 3:
            raise RuntimeError(
                f"workers died {self.broken} times without a result, at shards {_some(shards)}: {error}"
            ) from error
        _close(self.pool, 0.0)
        self.pool = self.make()


def _close(pool, seconds):
    """Shuts down an executor, and ends the processes of a pool that do not end by themselves.

    A pool that a killed worker has broken may wait for workers that wait for it: `shutdown` and the end of Python would
    hang.
    """
    processes = list((getattr(pool, "_processes", None) or {}).values())
    pool.shutdown(wait=not processes, cancel_futures=True)
    until = time.monotonic() + seconds
    for process in processes:
        process.join(max(0.0, until - time.monotonic()))
        if process.is_alive():
            process.kill()


def _cancel(running):
    for future in running:
        future.cancel()


def _some(shards):
    shown = ", ".join(map(str, shards[:8]))
    return shown + (", .." if len(shards) > 8 else "")


class _bar:
    """A progress bar of tqdm, or none."""

    def __init__(self, wanted):
        try:
            from tqdm.auto import tqdm
        except ImportError:
            wanted = False
        self.bar = tqdm(desc="shards", unit="shard", leave=False) if wanted else None

    def __enter__(self):
        return self

    def __call__(self, done, every):
        if self.bar is not None:
            self.bar.total = every
            self.bar.update(done - self.bar.n)

    def __exit__(self, *_):
        if self.bar is not None:
            self.bar.close()
