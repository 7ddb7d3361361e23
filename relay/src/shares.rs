//! Permits of which no one holder has more than a share.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Holders in the list from which on it is looked through for those that hold nothing.
const MANY: usize = 256;

/// So many permits for all, and so many for one holder.
#[derive(Debug)]
pub(crate) struct Shares<K> {
    all: Arc<Semaphore>,
    one: usize,
    holders: Mutex<HashMap<K, Weak<Semaphore>>>,
}

/// A permit, given back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    _of_all: OwnedSemaphorePermit,
    _of_one: OwnedSemaphorePermit,
}

impl<K: Eq + Hash> Shares<K> {
    pub(crate) fn new(all: usize, one: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(all)), one, holders: Mutex::default() }
    }

    /// Waits for a permit; whoever has its share waits for itself, and keeps nobody else. `None` never.
    pub(crate) async fn take(&self, holder: K) -> Option<Share> {
        let own = self.of(holder);
        let of_one = own.acquire_owned().await.ok()?;
        let of_all = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some(Share { _of_all: of_all, _of_one: of_one })
    }

    /// Permits that nobody holds.
    #[cfg(test)]
    pub(crate) fn free(&self) -> usize {
        self.all.available_permits()
    }

    fn of(&self, holder: K) -> Arc<Semaphore> {
        let mut holders = self.holders.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = holders.get(&holder).and_then(Weak::upgrade) {
            return own;
        }
        if holders.len() >= MANY {
            holders.retain(|_, own| own.strong_count() > 0);
        }
        let own = Arc::new(Semaphore::new(self.one));
        holders.insert(holder, Arc::downgrade(&own));
        own
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn now<T>(taking: impl Future<Output = T>) -> Option<T> {
        match pin!(taking).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(taken) => Some(taken),
            Poll::Pending => None,
        }
    }

    #[test]
    fn one_holder_never_has_it_all() {
        let shares = Shares::new(4, 2);
        let mut held = vec![now(shares.take(1)).unwrap(), now(shares.take(1)).unwrap()];
        assert!(now(shares.take(1)).is_none());
        held.push(now(shares.take(2)).unwrap());
        held.push(now(shares.take(3)).unwrap());
        assert!(now(shares.take(4)).is_none(), "that is all there is");
        held.remove(0);
        held.push(now(shares.take(4)).unwrap());
        drop(held);
        for holder in 10..10 + 2 * MANY {
            drop(now(shares.take(holder)).unwrap());
        }
        assert!(shares.holders.lock().unwrap().len() <= MANY);
    }
}
