"""Writes small dictionaries of every supported kind, and what SAELens makes of them, into dictionaries/.

Needs: pip install torch==2.12.1 sae-lens==6.54.12

Each folder is what `SAE.save_model` writes, with random weights; golden.safetensors has rows `x`, and in f64 the
activations `a` and the reconstruction `y`. Some configurations are of layouts that older files have.
"""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from sae_lens import (
    GatedSAE,
    GatedSAEConfig,
    JumpReLUSAE,
    JumpReLUSAEConfig,
    StandardSAE,
    StandardSAEConfig,
    TopKSAE,
    TopKSAEConfig,
    Transcoder,
    TranscoderConfig,
)
from sae_lens.saes.transcoder import JumpReLUSkipTranscoder, JumpReLUSkipTranscoderConfig
from sae_lens.saes.sae import SAEMetadata

HERE = Path(__file__).parent / "dictionaries"
D, FEATURES, ROWS = 32, 75, 9


def common(hook, **more):
    return dict(d_in=D, d_sae=FEATURES, device="cpu", dtype="float64", metadata=SAEMetadata(hook_name=hook, **more))


KINDS = {
    "standard": lambda: StandardSAE(StandardSAEConfig(**common("blocks.1.hook_resid_pre"))),
    "layer_norm": lambda: StandardSAE(
        StandardSAEConfig(
            **common("blocks.0.hook_mlp_out"), normalize_activations="layer_norm", apply_b_dec_to_input=False
        )
    ),
    "constant_norm": lambda: StandardSAE(
        StandardSAEConfig(**common("blocks.0.hook_resid_mid"), normalize_activations="constant_norm_rescale")
    ),
    "jumprelu": lambda: JumpReLUSAE(JumpReLUSAEConfig(**common("blocks.1.hook_resid_post"))),
    "gated": lambda: GatedSAE(GatedSAEConfig(**common("blocks.0.attn.hook_z"), reshape_activations="hook_z")),
    "topk": lambda: TopKSAE(TopKSAEConfig(**common("blocks.1.hook_attn_out"), k=7)),
    "topk_rescaled": lambda: TopKSAE(
        TopKSAEConfig(**common("blocks.0.hook_resid_pre"), k=5, rescale_acts_by_decoder_norm=True)
    ),
    "transcoder": lambda: Transcoder(
        TranscoderConfig(
            **common("blocks.1.hook_resid_mid", hook_name_out="blocks.1.hook_mlp_out"),
            d_out=D,
            apply_b_dec_to_input=False,
        )
    ),
    "skip_transcoder": lambda: JumpReLUSkipTranscoder(
        JumpReLUSkipTranscoderConfig(
            **common("blocks.0.hook_resid_mid", hook_name_out="blocks.0.hook_mlp_out"),
            d_out=D,
            apply_b_dec_to_input=False,
        )
    ),
}


def main():
    torch.manual_seed(0)
    for name, make in KINDS.items():
        sae = make()
        with torch.no_grad():
            for key, value in sae.named_parameters():
                value.copy_((torch.randn_like(value) * (0.4 if value.ndim == 2 else 0.2)).float().double())
                if key == "threshold":
                    value.copy_(value.abs() + 0.3)
            x = torch.randn(ROWS, D, dtype=torch.float64).float().double()
            if name == "gated":
                sae.turn_off_forward_pass_hook_z_reshaping()
        folder = HERE / name
        sae.save_model(folder)
        weights = load_file(folder / "sae_weights.safetensors")
        dtype = np.float16 if name == "topk" else np.float32
        weights = {key: value.astype(dtype) for key, value in weights.items()}
        with torch.no_grad():
            for key, value in sae.named_parameters():
                value.copy_(torch.from_numpy(weights[key].astype(np.float64)))
            a = sae.encode(x)
            # Decoding undoes the normalization of the last encoded rows. A skip connection is in the whole alone.
            y = sae(x) if name == "skip_transcoder" else sae.decode(a)
        save_file(weights, folder / "sae_weights.safetensors")
        golden = {"x": x.numpy().astype(np.float32), "a": a.detach().numpy(), "y": y.detach().numpy()}
        save_file(golden, folder / "golden.safetensors")
        config = json.loads((folder / "cfg.json").read_text())
        for key in ("dtype", "device"):
            config.pop(key, None)
        config["metadata"] = {k: v for k, v in config["metadata"].items() if k.startswith("hook_name")}
        if name == "topk":
            # The layout before version 6.
            config = {
                "architecture": "standard",
                "activation_fn_str": "topk",
                "activation_fn_kwargs": {"k": config["k"]},
                "d_in": D,
                "d_sae": FEATURES,
                "hook_point": config["metadata"]["hook_name"],
                "hook_point_head_index": None,
                "apply_b_dec_to_input": config["apply_b_dec_to_input"],
                "normalize_activations": False,
            }
        (folder / "cfg.json").write_text(json.dumps(config, indent=1) + "\n")


if __name__ == "__main__":
    main()
