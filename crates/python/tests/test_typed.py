"""The stubs accept programs as users write them, and refuse wrong ones."""

import pathlib
import subprocess
import sys

import pytest
import typed_user

HERE = pathlib.Path(__file__).parent


def test_the_program_runs():
    assert typed_user.main()[:2] == ["effect", "first_order"]


def checked(path, tmp_path):
    pytest.importorskip("mypy")
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), str(path)]
    return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)


def test_mypy_accepts_it(tmp_path):
    done = checked(HERE / "typed_user.py", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_mypy_refuses_wrong_arguments(tmp_path):
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "from resolvent import Model, logit\n"
        "model = Model.from_pretrained('random')\n"
        "model.run([1]).green('here')\n"
        "model.patch_sweep([1], [2], 'logit(1)')\n"
        "logit(1.5)\n"
    )
    done = checked(wrong, tmp_path)
    assert [int(line.split(":")[1]) for line in done.stdout.splitlines() if ": error:" in line] == [3, 4, 5]
