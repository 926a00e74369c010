//! The architectures that are read.

/// An architecture, as `general.architecture` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arch {
    Gpt2,
    /// Llama, and models that are computed like it, such as Mistral and SmolLM2.
    Llama,
    Qwen2,
    Qwen3,
    GptNeox,
    Gemma,
    Gemma2,
    Gemma3,
    Olmo2,
    Starcoder2,
}

impl Arch {
    const ALL: [Self; 10] = [
        Self::Gpt2,
        Self::Llama,
        Self::Qwen2,
        Self::Qwen3,
        Self::GptNeox,
        Self::Gemma,
        Self::Gemma2,
        Self::Gemma3,
        Self::Olmo2,
        Self::Starcoder2,
    ];

    /// Returns the architecture of a name.
    ///
    /// # Errors
    /// A description of what the file is instead.
    pub(super) fn of(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|arch| arch.name() == name).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("its architecture is `{}`; models of {names} are read: use one of these", crate::error::shown(name))
        })
    }

    /// Returns the name in `general.architecture`, with which the keys of the metadata begin.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Gpt2 => "gpt2",
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::GptNeox => "gptneox",
            Self::Gemma => "gemma",
            Self::Gemma2 => "gemma2",
            Self::Gemma3 => "gemma3",
            Self::Olmo2 => "olmo2",
            Self::Starcoder2 => "starcoder2",
        }
    }

    /// Returns whether the norms of this architecture are stored as 1 + w.
    pub(super) fn is_gemma(self) -> bool {
        matches!(self, Self::Gemma | Self::Gemma2 | Self::Gemma3)
    }
}
