//! Assembled, validated and reflected WGSL kernels: text in, checked kernels out.
//!
//! The build script reads `shaders/` at the root of the repository, assembles every variant of every shader, has
//! naga parse and validate it, holds it to the lints of `compile/lint`, and writes what it reflected here: one module
//! a shader, one static [`Kernel`] an entry point, and [`ALL`] of them. A shader that is wrong is a build error that
//! names its file and line, so whatever this crate offers can be handed to a driver as it stands.
//!
//! A module also has the struct `Params` of its uniform, and a module for each entry with the struct `Bindings` of its
//! buffers by name, so that a launch cannot differ from the WGSL in a name, a type or an order.
//!
//! There is no GPU library below this crate: it is text and tables. `shaders/README.md` tells how to add a kernel.
//!
//! ```
//! for kernel in resolvent_shaders::ALL {
//!     let base = kernel.variant("base").expect("every kernel has one");
//!     assert!(base.source.contains(kernel.entry));
//! }
//! ```

mod kind;
pub use kind::{Access, Element, Scalar};

#[cfg(test)]
#[path = "../compile/mod.rs"]
mod compile;

/// One entry point of one shader, with all that a launch needs to know of it.
#[derive(Debug)]
pub struct Kernel {
    /// `shader.entry`, as in `layer_norm.primal`: the one name of this kernel everywhere.
    pub name: &'static str,
    /// The shader's name: that of its file, without folder and ending.
    pub shader: &'static str,
    /// The entry point's name in the text of every variant.
    pub entry: &'static str,
    /// Bytes of the uniform `p` at group 0, binding 0; 0 where the entry does not use it.
    pub params_size: u32,
    /// The storage bindings that this entry uses, by rising slot, all of group 0. The uniform is not among them.
    pub bindings: &'static [Binding],
    /// The pipeline constants of the shader. Setting one that this entry does not use is allowed and changes nothing.
    pub overrides: &'static [Override],
    /// Invocations of a workgroup in x, y and z.
    pub workgroup: [Extent; 3],
    /// The texts that this kernel comes in; one is named `base` and needs no feature.
    pub variants: &'static [Variant],
}

impl Kernel {
    /// The variant of this name.
    #[must_use]
    pub fn variant(&self, name: &str) -> Option<&'static Variant> {
        self.variants.iter().find(|variant| variant.name == name)
    }

    /// The storage binding of this WGSL name.
    #[must_use]
    pub fn binding(&self, name: &str) -> Option<&'static Binding> {
        self.bindings.iter().find(|binding| binding.name == name)
    }
}

/// A storage buffer that a kernel uses: `@group(0) @binding(slot) var<storage, …> name: array<…>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The binding number within group 0.
    pub slot: u32,
    /// The WGSL name.
    pub name: &'static str,
    /// Whether the kernel may write to it.
    pub access: Access,
    /// What the array holds.
    pub element: Element,
}

/// One dimension of a workgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// A number written in the text.
    Literal(u32),
    /// The value of the override of this name.
    Override(&'static str),
    /// The [number](Variant::number) of this name of the variant that runs.
    Number(&'static str),
}

/// An `override` of a shader: a pipeline constant, set by its name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Override {
    /// The WGSL name, which is the pipeline constant's key.
    pub name: &'static str,
    /// Its type.
    pub kind: Scalar,
    /// Its value when it is not set; `None` if it has to be set.
    pub default: Option<f64>,
}

/// What a device has to offer for a variant to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// Subgroup operations in compute shaders.
    pub subgroup: bool,
    /// 16-bit floats in arithmetic and storage.
    pub f16: bool,
    /// Cooperative matrices of 16-bit floats with sums in f32, of the variant's number `SIDE`.
    pub cooperative: bool,
}

/// One assembled text of a shader, shared by all its entries.
#[derive(Debug)]
pub struct Variant {
    /// Its name in `shaders/variants.toml`.
    pub name: &'static str,
    /// The whole WGSL module: imports in place, switches decided.
    pub source: &'static str,
    /// What the device has to offer.
    pub features: Features,
    /// The numbers that `shaders/variants.toml` gives to this variant, by name.
    pub numbers: &'static [(&'static str, u32)],
    /// The flags that it sets there.
    pub flags: &'static [&'static str],
    /// Where its lines were written, by rising `start`; [`Self::locate`] looks them up.
    pub lines: &'static [Run],
}

/// A run of assembled lines that follow each other in one file.
#[derive(Debug)]
pub struct Run {
    /// First line of the run in the assembled text, from 1.
    pub start: u32,
    /// The file that it came from, by its path from the root of the repository.
    pub file: &'static str,
    /// The line in that file, from 1.
    pub line: u32,
}

impl Variant {
    /// A number of `shaders/variants.toml`, such as the rows of a register tile.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u32> {
        self.numbers.iter().find(|(key, _)| *key == name).map(|&(_, value)| value)
    }

    /// Whether `shaders/variants.toml` sets a flag, such as `VECTORS`.
    #[must_use]
    pub fn flag(&self, name: &str) -> bool {
        self.flags.contains(&name)
    }

    /// Where a line of [`source`](Self::source) was written: the file, from the root of the repository, and the line
    /// in it. Both count lines from 1. A line past the end of the text is placed after the last one.
    #[must_use]
    pub fn locate(&self, line: usize) -> (&'static str, usize) {
        let after = self.lines.partition_point(|run| run.start as usize <= line);
        let Some(run) = self.lines.get(after.saturating_sub(1)) else { return ("", line) };
        (run.file, run.line as usize + line.saturating_sub(run.start as usize))
    }
}

/// The params of a shader: a generated struct `Params`, or `()` for an entry without.
pub trait Uniform: Copy {
    /// The uniform as an array of words, with padding.
    type Words;

    /// Returns the words of the uniform.
    fn words(self) -> Self::Words;

    /// Reads the words of a uniform.
    fn from_words(words: Self::Words) -> Self;
}

impl Uniform for () {
    type Words = [u32; 0];

    fn words(self) -> [u32; 0] {
        []
    }

    fn from_words(_: [u32; 0]) -> Self {}
}

/// The arguments of one entry: a generated struct `Bindings`, which has a field for each buffer.
pub trait Entry {
    /// A reference to a buffer.
    type Slot;
    /// The params.
    type Params: Uniform;

    /// The kernel of the entry.
    const KERNEL: &'static Kernel;

    /// Returns the buffers in slot order, as a launch binds them.
    fn slots(self) -> Vec<Self::Slot>;
}

include!(concat!(env!("OUT_DIR"), "/kernels.rs"));

#[cfg(test)]
mod tests;
