//! Rank correlation of more pairs than fit into memory: sorted in parts, which are then merged.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;

use crate::store::Room;

use super::correlation::RankSums;

/// A number as an integer of the same order, and what belongs to it.
type Entry = (u64, u64);

/// Entries of one part that are read together.
const READ: usize = 256;

/// Bytes of an entry in a file.
const BYTES: usize = 16;

/// Returns an integer of the same order. Both zeros are equal; a NaN has no order.
fn ordered(x: f64) -> u64 {
    let bits = (x + 0.0).to_bits();
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

/// Pairs whose rank correlation is wanted.
pub(crate) struct Ranking<'a> {
    entries: Sorted<'a>,
    count: usize,
    has_nan: bool,
}

impl<'a> Ranking<'a> {
    pub(crate) fn new(room: Room<'a>) -> Self {
        Self { entries: Sorted::new(room), count: 0, has_nan: false }
    }

    pub(crate) fn add(&mut self, predicted: f64, actual: f64) -> io::Result<()> {
        self.count += 1;
        self.has_nan |= predicted.is_nan() || actual.is_nan();
        self.entries.add((ordered(predicted), ordered(actual)))
    }

    /// Returns Spearman's correlation of the pairs; NaN if any value is NaN.
    pub(crate) fn spearman(self) -> io::Result<f64> {
        if self.has_nan {
            return Ok(f64::NAN);
        }
        let (room, mut sums) = (self.entries.room, RankSums::new(self.count));
        let mut by_actual = Sorted::new(room);
        self.entries.ranked(&mut |rank, actual| by_actual.add((actual, rank)))?;
        by_actual.ranked(&mut |rank, predicted| {
            sums.add([predicted, rank]);
            Ok(())
        })?;
        Ok(sums.correlation())
    }
}

/// Entries in ascending order, once all have been added.
struct Sorted<'a> {
    room: Room<'a>,
    /// Entries that are not in the file.
    buffer: Vec<Entry>,
    /// Sorted parts, and the numbers of their entries in the file.
    file: Option<File>,
    parts: Vec<Range<u64>>,
}

impl<'a> Sorted<'a> {
    fn new(room: Room<'a>) -> Self {
        Self { room, buffer: Vec::new(), file: None, parts: Vec::new() }
    }

    fn add(&mut self, entry: Entry) -> io::Result<()> {
        self.buffer.push(entry);
        let most = (self.room.memory / size_of::<Entry>()).max(READ);
        if self.buffer.len() >= most && self.room.folder.is_some() { self.write_part() } else { Ok(()) }
    }

    /// Writes the entries in memory as a sorted part.
    fn write_part(&mut self) -> io::Result<()> {
        self.buffer.sort_unstable();
        if self.file.is_none() {
            self.file = self.room.file()?;
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        for entries in self.buffer.chunks(READ) {
            let bytes: Vec<u8> =
                entries.iter().flat_map(|(key, of)| [key.to_le_bytes(), of.to_le_bytes()]).flatten().collect();
            file.write_all(&bytes)?;
        }
        let start = self.parts.last().map_or(0, |part| part.end);
        self.parts.push(start..start + self.buffer.len() as u64);
        self.buffer.clear();
        Ok(())
    }

    /// Visits all entries in ascending order: twice the rank, from 0, and what belongs to the number. Equal numbers
    /// have the mean of their ranks.
    fn ranked(mut self, visit: &mut dyn FnMut(u64, u64) -> io::Result<()>) -> io::Result<()> {
        let mut first = 0;
        let mut group = |count: u64| {
            let rank = 2 * first + count - 1;
            first += count;
            rank
        };
        if self.file.is_none() {
            self.buffer.sort_unstable();
            for equal in self.buffer.chunk_by(|a, b| a.0 == b.0) {
                let rank = group(equal.len() as u64);
                equal.iter().try_for_each(|(_, of)| visit(rank, *of))?;
            }
            return Ok(());
        }
        self.write_part()?;
        self.buffer = Vec::new();
        let Some(file) = &self.file else { return Ok(()) };
        // A group may have more entries than memory. So one pass counts them, and a second one visits them.
        let [mut ahead, mut behind] = [Merge::of(file, &self.parts)?, Merge::of(file, &self.parts)?];
        while let Some((key, _)) = ahead.next()? {
            let mut count = 1;
            while ahead.peek() == Some(key) {
                ahead.next()?;
                count += 1;
            }
            let rank = group(count);
            for _ in 0..count {
                if let Some((_, of)) = behind.next()? {
                    visit(rank, of)?;
                }
            }
        }
        Ok(())
    }
}

/// The entries of all parts in ascending order.
struct Merge<'a> {
    file: &'a File,
    parts: Vec<Part>,
    /// The next entry of each part that is not at its end, smallest first, and the number of the part.
    next: BinaryHeap<Reverse<(Entry, usize)>>,
}

