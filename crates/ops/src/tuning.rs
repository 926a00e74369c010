//! Selects a kernel variant: an explicit request, else what `resolvent bench --tune` measured on this device, else a
//! built-in table of measurements on known devices.

use resolvent_engine::{Device, Kind, Preference};
use resolvent_shaders::{self as shaders, Kernel, Variant};

/// Name under which preferences are [cached](Device::keep).
pub const CACHED: &str = "tuned";

/// Number of rows of a launch, in the classes that matter to the choice of a variant.
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
    /// All sizes, the smallest first.
    pub const ALL: [Self; 3] = [Self::Few, Self::Some, Self::Many];

    /// Returns the size of a launch over `rows` rows.
    #[must_use]
    pub fn of(rows: usize) -> Self {
        match rows {
            0..=16 => Self::Few,
            17..=64 => Self::Some,
            _ => Self::Many,
        }
    }

    /// Returns its name in files and tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Few => "few",
            Self::Some => "some",
            Self::Many => "many",
        }
    }
}

/// Shaders with several variants, among which one is selected.
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
    /// All families.
    pub const ALL: [Self; 3] = [Self::Matmul, Self::MatmulF16, Self::Attention];

    /// Returns the families that models on `device` launch.
    pub fn on(device: &Device) -> impl Iterator<Item = Self> {
        let rounds = device.f16_inputs();
        Self::ALL.into_iter().filter(move |&family| rounds || family != Self::MatmulF16)
    }

    /// Returns the shader's name.
    #[must_use]
    pub fn shader(self) -> &'static str {
        self.kernel().shader
    }

    /// Returns the variants to select from, `base` first. Those for f16 weights and for wide heads follow from these.
    pub fn variants(self) -> impl Iterator<Item = &'static Variant> {
        self.kernel().variants.iter().filter(|v| !v.flag("F16_WEIGHTS") && !v.name.ends_with(WIDE))
    }

    fn kernel(self) -> &'static Kernel {
        match self {
            Self::Matmul => &shaders::matmul::PRIMAL,
            Self::MatmulF16 => &shaders::matmul_f16::PRIMAL,
            Self::Attention => &shaders::attention::PRIMAL,
        }
    }
}

/// Condition of a table row on the device: one of these kinds, and a part of its name.
type On = (&'static [Kind], &'static str);

const SOFTWARE: &[Kind] = &[Kind::Software];
const GPU: &[Kind] = &[Kind::Discrete, Kind::Integrated, Kind::Virtual, Kind::Other];
const ANY: &[Size] = &Size::ALL;

/// Variants that were measured to be best: on which devices, of which family, at which sizes. The first row that fits
/// and whose variant the device supports decides; without one, it is `base`. Figures: docs, pages `ops/matmul` and
/// `ops/attention`.
#[rustfmt::skip]
const TABLE: [(On, Family, &[Size], &str); 6] = [
    // Loads and barriers are slow on a software GPU, registers are not. Measured on llvmpipe.
    ((SOFTWARE, ""), Family::Matmul,     &[Size::Many],            "tall"),
    ((SOFTWARE, ""), Family::Matmul,     &[Size::Few, Size::Some], "subgroup"),
    // Without subgroups of eight lanes: SwiftShader, and every software GPU in a browser.
    ((SOFTWARE, ""), Family::Matmul,     ANY,                      "direct"),
    ((SOFTWARE, ""), Family::Attention,  ANY,                      "narrow"),
    // Not measured: f16 inputs are requested only for the sake of matrix units.
    ((GPU, ""),      Family::MatmulF16, ANY,                      "cooperative16"),
    ((GPU, ""),      Family::MatmulF16, ANY,                      "cooperative8"),
];

