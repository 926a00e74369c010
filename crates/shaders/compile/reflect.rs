//! Reflection of an entry point: the bindings, params, overrides and workgroup that a launch needs.

use super::{lint::Subject, problem::Problem, tree::is_snake_case};
use crate::kind::{Access, Element, Scalar};
use naga::{AddressSpace, ArraySize, Expression, GlobalVariable, Handle, Literal, ScalarKind, TypeInner, VectorSize};

/// An entry point.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) params_size: u32,
    /// The fields of the params, without padding.
    pub(crate) fields: Vec<Field>,
    /// By rising slot.
    pub(crate) bindings: Vec<Binding>,
    pub(crate) overrides: Vec<Override>,
    pub(crate) workgroup: [Extent; 3],
}

/// A field of the params.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) kind: Scalar,
    /// Its place in the uniform, in words of four bytes.
    pub(crate) word: usize,
}

/// A storage binding that the entry uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Binding {
    pub(crate) slot: u32,
    pub(crate) name: String,
    pub(crate) access: Access,
    pub(crate) element: Element,
    /// The comment with its shape.
    pub(crate) shape: String,
}

/// A pipeline constant.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Override {
    pub(crate) name: String,
    pub(crate) kind: Scalar,
    pub(crate) default: Option<f64>,
}

/// One dimension of a workgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    Literal(u32),
    Override(String),
    /// A number of `variants.toml` by which the variants differ; set when the variants are compared.
    Number(String),
}

/// Reflects every entry of the module.
pub(crate) fn reflect(subject: &Subject<'_>) -> Result<Vec<Entry>, Problem> {
    let module = subject.module;
    if module.entry_points.is_empty() {
        return Err(Problem::new(&subject.source.path, 0, "a shader has to have an entry point"));
    }
    let overrides = overrides(subject)?;
    module
        .entry_points
        .iter()
        .enumerate()
        .map(|(index, point)| {
            if !is_snake_case(&point.name) || point.stage != naga::ShaderStage::Compute {
                let message = format!("entry `{}` has to be a compute shader with a snake_case name", point.name);
                return Err(Problem::new(&subject.source.path, 0, message));
            }
            let info = subject.info.get_entry_point(index);
            let (mut params_size, mut fields) = (0, Vec::new());
            let mut bindings = Vec::new();
            for (handle, variable) in module.global_variables.iter().filter(|(handle, _)| !info[*handle].is_empty()) {
                match variable.space {
                    AddressSpace::Uniform => {
                        params_size = module.types[variable.ty].inner.size(module.to_ctx());
                        fields = params(subject, handle, variable)?;
                    }
                    AddressSpace::Storage { .. } => bindings.push(binding(subject, handle, variable)?),
                    _ => {}
                }
            }
            bindings.sort_by_key(|binding| binding.slot);
            Ok(Entry {
                name: point.name.clone(),
                params_size,
                fields,
                bindings,
                overrides: overrides.clone(),
                workgroup: workgroup(subject, point)?,
            })
        })
        .collect()
}

/// Returns the fields of the uniform, which become those of a struct in Rust. A field named `pad`, with or without a
/// number, is padding.
fn params(
    subject: &Subject<'_>,
    handle: Handle<GlobalVariable>,
    variable: &GlobalVariable,
) -> Result<Vec<Field>, Problem> {
    let module = subject.module;
    let problem = |message: String| subject.problem(module.global_variables.get_span(handle), message);
    let TypeInner::Struct { members: all, .. } = &module.types[variable.ty].inner else {
        return Err(problem("the uniform has to be a struct".to_owned()));
    };
    let mut fields = Vec::new();
    for field in all {
        let name = field.name.clone().unwrap_or_default();
        let kind = match module.types[field.ty].inner {
            TypeInner::Scalar(naga::Scalar { kind: ScalarKind::Uint, width: 4 }) => Scalar::U32,
            TypeInner::Scalar(naga::Scalar { kind: ScalarKind::Sint, width: 4 }) => Scalar::I32,
            TypeInner::Scalar(naga::Scalar { kind: ScalarKind::Float, width: 4 }) => Scalar::F32,
            _ => return Err(problem(format!("field `{name}` of the params has to be u32, i32 or f32"))),
        };
        let number = name.strip_prefix("pad");
        if number.is_none_or(|number| !number.chars().all(|c| c.is_ascii_digit())) {
            fields.push(Field { name, kind, word: field.offset as usize / 4 });
        }
    }
    Ok(fields)
}

