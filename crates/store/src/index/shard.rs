//! One map with its overlay: reads see both, folding empties the overlay into the map.
//!
//! While a fold is under way, perhaps on another thread, what is being folded lies between the two as
//! `frozen` and hides the rows of the base that it changes.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::iter::Peekable;
use std::ops::Bound;
use std::sync::Arc;

use super::rows::{TALLY_FROM, TALLY_TO, Tally, Value, WATERMARK_KEY, Watermark, parse_tally_key, tally_key};
use super::{IndexBase, IndexRow};
use crate::IndexError;
use crate::log::layout::SegmentNo;

/// A map and what is not in it yet.
pub(crate) struct Shard {
    base: Arc<dyn IndexBase>,
    frozen: Option<Arc<Frozen>>,
    overlay: BTreeMap<Vec<u8>, Entry>,
    tallies: BTreeMap<SegmentNo, Tally>,
    changed_tallies: BTreeSet<SegmentNo>,
    watermark: Option<Watermark>,
}

#[derive(Debug)]
struct Entry {
    /// `None`: deleted.
    value: Option<Vec<u8>>,
    /// Whether the base may have a row of this key, which folding must then replace or delete.
    in_base: bool,
}

/// Changes on their way into a base, which then is complete up to a watermark.
#[derive(Debug)]
pub(crate) struct Frozen {
    rows: BTreeMap<Vec<u8>, Entry>,
    tallies: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    watermark: Watermark,
}

/// A fold that can be done on any thread.
#[derive(Clone)]
pub(crate) struct Fold {
    base: Arc<dyn IndexBase>,
    frozen: Arc<Frozen>,
}

/// What became of a fold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Folded {
    Done,
    /// It stays in memory, to be run again before any other.
    NoRoom,
}

impl Fold {
    /// Runs folds one after the other; running one again changes nothing.
    pub(crate) fn run_all(folds: &[Self]) -> Result<Folded, IndexError> {
        match folds.iter().try_for_each(Self::run) {
            Ok(()) => Ok(Folded::Done),
            Err(IndexError::Full) => Ok(Folded::NoRoom),
            Err(error) => Err(error),
        }
    }

    fn run(&self) -> Result<(), IndexError> {
        let Frozen { rows, tallies, watermark } = &*self.frozen;
        let mark = watermark.encode();
        let rows = rows.iter().map(|(key, entry)| (key.as_slice(), entry.value.as_deref()));
        let tallies = tallies.iter().map(|(key, value)| (key.as_slice(), value.as_deref()));
        self.base.apply(&mut rows.chain(tallies).chain([(WATERMARK_KEY, Some(mark.as_slice()))]))
    }
}

impl fmt::Debug for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shard")
            .field("overlay", &self.overlay.len())
            .field("watermark", &self.watermark)
            .finish_non_exhaustive()
    }
}

impl Shard {
    pub(crate) fn open(base: Arc<dyn IndexBase>) -> Result<Self, IndexError> {
        let watermark = base.get(WATERMARK_KEY)?.map(|bytes| Watermark::decode(&bytes)).transpose()?;
        let tallies = base
            .range(TALLY_FROM, true, TALLY_TO, usize::MAX)?
            .iter()
            .map(|(key, value)| Ok((parse_tally_key(key)?, Tally::decode(value)?)))
            .collect::<Result<_, IndexError>>()?;
        Ok(Self {
            base,
            frozen: None,
            overlay: BTreeMap::new(),
            tallies,
            changed_tallies: BTreeSet::new(),
            watermark,
        })
    }

    pub(crate) fn into_base(self) -> Arc<dyn IndexBase> {
        self.base
    }

    pub(crate) fn watermark(&self) -> Option<&Watermark> {
        self.watermark.as_ref()
    }

    pub(crate) fn pending(&self) -> usize {
        self.overlay.len()
    }

