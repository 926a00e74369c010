"""Processes: a forked child computes with threads of its own, and refuses what it cannot do. No child hangs."""

import os
import subprocess
import sys
import textwrap

import pytest
import resolvent

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

START = """
import os, signal, sys, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)
import numpy as np
from resolvent import DeviceError, Model, logit, logit_diff

TOKENS = [3, 1, 4, 1, 5]

def forked(work):
    # Returns what work() prints in a child.
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(into, str(work()).encode())
        except BaseException as error:
            os.write(into, f"{type(error).__name__}: {error}".encode())
        os._exit(0)
    os.close(into)
    said = os.read(out, 10000).decode()
    os.waitpid(child, 0)
    return said
"""


def ran(code, tmp_path, timeout=120):
    """Runs a program, whose processes must all end in time."""
    script = tmp_path / "script.py"
    script.write_text(START + textwrap.dedent(code))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_child_computes_the_same(tmp_path):
    code = """
    model = Model.from_pretrained("random", device="host")
    run, j = model.run(TOKENS), logit_diff(2, 6)
    chi = run.sensitivity(j).values

    def work():
        again = model.run(TOKENS)
        same = (again.sensitivity(j).values == chi).all() and (run.sensitivity(j).values == chi).all()
        new = Model.from_pretrained("random", device="host").run(TOKENS)
        return bool(same), bool((new.field == run.field).all()), forked(lambda: float(model.run(TOKENS).value(j)))

    print(forked(work))
    print((run.sensitivity(j).values == chi).all())
    """
    child, parent = ran(code, tmp_path).splitlines()
    assert child.startswith("(True, True, '") and parent == "True"


def test_a_child_may_work_first(tmp_path):
    code = """
    print(forked(lambda: Model.from_pretrained("random", device="host").run(TOKENS).field.shape))
    """
    assert ran(code, tmp_path).strip() == "(4, 5, 32)"


def test_a_fork_during_the_work_of_a_thread_is_refused(tmp_path):
    code = """
    model = Model.from_pretrained("random-gpt2", device="host")
    run = model.run(list(range(64)))
    sources = [(0, t) for t in range(64)]  # minutes
    work = lambda: run.slice("random", rank=64, progress=False, sources=sources)
    threading.Thread(target=work, daemon=True).start()
    time.sleep(0.5)
    print(forked(lambda: model.run(TOKENS)))
    print(forked(lambda: Model.from_pretrained("random", device="host")))
    sys.stdout.flush()
    os._exit(0)
    """
    for line in ran(code, tmp_path).splitlines():
        assert line.startswith("DeviceError: this process was forked while another thread"), line
        assert "spawn" in line


def test_ctrl_c_stops_a_child(tmp_path):
    code = """
    model = Model.from_pretrained("random-gpt2", device="host")
    run = model.run(list(range(64)))
    child = os.fork()
    if child == 0:
        try:
            run.slice("random", rank=64, sources=[(0, t) for t in range(64)], progress=False)  # minutes
        except KeyboardInterrupt:
            os._exit(7)
        os._exit(0)
    time.sleep(2)
    os.kill(child, signal.SIGINT)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    assert ran(code, tmp_path).strip() == "7"


@pytest.mark.skipif(not resolvent.devices(), reason="no GPU adapter is installed")
def test_a_child_refuses_the_gpu_of_its_parent(tmp_path):
    code = """
    model = Model.from_pretrained("random", device="gpu")
    run = model.run(TOKENS)
    print(forked(lambda: run.field))
    print(forked(lambda: model.run(TOKENS)))
    print(forked(lambda: Model.from_pretrained("random", device="gpu")))
    print(forked(lambda: Model.from_pretrained("random", device="host").run(TOKENS).field.shape))
    print(run.field.shape)
    child = os.fork()
    if child == 0:
        del run, model
        sys.exit(0)  # An ordinary exit drops what is left.
    print(os.waitpid(child, 0)[1])
    """
    *refused, host, parent, status = ran(code, tmp_path).splitlines()
    assert len(refused) == 3 and host == parent == "(4, 5, 32)" and status == "0"
    for line in refused:
        assert line.startswith("DeviceError: a forked process cannot use the GPU of its parent"), line


POOL = """
import multiprocessing
import sys

import resolvent

def value(prompt):
    return resolvent.Model.from_pretrained("random", device="host").run(prompt).value(resolvent.logit(2))

def of_parent(prompt):
    return model.run(prompt).value(resolvent.logit(2))

if __name__ == "__main__":
    method, prompts = sys.argv[1], [[3, 1, 4], [1, 5], [9, 2, 6]]
    model = resolvent.Model.from_pretrained("random", device="host")
    want = [model.run(prompt).value(resolvent.logit(2)) for prompt in prompts]
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(value, prompts) == want
        if method == "fork":
            assert pool.map(of_parent, prompts) == want
        # Arguments and results cross the processes.
        print(pool.map(model.run(prompts[0]).value, [resolvent.logit(2)]) == want[:1])
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_pools_of_processes(method, tmp_path):
    script = tmp_path / "pool.py"
    script.write_text(POOL)
    done = subprocess.run([sys.executable, str(script), method], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and done.stdout.strip() == "True", done.stderr


def test_workers_of_a_torch_data_loader(tmp_path):
    pytest.importorskip("torch")
    code = """
    from torch.utils.data import DataLoader

    model = Model.from_pretrained("random", device="host")
    prompts = [[3, 1, 4], [1, 5, 9], [2, 6, 5], [3, 5, 8]]

    class Fields:
        def __len__(self):
            return len(prompts)

        def __getitem__(self, i):
            return model.run(prompts[i]).field

    loaded = [batch for batch in DataLoader(Fields(), batch_size=2, num_workers=2, multiprocessing_context="fork")]
    same = [np.array_equal(field, model.run(prompts[2 * i + k]).field)
            for i, batch in enumerate(loaded) for k, field in enumerate(batch.numpy())]
    print(same)
    """
    assert ran(code, tmp_path).strip() == "[True, True, True, True]"
