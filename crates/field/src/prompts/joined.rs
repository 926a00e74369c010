//! The results of many prompts as one: in memory, or in a file that is written piece by piece.
//!
//! The results are read several times, once for each thing that needs all of them. So memory has those of a few
//! prompts, the numbers of all prompts at some places, and what is joined. Longer lists go to temporary files.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

use serde_json::json;

use crate::error::{Error, Result};
use crate::file::{unwritten, write_file};
use crate::labelled::{Array, Labelled};
use crate::site_kind::SiteKind;
use crate::stats::{Agreement, Centred, Ranking, Sums, above};
use crate::store::{Planned, Room, Spool, Text, distinct_names, little_endian, write_header};
use crate::study::left_out::{self, LeftOut};

use super::bootstrap::{self, Means, named};
use super::columns::{EachPrompt, Places, Selected, blocks, width};
use super::outline::{Outline, TOKENS};

/// Seed of the resamples.
const SEED: u64 = 0;

/// What NaN means in an array that is padded.
const PADDING: &str = "after the end of a shorter prompt";

/// Bytes of memory for pairs that are sorted.
const SORTED: usize = 16 << 20;

/// Bytes of an array that are written together.
const PIECE: usize = 64 << 10;

/// What is joined of many prompts, without the arrays that have a row for each.
pub(crate) struct Joined<'r> {
    /// Metadata and checks.
    about: Labelled,
    /// Metadata that are lists over prompts, and the texts before them.
    lists: BTreeMap<String, (String, Spool<'r>)>,
    /// All arrays in their order; without elements those of the prompts.
    arrays: Vec<(Planned, Option<Vec<f32>>)>,
    prompts: usize,
}

/// Takes elements of an array, given the indices of the array and of the first element.
type Put<'a> = &'a mut dyn FnMut(usize, usize, &[f32]) -> Result<()>;

/// Returns the error of a set without results.
pub(super) fn nothing(left_out: &[LeftOut]) -> Error {
    Error::Input(match left_out.first() {
        Some(first) => format!("no prompt can be analysed; {first}"),
        None => "there are no prompts".to_owned(),
    })
}

impl<'r> Joined<'r> {
    /// Joins the prompts of `set`, of which there is an outline.
    ///
    /// # Errors
    /// There are no results, their arrays do not match, or a full disk.
    pub(crate) fn of(mut outline: Outline<'r>, set: &dyn EachPrompt, left_out: &[LeftOut]) -> Result<Self> {
        if outline.lengths.is_empty() {
            return Err(nothing(left_out));
        }
        outline.retain_shared()?;
        let arrays = arrays(&outline, set)?;
        let certificates = std::mem::take(&mut outline.certificates);
        let mut about = certificates.into_iter().try_fold(Labelled::default(), Labelled::certify)?;
        let mut lists = BTreeMap::new();
        for (key, texts) in std::mem::take(&mut outline.facts) {
            let key = if key == TOKENS { "prompt_tokens".to_owned() } else { key };
            match texts.into() {
                Ok(text) => drop(about.metadata.insert(key, text)),
                Err(list) => drop(lists.insert(key, (String::new(), list))),
            }
        }
        let mut joined = Self { about, lists, arrays, prompts: outline.lengths.len() };
        joined.count_gaps(&outline);
        if !outline.roles.is_empty() {
            joined = joined.note("roles", json!(outline.roles).to_string());
        }
        for (kind, agreement) in agreements(&outline, &joined.about, set)? {
            joined = joined.note(&format!("agreement.{kind}"), agreement.to_string());
        }
        for (key, text) in left_out::write(Labelled::default(), left_out).metadata {
            joined = joined.note(&key, text);
        }
        let count = joined.prompts.to_string();
        joined = joined.note("prompts", count).note("intervals", bootstrap::described(SEED));
        joined.about.metadata.remove("prompt_names");
        joined.lists.insert("prompt_names".to_owned(), (String::new(), outline.names));
        Ok(joined)
    }

    /// Returns how often the prompts of an outline are read until they are joined and written.
    ///
    /// # Errors
    /// An array with other axes in other prompts.
    pub(crate) fn passes(outline: &mut Outline<'r>) -> Result<usize> {
        outline.retain_shared()?;
        let places = outline.arrays.iter().flat_map(|shape| shape.places(&outline.roles));
        let blocks = places.map(|places| places.len()).sum::<usize>().div_ceil(width(
            outline.lengths.len(),
            1,
            outline.room.memory,
        ));
        let is_sweep = outline.facts.get("analysis").is_some_and(|text| text.is("patch"));
        let ranks = if is_sweep && !kinds(outline).is_empty() { 2 } else { 0 };
        Ok(blocks + ranks + 1)
    }