fn binding(
    subject: &Subject<'_>,
    handle: Handle<GlobalVariable>,
    variable: &GlobalVariable,
) -> Result<Binding, Problem> {
    let module = subject.module;
    let name = variable.name.clone().unwrap_or_default();
    let problem = |message: String| subject.problem(module.global_variables.get_span(handle), message);
    let Some(place) = &variable.binding else { return Err(problem(format!("`{name}` has no binding"))) };
    let AddressSpace::Storage { access } = variable.space else { unreachable!("called for storage only") };
    let TypeInner::Array { base, size: ArraySize::Dynamic, stride } = module.types[variable.ty].inner else {
        return Err(problem(format!("`{name}` has to be a run-time sized array")));
    };
    let element = element(&module.types[base].inner);
    let Some(element) = element.filter(|element| element.stride() == stride) else {
        return Err(problem(format!("the elements of `{name}` have an unknown type")).detail(
            "known: f32, u32, i32, f16, atomic<u32>, vec2 and vec4 of f32, u32 and f16; others: extend Element",
        ));
    };
    let access = if access.contains(naga::StorageAccess::STORE) { Access::ReadWrite } else { Access::Read };
    let line = module.global_variables.get_span(handle).location(&subject.assembled.text).line_number;
    let line = subject.assembled.text.lines().nth(line as usize - 1).unwrap_or_default();
    let comment = line.split_once("//").map_or("", |(_, comment)| comment);
    let shape = comment.split_whitespace().collect::<Vec<_>>().join(" ");
    Ok(Binding { slot: place.binding, name, access, element, shape })
}

fn element(inner: &TypeInner) -> Option<Element> {
    use ScalarKind::{Float, Sint, Uint};
    use VectorSize::{Bi, Quad};
    let key = |scalar: &naga::Scalar| (scalar.kind, scalar.width);
    Some(match inner {
        TypeInner::Scalar(scalar) => match key(scalar) {
            (Float, 4) => Element::F32,
            (Float, 2) => Element::F16,
            (Uint, 4) => Element::U32,
            (Sint, 4) => Element::I32,
            _ => return None,
        },
        TypeInner::Atomic(scalar) if key(scalar) == (Uint, 4) => Element::AtomicU32,
        TypeInner::Vector { size, scalar } => match (size, key(scalar)) {
            (Bi, (Float, 4)) => Element::Vec2F32,
            (Quad, (Float, 4)) => Element::Vec4F32,
            (Bi, (Uint, 4)) => Element::Vec2U32,
            (Quad, (Uint, 4)) => Element::Vec4U32,
            (Bi, (Float, 2)) => Element::Vec2F16,
            (Quad, (Float, 2)) => Element::Vec4F16,
            _ => return None,
        },
        _ => return None,
    })
}

fn overrides(subject: &Subject<'_>) -> Result<Vec<Override>, Problem> {
    let module = subject.module;
    module
        .overrides
        .iter()
        .map(|(handle, constant)| {
            let name = constant.name.clone().unwrap_or_default();
            let problem = |message: String| subject.problem(module.overrides.get_span(handle), message);
            if constant.id.is_some() {
                return Err(problem(format!("override `{name}` has an @id; pipeline constants are set by name")));
            }
            let TypeInner::Scalar(scalar) = module.types[constant.ty].inner else {
                return Err(problem(format!("override `{name}` has to be a scalar")));
            };
            let kind = match scalar.kind {
                ScalarKind::Bool => Scalar::Bool,
                ScalarKind::Uint if scalar.width == 4 => Scalar::U32,
                ScalarKind::Sint if scalar.width == 4 => Scalar::I32,
                ScalarKind::Float if scalar.width == 4 => Scalar::F32,
                _ => return Err(problem(format!("override `{name}` has to be bool, u32, i32 or f32"))),
            };
            let default = match constant.init {
                None => None,
                Some(init) => Some(literal(module, init).ok_or_else(|| {
                    problem(format!("the default of override `{name}` has to be a constant"))
                        .detail("one that depends on other overrides would not be known before the pipeline is made")
                })?),
            };
            Ok(Override { name, kind, default })
        })
        .collect()
}

fn literal(module: &naga::Module, handle: Handle<Expression>) -> Option<f64> {
    match module.global_expressions[handle] {
        Expression::Literal(literal) => Some(match literal {
            Literal::F32(value) => f64::from(value),
            Literal::U32(value) => f64::from(value),
            Literal::I32(value) => f64::from(value),
            Literal::Bool(value) => f64::from(u8::from(value)),
            _ => return None,
        }),
        Expression::Constant(constant) => literal(module, module.constants[constant].init),
        _ => None,
    }
}

fn workgroup(subject: &Subject<'_>, point: &naga::EntryPoint) -> Result<[Extent; 3], Problem> {
    let module = subject.module;
    let mut extents = point.workgroup_size.map(Extent::Literal);
    for (extent, handle) in extents.iter_mut().zip(point.workgroup_size_overrides.unwrap_or_default()) {
        let Some(handle) = handle else { continue };
        let name = match module.global_expressions[handle] {
            Expression::Override(constant) => module.overrides[constant].name.clone(),
            _ => None,
        };
        let Some(name) = name else {
            let message = format!("a workgroup dimension of `{}` is neither a number nor an override", point.name);
            return Err(subject.problem(module.global_expressions.get_span(handle), message));
        };
        *extent = Extent::Override(name);
    }
    Ok(extents)
}
