"""Results: tables, drawings, files."""

import sys

import numpy as np
import pytest
from resolvent import Result, logit_diff

J = logit_diff(2, 6)


@pytest.fixture(scope="module")
def swept(tiny):
    return tiny.patch_sweep([3, 1, 4, 1, 5], [3, 1, 9, 1, 5], J, sites=["resid", "z"])


def test_arrays_are_read_only_and_array_like(swept):
    assert np.asarray(swept).shape == (4, 5) and np.array(swept, dtype=np.float64).dtype == np.float64
    with pytest.raises(ValueError):
        swept.values[0, 0] = 1
    assert swept.arrays.keys() == set(swept.keys()) and "effect" in swept and "nothing" not in swept
    with pytest.raises(KeyError, match="there are effect"):
        swept["nothing"]
    assert swept.metadata["analysis"] == "patch" and "observable_text" not in swept.metadata
    value, bound = swept.checks["adjoint"]
    assert value <= bound
    assert "effect [level=4, token=5]" in repr(swept)


def test_tables(swept):
    table = swept.to_pandas()
    assert list(table.columns) == ["effect", "first_order"] and table.index.names == ["level", "token"]
    assert table["effect"].unstack("token").shape == (4, 5)
    assert swept.to_pandas("effect.z").index.names == ["block", "head", "token"]


def test_plots(run, swept, tiny):
    import matplotlib

    matplotlib.use("Agg")
    axes = swept.plot()
    assert axes.get_title() == "patch: effect"
    assert swept.plot("first_order", ax=axes) is axes
    assert run.sensitivity(J).plot().get_title() == "sensitivity: norm"
    assert len(run.regime(J, sites=[(1, 2), (2, -1)], amplitudes=[0.1, 1.0]).plot().get_lines()) == 2
    assert run.green((1, 2), geometry=True).plot("energy") is not None
    with pytest.raises(ValueError, match="level, token, d"):
        run.sensitivity(J).plot("sensitivity")
    for result in (run.result(), run.slice(rank=2), run.invert((J, 1.0)), run.transfer([3, 1, 9, 1, 5], J)):
        result.plot()
        matplotlib.pyplot.close("all")


def test_notebooks_get_our_own_figures(run, swept):
    for thing in (run, swept, run.sensitivity(J)):
        html = thing._repr_html_()
        assert html.startswith("<div><svg") and "checks:" in html
    assert "logit(#2) - logit(#6)" in swept.svg()


def test_files(run, swept, tmp_path):
    for name in ("x.safetensors", "x.json", "x.svg", "x.png"):
        swept.save(tmp_path / name)
        assert (tmp_path / name).stat().st_size > 1000
    read = Result.load(tmp_path / "x.safetensors")
    np.testing.assert_array_equal(read.values, swept.values)
    assert read.axes == swept.axes and read.metadata == swept.metadata and read.checks.keys() == swept.checks.keys()
    assert (tmp_path / "x.json").read_text() == swept.to_json()
    with pytest.raises(ValueError, match="ends in .safetensors or .json"):
        swept.save(tmp_path / "x.csv")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        swept.save(tmp_path / "nowhere/x.json")


def test_files_are_read_by_the_safetensors_package(run, tiny, tmp_path):
    from safetensors import safe_open

    def read(path):
        with safe_open(path, "numpy") as file:
            assert file.metadata()["analysis"]
            return {name: file.get_tensor(name) for name in file.keys()}

    once = ["resid", "z"]
    for sites in (once, ["resid", "resid", "z", "resid"]):
        swept = tiny.patch_sweep([3, 1, 4, 1, 5], [3, 1, 9, 1, 5], J, sites=sites)
        swept.save(tmp_path / "x.safetensors")
        arrays = read(tmp_path / "x.safetensors")
        assert arrays.keys() == swept.arrays.keys()
        for name, array in arrays.items():
            np.testing.assert_array_equal(array, swept[name])
    results = (run.result(), run.sensitivity(J), run.green((1, 2), geometry=True), run.regime(J, sites=[(1, 2)]))
    for result in (*results, run.invert((J, 1.0)), run.transfer([3, 1, 9, 1, 5], J)):
        result.save(tmp_path / "y.safetensors")
        assert read(tmp_path / "y.safetensors").keys() == result.arrays.keys()
    sliced = run.slice(rank=2, out=tmp_path / "z.safetensors")
    assert read(tmp_path / "z.safetensors").keys() == sliced.arrays.keys()


def test_pandas_and_matplotlib_may_be_missing(swept, monkeypatch):
    for package, use in (("pandas", swept.to_pandas), ("matplotlib.pyplot", swept.plot)):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(ImportError, match="pip install"):
            use()


def test_what_is_loaded_equals_what_was_saved(run, swept, model, tmp_path):
    worded = model.lens("When Mary and John went to the store")
    assert worded.str_tokens[:2] == ["When", " Mary"]
    regime = run.regime(J, amplitudes=[0.1, 1.0])
    for result in (worded, swept, run.sensitivity(J), regime, run.invert((J, 1.0))):
        for name in ("x.safetensors", "x.json"):
            result.save(tmp_path / name)
            read = Result.load(tmp_path / name)
            assert read == result, name
            assert list(read) == list(result) and read.checks == result.checks and read.metadata == result.metadata
            assert read.str_tokens == result.str_tokens and read.svg() == result.svg() and repr(read) == repr(result)
    # A place after the observable's token has no effect: its radius is infinite.
    infinite = run.regime(logit_diff(2, 6, 1), sites=[(0, 4)], amplitudes=[0.1])
    assert np.isinf(infinite["radius"]).all()
    infinite.save(tmp_path / "y.json")
    assert Result.load(tmp_path / "y.json") == infinite
    text = (tmp_path / "y.json").read_text()
    (tmp_path / "y.json").write_text(text.replace('"inf"', "1.5"))
    assert Result.load(tmp_path / "y.json") != infinite


def test_files_that_are_no_results_are_left_alone(swept, tmp_path):
    from safetensors.numpy import save_file

    weights = tmp_path / "model.safetensors"
    save_file({"h.0.attn": np.ones((2, 2), np.float32)}, weights)
    (tmp_path / "config.json").write_text('{"n_layer": 12}')
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "empty.safetensors").write_bytes(b"")
    for name in ("model.safetensors", "config.json", "broken.json", "empty.safetensors"):
        message = "is not a result file of this program: .*; give a .safetensors or .json file"
        with pytest.raises(OSError, match=message) as caught:
            Result.load(tmp_path / name)
        assert not any(word in str(caught.value) for word in ("remove", "delete")), caught.value
        assert (tmp_path / name).exists()
    for name in ("x.svg", "x.png"):
        swept.save(tmp_path / name)
        with pytest.raises(ValueError, match="is a drawing of a result; load the result from .safetensors or .json"):
            Result.load(tmp_path / name)
