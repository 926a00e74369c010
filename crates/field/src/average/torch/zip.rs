//! Zip archives without compression, as torch writes them.

use std::collections::HashMap;

/// Elements of tensors begin at multiples of it, so that a reader can map them.
const ALIGNMENT: usize = 64;

/// Largest size of an archive without the extension for large ones.
const MOST: usize = u32::MAX as usize;

const LOCAL: u32 = 0x0403_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
const END_64: u32 = 0x0606_4b50;
const LOCATOR_64: u32 = 0x0706_4b50;

/// Version of the format that a reader needs to know, and the date 1980-01-01: equal files give equal bytes.
const VERSION: u16 = 20;
const DATE: u16 = 0x21;

/// Returns the bytes of an archive of files in one folder.
pub(super) fn write(folder: &str, files: &[(String, Vec<u8>)]) -> Result<Vec<u8>, String> {
    let size: usize = files.iter().map(|(name, bytes)| bytes.len() + 2 * (folder.len() + name.len()) + 256).sum();
    if size > MOST {
        return Err("a lens file has less than 4 GiB, and this one would have more; write .safetensors".to_owned());
    }
    let (mut out, mut central) = (Vec::with_capacity(size), Vec::new());
    for (name, bytes) in files {
        let (name, at) = (format!("{folder}/{name}"), out.len());
        // The extra field moves the contents to a multiple of the alignment.
        let start = at + 30 + name.len() + 4;
        let padding = start.next_multiple_of(ALIGNMENT) - start;
        let sizes = [crc32(bytes), bytes.len() as u32, bytes.len() as u32];
        let common = |out: &mut Vec<u8>, extra: u16| {
            // Version, no flags, no compression, time and date.
            [VERSION, 0, 0, 0, DATE].iter().for_each(|x| out.extend(x.to_le_bytes()));
            sizes.iter().for_each(|x| out.extend(x.to_le_bytes()));
            [name.len() as u16, extra].iter().for_each(|x| out.extend(x.to_le_bytes()));
        };
        out.extend(LOCAL.to_le_bytes());
        common(&mut out, padding as u16 + 4);
        out.extend(name.as_bytes());
        out.extend(*b"FB");
        out.extend((padding as u16).to_le_bytes());
        out.extend(std::iter::repeat_n(b'Z', padding));
        out.extend(bytes);
        central.extend(CENTRAL.to_le_bytes());
        central.extend(VERSION.to_le_bytes());
        common(&mut central, 0);
        // No comment, one volume, no attributes.
        central.extend([0; 10]);
        central.extend((at as u32).to_le_bytes());
        central.extend(name.as_bytes());
    }
    let (at, count) = (out.len() as u32, files.len() as u16);
    out.extend(&central);
    out.extend(END.to_le_bytes());
    [0, 0, count, count].iter().for_each(|x| out.extend(x.to_le_bytes()));
    [central.len() as u32, at].iter().for_each(|x| out.extend(x.to_le_bytes()));
    out.extend([0; 2]);
    Ok(out)
}

/// The checksum of zip: CRC-32 with the reflected polynomial `0xEDB88320`.
fn crc32(bytes: &[u8]) -> u32 {
    let table: Vec<u32> =
        (0..256u32).map(|i| (0..8).fold(i, |c, _| if c & 1 == 1 { 0xEDB8_8320 ^ (c >> 1) } else { c >> 1 })).collect();
    !bytes.iter().fold(!0, |c, &byte| table[((c ^ u32::from(byte)) & 0xFF) as usize] ^ (c >> 8))
}

/// The files of an archive by their names, without the folder that torch puts them in.
pub(super) struct Archive<'a> {
    files: HashMap<String, &'a [u8]>,
}

impl<'a> Archive<'a> {
    /// Reads the directory of an archive.
    pub(super) fn new(bytes: &'a [u8]) -> Result<Self, String> {
        let reader = Reader { bytes };
        let (mut at, count) = reader.directory().ok_or("it is not a zip archive, as torch.save writes it")?;
        let mut files = HashMap::new();
        for _ in 0..count {
            let (name, contents, next) = reader.entry(at)?;
            let name = name.split_once('/').map_or(name.clone(), |(_, name)| name.to_owned());
            files.insert(name, contents);
            at = next;
        }
        Ok(Self { files })
    }

