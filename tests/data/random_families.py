"""Random models of all families: the command line beside Hugging Face transformers in float64.

    pip install -r requirements.txt
    cargo build --release
    python random_families.py [--first SEED] [--count N] [--device NAME] [--binary PATH] [--keep FOLDER]

Each case is a small model with odd sizes and a random choice of its family's features, as published checkpoints and
as newer versions of transformers describe them; keys that have the default are left out at random. `run`,
`sensitivity`, `green` and `patch` must agree with transformers: relative L2 at most 2e-5 for values and 5e-5 for
derivatives. Cases that differ are named, and their models are in FOLDER. A case that either side refuses is counted.
This is no part of the tests, which have a golden of each feature; it looks for combinations that they lack.
"""

import argparse
import collections
import json
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy
import torch
import transformers
from safetensors import safe_open
from safetensors.torch import save_file

from common import golden
from make_families import InDouble, cuts, draw_weights, load

ARCHITECTURES = {
    "llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM", "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM", "gemma2": "Gemma2ForCausalLM", "gemma3_text": "Gemma3ForCausalLM",
    "olmo2": "Olmo2ForCausalLM", "gpt_neox": "GPTNeoXForCausalLM", "gemma": "GemmaForCausalLM",
    "olmo": "OlmoForCausalLM", "olmo3": "Olmo3ForCausalLM", "ministral": "MinistralForCausalLM",
    "smollm3": "SmolLM3ForCausalLM", "granite": "GraniteForCausalLM", "phi3": "Phi3ForCausalLM",
    "stablelm": "StableLmForCausalLM", "starcoder2": "Starcoder2ForCausalLM", "gpt_neo": "GPTNeoForCausalLM",
    "cohere": "CohereForCausalLM", "cohere2": "Cohere2ForCausalLM",
}
# Families whose head width need not be d / heads.
OWN_HEAD_WIDTH = ("llama", "mistral", "qwen3", "gemma", "gemma2", "gemma3_text", "ministral", "granite")
VALUES, DERIVATIVES = 2e-5, 5e-5


def sometimes(draw, **choices):
    """Returns some of the keys, each with one of its choices."""
    return {key: draw.choice(of) for key, of in choices.items() if draw.random() < 0.6}


def rotary(draw):
    """Returns a rotary scaling in the words of transformers 5."""
    kind = draw.choice(["default", "default", "linear", "llama3", "yarn", "dynamic"])
    rope = {"rope_type": kind}
    if kind != "default":
        rope["factor"] = draw.choice([1.0, 2.0, 4.0, 8.0])
    if kind == "llama3":
        rope |= {"low_freq_factor": draw.choice([0.5, 1.0]), "high_freq_factor": draw.choice([2.0, 4.0]),
                 "original_max_position_embeddings": draw.choice([16, 32, 64, 8192])}
    if kind == "yarn":
        rope |= sometimes(draw, original_max_position_embeddings=[8, 16, 64, 4096], beta_fast=[4.0, 16.0, 32.0],
                          beta_slow=[0.5, 1.0, 3.0], attention_factor=[0.7, 1.0, 1.3], truncate=[True, False])
    return rope, draw.choice([7.0, 100.0, 10000.0, 500000.0])


def with_rotary(draw, config, rope, theta, theta_key="rope_theta"):
    """Adds the rotary embedding under the keys of older or of newer configurations."""
    if draw.random() < 0.5:
        config["rope_parameters"] = {**rope, "rope_theta": theta}
        return
    config[theta_key] = theta
    if rope["rope_type"] != "default":
        rope = dict(rope)
        kind = rope.pop("rope_type")
        config["rope_scaling"] = {draw.choice(["type", "rope_type"]): kind, **rope}


