//! Reads the pickle of a lens file: numbers, texts, lists, dicts and tensors.
//!
//! Names of functions are compared, and never called.

use std::collections::HashMap;

/// A value of a pickle.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    /// A list or a tuple.
    List(Vec<Value>),
    Dict(Vec<(Value, Value)>),
    /// A function or a class, by its name.
    Name(String),
    Tensor(Tensor),
}

/// A tensor: a view of a file of elements.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tensor {
    /// Name of the file below `data`.
    pub(super) storage: String,
    /// The class of the storage, which tells the type of elements.
    pub(super) kind: String,
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

impl Value {
    /// Returns the entry of a dict.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        match self {
            Self::Dict(entries) => entries.iter().find(|(k, _)| k.text() == Some(key)).map(|(_, value)| value),
            _ => None,
        }
    }

    /// Returns the entries of a dict.
    pub(super) fn entries(&self) -> Option<&[(Value, Value)]> {
        match self {
            Self::Dict(entries) => Some(entries),
            _ => None,
        }
    }

    /// Returns a number that is an index or a length.
    pub(super) fn number(&self) -> Option<usize> {
        match self {
            Self::Int(n) => usize::try_from(*n).ok(),
            _ => None,
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn tensor(&self) -> Option<&Tensor> {
        match self {
            Self::Tensor(tensor) => Some(tensor),
            _ => None,
        }
    }

    /// Returns a text, number or boolean as text.
    pub(super) fn shown(&self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.clone()),
            Self::Int(n) => Some(n.to_string()),
            Self::Float(x) => Some(x.to_string()),
            Self::Bool(b) => Some(b.to_string()),
            _ => None,
        }
    }

    fn list(&self) -> Option<&[Value]> {
        match self {
            Self::List(items) => Some(items),
            _ => None,
        }
    }

    fn numbers(&self) -> Option<Vec<usize>> {
        self.list()?.iter().map(Value::number).collect()
    }
}

/// Reads a pickle.
///
/// # Errors
/// A pickle that is damaged, or that has other values than those of a lens.
pub(super) fn read(bytes: &[u8]) -> Result<Value, String> {
    let mut machine = Machine { bytes, at: 0, stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() };
    loop {
        let at = machine.at;
        match machine.step() {
            Some(Step::Next) => {}
            Some(Step::Done(value)) => return Ok(value),
            Some(Step::Other(what)) => return Err(format!("its pickle has {what}, which no lens has")),
            None => return Err(format!("its pickle is damaged at byte {at}")),
        }
    }
}

enum Step {
    Next,
    Done(Value),
    /// What is not supported.
    Other(String),
}

/// The stack machine of pickle. `None` from a step is damage.
struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    stack: Vec<Value>,
    marks: Vec<usize>,
    memo: HashMap<usize, Value>,
}

impl<'a> Machine<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let found = self.bytes.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(found)
    }

    fn byte(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    fn u32(&mut self) -> Option<usize> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?) as usize)
    }

    fn line(&mut self) -> Option<&'a str> {
        let length = self.bytes.get(self.at..)?.iter().position(|byte| *byte == b'\n')?;
        let line = self.take(length + 1)?;
        std::str::from_utf8(&line[..length]).ok()
    }

    fn text(&mut self, length: usize) -> Option<Value> {
        Some(Value::Text(std::str::from_utf8(self.take(length)?).ok()?.to_owned()))
    }

    /// Removes what lies above the last mark.
    fn marked(&mut self) -> Option<Vec<Value>> {
        let mark = self.marks.pop()?;
        (mark <= self.stack.len()).then(|| self.stack.split_off(mark))
    }

    fn last(&mut self, count: usize) -> Option<Vec<Value>> {
        Some(self.stack.split_off(self.stack.len().checked_sub(count)?))
    }

    fn put(&mut self, key: usize) -> Option<()> {
        // Containers are stored while they are empty. No lens refers to one of them again, so a copy suffices.
        self.memo.insert(key, self.stack.last()?.clone());
        Some(())
    }

    fn fetch(&mut self, key: usize) -> Option<Value> {
        self.memo.get(&key).cloned()
    }

    /// Adds keys and values, one after another, to the dict on the stack.
    fn set(&mut self, items: Vec<Value>) -> Option<()> {
        let Some(Value::Dict(entries)) = self.stack.last_mut() else { return None };
        let mut items = items.into_iter();
        while let Some(key) = items.next() {
            entries.push((key, items.next()?));
        }
        Some(())
    }

    fn append(&mut self, items: Vec<Value>) -> Option<()> {
        let Some(Value::List(list)) = self.stack.last_mut() else { return None };
        list.extend(items);
        Some(())
    }

    fn step(&mut self) -> Option<Step> {
        let pushed = match self.byte()? {
            // Protocol, and frames of protocol 4.
            0x80 => return self.byte().map(|_| Step::Next),
            0x95 => return self.take(8).map(|_| Step::Next),
            b'.' => return self.stack.pop().map(Step::Done),
            b'(' => {
                self.marks.push(self.stack.len());
                return Some(Step::Next);
            }
            b'q' => return self.byte().and_then(|key| self.put(usize::from(key))).map(|()| Step::Next),
            b'r' => return self.u32().and_then(|key| self.put(key)).map(|()| Step::Next),
            0x94 => return self.put(self.memo.len()).map(|()| Step::Next),
            b's' => return self.last(2).and_then(|items| self.set(items)).map(|()| Step::Next),
            b'u' => return self.marked().and_then(|items| self.set(items)).map(|()| Step::Next),
            b'a' => return self.last(1).and_then(|items| self.append(items)).map(|()| Step::Next),
            b'e' => return self.marked().and_then(|items| self.append(items)).map(|()| Step::Next),
            b'h' => self.byte().and_then(|key| self.fetch(usize::from(key)))?,
            b'j' => self.u32().and_then(|key| self.fetch(key))?,
            b'N' => Value::None,
            0x88 => Value::Bool(true),
            0x89 => Value::Bool(false),
            b'K' => Value::Int(i64::from(self.byte()?)),
            b'M' => Value::Int(i64::from(u16::from_le_bytes(self.take(2)?.try_into().ok()?))),
            b'J' => Value::Int(i64::from(i32::from_le_bytes(self.take(4)?.try_into().ok()?))),
            0x8a => Value::Int(self.long()?),
            b'G' => Value::Float(f64::from_be_bytes(self.take(8)?.try_into().ok()?)),
            b'X' => self.u32().and_then(|length| self.text(length))?,
            0x8c => self.byte().and_then(|length| self.text(usize::from(length)))?,
            b'}' => Value::Dict(Vec::new()),
            b']' | b')' => Value::List(Vec::new()),
            b't' => Value::List(self.marked()?),
            0x85..=0x87 => {
                let count = self.bytes[self.at - 1] - 0x84;
                Value::List(self.last(usize::from(count))?)
            }
            b'c' => Value::Name(format!("{}.{}", self.line()?, self.line()?)),
            b'Q' => match storage(&self.stack.pop()?) {
                Some(tensor) => Value::Tensor(tensor),
                None => return Some(Step::Other("a reference that is no storage".to_owned())),
            },
            b'R' => match &self.last(2)?[..] {
                [Value::Name(name), arguments] => match reduce(name, arguments) {
                    Some(value) => value,
                    None => return Some(Step::Other(format!("a call of `{name}`"))),
                },
                _ => return None,
            },
            other => return Some(Step::Other(format!("the instruction {other:#04x}"))),
        };
        self.stack.push(pushed);
        Some(Step::Next)
    }

    /// Reads an integer of up to eight bytes, in two's complement.
    fn long(&mut self) -> Option<i64> {
        let length = usize::from(self.byte()?);
        let bytes = self.take(length).filter(|bytes| bytes.len() <= 8)?;
        let fill = if bytes.last().is_some_and(|byte| byte & 0x80 != 0) { 0xFF } else { 0 };
        let mut all = [fill; 8];
        all[..length].copy_from_slice(bytes);
        Some(i64::from_le_bytes(all))
    }
}

