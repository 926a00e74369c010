//! The generated Rust for a shader's arguments: its params, and the bindings of each entry by name.
//!
//! Ops fill these structs in, so a launch cannot differ from the WGSL in a name, a type or an order.

use super::{
    Shader,
    reflect::{Binding, Entry},
};
use crate::kind::{Access, Scalar};
use std::fmt::Write as _;

/// Writes the struct `Params` of a shader whose entries use the uniform.
pub(crate) fn params(code: &mut String, shader: &Shader) {
    let Some(entry) = shader.entries.iter().find(|entry| entry.params_size > 0) else { return };
    let count = entry.params_size as usize / 4;
    let mut words = vec!["0".to_owned(); count];
    let (mut fields, mut values) = (String::new(), String::new());
    for field in &entry.fields {
        let (name, kind, word) = (&field.name, type_of(field.kind), field.word);
        words[word] = match field.kind {
            Scalar::F32 => format!("self.{name}.to_bits()"),
            Scalar::I32 => format!("self.{name}.cast_unsigned()"),
            _ => format!("self.{name}"),
        };
        let value = match field.kind {
            Scalar::F32 => format!("f32::from_bits(words[{word}])"),
            Scalar::I32 => format!("words[{word}].cast_signed()"),
            _ => format!("words[{word}]"),
        };
        _ = writeln!(fields, "        /// `{name}: {kind}`\n        pub {name}: {kind},");
        _ = writeln!(values, "                {name}: {value},");
    }
    _ = writeln!(
        code,
        "
    /// The params of `{}`: the struct of its uniform, without padding.
    #[derive(Clone, Copy, Debug, PartialEq)]
    pub struct Params {{
{fields}    }}

    impl crate::Uniform for Params {{
        type Words = [u32; {count}];

        fn words(self) -> [u32; {count}] {{
            [{}]
        }}

        fn from_words(words: [u32; {count}]) -> Self {{
            Self {{
{values}            }}
        }}
    }}",
        shader.name,
        words.join(", ")
    );
}

fn type_of(kind: Scalar) -> &'static str {
    match kind {
        Scalar::F32 => "f32",
        Scalar::I32 => "i32",
        Scalar::U32 | Scalar::Bool => "u32",
    }
}

/// Writes the module of an entry, with its struct `Bindings`. An entry without bindings has none.
pub(crate) fn bindings(code: &mut String, shader: &Shader, entry: &Entry) {
    let of = |access: Access| entry.bindings.iter().filter(move |binding| binding.access == access);
    let list = |all: &mut dyn Iterator<Item = &Binding>| {
        let names: Vec<&str> = all.map(|binding| binding.name.as_str()).collect();
        names.join(", ")
    };
    let (reads, writes) = (list(&mut of(Access::Read)), list(&mut of(Access::ReadWrite)));
    let (read_count, write_count) = (of(Access::Read).count(), of(Access::ReadWrite).count());
    // A type parameter that no field has is an error, so an entry that only reads or only writes has one.
    let (declared, used, extra) = match (read_count, write_count) {
        (0, 0) => return,
        (0, _) => ("W", "W", "<R>"),
        (_, 0) => ("R", "R", "<W>"),
        _ => ("R, W = R", "R, W", ""),
    };
    let mut fields = String::new();
    for Binding { slot, name, access, shape, .. } in &entry.bindings {
        let slice = if *access == Access::Read { "R" } else { "W" };
        _ = writeln!(fields, "            /// Slot {slot}: `` {shape} ``\n            pub {name}: {slice},");
    }
    let (shader, name) = (&shader.name, &entry.name);
    let params = if entry.params_size > 0 { "super::Params" } else { "()" };
    let slots: Vec<String> = entry.bindings.iter().map(|binding| format!("self.{}", binding.name)).collect();
    let (slots, all, kernel) = (slots.join(", "), list(&mut entry.bindings.iter()), name.to_uppercase());
    _ = writeln!(
        code,
        "
    /// The bindings of `{shader}.{name}` by name.
    pub mod {name} {{
        /// Buffers of `{shader}.{name}`: tensors of a launch, or slices of a host body.
        #[derive(Clone, Copy, Debug)]
        pub struct Bindings<{declared}> {{
{fields}        }}

        impl<{used}> Bindings<{used}> {{
            /// Names the buffers that are read and those that are written, each in slot order.
            #[must_use]
            pub fn of{extra}(([{reads}], [{writes}]): ([R; {read_count}], [W; {write_count}])) -> Self {{
                Self {{ {all} }}
            }}
        }}

        impl<T> crate::Entry for Bindings<T> {{
            type Slot = T;
            type Params = {params};

            const KERNEL: &'static crate::Kernel = &super::{kernel};

            fn slots(self) -> Vec<T> {{
                vec![{slots}]
            }}
        }}"
    );
    if read_count > 0 && write_count > 0 {
        let copies: Vec<String> = of(Access::Read).map(|binding| format!("{0}: self.{0}", binding.name)).collect();
        let units: Vec<String> = of(Access::ReadWrite).map(|binding| format!("{}: ()", binding.name)).collect();
        _ = writeln!(
            code,
            "
        impl<R: Copy, W> Bindings<R, W> {{
            /// Returns what is read, alone: what a body needs for each row that it writes.
            #[must_use]
            pub fn reads(&self) -> Bindings<R, ()> {{
                Bindings {{ {}, {} }}
            }}
        }}",
            copies.join(", "),
            units.join(", ")
        );
    }
    _ = writeln!(code, "    }}");
}
