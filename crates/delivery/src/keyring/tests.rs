//! Keys on offer, retired and erased; spool and clock by hand.

use penpal_protocol::ids::{DeviceId, Fingerprint, SpoolEpoch};

use super::*;
use crate::command::Command;
use crate::record::SpoolRecord;
use crate::spool::{Spool, SpoolRow};

const EPOCH: SpoolEpoch = SpoolEpoch::from_bytes([1; 8]);
const BOB: Peer = Peer { account: Fingerprint::from_bytes([1; 16]), device: DeviceId::from_bytes([2; 16]) };
const CAROL: Peer = Peer { account: Fingerprint::from_bytes([3; 16]), device: DeviceId::from_bytes([4; 16]) };

/// A keyring with its ledger, a spool and a clock.
struct Desk {
    keyring: Keyring,
    ledger: Ledger,
    spool: Spool,
    now: Now,
}

fn id(number: u64) -> KeyId {
    KeyId::from_bytes(number.to_be_bytes())
}

impl Desk {
    /// With so many seeds in its pool, and connected to a relay whose spool has nothing.
    fn new(seeds: u64) -> Self {
        let now = Now { mono: Duration::from_secs(1), wall_ms: 1_000_000_000_000 };
        let mut spool = Spool::new(SpoolRecord::default(), now.mono);
        spool.connected(EPOCH, 0, now.mono);
        let mut desk = Self { keyring: Keyring::default(), ledger: Ledger::default(), spool, now };
        desk.keyring.seeds(&(0..seeds).map(id).collect::<Vec<_>>(), &mut desk.ledger);
        desk
    }

    fn offer(&mut self, peer: Peer) -> KeyId {
        self.keyring.offer(peer, self.now, &mut self.ledger).unwrap().key
    }

    fn publish(&mut self) -> Option<KeyId> {
        key_of(self.keyring.publish(self.now, &mut self.ledger))
    }

    fn check(&mut self) -> Option<Vec<KeyId>> {
        match self.keyring.check(self.now, &mut self.spool, &mut self.ledger) {
            Some(Command::DeleteSeeds { keys }) => Some(keys),
            _ => None,
        }
    }

    /// The relay answers what it is asked, and says which row is the newest.
    fn answer(&mut self, newest: u64) {
        self.spool.take_ack().unwrap();
        assert!(self.spool.acked(EPOCH, newest));
    }

    fn pass(&mut self, time: Duration) {
        self.now.mono += time;
        self.now.wall_ms += u64::try_from(time.as_millis()).unwrap();
    }

    fn state(&self, key: KeyId) -> Option<KeyUse> {
        self.keyring.keys.get(&key).map(|record| record.state)
    }
}

fn key_of(command: Option<Command>) -> Option<KeyId> {
    match command {
        Some(Command::PublishPrekey { key, .. }) => Some(key),
        _ => None,
    }
}

/// What a message costs must not grow with the conversation.
#[test]
fn a_long_conversation_leaves_few_keys_to_look_through() {
    let mut desk = Desk::new(100);
    for _ in 0..100 {
        let key = desk.offer(BOB);
        assert!(desk.keyring.used(key, BOB, desk.now, &mut desk.ledger));
        assert_eq!(desk.keyring.by_peer.get(&BOB).map(BTreeSet::len), Some(1));
    }
    let superseded = desk.keyring.keys.values().filter(|key| key.superseded_ms.is_some()).count();
    assert_eq!(superseded, 99);
}

#[test]
fn an_offer_stands_until_its_last_moment_and_is_looked_at_two_days_later() {
    let mut desk = Desk::new(20);
    let key = desk.offer(BOB);
    assert_eq!(desk.keyring.deadline(), Some(desk.now.mono + Duration::from_millis(2 * DAY_MS)));
    desk.pass(Duration::from_millis(OFFER_LIFE_MS - 1));
    assert_eq!(desk.offer(BOB), key);
    desk.pass(Duration::from_millis(1));
    assert_ne!(desk.offer(BOB), key);
}

