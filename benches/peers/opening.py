"""How long models take to open: this engine beside Hugging Face, whole processes, one after another.

    python benches/peers/opening.py --engine target/release/resolvent --folder FOLDER

Writes models with random weights into FOLDER, unless they are there: GPT-2 medium's shape in f32 and f16, and
Llama-3.2-1B's in bf16. Each opens and runs four tokens in a process of its own. Hugging Face's time begins after its
imports.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

HALF = ["--f16-weights"]
CASES = [
    ("gpt2-medium-f32", "float32", []),
    ("gpt2-medium-f16", "float16", HALF),
    ("llama-1b-bf16", "bfloat16", HALF),
    ("llama-1b-bf16", "float32", []),
]
PEER = """
import sys, time, resource, torch
from transformers import AutoModelForCausalLM
torch.set_num_threads(int(sys.argv[3]))
start = time.perf_counter()
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=getattr(torch, sys.argv[2]))
with torch.inference_mode():
    model(torch.tensor([[1, 2, 3, 4]]))
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def write(folder: Path) -> None:
    """Writes the models that are not there."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    if not (folder / "gpt2-medium-f16").exists():
        model = GPT2LMHeadModel(GPT2Config(n_layer=24, n_embd=1024, n_head=16))
        model.save_pretrained(folder / "gpt2-medium-f32")
        model.half().save_pretrained(folder / "gpt2-medium-f16")
    if not (folder / "llama-1b-bf16").exists():
        torch.set_default_dtype(torch.bfloat16)
        shape = dict(vocab_size=128256, hidden_size=2048, intermediate_size=8192, num_hidden_layers=16)
        heads = dict(num_attention_heads=32, num_key_value_heads=8, head_dim=64, tie_word_embeddings=True)
        model = LlamaForCausalLM(LlamaConfig(**shape, **heads, max_position_embeddings=131072, rope_theta=500000.0))
        model.save_pretrained(folder / "llama-1b-bf16")


def ours(engine: Path, model: Path, options: list[str], threads: int) -> tuple[float, float]:
    """Seconds and megabytes of a whole process of this engine."""
    command = [str(engine), "run", "--model", str(model), "--tokens", "1,2,3,4", "--last", "--device", "host", *options]
    start = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, env={**os.environ, "RAYON_NUM_THREADS": str(threads)}
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise SystemExit(f"failed: {' '.join(command)}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def peer(model: Path, dtype: str, threads: int) -> tuple[float, float]:
    """Seconds from the directory to the logits in Hugging Face, and megabytes of its process."""
    command = [sys.executable, "-c", PEER, str(model), dtype, str(threads)]
    out = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    seconds, kilobytes = out.stdout.split()
    return float(seconds), int(kilobytes) / 1024


def main() -> None:
    """Prints a row for each model: medians of seconds, and the largest memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", type=Path, default=Path("target/release/resolvent"))
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    write(given.folder)
    print("| model | as | this engine, s | MB | Hugging Face, s | MB | ratio |\n|---|---|---:|---:|---:|---:|---:|")
    for name, dtype, options in CASES:
        model, pairs = given.folder / name, []
        for _ in range(given.repeats):
            pairs.append((ours(given.engine, model, options, given.threads), peer(model, dtype, given.threads)))
        seconds = [statistics.median(pair[side][0] for pair in pairs) for side in (0, 1)]
        memory = [max(pair[side][1] for pair in pairs) for side in (0, 1)]
        row = f"{seconds[0]:.2f} | {memory[0]:.0f} | {seconds[1]:.2f} | {memory[1]:.0f} | {seconds[1] / seconds[0]:.2f}"
        print(f"| {name} | {'f16' if options else 'f32'} ({dtype}) | {row} |")


if __name__ == "__main__":
    main()