/// Returns a storage as a tensor without a shape: `("storage", class, file, device, length)`.
fn storage(reference: &Value) -> Option<Tensor> {
    let [Value::Text(tag), Value::Name(class), Value::Text(file), ..] = reference.list()? else { return None };
    let kind = class.strip_prefix("torch.").filter(|_| tag == "storage")?;
    let (storage, kind) = (file.clone(), kind.to_owned());
    Some(Tensor { storage, kind, offset: 0, shape: Vec::new(), strides: Vec::new() })
}

/// Returns what a function of torch gives: a tensor of a storage, or an empty dict.
fn reduce(name: &str, arguments: &Value) -> Option<Value> {
    match (name, arguments.list()?) {
        ("collections.OrderedDict", []) => Some(Value::Dict(Vec::new())),
        ("torch._utils._rebuild_tensor_v2", [Value::Tensor(storage), offset, shape, strides, ..]) => {
            let (shape, strides) = (shape.numbers()?, strides.numbers()?);
            Some(Value::Tensor(Tensor { offset: offset.number()?, shape, strides, ..storage.clone() }))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read() {
        // {"a": [1, -2, 300, 70000], "b": (True, None), "c": 1.5} in protocol 2, as Python writes it.
        let bytes = b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01]q\x02(K\x01J\xfe\xff\xff\xffM,\x01Jp\x11\x01\x00eX\x01\
            \x00\x00\x00bq\x03\x88N\x86q\x04X\x01\x00\x00\x00cq\x05G?\xf8\x00\x00\x00\x00\x00\x00u.";
        let value = read(bytes).expect("reads");
        let numbers = [1, -2, 300, 70000].map(Value::Int).to_vec();
        assert_eq!(value.get("a"), Some(&Value::List(numbers)));
        assert_eq!(value.get("b"), Some(&Value::List(vec![Value::Bool(true), Value::None])));
        assert_eq!(value.get("c").and_then(Value::shown).as_deref(), Some("1.5"));
        for end in 0..bytes.len() {
            assert!(read(&bytes[..end]).is_err_and(|reason| reason.contains("damaged")), "{end}");
        }
    }

    /// A pickle that would run a command is refused.
    #[test]
    fn nothing_is_called() {
        let reason = read(b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00ls\x85R.").expect_err("refused");
        assert_eq!(reason, "its pickle has a call of `os.system`, which no lens has");
        assert!(read(b"\x80\x02cx\ny\nb.").is_err_and(|reason| reason.contains("instruction 0x62")));
    }

    /// Integers of any length that fits.
    #[test]
    fn long_integers() {
        assert_eq!(read(b"\x80\x02\x8a\x02\xff\x00."), Ok(Value::Int(255)));
        assert_eq!(read(b"\x80\x02\x8a\x01\xff."), Ok(Value::Int(-1)));
        assert_eq!(read(b"\x80\x02\x8a\x00."), Ok(Value::Int(0)));
        assert!(read(b"\x80\x02\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x00.").is_err());
    }
}
