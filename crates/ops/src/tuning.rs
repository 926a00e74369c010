//! Which text of a shader a launch takes: by what was asked for, by what `resolvent bench --tune` measured on this device, or
//! else by a table of what was measured on devices that we know.

use resolvent_engine::{Device, Kind, Preference};
use resolvent_shaders::{self as shaders, Kernel, Variant};

/// Under which name preferences are [kept](Device::keep).
pub const CACHED: &str = "tuned";

/// How many rows a launch has, as far as the choice of its text goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// At most 16 rows: a prompt, or the end of one. Bound by reading weights.
    Few,
    /// At most 64.
    Some,
    /// More: bound by arithmetic.
    Many,
}

impl Size {
    /// All of them, the smallest first.
    pub const ALL: [Self; 3] = [Self::Few, Self::Some, Self::Many];

    /// That of a launch over `rows`.
    #[must_use]
    pub fn of(rows: usize) -> Self {
        match rows {
            0..=16 => Self::Few,
            17..=64 => Self::Some,
            _ => Self::Many,
        }
    }

    /// Its name in files and tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Few => "few",
            Self::Some => "some",
            Self::Many => "many",
        }
    }
}

/// A shader that comes in several texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Products with a weight.
    Matmul,
    /// Primal products whose inputs are rounded.
    MatmulF16,
    /// Attention, of first and of second order.
    Attention,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Matmul, Self::MatmulF16, Self::Attention];

    /// Those that models on `device` launch.
    pub fn on(device: &Device) -> impl Iterator<Item = Self> {
        let rounds = device.f16_inputs();
        Self::ALL.into_iter().filter(move |&family| rounds || family != Self::MatmulF16)
    }

    /// The shader's name.
    #[must_use]
    pub fn shader(self) -> &'static str {
        self.kernel().shader
    }

    /// The texts among which there is a choice, `base` first: those of weights in halves follow from the others.
    pub fn variants(self) -> impl Iterator<Item = &'static Variant> {
        self.kernel().variants.iter().filter(|v| !v.flag("F16_WEIGHTS"))
    }

    fn kernel(self) -> &'static Kernel {
        match self {
            Self::Matmul => &shaders::matmul::PRIMAL,
            Self::MatmulF16 => &shaders::matmul_f16::PRIMAL,
            Self::Attention => &shaders::attention::PRIMAL,
        }
    }
}

/// What a row of the table asks of a device: one of these kinds, and a part of its name.
type On = (&'static [Kind], &'static str);

const SOFTWARE: &[Kind] = &[Kind::Software];
const GPU: &[Kind] = &[Kind::Discrete, Kind::Integrated, Kind::Virtual, Kind::Other];
const ANY: &[Size] = &Size::ALL;

/// Texts that were measured to be best: on which devices, of what, at which sizes. The first row that fits and whose text the
/// device offers decides; where none does, it is `base`. Figures: docs, pages `ops/matmul` and `ops/attention`.
#[rustfmt::skip]
const TABLE: [(On, Family, &[Size], &str); 5] = [
    // A processor that plays the GPU pays for loads and barriers, not for registers. Measured on llvmpipe.
    ((SOFTWARE, ""), Family::Matmul,     &[Size::Many],            "tall"),
    ((SOFTWARE, ""), Family::Matmul,     &[Size::Few, Size::Some], "subgroup"),
    ((SOFTWARE, ""), Family::Attention,  ANY,                      "narrow"),
    // Not measured: nobody asks for half inputs but for the sake of matrix units.
    ((GPU, ""),      Family::MatmulF16, ANY,                      "cooperative16"),
    ((GPU, ""),      Family::MatmulF16, ANY,                      "cooperative8"),
];

/// The text for launches of this size. `vectors` says whether all lengths that they read along are whole `vec4`; texts that
/// read in those are for them alone.
#[must_use]
pub fn choose(device: &Device, family: Family, size: Size, vectors: bool) -> &'static str {
    let named = |name: &str| family.variants().find(|v| v.name == name);
    let fits = |v: &Variant| vectors || !v.flag("VECTORS");
    // What was asked for by name is taken at its word: if the device does not offer it, the launch says so.
    if let Some(asked) = device.variant(family.shader()) {
        return if named(asked).is_none_or(fits) { asked } else { "base" };
    }
    let runs = |name: &str| named(name).is_some_and(|v| device.info().lacks(v).is_none() && fits(v));
    let info = device.info();
    let measured = device.preferred(family.shader(), size.name());
    let known = TABLE.iter().filter(|((kinds, name), of, sizes, _)| {
        *of == family && kinds.contains(&info.kind) && info.name.contains(name) && sizes.contains(&size)
    });
    measured.into_iter().chain(known.map(|row| row.3)).find(|name| runs(name)).unwrap_or("base")
}