def configuration(draw, family):
    """Returns a configuration of a small model with odd sizes."""
    groups = draw.choice([1, 1, 2, 3])
    heads, width = groups * draw.choice([1, 2, 3]), draw.choice([2, 4, 6, 10, 14])
    own = family in OWN_HEAD_WIDTH and draw.random() < 0.6 or family.startswith(("qwen3", "gemma"))
    hidden = heads * (draw.choice([3, 5, 7, 9]) if own else width)
    hidden *= 1 if hidden >= 8 else 8
    width = width if own else hidden // heads
    config = {
        "model_type": family, "vocab_size": draw.choice([31, 53, 97]), "hidden_size": hidden,
        "num_hidden_layers": draw.choice([1, 2, 3]), "num_attention_heads": heads,
        "intermediate_size": draw.choice([9, 17, 33, 50]), "max_position_embeddings": draw.choice([48, 64, 131]),
        "architectures": [ARCHITECTURES[family]], "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
        **sometimes(draw, tie_word_embeddings=[False, True]),
    }
    layers, rope, theta = config["num_hidden_layers"], *rotary(draw)
    if family == "gpt_neox":
        config |= sometimes(draw, use_parallel_residual=[True, False], layer_norm_eps=[1e-5, 1e-3],
                            attention_bias=[True, False], hidden_act=["gelu", "gelu_new", "gelu_fast"])
        config["rope_parameters"] = {**rope, "rope_theta": theta}
        if width % 4 == 0:
            config["rope_parameters"]["partial_rotary_factor"] = draw.choice([0.5, 1.0])
        return config
    if family == "gpt_neo":
        del config["num_attention_heads"], config["num_hidden_layers"]
        config |= {"num_heads": heads, "num_layers": layers, **sometimes(
            draw, layer_norm_epsilon=[1e-5, 1e-3], activation_function=["gelu", "gelu_new"], window_size=[1, 3, 200],
            intermediate_size=[None, 21])}
        config["attention_types"] = [[[draw.choice(["global", "local"])], 1] for _ in range(layers)]
        return config
    epsilon = {"starcoder2": "norm_epsilon"}.get(
        family, "layer_norm_eps" if family in ("cohere", "cohere2", "stablelm") else "rms_norm_eps")
    config |= {"num_key_value_heads": groups, **sometimes(draw, **{epsilon: [1e-6, 1e-5, 1e-3]})}
    activations = ["silu", "gelu", "gelu_new", "gelu_pytorch_tanh"][family == "starcoder2":]
    acts = "hidden_activation" if family in ("gemma2", "gemma3_text") else "hidden_act"
    config |= sometimes(draw, **{acts: activations})
    if own:
        config["head_dim"] = width
    if family in ("llama", "qwen3", "gemma", "gemma2", "gemma3_text", "olmo", "olmo2", "olmo3", "smollm3", "granite",
                  "cohere", "cohere2"):
        config |= sometimes(draw, attention_bias=[True, False])
    if family in ("llama", "smollm3", "granite"):
        config |= sometimes(draw, mlp_bias=[True, False])
    window, kinds = [1, 2, 5, 9, 200], ["full_attention", "sliding_attention"]
    if family in ("mistral", "ministral", "starcoder2", "phi3"):
        config |= sometimes(draw, sliding_window=[None, *window])
    if family == "ministral" and config.get("sliding_window") and draw.random() < 0.5:
        config["layer_types"] = [draw.choice(kinds) for _ in range(layers)]
    if family.startswith("cohere"):
        config |= sometimes(draw, logit_scale=[0.2, 1.0])
    if family == "cohere2":
        config |= sometimes(draw, sliding_window=window)
        config |= sometimes(draw, layer_types=[[draw.choice(kinds) for _ in range(layers)]])
    if family == "starcoder2":
        config |= sometimes(draw, use_bias=[True, False])
    if family == "granite":
        config |= sometimes(draw, embedding_multiplier=[0.5, 3.0], attention_multiplier=[0.1, 0.6],
                            residual_multiplier=[0.3, 1.2], logits_scaling=[0.4, 5.0])
    if family == "smollm3":
        config |= sometimes(draw, no_rope_layers=[[draw.choice([0, 1]) for _ in range(layers)]],
                            no_rope_layer_interval=[1, 2, 3])
        if draw.random() < 0.5:
            config |= {"use_sliding_window": True, "sliding_window": draw.choice(window)}
    if family in ("stablelm", "phi3"):
        if family == "stablelm":
            config |= sometimes(draw, use_qkv_bias=[True, False], use_parallel_residual=[True, False])
        rope = rope if family == "stablelm" else {"rope_type": "default"}
        share = draw.choice([0.5, 1.0]) if width % 4 == 0 else 1.0
        config["rope_parameters"] = {**rope, "rope_theta": theta, "partial_rotary_factor": share}
        return config
    if family == "olmo3":
        config |= sometimes(draw, sliding_window=window)
        if draw.random() < 0.4:
            config["layer_types"] = [draw.choice(kinds) for _ in range(layers)]
        if draw.random() < 0.5:
            config["rope_parameters"] = {"full_attention": {**rope, "rope_theta": theta},
                                         "sliding_attention": {"rope_type": "default", "rope_theta": 300.0}}
        else:
            config |= {"rope_theta": 500000.0} | ({"rope_scaling": rope} if rope["rope_type"] != "default" else {})
        return config
    if family in ("qwen2", "qwen3") and draw.random() < 0.6:
        config |= {"use_sliding_window": True, "sliding_window": draw.choice(window)}
        config |= sometimes(draw, max_window_layers=[0, 1, 2, 28])
    if family in ("gemma2", "gemma3_text"):
        config |= sometimes(draw, sliding_window=window, query_pre_attn_scalar=[width, 5, 256],
                            final_logit_softcapping=[None, 2.0, 30.0], attn_logit_softcapping=[None, 1.5, 50.0])
        if draw.random() < 0.4:
            config["layer_types"] = [draw.choice(kinds) for _ in range(layers)]
    if family != "gemma3_text":
        with_rotary(draw, config, rope, theta)
        return config
    local, base = rotary(draw)
    if draw.random() < 0.5:
        config["rope_parameters"] = {"full_attention": {**rope, "rope_theta": theta},
                                     "sliding_attention": {**local, "rope_theta": base}}
    else:
        config |= {"rope_theta": theta, "rope_local_base_freq": base}
        config |= {"rope_scaling": rope} if rope["rope_type"] != "default" else {}
        config |= sometimes(draw, sliding_window_pattern=[1, 2, 3])
    return config


