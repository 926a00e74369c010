//! The keys and values of a GGUF file. Lists stay in the file until they are asked for.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use super::cursor::Cursor;
use crate::error::shown;

/// Deepest nesting of lists that is read.
const MAX_DEPTH: usize = 8;

/// The type of a value. The discriminants are the numbers of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    U8 = 0,
    I8 = 1,
    U16 = 2,
    I16 = 3,
    U32 = 4,
    I32 = 5,
    F32 = 6,
    Bool = 7,
    Text = 8,
    List = 9,
    U64 = 10,
    I64 = 11,
    F64 = 12,
}

impl Kind {
    const ALL: [Self; 13] = [
        Self::U8,
        Self::I8,
        Self::U16,
        Self::I16,
        Self::U32,
        Self::I32,
        Self::F32,
        Self::Bool,
        Self::Text,
        Self::List,
        Self::U64,
        Self::I64,
        Self::F64,
    ];

    fn read(cursor: &mut Cursor<'_>) -> Result<Self, String> {
        let number = cursor.u32()?;
        let kind = Self::ALL.into_iter().find(|&kind| kind as u32 == number);
        kind.ok_or_else(|| format!("the type {number} of a metadata value does not exist"))
    }

    /// Returns the size of a value in bytes; of a text or list, the size of an empty one.
    fn least(self) -> usize {
        match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 | Self::Text => 8,
            Self::List => 12,
        }
    }
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Unsigned(u64),
    Signed(i64),
    F32(f32),
    F64(f64),
    Bool(bool),
    Text(String),
    List(List),
}

/// A list: the type and number of its elements, and where they are in the file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct List {
    pub(super) kind: Kind,
    pub(super) count: usize,
    bytes: Range<usize>,
}

impl Value {
    fn read(cursor: &mut Cursor<'_>, kind: Kind) -> Result<Self, String> {
        Ok(match kind {
            Kind::U8 => Self::Unsigned(cursor.array().map(u8::from_le_bytes)?.into()),
            Kind::U16 => Self::Unsigned(cursor.array().map(u16::from_le_bytes)?.into()),
            Kind::U32 => Self::Unsigned(cursor.u32()?.into()),
            Kind::U64 => Self::Unsigned(cursor.u64()?),
            Kind::I8 => Self::Signed(cursor.array().map(i8::from_le_bytes)?.into()),
            Kind::I16 => Self::Signed(cursor.array().map(i16::from_le_bytes)?.into()),
            Kind::I32 => Self::Signed(cursor.array().map(i32::from_le_bytes)?.into()),
            Kind::I64 => Self::Signed(cursor.array().map(i64::from_le_bytes)?),
            Kind::F32 => Self::F32(cursor.array().map(f32::from_le_bytes)?),
            Kind::F64 => Self::F64(cursor.array().map(f64::from_le_bytes)?),
            Kind::Bool => match cursor.array::<1>()? {
                [0] => Self::Bool(false),
                [1] => Self::Bool(true),
                [other] => return Err(format!("a metadata value that is true or false is {other}")),
            },
            Kind::Text => Self::Text(cursor.text()?.to_owned()),
            Kind::List => Self::List(List::read(cursor, 0)?),
        })
    }

    /// Returns a whole number that is not negative.
    pub(super) fn whole(&self) -> Option<u64> {
        match self {
            Self::Unsigned(n) => Some(*n),
            Self::Signed(n) => u64::try_from(*n).ok(),
            _ => None,
        }
    }

    /// Returns a number. A stored f32 becomes the shortest decimal that denotes it, as a `config.json` writes it.
    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Self::F32(x) => x.to_string().parse().ok(),
            Self::F64(x) => Some(*x),
            Self::Signed(n) => Some(*n as f64),
            Self::Unsigned(n) => Some(*n as f64),
            _ => None,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsigned(n) => n.fmt(f),
            Self::Signed(n) => n.fmt(f),
            Self::F32(x) => x.fmt(f),
            Self::F64(x) => x.fmt(f),
            Self::Bool(flag) => flag.fmt(f),
            Self::Text(text) => write!(f, "`{}`", shown(text)),
            Self::List(list) => write!(f, "a list of {} values", list.count),
        }
    }
}