/// The text that is like `variant`, for weights in halves.
pub(crate) fn of_f16(variant: &str) -> &'static str {
    let named = |v: &&Variant| v.name.strip_suffix("_f16") == Some(variant);
    Family::Matmul.kernel().variants.iter().find(named).map_or("base_f16", |v| v.name)
}

/// The texts that this device takes, as result files name them: `matmul subgroup tall tall, attention narrow narrow narrow`.
#[must_use]
pub fn describe(device: &Device) -> String {
    let of = |family: Family| {
        let names = Size::ALL.map(|size| match choose(device, family, size, true) {
            name if family == Family::Matmul && device.f16_weights() => of_f16(name),
            name => name,
        });
        format!("{} {}", family.shader(), names.join(" "))
    };
    Family::on(device).map(of).collect::<Vec<_>>().join(", ")
}

/// Preferences as text, a line each, for [`Device::keep`].
#[must_use]
pub fn to_text(preferences: &[Preference]) -> String {
    preferences.iter().map(|p| format!("{} {} {}\n", p.shader, p.size, p.variant)).collect()
}

/// Preferences from that text. Lines that name what is not there, as those of another version might, are left out.
#[must_use]
pub fn from_text(text: &str) -> Vec<Preference> {
    let read = |line: &str| {
        let mut words = line.split(' ');
        let (shader, size, variant) = (words.next()?, words.next()?, words.next()?);
        let family = Family::ALL.into_iter().find(|f| f.shader() == shader)?;
        let size = Size::ALL.into_iter().find(|s| s.name() == size)?;
        let variant = family.variants().find(|v| v.name == variant)?;
        Some(Preference { shader: family.shader(), size: size.name(), variant: variant.name })
    };
    text.lines().filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_meet_without_a_gap() {
        let at = [1, 16, 17, 64, 65, 6000].map(Size::of);
        assert_eq!(at, [Size::Few, Size::Few, Size::Some, Size::Some, Size::Many, Size::Many]);
    }

    #[test]
    fn rows_of_the_table_name_texts_that_exist() {
        for (_, family, _, name) in TABLE {
            assert!(family.variants().any(|v| v.name == name), "{name}");
        }
        // Both orders of attention have the same texts, since they share a row.
        let names = |k: &Kernel| k.variants.iter().map(|v| v.name).collect::<Vec<_>>();
        assert_eq!(names(&shaders::attention::PRIMAL), names(&shaders::attention_second::JET));
    }

    #[test]
    fn each_text_of_a_product_has_one_for_halves() {
        for v in Family::Matmul.variants() {
            let f16s = of_f16(v.name);
            assert_eq!(f16s, format!("{}_f16", v.name));
            let f16s = Family::Matmul.kernel().variant(f16s).expect("it was found");
            assert!(f16s.flag("F16_WEIGHTS") && f16s.features == v.features);
        }
    }

    #[test]
    fn preferences_survive_as_text_and_strangers_do_not() {
        let cached = [
            Preference { shader: "matmul", size: "few", variant: "base" },
            Preference { shader: "attention", size: "many", variant: "narrow" },
        ];
        let text = to_text(&cached);
        assert_eq!(from_text(&text), cached);
        let strange = format!("matmul few gone\n\nmatmul\nlayer_norm few base\nmatmul vast base\n{text}");
        assert_eq!(from_text(&strange), cached);
    }

    #[test]
    fn what_was_measured_goes_before_the_table_and_only_where_it_fits() {
        let device = Device::host();
        assert_eq!(choose(&device, Family::Matmul, Size::Many, true), "base");
        let wish = |variant| Preference { shader: "attention", size: "few", variant };
        device.prefer(vec![wish("narrow")]);
        device.prefer(vec![wish("base")]);
        assert_eq!(choose(&device, Family::Attention, Size::Few, true), "narrow");
        assert_eq!(choose(&device, Family::Attention, Size::Few, false), "base");
        assert_eq!(choose(&device, Family::Attention, Size::Many, true), "base");
        assert_eq!(describe(&device), "matmul base base base, attention narrow base base");
    }
}