    /// Returns the contents of a file.
    pub(super) fn file(&self, name: &str) -> Result<&'a [u8], String> {
        self.files.get(name).copied().ok_or_else(|| format!("the archive has no file `{name}`"))
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn slice(&self, at: usize, length: usize) -> Option<&'a [u8]> {
        self.bytes.get(at..at.checked_add(length)?)
    }

    fn u16(&self, at: usize) -> Option<usize> {
        Some(usize::from(u16::from_le_bytes(self.slice(at, 2)?.try_into().ok()?)))
    }

    fn u32(&self, at: usize) -> Option<u32> {
        Some(u32::from_le_bytes(self.slice(at, 4)?.try_into().ok()?))
    }

    fn u64(&self, at: usize) -> Option<usize> {
        usize::try_from(u64::from_le_bytes(self.slice(at, 8)?.try_into().ok()?)).ok()
    }

    /// Returns where the directory begins, and the number of its entries.
    fn directory(&self) -> Option<(usize, usize)> {
        // The record is at the end, before a comment of up to 64 KiB.
        let last = self.bytes.len().checked_sub(22)?;
        let end = (last.saturating_sub(0xFFFF)..=last).rev().find(|&at| self.u32(at) == Some(END))?;
        let (count, at) = (self.u16(end + 10)?, self.u32(end + 16)? as usize);
        if count < 0xFFFF && at < MOST {
            return Some((at, count));
        }
        let locator = end.checked_sub(20).filter(|&at| self.u32(at) == Some(LOCATOR_64))?;
        let end = self.u64(locator + 8).filter(|&at| self.u32(at) == Some(END_64))?;
        Some((self.u64(end.checked_add(48)?)?, self.u64(end + 32)?))
    }

    /// Returns name and contents of an entry of the directory, and where the next one is.
    fn entry(&self, at: usize) -> Result<(String, &'a [u8], usize), String> {
        let damaged = || "its directory is damaged; save or download it again".to_owned();
        let fields = || {
            self.u32(at).filter(|&mark| mark == CENTRAL)?;
            let (name, extra, comment) = (self.u16(at + 28)?, self.u16(at + 30)?, self.u16(at + 32)?);
            let text = String::from_utf8_lossy(self.slice(at + 46, name)?).into_owned();
            let mut sizes = [self.u32(at + 20)?, self.u32(at + 24)?, self.u32(at + 42)?].map(|x| x as usize);
            self.widen(at + 46 + name, extra, &mut sizes)?;
            Some((self.u16(at + 10)?, text, sizes, at + 46 + name + extra + comment))
        };
        let (method, name, [packed, size, local], next) = fields().ok_or_else(damaged)?;
        if method != 0 || packed != size {
            return Err(format!("`{name}` is compressed, which torch.save does not do; save it again"));
        }
        let contents = || {
            self.u32(local).filter(|&mark| mark == LOCAL)?;
            let start = local.checked_add(30 + self.u16(local.checked_add(26)?)? + self.u16(local + 28)?)?;
            self.slice(start, size)
        };
        Ok((name, contents().ok_or_else(|| "it is cut off; save or download it again".to_owned())?, next))
    }

    /// Takes sizes and offset that do not fit 32 bits from the extra fields: uncompressed, compressed, offset.
    fn widen(&self, mut at: usize, length: usize, [packed, size, local]: &mut [usize; 3]) -> Option<()> {
        let end = at.checked_add(length)?;
        while at + 4 <= end {
            let (kind, length) = (self.u16(at)?, self.u16(at + 2)?);
            let mut field = at + 4;
            for value in [&mut *size, &mut *packed, &mut *local] {
                if kind == 1 && *value == MOST {
                    *value = self.u64(field)?;
                    field += 8;
                }
            }
            at += 4 + length;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let files = [("a".to_owned(), b"123456789".to_vec()), ("data/0".to_owned(), vec![7; 100])];
        let bytes = write("x", &files).expect("fits");
        let archive = Archive::new(&bytes).expect("reads");
        assert!(files.iter().all(|(name, contents)| archive.file(name) == Ok(contents)));
        assert!(archive.file("b").is_err_and(|reason| reason.contains("no file `b`")));
        let at = bytes.windows(100).position(|window| window == [7; 100]).expect("is stored");
        assert_eq!(at % ALIGNMENT, 0);
        // The check value of the polynomial.
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn damaged_archives_are_errors() {
        let bytes = write("x", &[("a".to_owned(), vec![1; 300])]).expect("fits");
        for end in 0..bytes.len() {
            assert!(Archive::new(&bytes[..end]).is_err(), "{end}");
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0xFF;
            // A changed byte may be in the contents; it never panics.
            drop(Archive::new(&changed));
        }
    }
}
