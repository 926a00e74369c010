//! The cache of bind groups, by what they bind and by each bound buffer.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, PoisonError};

use resolvent_shaders::Kernel as Shader;

/// Most bind groups in the cache. A sweep with ever new buffers replaces those that were not used for the longest time.
const MOST: usize = 4096;

/// Bind groups that were made before.
///
/// A buffer that returns to the pool keeps its groups: the next recording of the same shape binds it again. A buffer
/// whose memory goes back to the driver loses them, because a group keeps the memory of its buffers alive.
pub(super) struct BindGroups(Mutex<Groups<wgpu::Buffer, wgpu::BindGroup>>);

impl BindGroups {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Groups::new(MOST)))
    }

    /// Returns the bind group of `shader`, whose layout is `layout`, over `ranges` (slot order), with `params` at
    /// binding 0, and whether it is new. A new one has the label `label`.
    pub(super) fn get(
        &self,
        device: &wgpu::Device,
        (shader, layout, label): (&'static Shader, &wgpu::BindGroupLayout, &str),
        params: &wgpu::Buffer,
        ranges: Vec<Range<wgpu::Buffer>>,
    ) -> (wgpu::BindGroup, bool) {
        let mut groups = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = Key { kernel: shader.name, ranges };
        if let Some(found) = groups.get(&key) {
            return (found, false);
        }
        let binding = |buffer, offset, size| {
            wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset, size: NonZeroU64::new(size) })
        };
        let mut entries =
            vec![wgpu::BindGroupEntry { binding: 0, resource: binding(params, 0, u64::from(shader.params_size)) }];
        for (slot, (buffer, offset, size)) in shader.bindings.iter().map(|b| b.slot).zip(&key.ranges) {
            entries.push(wgpu::BindGroupEntry { binding: slot, resource: binding(buffer, *offset, *size) });
        }
        let descriptor = wgpu::BindGroupDescriptor { label: Some(label), layout, entries: &entries };
        let made = device.create_bind_group(&descriptor);
        groups.insert(key, made.clone());
        (made, true)
    }

    /// Drops the bind groups that name `buffer`.
    pub(super) fn forget(&self, buffer: &wgpu::Buffer) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).forget(buffer);
    }

    /// Drops all bind groups, after a failure: the device may have refused some of them.
    pub(super) fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Groups::new(MOST);
    }
}

/// A buffer, with offset and size in bytes.
pub(super) type Range<B> = (B, u64, u64);

#[derive(PartialEq, Eq, Hash)]
struct Key<B> {
    kernel: &'static str,
    ranges: Vec<Range<B>>,
}

struct Slot<B, G> {
    key: Arc<Key<B>>,
    group: G,
    /// Whether it was asked for since the hand passed it.
    used: bool,
}

/// At most `most` groups `G` over buffers `B`. No operation visits groups of other buffers, however many there are.
struct Groups<B, G> {
    most: usize,
    slots: Vec<Option<Slot<B, G>>>,
    /// Slots without a group.
    free: Vec<usize>,
    /// The slot that is asked next to make room.
    hand: usize,
    by_key: HashMap<Arc<Key<B>>, usize>,
    by_buffer: HashMap<B, HashSet<usize>>,
}

impl<B: Clone + Eq + Hash, G: Clone> Groups<B, G> {
    fn new(most: usize) -> Self {
        let (by_key, by_buffer) = (HashMap::new(), HashMap::new());
        Self { most, slots: Vec::new(), free: Vec::new(), hand: 0, by_key, by_buffer }
    }

    fn get(&mut self, key: &Key<B>) -> Option<G> {
        let slot = self.slots[*self.by_key.get(key)?].as_mut()?;
        slot.used = true;
        Some(slot.group.clone())
    }

    fn insert(&mut self, key: Key<B>, group: G) {
        let at = self.room();
        let key = Arc::new(key);
        for (buffer, ..) in &key.ranges {
            self.by_buffer.entry(buffer.clone()).or_default().insert(at);
        }
        self.by_key.insert(Arc::clone(&key), at);
        self.slots[at] = Some(Slot { key, group, used: false });
    }

