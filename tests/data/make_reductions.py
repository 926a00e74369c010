"""Golden errors of reduced descriptions on the embedded models, in float64 torch.

    pip install torch==2.12.1 safetensors==0.8.0 tokenizers==0.23.3
    python make_reductions.py

Writes reductions.json beside itself. For pairs of prompts of one task, the first half gives displacements x of a level,
over |J(clean) - J(corrupted)|, and sensitivities chi there, averaged over runs whose level lies between the prompts. Of
the other half, every place up to the level is patched. A projector of rank k predicts the effect as the sum over tokens
of <P chi, response>. Roles are: the token that is read, other tokens that differ, all others. Balanced rows have the
square root of |<chi, x>|^power as weight; the power has the smallest geometric mean, over ranks up to half the number
of training prompts, of the first-order errors of every fourth training prompt with bases of the others. The error to expect is that error and the one of all
directions on patches of the first four training prompts.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

HERE = Path(__file__).parent
ATLAS = HERE.parents[1] / "crates" / "model" / "atlas"
RIDGE = 0.1
RANKS = [1, 2, 4, 8, 16, 32]
POWERS = [0.0, 0.5, 1.0]
FOLDS = 4
PATCHED = 4
STEPS = 4
TASKS = {"atlas-nano": ("agreement", 16), "atlas-small": ("capitals", 20)}

torch.set_default_dtype(torch.float64)


class Model:
    """A GPT-2 of which any blocks can be run."""

    def __init__(self, folder):
        config = json.loads((folder / "config.json").read_text())
        self.w = {
            k.removeprefix("transformer."): v.double() for k, v in load_file(folder / "model.safetensors").items()
        }
        self.layers, self.heads, self.d = config["n_layer"], config["n_head"], config["n_embd"]

    def norm(self, x, name):
        return torch.nn.functional.layer_norm(x, (self.d,), self.w[name + ".weight"], self.w[name + ".bias"], 1e-5)

    def linear(self, x, name):
        return x @ self.w[name + ".weight"] + self.w[name + ".bias"]

    def block(self, h, layer):
        at = f"h.{layer}."
        q, k, v = (
            x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for x in self.linear(self.norm(h, at + "ln_1"), at + "attn.c_attn").split(self.d, -1)
        )
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        z = scores.masked_fill(later, -torch.inf).softmax(-1) @ v
        h = h + self.linear(z.transpose(1, 2).flatten(2), at + "attn.c_proj")
        inner = torch.nn.functional.gelu(self.linear(self.norm(h, at + "ln_2"), at + "mlp.c_fc"), approximate="tanh")
        return h + self.linear(inner, at + "mlp.c_proj")

    def field(self, h, first=0):
        levels = [h]
        for layer in range(first, self.layers):
            levels.append(self.block(levels[-1], layer))
        return levels

    def embed(self, ids):
        return (self.w["wte.weight"][ids] + self.w["wpe.weight"][: len(ids)])[None]

    def value(self, last, target, against):
        row = self.norm(last[:, -1], "ln_f")
        return row @ (self.w["wte.weight"][target] - self.w["wte.weight"][against])


def snapshot(model, pair, level):
    clean, corrupted, *ends = pair
    a, b = (model.field(model.embed(ids)) for ids in (clean, corrupted))
    base = model.value(b[-1], *ends)
    unit = (model.value(a[-1], *ends) - base).abs()
    shares = (torch.arange(STEPS) + 0.5) / STEPS
    between = (b[level] + shares[:, None, None] * (a[level] - b[level])).requires_grad_()
    chi = torch.autograd.grad(model.value(model.field(between, level)[-1], *ends).sum(), between)[0].mean(0)
    roles = (2 - 2 * (clean != corrupted).long()).tolist()
    roles[-1] = 1
    responses, effects = [], []
    for first in range(level + 1):
        every = torch.arange(len(clean))
        h = b[first].repeat(len(clean), 1, 1)
        h[every, every] = a[first][0]
        levels = model.field(h, first)
        responses.append(levels[level - first] - b[level])
        effects.append(model.value(levels[-1], *ends) - base)
    return {
        "x": (a[level] - b[level])[0] / unit,
        "chi": chi,
        "roles": torch.tensor(roles),
        "responses": torch.cat(responses) / unit,
        "effects": torch.cat(effects) / unit,
    }


def projector(method, x, chi):
    """Directions that read displacements and sensitivities, as columns, and the singular values."""
    if method != "balanced":
        v = torch.linalg.svd(x if method == "pod" else chi, full_matrices=False)[2].T
        return v, v, None
    d = x.shape[1]
    factors = []
    for rows in (x, chi):
        moments = rows.T @ rows
        factors.append(torch.linalg.cholesky(moments + RIDGE * moments.trace() / d * torch.eye(d)))
    lx, ly = factors
    u, s, vt = torch.linalg.svd(ly.T @ lx)
    return ly @ u / s.sqrt(), lx @ vt.T / s.sqrt(), s


def projectors(train, method, by_role, power):
    made = []
    for role in range(3) if by_role else [None]:
        x, chi = (torch.cat([one[name][rows(one, role)] for one in train]) for name in ("x", "chi"))
        weight = (x * chi).sum(1, keepdim=True).abs().pow(power).sqrt() if method == "balanced" else 1.0
        made.append(projector(method, weight * x, weight * chi))
    return made


def rows(one, role):
    return slice(None) if role is None else one["roles"] == role


def cross_validated(train, by_role, power):
    square, actual = torch.zeros(len(RANKS)), 0.0
    for fold in range(FOLDS):
        made = projectors([one for n, one in enumerate(train) if n % FOLDS != fold], "balanced", by_role, power)
        for one in train[fold::FOLDS]:
            for role, (read, write, _) in zip(range(3) if by_role else [None], made):
                x, chi = one["x"][rows(one, role)], one["chi"][rows(one, role)]
                effect = (x * chi).sum(1)
                actual += effect.pow(2).sum()
                for n, rank in enumerate(RANKS):
                    predicted = ((x @ read[:, :rank]) * (chi @ write[:, :rank])).sum(1)
                    square[n] += (predicted - effect).pow(2).sum()
    return (square / actual).sqrt()


def floor(prompts):
    square = sum(((one["responses"] * one["chi"]).sum((1, 2)) - one["effects"]).pow(2).sum() for one in prompts)
    return (square / sum(one["effects"].pow(2).sum() for one in prompts)).sqrt()


def errors(train, others, method, by_role, power):
    sets = range(3) if by_role else [None]
    made = projectors(train, method, by_role, power)
    found = []
    for rank in RANKS:
        square = actual = 0.0
        for one in others:
            predicted = 0.0
            for role, (read, write, _) in zip(sets, made):
                at = rows(one, role)
                responses = one["responses"][:, at] @ read[:, :rank]
                predicted = predicted + (responses * (one["chi"][at] @ write[:, :rank])).sum((1, 2))
            square += (predicted - one["effects"]).pow(2).sum()
            actual += one["effects"].pow(2).sum()
        found.append((square / actual).sqrt().item())
    if made[0][2] is None:
        return found, None
    tail = lambda rank: sum(s[rank:].pow(2).sum() for _, _, s in made)
    return found, [(tail(rank) / tail(0)).sqrt().item() for rank in RANKS]


def main():
    tokenizer = Tokenizer.from_file(str(ATLAS / "tokenizer.json"))
    prompts = json.loads((ATLAS / "prompts.json").read_text())["tasks"]
    ids = lambda text: torch.tensor(tokenizer.encode(text, add_special_tokens=False).ids)
    golden = {"ranks": RANKS, "steps": STEPS, "models": {}}
    for name, (task, count) in TASKS.items():
        model = Model(ATLAS / name.removeprefix("atlas-"))
        rows = prompts[task]["prompts"][:count]
        level = model.layers // 2
        pairs = [
            [ids(row["clean"]), ids(row["corrupted"]), ids(row["target"])[0], ids(row["against"])[0]] for row in rows
        ]
        found = [snapshot(model, pair, level) for pair in pairs]
        train, others = found[: count // 2], found[count // 2 :]
        entry = {"task": task, "rows": count, "level": level, "floor": floor(others).item()}
        folds = [{power: cross_validated(train, by_role, power) for power in POWERS} for by_role in (False, True)]
        compared = sum(2 * rank <= len(train) for rank in RANKS)
        entry["power"] = [min(POWERS, key=lambda power: of[power][:compared].log().sum()) for of in folds]
        best = [of[power] for of, power in zip(folds, entry["power"])]
        entry["cross_validated"] = [error.tolist() for error in best]
        entry["expected"] = [error.hypot(floor(train[:PATCHED])).tolist() for error in best]
        for method in ("balanced", "pod", "active_subspace"):
            both = [errors(train, others, method, by_role, entry["power"][by_role]) for by_role in (False, True)]
            entry[method] = [error for error, _ in both]
            if method == "balanced":
                entry["said"] = [said for _, said in both]
        golden["models"][name] = entry
    (HERE / "reductions.json").write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
