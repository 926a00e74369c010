//! The generated table, on the shaders of this repository.

use super::{ALL, Entry, Kernel, Run, Uniform, Variant};

#[test]
fn every_kernel_is_named_once_and_found_in_every_variant() {
    for (index, kernel) in ALL.iter().enumerate() {
        assert_eq!(kernel.name, format!("{}.{}", kernel.shader, kernel.entry));
        assert!(ALL[..index].iter().all(|other| other.name != kernel.name), "{} comes twice", kernel.name);
        assert_eq!(kernel.variants[0].name, "base");
        assert_eq!(kernel.variants[0].features, Default::default());
        for variant in kernel.variants {
            assert!(variant.source.contains(&format!("fn {}(", kernel.entry)), "{}", kernel.name);
        }
    }
}

#[test]
fn entries_of_a_shader_share_their_variants() {
    let same = |a: &Kernel, b: &Kernel| std::ptr::eq(a.variants, b.variants);
    for pair in ALL.windows(2).filter(|pair| pair[0].shader == pair[1].shader) {
        assert!(same(pair[0], pair[1]), "{} and {}", pair[0].name, pair[1].name);
    }
}

#[test]
fn every_line_of_every_variant_is_that_line_of_its_file() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for variant in ALL.iter().flat_map(|kernel| kernel.variants) {
        for (number, line) in (1..).zip(variant.source.lines()) {
            let (file, origin) = variant.locate(number);
            if file.ends_with(".toml") {
                continue;
            }
            let text = std::fs::read_to_string(root.join(file)).expect("the file is there");
            assert_eq!(text.lines().nth(origin - 1), Some(line), "{file}:{origin}");
        }
    }
}

#[test]
fn lookups_find_what_is_there() {
    static VARIANT: Variant = Variant {
        name: "wide",
        source: "",
        features: super::Features { subgroup: false, f16: false, cooperative: false },
        numbers: &[("TILE", 8)],
        flags: &["VECTORS"],
        lines: &[Run { start: 1, file: "a", line: 7 }, Run { start: 4, file: "b", line: 1 }],
    };
    assert_eq!((VARIANT.number("TILE"), VARIANT.number("ROWS")), (Some(8), None));
    assert!(VARIANT.flag("VECTORS") && !VARIANT.flag("TILE"));
    let places: Vec<_> = [0, 1, 3, 4, 9].map(|line| VARIANT.locate(line)).to_vec();
    assert_eq!(places, [("a", 7), ("a", 7), ("a", 9), ("b", 1), ("b", 6)]);
}

#[test]
fn arguments_have_the_order_of_the_slots() {
    let named = super::layer_norm::primal::Bindings::of((["x", "gain", "bias"], ["y", "stats"]));
    let kernel = &super::layer_norm::PRIMAL;
    assert_eq!(named.slots(), kernel.bindings.iter().map(|binding| binding.name).collect::<Vec<_>>());
    let params =
        super::attention::Params { window: 5, d_head: 3, cap: 2.0, first: 1, scale: 0.5, heads: 2, kv_heads: 4 };
    assert_eq!(params.words(), [1, 2, 3, 0.5f32.to_bits(), 4, 5, 2.0f32.to_bits(), 0]);
    assert_eq!(super::attention::Params::from_words(params.words()), params);
}