    /// Adds an entry to the metadata.
    #[must_use]
    pub(crate) fn note(mut self, key: &str, text: String) -> Self {
        self.lists.remove(key);
        self.about.metadata.insert(key.to_owned(), text);
        self
    }

    /// Notes how many elements of each array are not finite.
    fn count_gaps(&mut self, outline: &Outline<'_>) {
        for (planned, data) in &self.arrays {
            let (name, all) = (planned.name, planned.len());
            let gaps = match (data, outline.arrays.iter().find(|shape| shape.name == name)) {
                (Some(data), _) => data.iter().filter(|x| !x.is_finite()).count(),
                (None, shape) => shape.map_or(0, |shape| shape.not_finite()),
            };
            if gaps == 0 {
                continue;
            }
            let (key, what) =
                (format!("not_finite.{name}"), if name.contains('.') { "too few prompts, or " } else { "" });
            let text = format!("{gaps} of {all}: {what}{PADDING}");
            match (self.about.metadata.remove(&key), self.lists.get_mut(&key)) {
                (_, Some((before, _))) => *before = format!("{text}; of the prompts: "),
                (Some(known), None) => {
                    self.about.metadata.insert(key, format!("{text}; of the prompts: {known}"));
                }
                (None, None) => drop(self.about.metadata.insert(key, text)),
            }
        }
    }

    /// Returns the result with all arrays.
    ///
    /// # Errors
    /// As [`EachPrompt::each`].
    pub(crate) fn whole(mut self, set: &dyn EachPrompt) -> Result<Labelled> {
        let size = |(planned, data): &(Planned, Option<Vec<f32>>)| if data.is_none() { planned.len() } else { 0 };
        let mut rows: Vec<Vec<f32>> = self.arrays.iter().map(|array| vec![f32::NAN; size(array)]).collect();
        self.fill(set, &mut |array, at, row| {
            rows[array][at..at + row.len()].copy_from_slice(row);
            Ok(())
        })?;
        for ((_, data), rows) in self.arrays.iter_mut().zip(rows) {
            data.get_or_insert(rows);
        }
        for (key, (mut text, list)) in std::mem::take(&mut self.lists) {
            let mut before = "[";
            // Memory takes all lines, and gives them back.
            let _infallible = list.each(&mut |line| {
                text.push_str(before);
                text.push_str(line);
                before = ",";
                Ok(())
            });
            text.push(']');
            self.about.metadata.insert(key, text);
        }
        Ok(self.brief())
    }

    /// Returns the result without the arrays of the prompts and without the lists over prompts.
    fn brief(self) -> Labelled {
        let mut result = self.about;
        for (Planned { name, axes }, data) in self.arrays {
            result.arrays.extend(data.map(|data| Array { name, axes, data }));
        }
        result
    }

    /// Writes the result into a safetensors file, with the bytes of the whole result. `path` leads to the regular file
    /// `at`. Returns the result without the arrays of the prompts and without the lists over prompts.
    ///
    /// # Errors
    /// As [`EachPrompt::each`], two arrays of one name, or a full disk.
    pub(crate) fn write(self, set: &dyn EachPrompt, (path, at): (&Path, &Path)) -> Result<Labelled> {
        let planned: Vec<Planned> = self.arrays.iter().map(|(planned, _)| planned.clone()).collect();
        distinct_names(planned.iter().map(|array| array.name))?;
        let strings = self.about.strings();
        let mut about: BTreeMap<String, Text<'_>> =
            strings.iter().map(|(key, text)| (key.clone(), Text::Whole(text))).collect();
        about.extend(self.lists.iter().map(|(key, (before, list))| (key.clone(), Text::List(before, list))));
        write_file(path, at, &mut |file| {
            let mut into = BufWriter::new(&mut *file);
            let header = write_header(&mut into, &planned, &about, 0).and_then(|length| into.flush().map(|()| length));
            drop(into);
            let mut pieces = Pieces::after(header.map_err(|e| unwritten(path, &e))?, &planned);
            let mut put = |array: usize, at: usize, numbers: &[f32]| {
                pieces.put(file, array, at, numbers).map_err(|e| unwritten(path, &e))
            };
            for (array, (_, data)) in self.arrays.iter().enumerate() {
                data.as_ref().map_or(Ok(()), |data| put(array, 0, data))?;
            }
            self.fill(set, &mut put)?;
            pieces.finish(file).map_err(|e| unwritten(path, &e))
        })?;
        Ok(self.brief())
    }

