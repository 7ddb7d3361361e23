//! Whom an address means.

use penpal_protocol::ids::{DeviceId, Fingerprint, SessionId};
use penpal_protocol::sealed::SessionTarget;
use penpal_protocol::text::{Address, AddressError, Label};

use crate::machine::Sessions;

/// Most candidates that an error names.
const MAX_CANDIDATES: usize = 8;

/// The people and devices that addresses can name, as the owner of contacts knows them.
#[derive(Debug, Clone, Default)]
pub struct Directory {
    /// Contacts that mail can be sent to.
    pub contacts: Vec<DirectoryContact>,
    /// Other devices of this account.
    pub own_devices: Vec<(DeviceId, Label)>,
    /// Rooms.
    pub rooms: Vec<Label>,
}

/// One contact.
#[derive(Debug, Clone)]
pub struct DirectoryContact {
    /// Its account.
    pub account: Fingerprint,
    /// Its name here.
    pub name: Label,
    /// Devices of its manifest, by the names they have there.
    pub devices: Vec<(DeviceId, Label)>,
}

/// A mailbox, or a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A session here.
    Local {
        /// Its mailbox.
        session: SessionId,
        /// Its name.
        name: Label,
        /// It has ended: mail waits for it, and the sender is told so.
        ended: bool,
    },
    /// The desk of this device.
    LocalDesk,
    /// A contact's desk.
    ContactDesk {
        /// The account.
        account: Fingerprint,
    },
    /// A session that a contact's device announced.
    ContactSession {
        /// The account.
        account: Fingerprint,
        /// The device that has it.
        device: DeviceId,
        /// Its mailbox.
        session: SessionId,
        /// Its name.
        name: Label,
    },
    /// A name that no list confirms.
    ContactUnchecked {
        /// The account.
        account: Fingerprint,
        /// The device, when the address names one.
        device: Option<DeviceId>,
        /// The name.
        name: Label,
        /// Why it is sent all the same.
        why: Unchecked,
    },
    /// A session, or the desk, on another device of this account.
    OwnDevice {
        /// The device.
        device: DeviceId,
        /// The session's name; `desk` for its desk.
        name: Label,
    },
    /// A room.
    Room {
        /// Its name.
        name: Label,
    },
}

/// Why an unchecked name is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unchecked {
    /// No list of that contact was ever received; the output says "name not checked".
    NoList,
    /// The sender said so (`--anyway`).
    Anyway,
}

/// An address means nothing, or more than one thing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// Not an address.
    #[error(transparent)]
    Malformed(#[from] AddressError),
    /// Nothing is called so.
    #[error("{address:?} is neither a session here nor a contact")]
    Unknown {
        /// What was written.
        address: String,
        /// Addresses that exist, nearest first, at most 8.
        candidates: Vec<String>,
    },
    /// There is no such contact.
    #[error("there is no contact {contact:?}")]
    UnknownContact {
        /// The name.
        contact: Label,
        /// Contacts, nearest first, at most 8.
        candidates: Vec<String>,
    },
    /// The contact has no such session in its last list; `--anyway` sends.
    #[error("{contact} announced no session {session:?}")]
    UnknownSession {
        /// The contact.
        contact: Label,
        /// The name.
        session: Label,
        /// Addresses that exist, nearest first, at most 8.
        candidates: Vec<String>,
    },
    /// There is no such device.
    #[error("{owner} has no device {device:?}")]
    UnknownDevice {
        /// The contact, or `me`.
        owner: String,
        /// The name.
        device: Label,
        /// Addresses that exist, nearest first, at most 8.
        candidates: Vec<String>,
    },
    /// There is no such room.
    #[error("there is no room {room:?}")]
    UnknownRoom {
        /// The name.
        room: Label,
        /// Rooms, nearest first, at most 8.
        candidates: Vec<String>,
    },
    /// It means more than one thing.
    #[error("{address:?} means more than one mailbox")]
    Ambiguous {
        /// What was written.
        address: String,
        /// The addresses that tell them apart.
        candidates: Vec<String>,
    },
}

impl ResolveError {
    /// Addresses that exist, nearest first.
    #[must_use]
    pub fn candidates(&self) -> &[String] {
        match self {
            Self::Malformed(_) => &[],
            Self::Unknown { candidates, .. }
            | Self::UnknownContact { candidates, .. }
            | Self::UnknownSession { candidates, .. }
            | Self::UnknownDevice { candidates, .. }
            | Self::UnknownRoom { candidates, .. }
            | Self::Ambiguous { candidates, .. } => candidates,
        }
    }
}

/// Where a message that arrived belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inbound {
    /// This session.
    Session {
        /// Its mailbox.
        session: SessionId,
        /// It has ended; the mail waits.
        ended: bool,
    },
    /// The desk: no session was named.
    Desk,
    /// There is none: the desk keeps it, answered with `held: no-such-session`.
    NoSuchSession,
}

