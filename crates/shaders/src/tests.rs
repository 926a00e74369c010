//! The generated table, on the shaders of this repository.

use super::{ALL, Kernel, Run, Variant};

#[test]
fn every_kernel_is_named_once_and_found_in_every_text() {
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
fn entries_of_a_shader_share_their_texts() {
    let same = |a: &Kernel, b: &Kernel| std::ptr::eq(a.variants, b.variants);
    for pair in ALL.windows(2).filter(|pair| pair[0].shader == pair[1].shader) {
        assert!(same(pair[0], pair[1]), "{} and {}", pair[0].name, pair[1].name);
    }
}

#[test]
fn every_line_of_every_text_is_that_line_of_its_file() {
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