    /// Returns an empty slot. If all are taken, the hand goes round them and empties the first one that was not used
    /// since its last round.
    fn room(&mut self) -> usize {
        if let Some(at) = self.free.pop() {
            return at;
        }
        if self.slots.len() < self.most {
            self.slots.push(None);
            return self.slots.len() - 1;
        }
        loop {
            let at = self.hand;
            self.hand = (at + 1) % self.most;
            let used = self.slots[at].as_mut().is_some_and(|slot| std::mem::take(&mut slot.used));
            if !used {
                self.remove(at);
                return at;
            }
        }
    }

    /// Empties a slot. The caller decides what becomes of it.
    fn remove(&mut self, at: usize) {
        let Some(slot) = self.slots[at].take() else { return };
        self.by_key.remove(&slot.key);
        for (buffer, ..) in &slot.key.ranges {
            if let Some(of) = self.by_buffer.get_mut(buffer) {
                of.remove(&at);
                if of.is_empty() {
                    self.by_buffer.remove(buffer);
                }
            }
        }
    }

    fn forget(&mut self, buffer: &B) {
        for at in self.by_buffer.remove(buffer).unwrap_or_default() {
            self.remove(at);
            self.free.push(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(kernel: &'static str, buffers: &[u32]) -> Key<u32> {
        Key { kernel, ranges: buffers.iter().map(|&buffer| (buffer, 0, 256)).collect() }
    }

    /// Checks that the three indices agree, and returns the number of groups.
    fn consistent(groups: &Groups<u32, u32>) -> usize {
        let taken = groups.slots.iter().flatten().count();
        assert_eq!((groups.by_key.len(), groups.free.len()), (taken, groups.slots.len() - taken));
        for (buffer, of) in &groups.by_buffer {
            assert!(!of.is_empty(), "buffer {buffer} has an empty entry");
            for at in of {
                let slot = groups.slots[*at].as_ref().expect("a listed slot has a group");
                assert!(slot.key.ranges.iter().any(|(other, ..)| other == buffer));
                assert_eq!(groups.by_key[&slot.key], *at);
            }
        }
        taken
    }

    #[test]
    fn groups_are_found_by_all_that_they_bind() {
        let mut groups = Groups::new(8);
        groups.insert(key("add", &[1, 2]), 12);
        groups.insert(key("add", &[1, 3]), 13);
        groups.insert(key("gelu", &[1, 2]), 21);
        assert_eq!(groups.get(&key("add", &[1, 2])), Some(12));
        assert_eq!(groups.get(&key("add", &[1, 3])), Some(13));
        assert_eq!(groups.get(&key("gelu", &[1, 2])), Some(21));
        assert_eq!(groups.get(&key("add", &[2, 1])), None);
        assert_eq!(groups.get(&Key { kernel: "add", ranges: vec![(1, 0, 256), (2, 256, 256)] }), None);
        assert_eq!(consistent(&groups), 3);
    }

    #[test]
    fn a_buffer_takes_all_its_groups_along_and_no_others() {
        let mut groups = Groups::new(8);
        groups.insert(key("add", &[1, 2]), 12);
        groups.insert(key("add", &[2, 2]), 22);
        groups.insert(key("add", &[3, 4]), 34);
        groups.forget(&2);
        groups.forget(&9);
        assert_eq!(groups.get(&key("add", &[1, 2])), None);
        assert_eq!(groups.get(&key("add", &[2, 2])), None);
        assert_eq!(groups.get(&key("add", &[3, 4])), Some(34));
        assert_eq!(consistent(&groups), 1);
        assert_eq!(groups.by_buffer.len(), 2, "no entry of buffer 1 is left behind");
        groups.insert(key("add", &[5, 6]), 56);
        groups.insert(key("add", &[7, 8]), 78);
        assert_eq!((consistent(&groups), groups.slots.len()), (3, 3), "emptied slots are used again");
    }

    #[test]
    fn a_full_cache_replaces_what_was_not_used() {
        let mut groups = Groups::new(4);
        groups.insert(key("weights", &[0, 0]), 0);
        for buffer in 1..100 {
            assert_eq!(groups.get(&key("weights", &[0, 0])), Some(0), "in use at {buffer}");
            groups.insert(key("add", &[buffer, buffer + 1]), buffer);
            assert!(consistent(&groups) <= 4);
        }
        assert_eq!(groups.get(&key("add", &[99, 100])), Some(99));
        assert_eq!(groups.get(&key("add", &[1, 2])), None);
    }
}