impl Sessions {
    /// Finds whom an address means. Nothing is guessed.
    ///
    /// `anyway` accepts a session's name that its contact did not announce.
    ///
    /// # Errors
    /// [`ResolveError`], with candidates.
    pub fn resolve(&self, text: &str, directory: &Directory, anyway: bool) -> Result<Target, ResolveError> {
        let address: Address = text.parse()?;
        match &address {
            Address::Bare(name) => self.resolve_bare(name, directory),
            Address::Local(name) => self.resolve_local(name, &address),
            Address::Desk(contact) => {
                let contact = directory.contact(contact)?;
                Ok(Target::ContactDesk { account: contact.account })
            }
            Address::Session { contact, session } => {
                self.resolve_session(directory.contact(contact)?, session, &address, anyway)
            }
            Address::Device { contact, device, session } => {
                self.resolve_device(directory.contact(contact)?, device, session, anyway)
            }
            Address::Own { device, session } => directory.own_device(device, session),
            Address::Room(room) => directory.room(room),
        }
    }

    /// Where an arriving message belongs: the mailbox wins over the name, which may have gone to another.
    #[must_use]
    pub fn inbound(&self, to: Option<&SessionTarget>) -> Inbound {
        let Some(to) = to else { return Inbound::Desk };
        let session = match to.sid {
            Some(sid) => self.canonical(sid),
            None if to.name.as_str() == "desk" => return Inbound::Desk,
            None => self.holder(&to.name),
        };
        match session.and_then(|session| Some((session, self.local.get(&session)?))) {
            Some((session, local)) => Inbound::Session { session, ended: local.ended() },
            None => Inbound::NoSuchSession,
        }
    }

    fn resolve_bare(&self, name: &Label, directory: &Directory) -> Result<Target, ResolveError> {
        let local = self.holder(name);
        let contact = directory.contacts.iter().find(|contact| contact.name == *name);
        match (local, contact) {
            (Some(session), None) => Ok(self.local_target(session, name)),
            (None, Some(contact)) => Ok(Target::ContactDesk { account: contact.account }),
            (Some(_), Some(_)) => Err(ResolveError::Ambiguous {
                address: name.to_string(),
                candidates: vec![format!("./{name}"), format!("{name}/")],
            }),
            (None, None) => {
                let mut all: Vec<(Label, String)> =
                    self.local_names().map(|local| (local.clone(), local.to_string())).collect();
                all.extend(
                    directory.contacts.iter().map(|contact| (contact.name.clone(), contact.name.to_string())),
                );
                for contact in &directory.contacts {
                    all.extend(
                        self.announced_by(contact).map(|(_, entry)| {
                            (entry.name.clone(), format!("{}/{}", contact.name, entry.name))
                        }),
                    );
                }
                Err(ResolveError::Unknown { address: name.to_string(), candidates: nearest(name, all) })
            }
        }
    }

    fn resolve_local(&self, name: &Label, address: &Address) -> Result<Target, ResolveError> {
        if name.as_str() == "desk" {
            return Ok(Target::LocalDesk);
        }
        self.holder(name).map(|session| self.local_target(session, name)).ok_or_else(|| {
            let all = self.local_names().map(|local| (local.clone(), format!("./{local}"))).collect();
            ResolveError::Unknown { address: address.to_string(), candidates: nearest(name, all) }
        })
    }

    fn resolve_session(
        &self,
        contact: &DirectoryContact,
        session: &Label,
        address: &Address,
        anyway: bool,
    ) -> Result<Target, ResolveError> {
        let found: Vec<(DeviceId, SessionId)> = self
            .announced_by(contact)
            .filter(|(_, entry)| entry.name == *session)
            .map(|(device, entry)| (device, entry.sid))
            .collect();
        match found.as_slice() {
            [(device, sid)] => Ok(Target::ContactSession {
                account: contact.account,
                device: *device,
                session: *sid,
                name: session.clone(),
            }),
            [] => self.unchecked(contact, None, session, anyway),
            several => Err(ResolveError::Ambiguous {
                address: address.to_string(),
                candidates: several
                    .iter()
                    .map(|(device, _)| format!("{}/{}/{session}", contact.name, contact.device_name(*device)))
                    .collect(),
            }),
        }
    }

    fn resolve_device(
        &self,
        contact: &DirectoryContact,
        device: &Label,
        session: &Label,
        anyway: bool,
    ) -> Result<Target, ResolveError> {
        let Some((id, _)) = contact.devices.iter().find(|(_, name)| name == device) else {
            let all = contact
                .devices
                .iter()
                .map(|(_, name)| (name.clone(), format!("{}/{name}/{session}", contact.name)))
                .collect();
            return Err(ResolveError::UnknownDevice {
                owner: contact.name.to_string(),
                device: device.clone(),
                candidates: nearest(device, all),
            });
        };
        let entry = self
            .peers
            .get(&(contact.account, *id))
            .and_then(|peer| peer.record.sessions.iter().find(|entry| entry.name == *session));
        match entry {
            Some(entry) => Ok(Target::ContactSession {
                account: contact.account,
                device: *id,
                session: entry.sid,
                name: session.clone(),
            }),
            None => self.unchecked(contact, Some(*id), session, anyway),
        }
    }