    /// Gives the rows of all prompts to `put`.
    fn fill(&self, set: &dyn EachPrompt, put: Put<'_>) -> Result<()> {
        let own = |(i, (planned, data)): (usize, &'_ (Planned, Option<Vec<f32>>))| {
            let lengths: Vec<usize> = planned.axes.iter().skip(1).map(|axis| axis.1).collect();
            data.is_none().then_some((i, planned.name, lengths))
        };
        let own: Vec<_> = self.arrays.iter().enumerate().filter_map(own).collect();
        set.each(&|name| own.iter().any(|(_, wanted, _)| *wanted == name), &mut |n, one| {
            for (array, name, lengths) in &own {
                let row = one.result.array(name).and_then(|array| padded(array, lengths));
                let row = row.filter(|_| n < self.prompts).ok_or_else(|| {
                    Error::Input("the results changed while they were joined; join them again".to_owned())
                })?;
                put(*array, n * row.len(), &row)?;
            }
            Ok(())
        })
    }
}

/// Elements of several arrays on their way to a file.
struct Pieces {
    /// For each array: where it begins, where its next piece begins, and what is not written of it.
    arrays: Vec<(u64, u64, Vec<u8>)>,
}

impl Pieces {
    fn after(header: u64, planned: &[Planned]) -> Self {
        let mut start = header;
        let mut one = |array: &Planned| {
            let at = start;
            start += 4 * array.len() as u64;
            (at, at, Vec::new())
        };
        Self { arrays: planned.iter().map(&mut one).collect() }
    }

    /// Writes elements from number `at` on. Those of one array come in their order.
    fn put(&mut self, file: &mut File, array: usize, at: usize, numbers: &[f32]) -> std::io::Result<()> {
        let (start, next, rest) = &mut self.arrays[array];
        debug_assert_eq!(*start + 4 * at as u64, *next + rest.len() as u64);
        rest.extend(little_endian(numbers));
        if rest.len() < PIECE { Ok(()) } else { write_piece(file, next, rest) }
    }

    fn finish(&mut self, file: &mut File) -> std::io::Result<()> {
        self.arrays.iter_mut().try_for_each(|(_, next, rest)| write_piece(file, next, rest))
    }
}

fn write_piece(file: &mut File, next: &mut u64, rest: &mut Vec<u8>) -> std::io::Result<()> {
    file.seek(SeekFrom::Start(*next))?;
    file.write_all(rest)?;
    *next += rest.len() as u64;
    rest.clear();
    Ok(())
}

/// Returns all arrays in their order: those of the prompts without elements, each before its means.
fn arrays(outline: &Outline<'_>, set: &dyn EachPrompt) -> Result<Vec<(Planned, Option<Vec<f32>>)>> {
    let places: Vec<Places> = outline.arrays.iter().flat_map(|shape| shape.places(&outline.roles)).collect();
    let mut means: Vec<Means> = places.iter().map(|places| Means::of_none(places.len())).collect();
    let (every, count): (Vec<_>, _) = ((0..outline.lengths.len()).map(Some).collect(), outline.lengths.len());
    blocks(&[Selected { set, index: &every }], count, &places, outline.room.memory, &mut |block, rows| {
        let found = bootstrap::means(&rows[0], block.len(), SEED);
        let (mut from, mut at) = (0, block.start);
        for means in &mut means {
            let own = from..from + means.mean.len();
            while own.contains(&at) && at < block.end {
                means.set(at - from, &found, at - block.start);
                at += 1;
            }
            from = own.end;
        }
    })?;
    let (mut arrays, mut means) = (Vec::new(), places.iter().zip(means).peekable());
    for shape in &outline.arrays {
        arrays.push((shape.planned(), None));
        while let Some((places, means)) = means.next_if(|(places, _)| places.name == shape.name) {
            let ends = match places.roles.is_empty() {
                true => ["mean", "low", "high"],
                false => ["role", "role_low", "role_high"],
            };
            let named = named(shape.name, ends, &places.shape(), means);
            arrays.extend(named.map(|Array { name, axes, data }| (Planned { name, axes }, Some(data))));
        }
    }
    let most = outline.lengths.iter().copied().max().unwrap_or(0) as usize;
    let mut counts = vec![0usize; most];
    // A prompt counts for each of its tokens from the end.
    outline.lengths.iter().filter(|n| **n > 0).for_each(|n| counts[most - *n as usize] += 1);
    (1..most).for_each(|token| counts[token] += counts[token - 1]);
    let lengths = outline.lengths.iter().map(|&n| n as f32).collect();
    arrays.push((Planned::new("lengths", &[("prompt", count)]), Some(lengths)));
    arrays.push((Planned::new("counts", &[("token", most)]), Some(counts.into_iter().map(|n| n as f32).collect())));
    Ok(arrays)
}

