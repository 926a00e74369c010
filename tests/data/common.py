"""What make_goldens.py and make_families.py share: the file format, the run with hooks, and the golden arrays."""

import json
import struct

import numpy
import safetensors
import torch
import transformers
from torch.func import jvp


def write_safetensors(path, tensors, metadata):
    """Writes named CPU tensors, byte for byte reproducibly: the library's own writer reorders the metadata."""
    names = {torch.float32: "F32", torch.float64: "F64", torch.int64: "I64", torch.uint8: "U8"}
    header, end = {"__metadata__": metadata}, 0
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        header[name] = {"dtype": names[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors.values():
            file.write(tensor.detach().contiguous().numpy().tobytes())


def forward(model, cuts, tokens, place=None, delta=None, put=False):
    """Returns the field h[0..=L] as a list of [1, T, d], the last before the final norm, and the logits [T, V].

    `cuts` are the modules that read h[0..=L]: the blocks and the final norm. `delta` [d] is added to h at `place`
    (level, token); with `put`, it replaces h there.
    """
    field = []

    def at(level):
        def hook(_, args):
            h = args[0]
            if place is not None and place[0] == level:
                here = torch.zeros(h.shape[1], 1, dtype=h.dtype)
                here[place[1]] = 1.0
                h = h * (1 - here) + here * delta if put else h + here * delta
            field.append(h)
            return (h, *args[1:])
        return hook

    handles = [module.register_forward_pre_hook(at(level)) for level, module in enumerate(cuts)]
    try:
        logits = model(tokens[None], use_cache=False).logits[0]
    finally:
        for handle in handles:
            handle.remove()
    return field, logits


def golden(model, cuts, spec, command, second_prompt=False):
    """Returns all golden arrays of one model, and metadata with the places of source and observable.

    With `second_prompt`, the arrays also have another prompt and the patch sweep from it.
    """
    draw = torch.Generator().manual_seed(spec["seed"] + 1)
    config = model.config
    tokens = torch.randint(config.vocab_size, (spec["tokens"],), generator=draw)
    source = torch.randn(config.hidden_size, generator=draw, dtype=torch.float64)
    target, against = torch.randperm(config.vocab_size, generator=draw)[:2].tolist()
    place = spec["source"]

    def observable(logits):
        return logits[-1, target] - logits[-1, against]

    field, logits = forward(model, cuts, tokens)
    value = observable(logits)
    gradient = torch.autograd.grad(value, field)

    # The last hidden state of transformers is after the final norm, the last level of the hooks before it; all others
    # must agree.
    hidden = model(tokens[None], use_cache=False, output_hidden_states=True).hidden_states
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(field[:-1], hidden[:-1], strict=True))
    assert torch.equal(cuts[-1](field[-1]), hidden[-1])

    zero, one = torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64)

    def along(amplitude):
        field, logits = forward(model, cuts, tokens, place, amplitude * source)
        return torch.cat(field), logits

    def slope(amplitude):
        """Returns dJ/da and d2J/da2, by reverse mode twice: forward over forward is wrong for torch's layer norm."""
        amplitude = amplitude.clone().requires_grad_()
        (first,) = torch.autograd.grad(observable(along(amplitude)[1]), amplitude, create_graph=True)
        (second,) = torch.autograd.grad(first, amplitude)
        return first.detach(), second

    _, (jvp_field, jvp_logits) = jvp(along, (zero,), (one,))
    first, second = slope(zero)

    assert first != 0 and second != 0, "the source does not reach the observable"
    # Independent checks: the gradient field, forward mode, and differences of the value and of the slope.
    def difference(f):
        """Returns the slope of `f` at 0: five points, so that the error is of fourth order in the step."""
        step = 2e-4
        up, down, far_up, far_down = (f(torch.tensor(n * step, dtype=torch.float64)) for n in (1, -1, 2, -2))
        return (8 * (up - down) - (far_up - far_down)) / (12 * step)

    close = torch.testing.assert_close
    close(first, gradient[place[0]][0, place[1]] @ source, rtol=1e-12, atol=1e-13)
    close(first, observable(jvp_logits), rtol=1e-12, atol=1e-13)
    close(first, difference(lambda a: observable(along(a)[1]).detach()), rtol=1e-8, atol=0)
    close(second, difference(lambda a: slope(a)[0]), rtol=1e-8, atol=0)

    arrays = {
        "tokens": tokens, "field": torch.cat(field), "logits": logits, "value": value.view(1),
        "gradient_field": torch.cat(gradient), "source": source, "jvp_field": jvp_field, "jvp_logits": jvp_logits,
        "first": first.view(1), "second": second.view(1),
    }
    if second_prompt:
        corrupted = torch.randint(config.vocab_size, (spec["tokens"],), generator=draw)
        arrays |= {"corrupted": corrupted, "patch": patch_sweep(model, cuts, tokens, corrupted, observable)}
    metadata = {
        "target": target, "against": against, "position": spec["tokens"] - 1,
        "source_layer": place[0], "source_token": place[1], "seed": spec["seed"], "command": command,
        "torch": torch.__version__.split("+")[0], "transformers": transformers.__version__,
        "numpy": numpy.__version__, "safetensors": safetensors.__version__, "attn_implementation": "eager",
    }
    return arrays, {key: str(value) for key, value in metadata.items()}


def patch_sweep(model, cuts, tokens, corrupted, observable):
    """Returns J of the run of `tokens` with h[l, t] replaced by that of the run of `corrupted`: [L+1, T]."""
    with torch.no_grad():
        other, _ = forward(model, cuts, corrupted)
        patch = torch.zeros(len(cuts), len(tokens), dtype=torch.float64)
        for level in range(len(cuts)):
            for token in range(len(tokens)):
                _, logits = forward(model, cuts, tokens, (level, token), other[level][0, token], put=True)
                patch[level, token] = observable(logits)
    return patch
