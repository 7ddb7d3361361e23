//! What delivery must know of each contact: a mirror, kept by the shell from the contact machine.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use penpal_protocol::ids::{DeviceId, EdgeId, Fingerprint, RelayPin};

/// Where a contact stands, as far as mail is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// Mail goes both ways.
    Active,
    /// Accepted without a person: its mail is held until a person here writes to it or verifies it.
    OnProbation,
    /// Nothing of it is stored or answered; own mail to it waits.
    Blocked,
}

/// One contact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContactInfo {
    /// Relay of its account.
    pub relay: RelayPin,
    /// Where it stands.
    pub standing: Standing,
    /// Whether anything but the message that completes its invite can be deposited for it.
    pub open: bool,
    /// Edge by which deposits for it are made; another one than before when the two made new ones.
    pub edge: Option<EdgeId>,
    /// Devices of its newest manifest.
    pub devices: Vec<DeviceId>,
    /// Version of that manifest: a device may have another place at the relay since.
    pub list: u64,
}

impl ContactInfo {
    pub(crate) fn way(&self) -> Way {
        Way { edge: self.edge, list: self.list }
    }
}

/// By which edge and to whose places a deposit is made. What was refused on one says nothing about the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Way {
    edge: Option<EdgeId>,
    list: u64,
}

#[derive(Debug)]
pub(crate) struct Contact {
    pub info: ContactInfo,
    /// The relay says that one of its devices is connected.
    pub up: bool,
    /// Its relay refused a deposit with *no*.
    pub gone: bool,
    pub prekeys: Prekeys,
    /// When it was last asked to seal again.
    pub last_ask: Option<Duration>,
}

/// How fresh the bundles are that the shell holds of a contact.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Prekeys {
    /// When they were last fetched.
    pub fetched: Option<Duration>,
    /// A fetch is on its way.
    pub asked: bool,
    /// Not asked again before this.
    pub retry_at: Option<Duration>,
    /// Fetches that failed in a row.
    pub failures: u32,
}

#[derive(Debug, Default)]
pub(crate) struct Contacts {
    by_account: BTreeMap<Fingerprint, Contact>,
    relays_up: BTreeSet<RelayPin>,
}

impl Contacts {
    /// Returns what was there before.
    pub(crate) fn set(&mut self, account: Fingerprint, info: ContactInfo) -> Option<ContactInfo> {
        match self.by_account.get_mut(&account) {
            Some(contact) => Some(std::mem::replace(&mut contact.info, info)),
            None => {
                self.by_account.insert(
                    account,
                    Contact { info, up: false, gone: false, prekeys: Prekeys::default(), last_ask: None },
                );
                None
            }
        }
    }

    pub(crate) fn remove(&mut self, account: &Fingerprint) {
        self.by_account.remove(account);
    }

    pub(crate) fn get(&self, account: &Fingerprint) -> Option<&Contact> {
        self.by_account.get(account)
    }

    pub(crate) fn get_mut(&mut self, account: &Fingerprint) -> Option<&mut Contact> {
        self.by_account.get_mut(account)
    }

    /// How deposits are made now; `None` for an account that is no contact.
    pub(crate) fn way(&self, account: &Fingerprint) -> Option<Way> {
        self.get(account).map(|contact| contact.info.way())
    }

    pub(crate) fn standing(&self, account: &Fingerprint) -> Option<Standing> {
        self.get(account).map(|contact| contact.info.standing)
    }

    pub(crate) fn accounts(&self) -> impl Iterator<Item = (&Fingerprint, &Contact)> {
        self.by_account.iter()
    }

    pub(crate) fn relay_up(&mut self, relay: RelayPin) {
        self.relays_up.insert(relay);
    }

    pub(crate) fn relay_down(&mut self, relay: &RelayPin) {
        self.relays_up.remove(relay);
        for contact in self.by_account.values_mut().filter(|contact| contact.info.relay == *relay) {
            contact.up = false;
            contact.prekeys.asked = false;
        }
    }

    /// Accounts whose relay this is.
    pub(crate) fn at(&self, relay: &RelayPin) -> Vec<Fingerprint> {
        let here = self.by_account.iter().filter(|(_, contact)| contact.info.relay == *relay);
        here.map(|(account, _)| *account).collect()
    }

    /// When a failed fetch of bundles may be tried again.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.by_account.values().filter_map(|contact| contact.prekeys.retry_at).min()
    }

    /// Accounts whose bundles may be fetched again.
    pub(crate) fn fetches_due(&mut self, now: Duration) -> Vec<Fingerprint> {
        let due = |contact: &Contact| contact.prekeys.retry_at.is_some_and(|at| at <= now);
        let mut accounts = Vec::new();
        for (account, contact) in self.by_account.iter_mut().filter(|(_, contact)| due(contact)) {
            contact.prekeys.retry_at = None;
            accounts.push(*account);
        }
        accounts
    }

    /// Whether more than the message that completes its invite may go to it.
    pub(crate) fn is_open(&self, account: &Fingerprint) -> bool {
        self.get(account).is_some_and(|contact| contact.info.open)
    }

    /// Whether a deposit for this account can be made now.
    pub(crate) fn is_reachable(&self, account: &Fingerprint) -> bool {
        self.get(account).is_some_and(|contact| {
            contact.info.standing != Standing::Blocked && self.relays_up.contains(&contact.info.relay)
        })
    }
}
