//! Expanded keys of live seeds, so that an opening need not expand its seed.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use penpal_protocol::ids::KeyId;

use crate::{hybrid::ReceiveKey, keys::ReceiveSeed};

/// Most expanded keys held, about 4 KiB each: 2 MiB in all. Beyond it the one added first goes, and costs 41 µs when used again.
const MAX_EXPANDED: usize = 512;

/// Expanded keys by id, oldest dropped first.
#[derive(Debug, Default)]
pub(super) struct ExpandedKeys {
    keys: BTreeMap<KeyId, Arc<ReceiveKey>>,
    order: VecDeque<KeyId>,
}

impl ExpandedKeys {
    /// The expanded key of a seed.
    pub(super) fn expand(&mut self, id: KeyId, seed: &ReceiveSeed) -> Arc<ReceiveKey> {
        if let Some(key) = self.keys.get(&id) {
            return Arc::clone(key);
        }
        let key = Arc::new(ReceiveKey::expand(seed.clone()));
        while self.keys.len() >= MAX_EXPANDED {
            let Some(oldest) = self.order.pop_front() else { break };
            self.keys.remove(&oldest);
        }
        self.order.push_back(id);
        self.keys.insert(id, Arc::clone(&key));
        key
    }

    /// Forgets the key of a deleted seed. Opens that run at this moment still hold it until they end.
    pub(super) fn forget(&mut self, id: &KeyId) {
        if self.keys.remove(id).is_some() {
            self.order.retain(|other| other != id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_no_more_than_its_limit_and_forgets_on_demand() {
        let mut cache = ExpandedKeys::default();
        let seed = ReceiveSeed::from_bytes([1; 32]);
        let key = Arc::new(ReceiveKey::expand(seed.clone()));
        for number in 0..MAX_EXPANDED as u64 {
            let id = KeyId::from_bytes(number.to_be_bytes());
            cache.keys.insert(id, Arc::clone(&key));
            cache.order.push_back(id);
        }
        cache.expand(KeyId::from_bytes([0xff; 8]), &seed);
        assert_eq!((cache.keys.len(), cache.order.len()), (MAX_EXPANDED, MAX_EXPANDED));
        assert!(!cache.keys.contains_key(&KeyId::from_bytes([0; 8])));
        cache.forget(&KeyId::from_bytes([0xff; 8]));
        assert_eq!((cache.keys.len(), cache.order.len()), (MAX_EXPANDED - 1, MAX_EXPANDED - 1));
    }
}