def write(folder, draw, family):
    """Writes a model with random weights, in one of three types of number, and returns its number of layers."""
    config = configuration(draw, family)
    defaults = transformers.AutoConfig.for_model(family)
    for key in set(config) - {"model_type", "architectures"}:
        if getattr(defaults, key, object()) == config[key] and draw.random() < 0.6:
            del config[key]
    dtype = draw.choice(["float32", "float16", "bfloat16"])
    config |= sometimes(draw, **{draw.choice(["dtype", "torch_dtype"]): [dtype]})
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    read = transformers.AutoConfig.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_config(read, dtype=torch.float32)
    draw_weights(model, draw.randrange(1 << 30))
    text = (folder / "config.json").read_text()
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    (folder / "config.json").write_text(text)  # Saving wrote all keys, in the words of transformers 5.
    return read.num_hidden_layers


def apart(found, expected):
    """Returns the relative L2 difference."""
    found, expected = (numpy.asarray(x, dtype=numpy.float64) for x in (found, expected))
    assert found.shape == expected.shape, f"shapes {found.shape} and {expected.shape}"
    return float(numpy.linalg.norm(found - expected) / max(numpy.linalg.norm(expected), 1e-300))


def compare(binary, device, folder, spec, arrays, metadata):
    """Returns what differs, as text, and the largest difference in parts of its bound. `None` if refused."""
    ids = {name: ",".join(map(str, arrays[name].tolist())) for name in ("tokens", "corrupted")}
    observable = ["-t", "#" + metadata["target"], "-a", "#" + metadata["against"]]
    save_file({"direction": arrays["source"].float()}, folder / "direction.safetensors")
    source = ["--source", f"{spec['source'][0]},{spec['source'][1]}", "--direction", folder / "direction.safetensors"]
    corrupted = ["--corrupted-tokens", ids["tokens"], *observable]
    commands = [
        ("run", "tokens", [], [("field", "field", VALUES), ("logits", "logits", VALUES)]),
        ("sensitivity", "tokens", observable, [("sensitivity", "gradient_field", DERIVATIVES)]),
        ("green", "tokens", source, [("response", "jvp_field", DERIVATIVES)]),
        # The field of the clean prompt goes into the run of the other one, which is `tokens` here.
        ("patch", "corrupted", corrupted, [("effect", "patch", VALUES)]),
    ]
    differ, worst = [], 0.0
    for name, prompt, options, wanted in commands:
        out = folder / f"{name}.safetensors"
        command = [binary, name, "-m", folder, "--tokens", ids[prompt], *options, "-d", device, "-o", out]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        if done.returncode != 0:
            return (None, done.stderr.strip()) if name == "run" else ([f"{name}: {done.stderr.strip()}"], worst)
        with safe_open(out, "np") as file:
            for array, expected, bound in wanted:
                want = arrays[expected].detach().numpy()
                found = file.get_tensor(array)
                if array == "effect":
                    # An effect is a difference of values, which have the rounding of logits.
                    want = want - arrays["value"].item()
                    bound *= 1 + arrays["logits"].abs().max().item() / max(numpy.abs(want).max(), 1e-300)
                difference = apart(found, want)
                worst = max(worst, difference / bound)
                if not difference <= bound:
                    differ.append(f"{name}: {array} {difference:.1e}, at most {bound:.1e}")
    return differ, worst


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=80)
    parser.add_argument("--device", default="host")
    parser.add_argument("--binary", type=Path, default=Path(__file__).parents[2] / "target/release/resolvent")
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "random-families")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    counts, worst = collections.Counter(), 0.0
    for seed in range(chosen.first, chosen.first + chosen.count):
        draw, family = random.Random(seed), list(ARCHITECTURES)[seed % len(ARCHITECTURES)]
        folder = chosen.keep / f"{family}-{seed}"
        shutil.rmtree(folder, ignore_errors=True)
        try:
            layers = write(folder, draw, family)
            tokens = draw.choice([2, 5, 9, 17, 27, 40])
            spec = {"seed": seed, "tokens": tokens, "source": (draw.randrange(layers), draw.randrange(tokens))}
            with InDouble():
                model = load(folder)
                arrays, metadata = golden(model, cuts(model), spec, "", second_prompt=True)
        except (AssertionError, ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
            # A configuration that transformers refuses, or a reference that fails one of its own checks.
            counts["no reference"] += 1
            print(f"{family}-{seed}: no reference: {str(error).strip().splitlines()[:1]}")
            shutil.rmtree(folder)
            continue
        differ, part = compare(chosen.binary, chosen.device, folder, spec, arrays, metadata)
        if differ is None:
            counts["refused"] += 1
            print(f"{family}-{seed}: refused: {part}")
        elif differ:
            counts["differ"] += 1
            print(f"{family}-{seed}: {'; '.join(differ)}")
            continue
        else:
            counts["agree"] += 1
            worst = max(worst, part)
        shutil.rmtree(folder)
    print(f"{dict(counts)}; the largest difference of those that agree is {worst:.2f} of its bound")
    sys.exit(counts["differ"] > 0)


if __name__ == "__main__":
    main()
