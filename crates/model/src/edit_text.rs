//! Edits as text, such as `scale(blocks.0.attn.hook_z[5], 0.5)@-1`.

use std::fmt;
use std::str::FromStr;

use crate::edit::{Change, Edit};
use crate::error::{Error, Result, shown};
use crate::model::Model;
use crate::prompt::from_end;
use crate::sites::Sites;

/// An edit as text: `ablate(SITE)`, `scale(SITE, NUMBER)`, `add(SITE, VECTOR)`, `put(SITE, VECTOR)` or
/// `project_out(SITE, VECTOR)`.
///
/// `@POSITION` behind it is a token, which counts from the end if it is negative; without it the edit is at all tokens.
/// A site without a head is all heads, and one without a key all keys. A vector is a file, or a number that all
/// elements have.
#[derive(Clone, Debug, PartialEq)]
pub struct EditText {
    kind: Kind,
    sites: Sites,
    operand: Operand,
    position: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Ablate,
    Scale,
    Add,
    Put,
    ProjectOut,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Ablate, Self::Scale, Self::Add, Self::Put, Self::ProjectOut];

    fn name(self) -> &'static str {
        match self {
            Self::Ablate => "ablate",
            Self::Scale => "scale",
            Self::Add => "add",
            Self::Put => "put",
            Self::ProjectOut => "project_out",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    None,
    Number(f32),
    File(String),
}

impl EditText {
    /// Returns the edits of a prompt of `tokens` tokens. `read` reads the vector of a file, given its width.
    ///
    /// # Errors
    /// A position outside of the prompt, a block or head that the model lacks, or a vector that cannot be read or does
    /// not fit.
    pub fn edits(
        &self,
        model: &Model,
        tokens: usize,
        read: &dyn Fn(&str, usize) -> Result<Vec<f32>>,
    ) -> Result<Vec<Edit>> {
        let positions = match self.position {
            Some(at) => vec![from_end("token position", at, tokens)?],
            None => (0..tokens).collect(),
        };
        let mut edits = Vec::new();
        for site in self.sites.all(model.sizes()) {
            site.check(model.sizes())?;
            let width = if self.sites.has_keys() { tokens } else { site.width(model.sizes()) };
            let file = match &self.operand {
                Operand::File(name) => Some(read(name, width)?),
                Operand::None | Operand::Number(_) => None,
            };
            for &token in &positions {
                match (self.sites.has_keys(), &file) {
                    (false, _) => edits.push(Edit { site, token, change: self.change(width, file.as_deref()) }),
                    // A projection is refused there, whatever its vector.
                    (true, vector) if vector.is_some() || self.kind == Kind::ProjectOut => {
                        edits.extend(model.key_edits(site, token, &self.change(width, file.as_deref()))?);
                    }
                    (true, _) => {
                        // The keys that the query sees, each with the number.
                        let seen = model.key_edits(site, token, &Change::Scale(1.0))?;
                        edits.extend(seen.into_iter().map(|edit| Edit { change: self.change(1, None), ..edit }));
                    }
                }
            }
        }
        Ok(edits)
    }

    /// Returns the file of the vector, if it is one.
    pub fn file(&self) -> Option<&str> {
        if let Operand::File(file) = &self.operand { Some(file) } else { None }
    }

    /// Returns the change of a value of `width` elements.
    fn change(&self, width: usize, file: Option<&[f32]>) -> Change {
        let number = if let Operand::Number(number) = self.operand { number } else { 0.0 };
        let vector = || file.map_or_else(|| vec![number; width], <[f32]>::to_vec);
        match self.kind {
            Kind::Ablate | Kind::Scale => Change::Scale(number),
            Kind::Add => Change::Add(vector()),
            Kind::Put => Change::Put(vector()),
            Kind::ProjectOut => Change::Project(vector()),
        }
    }
}

impl fmt::Display for EditText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({}", self.kind.name(), self.sites)?;
        match &self.operand {
            Operand::None => {}
            Operand::Number(number) => write!(f, ", {number}")?,
            Operand::File(name) => write!(f, ", {name}")?,
        }
        f.write_str(")")?;
        self.position.map_or(Ok(()), |at| write!(f, "@{at}"))
    }
}

