//! Files of the next model, which arrive in pieces.

use crate::error::{Error, Result};

/// Most bytes of one file: no allocation is larger on a platform of 32 bits.
const MOST: u64 = isize::MAX as u64;

/// The files of a model, in memory.
#[derive(Debug, Default)]
pub(crate) struct Files(Vec<(String, Vec<u8>)>);

impl Files {
    /// Begins a file, and allocates memory for `bytes` bytes of it.
    ///
    /// # Errors
    /// [`Error::Room`]: there is no memory for them. Nothing is allocated then.
    pub(crate) fn begin(&mut self, name: &str, bytes: u64) -> Result<()> {
        let mut file = Vec::new();
        let room = usize::try_from(bytes).ok().filter(|_| bytes <= MOST);
        if room.is_none_or(|room| file.try_reserve_exact(room).is_err()) {
            return Err(Error::Room { name: name.to_owned(), bytes, others: size(&self.0), most: MOST });
        }
        self.0.push((name.to_owned(), file));
        Ok(())
    }

    /// Appends a piece to the file that was begun last.
    ///
    /// # Errors
    /// [`Error::Room`]: the file is longer than was said, and there is no memory for more.
    pub(crate) fn append(&mut self, piece: &[u8]) -> Result<()> {
        let Some(((name, file), before)) = self.0.split_last_mut() else {
            return Err(Error::Request("no file was begun".to_owned()));
        };
        if file.try_reserve(piece.len()).is_err() {
            let bytes = file.len() as u64 + piece.len() as u64;
            return Err(Error::Room { name: name.clone(), bytes, others: size(before), most: MOST });
        }
        file.extend_from_slice(piece);
        Ok(())
    }

    /// Returns the files, and forgets them.
    pub(crate) fn take(&mut self) -> Vec<(String, Vec<u8>)> {
        std::mem::take(&mut self.0)
    }
}

/// Returns the number of bytes of files.
fn size(files: &[(String, Vec<u8>)]) -> u64 {
    files.iter().map(|(_, file)| file.len() as u64).sum()
}
