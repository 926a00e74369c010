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
    /// OLMo 2, and OLMo 3, which has windows.
    Olmo2,
    Starcoder2,
    Phi3,
    Granite,
    Smollm3,
    Stablelm,
    CommandR,
    Cohere2,
    Olmo,
}

impl Arch {
    const ALL: [Self; 17] = [
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
        Self::Phi3,
        Self::Granite,
        Self::Smollm3,
        Self::Stablelm,
        Self::CommandR,
        Self::Cohere2,
        Self::Olmo,
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
            Self::Phi3 => "phi3",
            Self::Granite => "granite",
            Self::Smollm3 => "smollm3",
            Self::Stablelm => "stablelm",
            Self::CommandR => "command-r",
            Self::Cohere2 => "cohere2",
            Self::Olmo => "olmo",
        }
    }

    /// Returns whether the rows of queries and keys are stored in the pairs that rotate together, where Hugging Face
    /// has them half a head apart.
    pub(super) fn has_pairs(self) -> bool {
        matches!(self, Self::Llama | Self::Granite | Self::Smollm3 | Self::Olmo)
    }

    /// Returns whether the norms of this architecture are stored as 1 + w.
    pub(super) fn is_gemma(self) -> bool {
        matches!(self, Self::Gemma | Self::Gemma2 | Self::Gemma3)
    }
}