impl FromStr for EditText {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let fail = |reason: String| Error::Place(format!("invalid edit `{}`: {reason}", shown(text)));
        let form =
            || fail("expected KIND(SITE) or KIND(SITE, VECTOR), with @POSITION behind it if you like".to_owned());
        let (name, rest) = text.trim().split_once('(').ok_or_else(form)?;
        let (inside, behind) = rest.rsplit_once(')').ok_or_else(form)?;
        let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name.trim()).ok_or_else(|| {
            let names = Kind::ALL.map(Kind::name).join(", ");
            fail(format!("expected one of {names}, and then a site in parentheses"))
        })?;
        let position = match behind.trim() {
            "" => None,
            behind => {
                let number = behind.strip_prefix('@').and_then(|at| at.trim().parse().ok());
                Some(number.ok_or_else(|| fail("expected @POSITION behind it, such as @-1".to_owned()))?)
            }
        };
        // The brackets of a site may contain a comma, which a vector follows only outside of them.
        let is_outside = |at: usize| inside[..at].matches('[').count() == inside[..at].matches(']').count();
        let comma = inside.match_indices(',').map(|(at, _)| at).find(|&at| is_outside(at));
        let (site, operand) = match comma {
            Some(at) => (&inside[..at], inside[at + 1..].trim()),
            None => (inside, ""),
        };
        let sites = site.trim().parse().map_err(|e: Error| fail(e.to_string()))?;
        let operand = match (kind, operand, operand.parse()) {
            (Kind::Ablate, "", _) => Operand::None,
            (Kind::Ablate, ..) => return Err(fail("ablate has a site alone".to_owned())),
            (_, "", _) => return Err(fail(format!("{} needs a number or a file behind the site", kind.name()))),
            (_, _, Ok(number)) => Operand::Number(number),
            (Kind::Scale, ..) => return Err(fail("scale needs a number behind the site".to_owned())),
            (_, file, Err(_)) => Operand::File(file.to_owned()),
        };
        Ok(Self { kind, sites, operand, position })
    }
}

#[cfg(test)]
mod tests {
    use resolvent_engine::Device;

    use super::*;
    use crate::random::{RandomWeights, tiny};
    use crate::site::Site;

    fn edits(text: &str) -> Result<Vec<Edit>> {
        let model = Model::random(&Device::host(), tiny(), RandomWeights::new(7)).expect("a model");
        let read = |name: &str, width: usize| match name {
            "ramp" => Ok((0..width).map(|i| if i < 3 { i as f32 } else { 0.0 }).collect()),
            _ => Err(Error::Place(format!("{name}: no such file"))),
        };
        text.parse::<EditText>()?.edits(&model, 4, &read)
    }

    #[test]
    fn texts_are_edits() {
        let one = |text: &str| edits(text).unwrap_or_else(|e| panic!("{e}"));
        let site = |text: &str| text.parse().unwrap_or_else(|e: Error| panic!("{e}"));
        let mlp = site("blocks.0.hook_mlp_out");
        assert_eq!(one("ablate(blocks.0.hook_mlp_out)@-1"), [Edit::ablate(mlp, 3)]);
        assert_eq!(one(" scale( blocks.0.hook_mlp_out , -2.5 ) @ 1 "), [Edit::scale(mlp, 1, -2.5)]);
        let put: Vec<Edit> = (0..4).map(|token| Edit::put(mlp, token, vec![0.5; 32])).collect();
        assert_eq!(one("put(blocks.0.hook_mlp_out, 0.5)"), put);
        let ramp = [0.0, 1.0, 2.0].into_iter().chain([0.0; 29]).collect();
        assert_eq!(one("project_out(blocks.0.hook_mlp_out, ramp)@2"), [Edit::project_out(mlp, 2, ramp)]);
        assert_eq!(one("ablate(blocks.1.attn.hook_z)@0").len(), 2);
        let key = site("blocks.1.attn.hook_attn_scores[1,2]");
        assert_eq!(
            one("put(blocks.1.attn.hook_attn_scores[1,2], -inf)@3"),
            [Edit::put(key, 3, vec![f32::NEG_INFINITY])]
        );
        let row: Vec<Edit> = (0..3).map(|k| Edit::put(Site::Pattern(1, 0, k), 2, vec![k as f32])).collect();
        assert_eq!(one("put(blocks.1.attn.hook_pattern[0], ramp)@2"), row);
        assert_eq!(one("add(blocks.1.attn.hook_pattern, 0.1)").len(), 2 * (1 + 2 + 3 + 4));
        for text in [
            "add(blocks.1.attn.hook_pattern, 0.1)",
            "scale(blocks.0.hook_mlp_out, -2.5)@1",
            "ablate(blocks.1.attn.hook_z)",
        ] {
            assert_eq!(text.parse::<EditText>().map(|edit| edit.to_string()).ok().as_deref(), Some(text));
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for (text, part) in [
            ("blocks.0.hook_mlp_out", "expected KIND(SITE)"),
            ("zero(blocks.0.hook_mlp_out)", "expected one of ablate, scale, add, put, project_out"),
            ("ablate(blocks.0.hook_mlp)", "did you mean"),
            ("ablate(blocks.0.hook_mlp_out, 1)", "a site alone"),
            ("scale(blocks.0.hook_mlp_out)", "scale needs a number or a file"),
            ("scale(blocks.0.hook_mlp_out, ramp)", "scale needs a number behind"),
            ("ablate(blocks.0.hook_mlp_out)@last", "expected @POSITION"),
            ("ablate(blocks.0.hook_mlp_out)@4", "token position 4"),
            ("ablate(blocks.9.hook_mlp_out)", "blocks 0 to"),
            ("add(blocks.0.hook_mlp_out, missing)", "missing: no such file"),
            ("put(blocks.1.attn.hook_pattern[0], ramp)@0", "the query sees keys 0 to 0"),
            ("project_out(blocks.1.attn.hook_pattern[0], ramp)@3", "use add, put or scale"),
            ("project_out(blocks.1.attn.hook_pattern, 1)", "use add, put or scale"),
        ] {
            let error = edits(text).expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