/// Returns the kinds of sites of which there are effects.
fn kinds(outline: &Outline<'_>) -> Vec<SiteKind> {
    let has = |kind: &SiteKind| outline.arrays.iter().any(|shape| shape.name == kind.arrays()[0]);
    SiteKind::ALL.into_iter().filter(has).collect()
}

/// Returns how well first order agrees with the patches of all prompts, for each kind of site of a patch sweep.
fn agreements(outline: &Outline<'_>, about: &Labelled, set: &dyn EachPrompt) -> Result<Vec<(SiteKind, Agreement)>> {
    let is_sweep = about.metadata.get("analysis").is_some_and(|analysis| analysis == "patch");
    let kinds = kinds(outline);
    if !is_sweep || kinds.is_empty() {
        return Ok(Vec::new());
    }
    let failed = |e| unwritten(outline.room.folder.unwrap_or("".as_ref()), &e);
    let each = |visit: &mut dyn FnMut(usize, f64, f64) -> Result<()>| {
        let wanted: Vec<&str> = kinds.iter().flat_map(|kind| kind.arrays()).collect();
        set.each(&|name| wanted.contains(&name), &mut |_, one| {
            let floor = one.result.number(crate::noise::NAME).unwrap_or(0.0);
            for (i, kind) in kinds.iter().enumerate() {
                let [actual, predicted] = kind.arrays().map(|name| one.result.array(name).map_or(&[][..], |a| &a.data));
                for (predicted, actual) in predicted.iter().zip(actual).filter_map(|(&p, &a)| above(p, a, floor)) {
                    visit(i, predicted, actual)?;
                }
            }
            Ok(())
        })
    };
    let room = Room { memory: outline.room.memory.min(SORTED) / kinds.len(), ..outline.room };
    let mut sums = vec![Sums::default(); kinds.len()];
    let mut rankings: Vec<Ranking<'_>> = kinds.iter().map(|_| Ranking::new(room)).collect();
    each(&mut |i, predicted, actual| {
        sums[i].add(predicted, actual);
        rankings[i].add(predicted, actual).map_err(failed)
    })?;
    let mut centred: Vec<Centred> = sums.iter().map(Centred::after).collect();
    each(&mut |i, predicted, actual| {
        centred[i].add(predicted, actual);
        Ok(())
    })?;
    let found = kinds.into_iter().zip(sums).zip(centred).zip(rankings);
    let one = |(((kind, sums), centred), ranking): (((SiteKind, Sums), Centred), Ranking<'_>)| {
        Ok((kind, Agreement::of(&sums, &centred, ranking.spearman().map_err(failed)?)))
    };
    found.map(one).collect()
}

/// Returns the array of one prompt with axes of these lengths, padded with NaN at the end; `None` if it is longer.
fn padded(array: &Array, lengths: &[usize]) -> Option<Vec<f32>> {
    let of: Vec<usize> = array.axes.iter().map(|axis| axis.1).collect();
    if of.len() != lengths.len() || of.iter().zip(lengths).any(|(own, most)| own > most) {
        return None;
    }
    let mut data = vec![f32::NAN; lengths.iter().product()];
    let row = of.last().copied().unwrap_or(1).max(1);
    for (n, values) in array.data.chunks(row).enumerate() {
        // The indices of the row on all axes but the last, first in the prompt's array, then in the padded one.
        let (mut rest, mut at, mut stride) = (n, 0, lengths.last().copied().unwrap_or(1));
        for i in (0..of.len().saturating_sub(1)).rev() {
            at += rest % of[i] * stride;
            rest /= of[i];
            stride *= lengths[i];
        }
        data[at..at + values.len()].copy_from_slice(values);
    }
    Some(data)
}
