//! The embedded family of trained models. Corpus, training and cards: `crates/model/atlas`.

use crate::checkpoint::Checkpoint;
use crate::error::Result;
use crate::model::{Model, Opening, Origin};
use crate::tokenizer::Tokenizer;

/// One model of the family.
struct Embedded {
    name: &'static str,
    config: &'static str,
    weights: &'static [u8],
}

/// The family, smallest first.
///
/// It is a static, because a constant would be embedded once in each part of the program that names it.
static FAMILY: &[Embedded] = &[
    Embedded {
        name: "atlas-nano",
        config: include_str!("../atlas/nano/config.json"),
        weights: include_bytes!("../atlas/nano/model.safetensors"),
    },
    Embedded {
        name: "atlas-micro",
        config: include_str!("../atlas/micro/config.json"),
        weights: include_bytes!("../atlas/micro/model.safetensors"),
    },
    Embedded { name: "atlas-small", config: resolvent_atlas::CONFIG, weights: resolvent_atlas::WEIGHTS },
];

static TOKENIZER: &[u8] = include_bytes!("../atlas/tokenizer.json");

/// Returns the names of the embedded models, smallest first.
pub fn embedded_models() -> impl Iterator<Item = &'static str> {
    FAMILY.iter().map(|model| model.name)
}

/// Opens the embedded model `name`, if there is one.
pub(crate) fn open(opening: Opening<'_>, name: &str) -> Option<Result<Model>> {
    let found = FAMILY.iter().find(|model| model.name == name)?;
    let opened = || {
        let checkpoint = Checkpoint::embedded(found.name, found.config, found.weights)?;
        let tokenizer = Tokenizer::from_bytes("atlas/tokenizer.json", TOKENIZER)?;
        Model::from_checkpoint(opening, &checkpoint, (found.name, Origin::Embedded(found.name)), Some(Ok(tokenizer)))
    };
    Some(opened())
}
