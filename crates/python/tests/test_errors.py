"""Errors are Python's, with one line that names the cause and the fix."""

import numpy as np
import pytest
import resolvent
from resolvent import Edit, Model, Source, logit, logit_diff


def one_line(caught):
    text = str(caught.value)
    assert text and "\n" not in text
    return text


@pytest.mark.parametrize(
    ("error", "message", "act"),
    [
        (ValueError, "no tokenizer", lambda m, r: m.run("text")),
        (ValueError, "outside the vocabulary", lambda m, r: m.run([3, 99])),
        (ValueError, "invalid token id -1 at position 1", lambda m, r: m.run([3, -1])),
        (ValueError, "the prompt is empty", lambda m, r: m.run([])),
        (ValueError, "whole numbers", lambda m, r: m.run([0.5])),
        (ValueError, "one prompt", lambda m, r: m.run([[1, 2], [3, 4]])),
        (ValueError, "invalid site", lambda m, r: r["hook_nothing"]),
        (ValueError, "blocks 0 to 2", lambda m, r: r["blocks.9.hook_resid_pre"]),
        (ValueError, "32 wide", lambda m, r: m.run([1], [Edit.add("blocks.0.hook_resid_pre", 0, [1.0])])),
        (ValueError, "out of range", lambda m, r: r.value(logit(1, position=9))),
        (ValueError, "no tokenizer", lambda m, r: r.sensitivity(logit_diff(" Paris", " Rome"))),
        (ValueError, "is NaN", lambda m, r: m.run([1], [Edit.put("blocks.0.hook_resid_pre", 0, [np.nan] * 32)])),
        (ValueError, r"\[4, 5, 32\]", lambda m, r: r.linearize().jvp(np.zeros((5, 32)))),
        (ValueError, "needs a second prompt", lambda m, r: r.green((1, 1), "displacement")),
        (ValueError, "expected a vector", lambda m, r: Source("blocks.0.hook_resid_pre", 0, np.zeros((2, 2)))),
        (ValueError, "invalid kind of site", lambda m, r: m.patch_sweep([1], [2], logit(1), sites=["x"])),
        (ValueError, "prompts of the same length", lambda m, r: m.patch_sweep([1], [2, 3], logit(1))),
        (FileNotFoundError, "nowhere", lambda m, r: r.green((1, 1), "nowhere.safetensors")),
        (FileNotFoundError, "nowhere", lambda m, r: resolvent.Result.load("nowhere.safetensors")),
        (ValueError, "expected auto, gpu, host", lambda m, r: Model.from_pretrained("random", device="")),
        (TypeError, "expected a list, got str", lambda m, r: r.transfer([1, 2, 3, 4, 5], logit(1), others="text")),
        (TypeError, "expected a list, got int", lambda m, r: m.patch_sweep([1], [2], logit(1), sites=3)),
    ],
)
def test_errors(tiny, run, error, message, act):
    with pytest.raises(error, match=message) as caught:
        act(tiny, run)
    one_line(caught)


def test_models_that_are_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError) as caught:
        Model.from_pretrained("no/such-model", device="host")
    assert "no model `no/such-model`" in one_line(caught)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="this family of models is not supported"):
        Model.from_pretrained(tmp_path, device="host")


def test_devices_that_are_not_there():
    assert all(isinstance(name, str) for name in resolvent.devices())
    with pytest.raises(resolvent.DeviceError, match="no GPU adapter matches") as caught:
        Model.from_pretrained("random", device="a device that does not exist")
    one_line(caught)
    assert issubclass(resolvent.DeviceError, RuntimeError)
