"""Analyses by several processes: the same bytes as by one, whatever dies on the way."""

import concurrent.futures
import multiprocessing
import os
import pickle
import sys
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


def test_a_worker_chooses_its_device(monkeypatch):
    some = work("x")
    assert some._its_device() == "host"
    monkeypatch.setenv("RESOLVENT_DEVICE", "0, 1,host")
    for index, device in [("0", "0"), ("1", "1"), ("5", "host")]:
        monkeypatch.setenv("SLURM_LOCALID", index)
        assert some._its_device() == device
    again = pickle.loads(pickle.dumps(some))
    assert repr(again) == repr(some) and "random" in repr(some)


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


def test_tables_are_read_shard_by_shard(tmp_path):
    some = work(tmp_path / "s")
    some.compute(range(6))
    found = open_results(tmp_path / "s")
    # The last shard has no table: its only row cannot be patched.
    tables = list(found.tables("effect"))
    assert [list(table.index.unique("prompt")) for table in tables] == [[n, n + 1] for n in range(0, 10, 2)]
    sizes = [one["effect"].size for one in found]
    assert [len(table) for table in tables] == [a + b for a, b in zip(sizes[::2], sizes[1::2])]
    assert tables[2].loc[(5, 3, 1), "effect"] == found[5]["effect"][3, 1]
    whole_table = found.to_pandas("effect")
    assert len(whole_table) == sum(sizes) and whole_table.loc[(5, 3, 1), "effect"] == found[5]["effect"][3, 1]
    pytest.importorskip("polars")
    for table, other in zip(tables, found.tables("effect", polars=True)):
        assert other.columns == ["prompt", "level", "token", *table.columns]
        np.testing.assert_array_equal(other["effect"].to_numpy(), table["effect"].to_numpy())
        np.testing.assert_array_equal(other["prompt"].to_numpy(), table.index.get_level_values("prompt"))
    assert found.to_polars("effect").shape == (len(whole_table), 3 + len(whole_table.columns))
    assert found[0].to_polars("effect").shape == (found[0]["effect"].size, 2 + len(whole_table.columns))