    /// Rows in memory, those being folded among them.
    pub(crate) fn held(&self) -> usize {
        self.overlay.len() + self.frozen.as_ref().map_or(0, |frozen| frozen.rows.len())
    }

    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        let frozen = || self.frozen.as_ref().and_then(|frozen| frozen.rows.get(key));
        match self.overlay.get(key).or_else(frozen) {
            Some(entry) => Ok(entry.value.clone()),
            None => self.base.get(key),
        }
    }

    /// Sets a row. `fresh` promises that there was no such row before.
    pub(crate) fn put(&mut self, key: Vec<u8>, value: Vec<u8>, fresh: bool) {
        let entry = self.overlay.entry(key).or_insert(Entry { value: None, in_base: !fresh });
        entry.value = Some(value);
    }

    /// Deletes a row that exists. Answers whether it lay below the overlay, and only there.
    pub(crate) fn delete(&mut self, key: &[u8]) -> bool {
        match self.overlay.get_mut(key) {
            Some(entry) if entry.in_base => entry.value = None,
            Some(_) => {
                self.overlay.remove(key);
            }
            None => {
                self.overlay.insert(key.to_vec(), Entry { value: None, in_base: true });
                return true;
            }
        }
        false
    }

    /// As [`Self::range`], when nothing below the overlay can match: many times quicker.
    pub(crate) fn overlay_range(&self, from: &[u8], to: &[u8], limit: usize) -> Vec<IndexRow> {
        if from >= to {
            return Vec::new();
        }
        let rows = self.overlay.range::<[u8], _>((Bound::Excluded(from), Bound::Excluded(to)));
        let rows = rows.filter_map(|(key, entry)| Some((key.clone(), entry.value.clone()?)));
        rows.take(limit).collect()
    }

    /// Lists rows with `from < key < to` (`from <= key` when `inclusive`), at most `limit`.
    pub(crate) fn range(
        &self,
        from: &[u8],
        inclusive: bool,
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<IndexRow>, IndexError> {
        let mut rows = Vec::new();
        let (mut from, mut inclusive) = (from.to_vec(), inclusive);
        while rows.len() < limit && from.as_slice() < to {
            let wanted = limit - rows.len();
            let page = self.base.range(&from, inclusive, to, wanted)?;
            // A full page says nothing about what follows it: merge up to its last key only.
            let page_end = (page.len() == wanted).then(|| page.last().map(|(key, _)| key.clone())).flatten();
            let upper = page_end.as_deref().map_or(Bound::Excluded(to), Bound::Included);
            let lower = if inclusive { Bound::Included(&*from) } else { Bound::Excluded(&*from) };
            let overlay = self.overlay.range::<[u8], _>((lower, upper));
            match &self.frozen {
                None => merge(page, overlay, limit, &mut rows),
                Some(frozen) => {
                    let frozen = frozen.rows.range::<[u8], _>((lower, upper));
                    merge(page, Layered::new(overlay, frozen), limit, &mut rows);
                }
            }
            let Some(page_end) = page_end else { break };
            (from, inclusive) = (page_end, false);
        }
        Ok(rows)
    }

    pub(crate) fn tally(&self, segment: SegmentNo) -> Tally {
        self.tallies.get(&segment).copied().unwrap_or_default()
    }

    pub(crate) fn change_tally(&mut self, segment: SegmentNo, change: impl FnOnce(&mut Tally)) {
        change(self.tallies.entry(segment).or_default());
        self.changed_tallies.insert(segment);
    }

    pub(crate) fn forget_segment(&mut self, segment: SegmentNo) {
        self.tallies.remove(&segment);
        self.changed_tallies.insert(segment);
    }

    pub(crate) fn live_bytes(&self) -> u64 {
        self.tallies.values().map(|tally| u64::from(tally.live_bytes)).sum()
    }

    /// Begins to move the overlay into the base, which is then complete up to `watermark`. The fold
    /// must be run, and [`Self::folded`] called, before the next one begins: until then, this is the same one.
    pub(crate) fn begin_fold(&mut self, watermark: Watermark) -> Fold {
        if let Some(frozen) = &self.frozen {
            return Fold { base: self.base.clone(), frozen: frozen.clone() };
        }
        let rows = std::mem::take(&mut self.overlay);
        let changed = std::mem::take(&mut self.changed_tallies).into_iter();
        let tallies =
            changed.map(|segment| (tally_key(segment), self.tallies.get(&segment).map(Value::encode)));
        let frozen = Arc::new(Frozen { rows, tallies: tallies.collect(), watermark });
        self.frozen = Some(frozen.clone());
        Fold { base: self.base.clone(), frozen }
    }

    /// The fold is done.
    pub(crate) fn folded(&mut self) {
        if let Some(frozen) = self.frozen.take() {
            self.watermark = Some(frozen.watermark);
        }
    }

    pub(crate) fn flush(&self) -> Result<(), IndexError> {
        self.base.flush()
    }
}

/// Two ordered sequences as one; of equal keys, the upper's.
struct Layered<U: Iterator, L: Iterator> {
    upper: Peekable<U>,
    lower: Peekable<L>,
}

impl<U: Iterator, L: Iterator> Layered<U, L> {
    fn new(upper: U, lower: L) -> Self {
        Self { upper: upper.peekable(), lower: lower.peekable() }
    }
}