#[test]
fn seeds_are_asked_for_when_few_are_left_and_once_a_minute() {
    let count = u64::try_from(LOW_POOL).unwrap();
    let start = Duration::from_secs(7);
    assert_eq!(Desk::new(count).keyring.want_seeds(start), None);
    for (few, urgent) in [(count - 1, false), (0, true)] {
        let mut desk = Desk::new(few);
        let wanted = Command::WantSeeds { count: SEEDS_AT_A_TIME, urgent };
        let again = start + PERIOD;
        assert_eq!(desk.keyring.want_seeds(start), Some(wanted.clone()));
        assert_eq!(desk.keyring.want_seeds(again - Duration::from_nanos(1)), None);
        assert_eq!(desk.keyring.want_seeds(again), Some(wanted), "they did not come");
        assert_eq!(desk.keyring.want_seeds(again), None);
    }
    let mut desk = Desk::new(2);
    let next = desk.keyring.next_seed();
    assert_eq!(next, Some(id(0)));
    assert_eq!(Some(desk.offer(BOB)), next);
}

#[test]
fn only_keys_that_were_given_out_are_live() {
    let mut desk = Desk::new(20);
    assert_eq!(desk.keyring.live().count(), 0);
    let (offered, prekey) = (desk.offer(BOB), desk.publish().unwrap());
    assert_eq!(desk.keyring.live().collect::<BTreeSet<_>>(), BTreeSet::from([offered, prekey]));
}

#[test]
fn a_seed_without_a_record_is_never_given_out_and_goes_like_a_retired_key() {
    let mut desk = Desk::new(20);
    let present = (0..21).map(id).collect();
    let report = desk.keyring.reconcile(&present, desk.now, &mut desk.ledger);
    assert_eq!((report.adopted.as_slice(), report.lost.len()), (&[id(20)][..], 0));
    let record = desk.keyring.keys.get(&id(20)).unwrap().clone();
    assert_eq!(record.state, KeyUse::Retired);
    assert_eq!((record.issued_ms, record.retired_ms), (desk.now.wall_ms, Some(desk.now.wall_ms)));
    assert_eq!(desk.check(), None);
    desk.answer(0);
    assert_eq!(desk.check(), Some(vec![id(20)]));
}

#[test]
fn a_retired_key_goes_when_every_row_that_was_there_is_processed() {
    let mut desk = Desk::new(20);
    let key = desk.offer(BOB);
    desk.keyring.retire_account(&BOB.account, desk.now, &mut desk.ledger);
    assert_eq!(desk.check(), None);
    // The relay has not said yet how far its rows go.
    assert_eq!(desk.keyring.keys.get(&key).unwrap().barrier_epoch, None);
    desk.answer(2);
    assert_eq!(desk.check(), None);
    assert_eq!(desk.keyring.keys.get(&key).unwrap().barrier, 2);
    for (seq, gone) in [(1, None), (2, Some(vec![key]))] {
        desk.spool.done(SpoolRow { epoch: EPOCH, seq }, desk.now.mono);
        desk.keyring.spool_moved(desk.now.mono);
        assert_eq!(desk.check(), gone);
    }
    desk.keyring.erased(&[key], &mut desk.ledger);
    assert_eq!(desk.state(key), None);
}

#[test]
fn rows_move_nothing_while_no_key_is_retired() {
    let mut desk = Desk::new(20);
    desk.offer(BOB);
    let due = desk.keyring.deadline();
    desk.keyring.spool_moved(desk.now.mono);
    assert_eq!(desk.keyring.deadline(), due);
}

#[test]
fn what_was_asked_for_before_the_connection_was_lost_is_learnt_by_the_next() {
    let mut desk = Desk::new(20);
    let key = desk.offer(BOB);
    desk.spool.disconnected(desk.now.mono);
    desk.keyring.retire_account(&BOB.account, desk.now, &mut desk.ledger);
    assert_eq!(desk.check(), None);
    desk.spool.connected(EPOCH, 0, desk.now.mono);
    assert_eq!(desk.check(), None);
    desk.answer(0);
    assert_eq!(desk.check(), Some(vec![key]));
}