/// What is not merged of a part.
struct Part {
    rest: Range<u64>,
    /// The next entries, last first.
    read: Vec<Entry>,
}

impl<'a> Merge<'a> {
    fn of(file: &'a File, parts: &[Range<u64>]) -> io::Result<Self> {
        let parts = parts.iter().map(|part| Part { rest: part.clone(), read: Vec::new() }).collect();
        let mut merge = Self { file, parts, next: BinaryHeap::new() };
        (0..merge.parts.len()).try_for_each(|part| merge.advance(part))?;
        Ok(merge)
    }

    fn peek(&self) -> Option<u64> {
        self.next.peek().map(|Reverse(((key, _), _))| *key)
    }

    fn next(&mut self) -> io::Result<Option<Entry>> {
        let Some(Reverse((entry, part))) = self.next.pop() else { return Ok(None) };
        self.advance(part)?;
        Ok(Some(entry))
    }

    /// Adds the next entry of a part.
    fn advance(&mut self, number: usize) -> io::Result<()> {
        let part = &mut self.parts[number];
        if part.read.is_empty() && !part.rest.is_empty() {
            let count = (part.rest.end - part.rest.start).min(READ as u64);
            let mut bytes = vec![0; BYTES * count as usize];
            let mut file = self.file;
            file.seek(SeekFrom::Start(BYTES as u64 * part.rest.start))?;
            file.read_exact(&mut bytes)?;
            part.rest.start += count;
            let numbers: Vec<u64> = bytes.as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
            part.read.extend(numbers.as_chunks().0.iter().rev().map(|[key, of]| (*key, *of)));
        }
        self.next.extend(part.read.pop().map(|entry| Reverse((entry, number))));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{below, spearman};
    use super::*;

    #[test]
    fn integers_have_the_order_of_numbers() {
        let x = [f64::NEG_INFINITY, -2.5, -1e-300, 0.0, 1e-300, 1.0, f64::INFINITY];
        assert!(x.map(ordered).is_sorted_by(|a, b| a < b));
        assert_eq!(ordered(-0.0), ordered(0.0));
    }

    /// Ties of any size, in memory and in many parts, give the correlation of all pairs, and another order the same
    /// bits.
    #[test]
    fn parts_give_the_correlation_of_all_pairs() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut state = 3;
        for (count, values) in [(0, 1), (1, 1), (5, 9), (3000, 4), (3000, 1 << 30), (3000, 1)] {
            let mut x = || -> Vec<f64> { (0..count).map(|_| below(&mut state, values) as f64 - 2.0).collect() };
            let (x, mut y) = (x(), x());
            y.iter_mut().zip(&x).for_each(|(y, x)| *y += 0.5 * x);
            let of = |room: Room<'_>, order: &mut dyn Iterator<Item = usize>| {
                let mut ranking = Ranking::new(room);
                order.for_each(|i| ranking.add(x[i], y[i]).expect("writes"));
                (ranking.entries.parts.len(), ranking.spearman().expect("reads").to_bits())
            };
            let wanted = spearman(&x, &y).to_bits();
            let small = Room { memory: 0, folder: Some(folder.path()) };
            assert_eq!(of(Room::MEMORY, &mut (0..count)), (0, wanted), "{count} {values}");
            assert_eq!(of(small, &mut (0..count)), (count / READ, wanted), "{count} {values}");
            assert_eq!(of(small, &mut (0..count).rev()), (count / READ, wanted), "{count} {values}");
            let mut ranking = Ranking::new(small);
            ranking.add(1.0, f64::NAN).expect("writes");
            assert!(ranking.spearman().expect("reads").is_nan());
        }
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
    }
}