/// Selects the variant for launches of this size. `vectors` tells whether all lengths along which they read are whole
/// `vec4`; variants that read `vec4` require that.
#[must_use]
pub fn choose(device: &Device, family: Family, size: Size, vectors: bool) -> &'static str {
    let named = |name: &str| family.variants().find(|v| v.name == name);
    let fits = |v: &Variant| vectors || !v.flag("VECTORS");
    // A variant requested by name is not replaced: if the device does not support it, the launch fails with the reason.
    if let Some(asked) = device.variant(family.shader()) {
        let known = family.kernel().variants.iter().find(|v| v.name == asked);
        return if known.is_none_or(fits) { asked } else { "base" };
    }
    let runs = |name: &str| named(name).is_some_and(|v| device.info().lacks(v).is_none() && fits(v));
    let info = device.info();
    let measured = device.preferred(family.shader(), size.name());
    let known = TABLE.iter().filter(|((kinds, name), of, sizes, _)| {
        *of == family && kinds.contains(&info.kind) && info.name.contains(name) && sizes.contains(&size)
    });
    measured.into_iter().chain(known.map(|row| row.3)).find(|name| runs(name)).unwrap_or("base")
}

/// End of the names of attention's variants for wide heads.
const WIDE: &str = "_wide";

/// Returns the variant of attention that is like `variant`, for heads wider than 128; `None` if there is none.
pub(crate) fn of_wide_heads(variant: &str) -> Option<&'static str> {
    let named = |v: &&Variant| v.name.strip_suffix(WIDE) == Some(variant);
    Family::Attention.kernel().variants.iter().find(named).map(|v| v.name)
}

/// Returns the variant that is like `variant`, for f16 weights.
pub(crate) fn of_f16(variant: &str) -> &'static str {
    let named = |v: &&Variant| v.name.strip_suffix("_f16") == Some(variant);
    Family::Matmul.kernel().variants.iter().find(named).map_or("base_f16", |v| v.name)
}

/// Describes the variants that this device uses, as result files name them:
/// `matmul subgroup tall tall, attention narrow narrow narrow`.
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

/// Writes preferences as text, one per line, for [`Device::keep`].
#[must_use]
pub fn to_text(preferences: &[Preference]) -> String {
    preferences.iter().map(|p| format!("{} {} {}\n", p.shader, p.size, p.variant)).collect()
}

/// Reads preferences from that text. Lines with unknown names, such as those of another version, are ignored.
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
    fn rows_of_the_table_name_existing_variants() {
        for (_, family, _, name) in TABLE {
            assert!(family.variants().any(|v| v.name == name), "{name}");
        }
        // Both orders of attention must have the same variants, because they share a row of the table.
        let names = |k: &Kernel| k.variants.iter().map(|v| v.name).collect::<Vec<_>>();
        assert_eq!(names(&shaders::attention::PRIMAL), names(&shaders::attention_second::JET));
    }

    #[test]
    fn each_variant_of_a_product_has_one_for_f16_weights() {
        for v in Family::Matmul.variants() {
            let name = of_f16(v.name);
            assert_eq!(name, format!("{}_f16", v.name));
            let variant = Family::Matmul.kernel().variant(name).expect("it was found");
            assert!(variant.flag("F16_WEIGHTS") && variant.features == v.features);
        }
    }

    #[test]
    fn each_variant_of_attention_has_one_for_wide_heads() {
        for v in Family::Attention.variants() {
            let name = of_wide_heads(v.name).expect("it exists");
            assert_eq!(name, format!("{}_wide", v.name));
            let wide = Family::Attention.kernel().variant(name).expect("it was found");
            assert_eq!(
                (wide.flag("VECTORS"), wide.number("GROUP")),
                (v.flag("VECTORS"), v.number("GROUP").map(|n| 2 * n))
            );
        }
    }

    #[test]
    fn preferences_survive_as_text_and_unknown_names_do_not() {
        let cached = [
            Preference { shader: "matmul", size: "few", variant: "base" },
            Preference { shader: "attention", size: "many", variant: "narrow" },
        ];
        let text = to_text(&cached);
        assert_eq!(from_text(&text), cached);
        let unknown = format!("matmul few gone\n\nmatmul\nlayer_norm few base\nmatmul vast base\n{text}");
        assert_eq!(from_text(&unknown), cached);
    }

    #[test]
    fn measurements_precede_the_table_where_they_fit() {
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