#[test]
fn a_spool_with_another_life_is_asked_anew() {
    let mut desk = Desk::new(20);
    let key = desk.offer(BOB);
    desk.keyring.retire_account(&BOB.account, desk.now, &mut desk.ledger);
    desk.check();
    desk.answer(5);
    assert_eq!(desk.check(), None);
    let other = SpoolEpoch::from_bytes([2; 8]);
    assert!(desk.spool.connected(other, 0, desk.now.mono));
    desk.keyring.epoch_changed(&mut desk.ledger);
    assert_eq!(desk.check(), None);
    assert!(desk.spool.take_ack().is_some() && desk.spool.acked(other, 0));
    desk.pass(PERIOD);
    assert_eq!(desk.check(), Some(vec![key]));
}

#[test]
fn a_retired_key_is_still_one_after_a_restart() {
    let mut before = Desk::new(20);
    let key = before.offer(BOB);
    let other = before.offer(CAROL);
    before.keyring.retire_account(&BOB.account, before.now, &mut before.ledger);
    before.check();
    before.answer(1);
    before.check();
    let mut desk = Desk::new(0);
    desk.spool.connected(EPOCH, 1, desk.now.mono);
    for (id, record) in before.keyring.keys {
        desk.keyring.restore(id, record);
    }
    assert_eq!(desk.offer(CAROL), other);
    assert_eq!(desk.check(), None);
    desk.spool.done(SpoolRow { epoch: EPOCH, seq: 1 }, desk.now.mono);
    desk.keyring.spool_moved(desk.now.mono);
    assert_eq!(desk.check(), Some(vec![key]));
    assert_eq!(desk.keyring.unbounded.len(), 0);
}

#[test]
fn the_newest_of_several_offers_stands_after_a_restart() {
    let mut before = Desk::new(20);
    let used = before.offer(BOB);
    before.keyring.used(used, BOB, before.now, &mut before.ledger);
    let newest = before.offer(BOB);
    for order in [[used, newest], [newest, used]] {
        let mut desk = Desk::new(0);
        for id in order {
            desk.keyring.restore(id, before.keyring.keys.get(&id).unwrap().clone());
        }
        assert_eq!(desk.offer(BOB), newest);
    }
}

#[test]
fn keys_of_a_removed_contact_retire_and_those_of_others_stay() {
    let mut desk = Desk::new(20);
    let (bobs, carols) = (desk.offer(BOB), desk.offer(CAROL));
    desk.keyring.retire_account(&BOB.account, desk.now, &mut desk.ledger);
    assert_eq!((desk.state(bobs), desk.state(carols)), (Some(KeyUse::Retired), Some(KeyUse::Offered)));
    assert_eq!(desk.offer(CAROL), carols);
    assert_ne!(desk.offer(BOB), bobs);
    desk.check();
    desk.answer(0);
    assert_eq!(desk.check(), Some(vec![bobs]));
    // It is being erased, and does not come back by retiring once more.
    desk.keyring.retire_account(&BOB.account, desk.now, &mut desk.ledger);
    assert_eq!(desk.state(bobs), Some(KeyUse::Deleting));
}

#[test]
fn seeds_are_erased_once_a_minute_at_most_and_none_is_forgotten() {
    let mut desk = Desk::new(20);
    let (bobs, carols) = (desk.offer(BOB), desk.offer(CAROL));
    desk.keyring.retire_account(&BOB.account, desk.now, &mut desk.ledger);
    desk.check();
    desk.answer(0);
    assert_eq!(desk.check(), Some(vec![bobs]));
    desk.keyring.erased(&[bobs], &mut desk.ledger);
    let first = desk.now.mono;
    desk.pass(Duration::from_secs(10));
    desk.keyring.retire_account(&CAROL.account, desk.now, &mut desk.ledger);
    desk.check();
    desk.answer(0);
    assert_eq!((desk.check(), desk.state(carols)), (None, Some(KeyUse::Deleting)));
    assert!(desk.keyring.deadline().unwrap() <= first + PERIOD + Duration::from_secs(10));
    desk.pass(PERIOD - Duration::from_secs(10));
    assert_eq!(desk.keyring.erase(desk.now.mono - Duration::from_millis(1)), None);
    let erased = desk.keyring.erase(desk.now.mono);
    assert_eq!(erased, Some(Command::DeleteSeeds { keys: vec![carols] }));
    // What could not be erased is handed out again.
    desk.pass(PERIOD);
    assert_eq!(desk.check(), Some(vec![carols]));
    desk.keyring.erased(&[carols], &mut desk.ledger);
    desk.pass(PERIOD);
    assert_eq!(desk.check(), None);
}