    /// A name that is in no list: unchecked when no list came or the sender insists, else an error.
    fn unchecked(
        &self,
        contact: &DirectoryContact,
        device: Option<DeviceId>,
        session: &Label,
        anyway: bool,
    ) -> Result<Target, ResolveError> {
        let listed = self.peers.keys().any(|(account, listed)| {
            contact.has(*account, *listed) && device.is_none_or(|device| device == *listed)
        });
        let why = match (listed, anyway) {
            (_, true) => Unchecked::Anyway,
            (false, false) => Unchecked::NoList,
            (true, false) => {
                let mut all: Vec<(Label, String)> = self
                    .announced_by(contact)
                    .map(|(_, entry)| (entry.name.clone(), format!("{}/{}", contact.name, entry.name)))
                    .collect();
                all.dedup();
                let mut candidates = nearest(session, all);
                candidates.truncate(MAX_CANDIDATES.saturating_sub(1));
                candidates.push(format!("{}/", contact.name));
                return Err(ResolveError::UnknownSession {
                    contact: contact.name.clone(),
                    session: session.clone(),
                    candidates,
                });
            }
        };
        Ok(Target::ContactUnchecked { account: contact.account, device, name: session.clone(), why })
    }

    fn local_target(&self, session: SessionId, name: &Label) -> Target {
        let ended = self.local.get(&session).is_some_and(|local| local.ended());
        Target::Local { session, name: name.clone(), ended }
    }

    fn local_names(&self) -> impl Iterator<Item = &Label> {
        self.local.values().map(|local| &local.record.name)
    }

    fn announced_by(
        &self,
        contact: &DirectoryContact,
    ) -> impl Iterator<Item = (DeviceId, &penpal_protocol::sealed::SessionEntry)> {
        self.peers
            .iter()
            .filter(|((owner, device), _)| contact.has(*owner, *device))
            .flat_map(|((_, device), peer)| peer.record.sessions.iter().map(|entry| (*device, entry)))
    }
}

impl DirectoryContact {
    /// Whether this is a device of the contact now: what another one announced, revoked since, counts no more.
    pub(crate) fn has(&self, account: Fingerprint, device: DeviceId) -> bool {
        self.account == account && self.devices.iter().any(|(id, _)| *id == device)
    }

    /// What a device is called; its id when the manifest does not name it any more.
    pub(crate) fn device_name(&self, device: DeviceId) -> String {
        let named = self.devices.iter().find(|(id, _)| *id == device).map(|(_, name)| name.to_string());
        named.unwrap_or_else(|| {
            let mut text = penpal_protocol::text::base32::encode(device.as_bytes());
            text.truncate(8);
            text
        })
    }
}

impl Directory {
    fn contact(&self, name: &Label) -> Result<&DirectoryContact, ResolveError> {
        self.contacts.iter().find(|contact| contact.name == *name).ok_or_else(|| {
            let all = self
                .contacts
                .iter()
                .map(|contact| (contact.name.clone(), contact.name.to_string()))
                .collect();
            ResolveError::UnknownContact { contact: name.clone(), candidates: nearest(name, all) }
        })
    }

    fn own_device(&self, device: &Label, session: &Label) -> Result<Target, ResolveError> {
        match self.own_devices.iter().find(|(_, name)| name == device) {
            Some((id, _)) => Ok(Target::OwnDevice { device: *id, name: session.clone() }),
            None => {
                let all = self
                    .own_devices
                    .iter()
                    .map(|(_, name)| (name.clone(), format!("me/{name}/{session}")))
                    .collect();
                Err(ResolveError::UnknownDevice {
                    owner: "me".to_owned(),
                    device: device.clone(),
                    candidates: nearest(device, all),
                })
            }
        }
    }

    fn room(&self, room: &Label) -> Result<Target, ResolveError> {
        if self.rooms.contains(room) {
            return Ok(Target::Room { name: room.clone() });
        }
        let all = self.rooms.iter().map(|name| (name.clone(), format!("#{name}"))).collect();
        Err(ResolveError::UnknownRoom { room: room.clone(), candidates: nearest(room, all) })
    }
}

/// The addresses whose names are nearest to what was written.
fn nearest(wanted: &Label, mut all: Vec<(Label, String)>) -> Vec<String> {
    all.sort_by_cached_key(|(name, address)| (distance(wanted.as_str(), name.as_str()), address.clone()));
    all.dedup_by(|one, other| one.1 == other.1);
    all.truncate(MAX_CANDIDATES);
    all.into_iter().map(|(_, address)| address).collect()
}

/// Levenshtein distance; a name that begins with the other counts as near.
fn distance(one: &str, other: &str) -> usize {
    if one.starts_with(other) || other.starts_with(one) {
        return 1;
    }
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, left) in one.chars().enumerate() {
        let mut diagonal = line;
        let mut previous = line + 1;
        for (slot, right) in row.iter_mut().skip(1).zip(&other) {
            let replaced = diagonal + usize::from(left != *right);
            diagonal = *slot;
            *slot = replaced.min(previous + 1).min(diagonal + 1);
            previous = *slot;
        }
        if let Some(first) = row.first_mut() {
            *first = line + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}
