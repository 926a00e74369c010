//! The number formats of GGUF tensors.

/// A number format that is read. Elements are stored in blocks: some elements of a row that share scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GgmlType {
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 half precision.
    F16,
    /// bfloat16: the upper 16 bits of IEEE 754 single precision.
    Bf16,
    /// 4 bits, times a scale.
    Q4_0,
    /// 4 bits, times a scale, plus a minimum.
    Q4_1,
    /// 5 bits, times a scale.
    Q5_0,
    /// 5 bits, times a scale, plus a minimum.
    Q5_1,
    /// 8 bits, times a scale.
    Q8_0,
    /// 4 bits in blocks of 256 elements, with scales and minima of 32 elements.
    Q4K,
    /// 5 bits in blocks of 256 elements, with scales and minima of 32 elements.
    Q5K,
    /// 6 bits in blocks of 256 elements, with scales of 16 elements.
    Q6K,
}

impl GgmlType {
    pub(super) const ALL: [Self; 11] = [
        Self::F32,
        Self::F16,
        Self::Bf16,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
    ];

    /// Returns the number of the format in files, its name, and the elements and bytes of one block.
    fn facts(self) -> (u32, &'static str, usize, usize) {
        match self {
            Self::F32 => (0, "F32", 1, 4),
            Self::F16 => (1, "F16", 1, 2),
            Self::Q4_0 => (2, "Q4_0", 32, 18),
            Self::Q4_1 => (3, "Q4_1", 32, 20),
            Self::Q5_0 => (6, "Q5_0", 32, 22),
            Self::Q5_1 => (7, "Q5_1", 32, 24),
            Self::Q8_0 => (8, "Q8_0", 32, 34),
            Self::Q4K => (12, "Q4_K", 256, 144),
            Self::Q5K => (13, "Q5_K", 256, 176),
            Self::Q6K => (14, "Q6_K", 256, 210),
            Self::Bf16 => (30, "BF16", 1, 2),
        }
    }

    /// Returns the format of a number; `None` if it is not read.
    pub(super) fn of(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.facts().0 == number)
    }

    /// Returns the name of the format, as llama.cpp writes it.
    pub(crate) fn name(self) -> &'static str {
        self.facts().1
    }

    /// Returns the number of elements of one block.
    pub(super) fn block(self) -> usize {
        self.facts().2
    }

    /// Returns the size of one block in bytes.
    pub(super) fn block_bytes(self) -> usize {
        self.facts().3
    }

    /// Returns the names of all formats that are read.
    pub(super) fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }
}

/// Returns the name of a format that is not read, for messages.
pub(super) fn other_name(number: u32) -> String {
    let name = match number {
        9 => "Q8_1",
        10 => "Q2_K",
        11 => "Q3_K",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        20 => "IQ4_NL",
        21 => "IQ3_S",
        22 => "IQ2_S",
        23 => "IQ4_XS",
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        28 => "F64",
        29 => "IQ1_M",
        34 => "TQ1_0",
        35 => "TQ2_0",
        39 => "MXFP4",
        40 => "NVFP4",
        41 => "Q1_0",
        _ => return format!("type {number}"),
    };
    name.to_owned()
}