#[test]
fn a_prekey_is_handed_out_again_until_it_is_taken() {
    let mut desk = Desk::new(20);
    let first = desk.publish().unwrap();
    assert_eq!(desk.publish(), None);
    // More seeds make nobody wait, and it is under way already; that another key went changes nothing.
    let other = desk.offer(BOB);
    desk.keyring.forget(&other, &mut desk.ledger);
    desk.keyring.seeds(&[id(77)], &mut desk.ledger);
    assert_eq!(desk.publish(), None);
    desk.keyring.publish_again();
    assert_eq!(desk.publish(), Some(first));
    desk.keyring.prekey_taken(first, desk.now, &mut desk.ledger);
    desk.keyring.publish_again();
    assert_eq!(desk.publish(), None);
    // Wanted, it is handed out all the same.
    let wanted = desk.keyring.publish_wanted(desk.now, &mut desk.ledger);
    assert_eq!(key_of(wanted), Some(first));
    let mut empty = Desk::new(0);
    assert_eq!(empty.keyring.publish_wanted(empty.now, &mut empty.ledger), None);
    assert!(empty.keyring.wanted);
}

#[test]
fn a_prekey_outlives_its_successor_by_two_days() {
    let mut desk = Desk::new(20);
    let first = desk.publish().unwrap();
    desk.pass(Duration::from_millis(PREKEY_PERIOD_MS));
    let second = desk.publish().unwrap();
    desk.keyring.prekey_taken(second, desk.now, &mut desk.ledger);
    for (hours, state) in [(47, KeyUse::Prekey), (1, KeyUse::Retired)] {
        desk.pass(Duration::from_millis(hours * HOUR_MS));
        desk.keyring.next_check = Some(Duration::ZERO);
        desk.check();
        assert_eq!((desk.state(first), desk.state(second)), (Some(state), Some(KeyUse::Prekey)));
    }
}

#[test]
fn a_prekey_that_was_taken_supersedes_those_before_it_and_no_other_key() {
    let mut desk = Desk::new(20);
    let day = Duration::from_millis(PREKEY_PERIOD_MS);
    let offered = desk.offer(BOB);
    let mut keys = Vec::new();
    for _ in 0..3 {
        desk.keyring.publish_again();
        keys.push(desk.publish().unwrap());
        desk.pass(day);
    }
    let superseded = |desk: &Desk, key: KeyId| desk.keyring.keys.get(&key).unwrap().superseded_ms;
    desk.keyring.prekey_taken(offered, desk.now, &mut desk.ledger);
    assert_eq!(desk.keyring.keys.get(&offered).unwrap().taken_ms, None);
    let [first, second, third] = [keys[0], keys[1], keys[2]];
    desk.keyring.prekey_taken(second, desk.now, &mut desk.ledger);
    let at = Some(desk.now.wall_ms);
    assert_eq!([first, second, third].map(|key| superseded(&desk, key)), [at, None, None]);
    desk.pass(day);
    // It is taken once, whatever a relay says later.
    desk.keyring.prekey_taken(second, desk.now, &mut desk.ledger);
    assert_eq!(desk.keyring.keys.get(&second).unwrap().taken_ms, at);
    desk.keyring.prekey_taken(third, desk.now, &mut desk.ledger);
    let later = Some(desk.now.wall_ms);
    assert_eq!([first, second, third].map(|key| superseded(&desk, key)), [at, later, None]);
    assert_eq!(superseded(&desk, offered), None);
}
