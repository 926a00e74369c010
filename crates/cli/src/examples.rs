//! Examples of every command, as `--help` and the man pages show them.

/// An example: the arguments of `resolvent`, and what they do.
type Example = (&'static str, &'static str);

/// The examples of each command. They run on the embedded model.
pub(crate) const EXAMPLES: &[(&str, &[Example])] = &[
    (
        "grid",
        &[
            ("grid grid.json --out-dir grid", "all cells of a grid file; see the page on large runs"),
            ("grid grid.json --out-dir grid --list", "what is done, and what is missing"),
            ("grid grid.json --out-dir grid --shard 0/4", "a quarter of the shards of all cells"),
        ],
    ),
    (
        "summary",
        &[("summary shards --arrays effect --out summary.safetensors", "means, deviations and quantiles over prompts")],
    ),
    (
        "compare",
        &[
            ("compare shards-a shards-b --arrays effect", "where two folders of shards differ"),
            ("compare a.safetensors b.safetensors --out difference.safetensors", "the same of two result files"),
        ],
    ),
    (
        "merge",
        &[(
            "merge shards --out all.safetensors",
            "the result of all prompts, from the shards that --out-dir has written",
        )],
    ),
    ("demo", &[("demo", "all analyses on the embedded model; the page is demo/index.html")]),
    (
        "study",
        &[
            ("study --quick --task capitals --out study", "a first look at one task; the page is study/index.html"),
            ("study prompts.json --model gpt2 --out study", "all of it, on a model and prompts of yours"),
        ],
    ),
    (
        "run",
        &[
            (r#"run "The capital of France is""#, "the most likely next tokens"),
            (r#"run "The capital of France is" --model gpt2 --out run.safetensors"#, "another model, and its field"),
            ("run --prompts embedded --task capitals --rows 8", "several prompts at once"),
            ("run --prompts embedded --shard 0/4 --out-dir shards", "a quarter of many prompts; see `merge`"),
        ],
    ),
    (
        "generate",
        &[
            (r#"generate "The capital of France is" --new 6"#, "the most likely tokens"),
            (
                r#"generate "Once upon a time" --temperature 0.8 --top-p 0.9 --seed 1"#,
                "a sample among the likely tokens",
            ),
            (
                r#"generate "The capital of France is" --edit "ablate(blocks.0.hook_mlp_out)""#,
                "without what one MLP writes",
            ),
            ("generate --prompts embedded --task capitals --rows 4 --new 1", "several prompts"),
        ],
    ),
    (
        "sensitivity",
        &[
            (
                r#"sensitivity "The capital of France is" --target " Paris" --against " Rome""#,
                "dJ/dh of a logit difference",
            ),
            (
                r#"sensitivity "The capital of France is" --observe 'logprob(" Paris")' --plot chi.svg"#,
                "of a log-probability, as a figure",
            ),
        ],
    ),
    (
        "lens",
        &[(r#"lens "The capital of France is" --target " Paris" --top 3"#, "the three likeliest tokens of each level")],
    ),
    (
        "average",
        &[
            (
                "average --prompts embedded --task ioi --rows 4 --skip-first 0 --out lens.safetensors",
                "over four prompts",
            ),
            ("average --text corpus.txt --rows 16 --lens lens.pt", "over windows of a text, as a lens file"),
        ],
    ),
    ("reach", &[(r#"reach "The capital of France is""#, "mean sizes of responses by depth and distance")]),
    ("growth", &[(r#"growth "The capital of France is" --at 3,-1"#, "blocks at two tokens")]),
    (
        "attribute",
        &[(
            r#"attribute "The capital of France is" --target " Paris" --against " Rome" --neurons"#,
            "what heads, MLPs and neurons add to J",
        )],
    ),
    (
        "features",
        &[(
            r#"features "The capital of France is" --dictionary sae --target " Paris" --exact"#,
            "features of the sparse autoencoder in the folder sae",
        )],
    ),
    (
        "subspace",
        &[(
            r#"subspace "The capital of France is" --corrupted "The capital of Italy is" --target " Paris" --against " Rome" --site blocks.2.mlp.hook_post"#,
            "the best direction of the neurons of a block, and its part that no reader sees",
        )],
    ),
    (
        "patch",
        &[
            (
                r#"patch "The capital of France is" --corrupted "The capital of Italy is" --target " Paris" --against " Rome""#,
                "every h[l,t]",
            ),
            (
                "patch --prompts embedded --task ioi --rows 8 --sites resid,z --predictors integrated",
                "prompts of a file, heads too, beside a prediction",
            ),
            (
                "patch --prompts pairs.csv --interactions-at 2,subject 6,-1",
                "interactions of two patches, at the same places of all prompts",
            ),
        ],
    ),
    (
        "edges",
        &[
            (
                r#"edges "The capital of France is" --corrupted "The capital of Italy is" --target " Paris" --exact"#,
                "every edge, predicted and patched",
            ),
            (
                r#"edges "The capital of France is" --corrupted "The capital of Italy is" --target " Paris" --by-token --plot edges.svg"#,
                "scores at each token, and a graph of nodes by layer and position",
            ),
        ],
    ),
    (
        "circuit",
        &[(
            "circuit --prompts embedded --task capitals --rows 8 --shares 0.01,0.05,0.2",
            "what remains of J with 1, 5 and 20 % of the edges",
        )],
    ),
    (
        "transfer",
        &[(
            r#"transfer "The capital of France is" --donor "The capital of Italy is" --target " Rome" --against " Paris""#,
            "what each displacement carries over",
        )],
    ),
    (
        "reduce",
        &[(
            "reduce --prompts embedded --task capitals --rows 16 --level 4",
            "few directions of level 4, on held-out patches",
        )],
    ),
    (
        "green",
        &[
            (r#"green "The capital of France is" --source 3,3"#, "the response to a random source at level 3, token 3"),
            (
                r#"green "The capital of France is" --source 3,-1 --direction "token: Rome" --geometry"#,
                "a token's direction at the last token, and where the response goes",
            ),
        ],
    ),
    (
        "flow",
        &[(
            r#"flow "The capital of France is" --corrupted "The capital of Italy is" --target " Paris" --against " Rome""#,
            "by which places the second prompt changes J",
        )],
    ),
    (
        "slice",
        &[
            (r#"slice "The capital of France is" -k 4 --out slice.safetensors"#, "all pairs of places, to a file"),
            (r#"slice "The capital of France is" --svd -k 4 --from 2 --to 8"#, "singular values between two levels"),
        ],
    ),
    (
        "regime",
        &[
            (
                r#"regime "The capital of France is" --target " Paris" --sites 4"#,
                "errors of first order at level 4, over amplitudes",
            ),
            (
                r#"regime "The capital of France is" --target " Paris" --sites 4,-1 --nodes 4"#,
                "beside those of four derivatives on the way",
            ),
        ],
    ),
    (
        "quadratic",
        &[
            (
                r#"quadratic "The capital of France is" --target " Paris" --at 4,-1"#,
                "slopes and curvatures of eight directions, and how far two orders hold",
            ),
            (
                r#"quadratic "The capital of France is" --target " Paris" --at 4,3 --donor "The capital of Italy is""#,
                "beside what they make of the step to another prompt",
            ),
        ],
    ),
    (
        "identities",
        &[(r#"identities "The capital of France is" --target " Paris""#, "identities that hold up to rounding")],
    ),
    (
        "invert",
        &[(
            r#"invert "The capital of France is" --target " Paris" --against " Rome" --goal -2 --sparse 2"#,
            "lower J by 2 with sources at two places",
        )],
    ),
    (
        "locate",
        &[(
            r#"locate "The capital of France is" --hide 3,3 --levels -1"#,
            "hide a source, and find it by the last level",
        )],
    ),
    (
        "scale",
        &[
            ("scale atlas-micro atlas-small --task capitals", "whether the smaller model predicts the larger one"),
            ("scale atlas-micro atlas-small --task ioi --operators", "whether its Green operator does"),
        ],
    ),
    (
        "doctor",
        &[
            ("doctor", "what this machine has, and what to do"),
            ("doctor --json", "the same for a bug report or a script"),
        ],
    ),
    ("devices", &[("devices --no-test", "the adapters of this machine, without the self-test")]),
    (
        "bench",
        &[
            ("bench --quick", "a first look"),
            (
                "bench --scaling --plot scaling.svg",
                "how times grow with tokens, blocks, width, sources, prompts and edges",
            ),
            ("bench --tune --device gpu", "measure the variants of each kernel, and use the fastest from now on"),
        ],
    ),
    (
        "completions",
        &[
            ("completions bash > ~/.local/share/bash-completion/completions/resolvent", "for the next bash"),
            ("completions zsh > ~/.zfunc/_resolvent", "for zsh, with ~/.zfunc in fpath"),
        ],
    ),
    ("man", &[("man patch | man -l -", "read a page"), ("man --out ~/.local/share/man/man1", "install all pages")]),
];
