"""Executors of other engines, where they are installed: Ray, Parsl and MPI compute the bytes of one process."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from test_distribute import merged, whole, work

from resolvent import distribute

HERE = str(Path(__file__).parent)


def test_ray(tmp_path):
    ray = pytest.importorskip("ray")

    # The adapter of the page on large runs.
    class RayExecutor:
        def __init__(self, **options):
            self.call = ray.remote(**options)(lambda function, *arguments: function(*arguments))

        def submit(self, function, *arguments):
            return self.call.remote(function, *arguments).future()

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        distribute(work(tmp_path / "ray"), RayExecutor(num_cpus=1), progress=False)
    finally:
        ray.shutdown()
    assert merged(tmp_path, tmp_path / "ray") == whole(tmp_path)


def test_parsl(tmp_path, monkeypatch):
    pytest.importorskip("parsl")
    from parsl.concurrent import ParslPoolExecutor
    from parsl.config import Config
    from parsl.executors import HighThroughputExecutor

    monkeypatch.chdir(tmp_path)
    # Parsl starts programs that lie beside the interpreter.
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    local = HighThroughputExecutor(label="local", max_workers_per_node=2, cores_per_worker=1, address="127.0.0.1")
    with ParslPoolExecutor(Config(executors=[local])) as executor:
        distribute(work(tmp_path / "parsl"), executor, progress=False)
    assert merged(tmp_path, tmp_path / "parsl") == whole(tmp_path)


PROGRAM = """
import sys
from mpi4py.futures import MPIPoolExecutor
from resolvent import distribute
from test_distribute import work

if __name__ == "__main__":
    with MPIPoolExecutor() as executor:
        distribute(work(sys.argv[1]), executor, progress=False)
"""


def test_mpi(tmp_path):
    pytest.importorskip("mpi4py")
    if shutil.which("mpiexec") is None:
        pytest.skip("needs mpiexec")
    (tmp_path / "program.py").write_text(PROGRAM)
    program = [sys.executable, "-m", "mpi4py.futures", str(tmp_path / "program.py"), str(tmp_path / "mpi")]
    # Open MPI refuses more processes than cores, and the user root, unless it is told.
    more = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "PYTHONPATH": HERE}
    more |= {"OMPI_MCA_rmaps_base_oversubscribe": "1", "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe"}
    ran = subprocess.run(["mpiexec", "-n", "3", *program], env=os.environ | more, capture_output=True, timeout=120)
    assert ran.returncode == 0, ran.stderr.decode()
    assert merged(tmp_path, tmp_path / "mpi") == whole(tmp_path)
