//! Writes the pickle of a lens file, in protocol 2.

use super::lens::Lens;

/// Returns the pickle of a lens, whose tensors are the storages 0, 1, .. in the order of its blocks.
pub(super) fn lens(lens: &Lens) -> Vec<u8> {
    let mut out = Pickle(vec![0x80, 2]);
    out.dict(|out| {
        out.text("J");
        out.dict(|out| {
            for (storage, block) in lens.blocks.keys().enumerate() {
                out.number(*block);
                out.matrix(storage, lens.d);
            }
        });
        out.text("n_prompts");
        out.number(lens.prompts);
        out.text("source_layers");
        out.0.extend(b"](");
        lens.blocks.keys().for_each(|block| out.number(*block));
        out.0.push(b'e');
        out.text("d_model");
        out.number(lens.d);
        out.text("metadata");
        out.dict(|out| {
            for (key, value) in known(lens) {
                out.text(key);
                match value.parse() {
                    Ok(number) if NUMBERS.contains(&key) => out.number(number),
                    _ => out.text(&value),
                }
            }
        });
    });
    out.0.push(b'.');
    out.0
}

/// Keys of TransformerLens whose values are numbers.
const NUMBERS: [&str; 3] = ["n_prompts", "target_layer", "skip_first_positions"];

/// Returns the metadata under the names that TransformerLens gives them. The name of the model is left out, because
/// TransformerLens compares it with its own name for the model.
fn known(lens: &Lens) -> Vec<(&'static str, String)> {
    let of = |key: &str| lens.metadata.get(key).cloned();
    let written = [
        ("estimator", Some("jacobian_lens".to_owned())),
        ("hook_convention", Some("blocks.{layer}.hook_out".to_owned())),
        ("n_prompts", Some(lens.prompts.to_string())),
        ("target_layer", lens.target.map(|block| block.to_string())),
        ("skip_first_positions", of("skip_first").or_else(|| of("skip_first_positions"))),
        ("corpus", of("corpus").or_else(|| of("prompts_hash"))),
        ("resolvent_version", of("version")),
        ("resolvent_model", of("model")),
        ("model_hash", of("model_hash")),
    ];
    written.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
}

/// A pickle that is being written.
struct Pickle(Vec<u8>);

impl Pickle {
    fn dict(&mut self, entries: impl FnOnce(&mut Self)) {
        self.0.extend(b"}(");
        entries(self);
        self.0.push(b'u');
    }

    fn text(&mut self, text: &str) {
        self.0.push(b'X');
        self.0.extend((text.len() as u32).to_le_bytes());
        self.0.extend(text.as_bytes());
    }

    /// A number below 2^31.
    fn number(&mut self, number: usize) {
        self.0.push(b'J');
        self.0.extend(i32::try_from(number).unwrap_or(i32::MAX).to_le_bytes());
    }

    fn name(&mut self, module: &str, name: &str) {
        self.0.extend(format!("c{module}\n{name}\n").as_bytes());
    }

    /// A matrix `[d, d]` of f32, row-major: `_rebuild_tensor_v2(storage, 0, size, stride, False, OrderedDict())`.
    fn matrix(&mut self, storage: usize, d: usize) {
        self.name("torch._utils", "_rebuild_tensor_v2");
        self.0.extend(b"((");
        self.text("storage");
        self.name("torch", "FloatStorage");
        self.text(&storage.to_string());
        self.text("cpu");
        self.number(d * d);
        self.0.extend(b"tQ");
        self.number(0);
        for [a, b] in [[d, d], [d, 1]] {
            self.number(a);
            self.number(b);
            self.0.push(0x86);
        }
        self.0.push(0x89);
        self.name("collections", "OrderedDict");
        self.0.extend(b")RtR");
    }
}