impl<'a, U, L> Iterator for Layered<U, L>
where
    U: Iterator<Item = (&'a Vec<u8>, &'a Entry)>,
    L: Iterator<Item = (&'a Vec<u8>, &'a Entry)>,
{
    type Item = (&'a Vec<u8>, &'a Entry);

    fn next(&mut self) -> Option<Self::Item> {
        let (Some((upper, _)), Some((lower, _))) = (self.upper.peek(), self.lower.peek()) else {
            return self.upper.next().or_else(|| self.lower.next());
        };
        match upper.cmp(lower) {
            Ordering::Less => self.upper.next(),
            Ordering::Greater => self.lower.next(),
            Ordering::Equal => {
                self.lower.next();
                self.upper.next()
            }
        }
    }
}

/// Adds the rows of a page and of the overlay in order, until there are `limit`; the overlay wins.
fn merge<'a>(
    page: Vec<IndexRow>,
    overlay: impl Iterator<Item = (&'a Vec<u8>, &'a Entry)>,
    limit: usize,
    rows: &mut Vec<IndexRow>,
) {
    let mut page = page.into_iter().peekable();
    for (key, entry) in overlay {
        while let Some(row) = page.next_if(|(page_key, _)| page_key < key && rows.len() < limit) {
            rows.push(row);
        }
        if rows.len() >= limit {
            return;
        }
        page.next_if(|(page_key, _)| page_key == key);
        if let Some(value) = &entry.value {
            rows.push((key.clone(), value.clone()));
        }
    }
    let room = limit.saturating_sub(rows.len());
    rows.extend(page.take(room));
}

#[cfg(test)]
mod tests {
    use super::super::IndexHome;
    use super::super::memory::MemIndex;
    use super::*;
    use crate::log::layout::Pos;

    const MARK: Watermark = Watermark { log: 7, batch: 1, end: Pos::START, crc: 0 };

    fn shard() -> (MemIndex, Shard) {
        let mut index = MemIndex::new();
        let base = index.reset(7).unwrap().short;
        (index, Shard::open(base).unwrap())
    }

    fn keys(shard: &Shard, from: &str, inclusive: bool, to: &str, limit: usize) -> String {
        let rows = shard.range(from.as_bytes(), inclusive, to.as_bytes(), limit).unwrap();
        rows.into_iter().map(|(key, _)| String::from_utf8(key).unwrap()).collect()
    }

    fn put(shard: &mut Shard, key: &str) {
        shard.put(key.as_bytes().to_vec(), b"value".to_vec(), true);
    }

    /// Rows in the base, rows in an overlay that waits for room, and rows above both.
    #[test]
    fn ranges_are_of_all_layers_and_no_longer_than_asked() {
        let (index, mut shard) = shard();
        for key in ["a", "c", "e", "g", "i"] {
            put(&mut shard, key);
        }
        assert_eq!(Fold::run_all(&[shard.begin_fold(MARK)]).unwrap(), Folded::Done);
        shard.folded();
        for key in ["b", "f", "j"] {
            put(&mut shard, key);
        }
        shard.delete(b"e");
        index.set_full(true);
        assert_eq!(Fold::run_all(&[shard.begin_fold(MARK)]).unwrap(), Folded::NoRoom);
        put(&mut shard, "d");
        put(&mut shard, "f");
        shard.delete(b"j");
        let all = "abcdfgi";
        for limit in 0..10 {
            let first = all.chars().take(limit).collect::<String>();
            assert_eq!(keys(&shard, "a", true, "k", limit), first, "{limit}");
        }
        for (at, from) in all.char_indices() {
            let from = from.to_string();
            assert_eq!(keys(&shard, &from, false, "k", 9), all[at + 1..]);
            assert_eq!(keys(&shard, &from, true, "k", 9), all[at..]);
            assert_eq!(keys(&shard, "a", true, &from, 9), all[..at]);
            assert_eq!(keys(&shard, &from, false, &from, 9), "");
        }
    }

    #[test]
    fn rows_of_both_are_merged_up_to_the_limit() {
        let row = |key: &str| (key.as_bytes().to_vec(), Vec::new());
        let entry = || Entry { value: Some(Vec::new()), in_base: false };
        let overlay = [(b"a".to_vec(), entry()), (b"d".to_vec(), entry())];
        for (limit, expected) in [(1, "a"), (2, "ab"), (3, "abc"), (4, "abcd"), (9, "abcde")] {
            let mut rows = Vec::new();
            let above = overlay.iter().map(|(key, entry)| (key, entry));
            merge(vec![row("b"), row("c"), row("e")], above, limit, &mut rows);
            let keys: Vec<u8> = rows.into_iter().flat_map(|(key, _)| key).collect();
            assert_eq!(keys, expected.as_bytes(), "{limit}");
        }
    }
}