impl List {
    /// Reads a list without its elements, which are only checked.
    fn read(cursor: &mut Cursor<'_>, depth: usize) -> Result<Self, String> {
        if depth == MAX_DEPTH {
            return Err(format!("a metadata value has lists inside lists, more than {MAX_DEPTH} deep"));
        }
        let kind = Kind::read(cursor)?;
        let n = cursor.u64()?;
        let count = cursor.count(n, kind.least())?;
        let start = cursor.at();
        match kind {
            Kind::Text => (0..count).try_for_each(|_| cursor.text().map(drop))?,
            Kind::List => (0..count).try_for_each(|_| Self::read(cursor, depth + 1).map(drop))?,
            Kind::Bool => (0..count).try_for_each(|_| Value::read(cursor, kind).map(drop))?,
            _ => {
                cursor.skip((count * kind.least()) as u64)?;
            }
        }
        Ok(Self { kind, count, bytes: start..cursor.at() })
    }
}

/// Reads `count` keys with their values.
pub(super) fn read(cursor: &mut Cursor<'_>, count: usize) -> Result<BTreeMap<String, Value>, String> {
    let mut map = BTreeMap::new();
    for _ in 0..count {
        let key = cursor.text()?;
        let kind = Kind::read(cursor)?;
        let value = Value::read(cursor, kind)?;
        if map.insert(key.to_owned(), value).is_some() {
            return Err(format!("the metadata has `{}` twice", shown(key)));
        }
    }
    Ok(map)
}

/// Size in bytes of the smallest key with its value: a key of no bytes, a type, one byte.
pub(super) const LEAST: usize = 8 + 4 + 1;

/// The metadata of a file, with the bytes of its lists. Errors name the key, what was found and what is expected.
#[derive(Clone, Copy)]
pub(super) struct Metadata<'a> {
    pub(super) map: &'a BTreeMap<String, Value>,
    pub(super) bytes: &'a [u8],
}

impl<'a> Metadata<'a> {
    pub(super) fn get(self, key: &str) -> Option<&'a Value> {
        self.map.get(key)
    }

    pub(super) fn text(self, key: &str) -> Result<Option<&'a str>, String> {
        self.as_kind(key, "text", |value| match value {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        })
    }

    pub(super) fn whole(self, key: &str) -> Result<Option<u64>, String> {
        self.as_kind(key, "a whole number", Value::whole)
    }

    pub(super) fn flag(self, key: &str) -> Result<Option<bool>, String> {
        self.as_kind(key, "true or false", |value| match value {
            Value::Bool(flag) => Some(*flag),
            _ => None,
        })
    }

    fn as_kind<T>(self, key: &str, wanted: &str, with: impl Fn(&'a Value) -> Option<T>) -> Result<Option<T>, String> {
        let Some(value) = self.get(key) else { return Ok(None) };
        with(value).map(Some).ok_or_else(|| format!("`{key}` must be {wanted}, found {value}"))
    }

    /// Returns a list; `None` for another value.
    fn list(self, key: &str) -> Result<Option<&'a List>, String> {
        self.as_kind(key, "a list", |value| match value {
            Value::List(list) => Some(list),
            _ => None,
        })
    }

    /// Returns a list of texts.
    pub(super) fn texts(self, key: &str) -> Result<Option<Vec<&'a str>>, String> {
        let Some(list) = self.list(key)? else { return Ok(None) };
        if list.kind != Kind::Text {
            return Err(format!("`{key}` must be a list of texts, found {:?}", list.kind));
        }
        let mut cursor = Cursor::new(&self.bytes[list.bytes.clone()]);
        (0..list.count).map(|_| cursor.text()).collect::<Result<_, _>>().map(Some)
    }

    /// Returns a list of `count` values that are neither texts nor lists.
    pub(super) fn values(self, key: &str, count: usize) -> Result<Option<Vec<Value>>, String> {
        let Some(list) = self.list(key)? else { return Ok(None) };
        if list.count != count || matches!(list.kind, Kind::Text | Kind::List) {
            let (found, kind) = (list.count, list.kind);
            return Err(format!("`{key}` must be a list of {count} numbers, found {found} of type {kind:?}"));
        }
        let mut cursor = Cursor::new(&self.bytes[list.bytes.clone()]);
        (0..count).map(|_| Value::read(&mut cursor, list.kind)).collect::<Result<_, _>>().map(Some)
    }
}
