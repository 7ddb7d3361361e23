//! A relay as far as contacts see it: invites, edges, profiles, spools. It answers as a real one does, from memory.

use std::collections::BTreeMap;

use penpal_protocol::{
    cbor::List,
    ids::{AccountId, Capability, EdgeId, Hash, InviteId, RelayPin, SlotId, StateId, TransportPublicKey},
    limits::REDEEMED_INVITE_LIFE_MS,
    text::{Label, RelayAddress},
    wire::{
        Answer, ContactState, Deposit, DepositOutcome, DeviceBundles, InviteAnswer, InviteState, Profile,
        RefusalCode, Register, Registered, Request, StatePart,
    },
};

/// Whoever asks: a device by its transport key, or somebody with a throw-away key.
pub(crate) type Caller = Option<TransportPublicKey>;

type StateBytes = penpal_protocol::cbor::Blob<{ penpal_protocol::limits::MAX_STATE_PART_BYTES }>;

#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(crate) handle: Label,
    pub(crate) slot: SlotId,
    pub(crate) id: AccountId,
    pub(crate) provisional: Option<InviteId>,
    pub(crate) revision: u64,
    pub(crate) manifest: Option<Profile>,
    pub(crate) bundle: Option<Profile>,
    pub(crate) proof: Option<Hash>,
    /// Whether the first device was removed.
    pub(crate) first_gone: bool,
    pub(crate) state: Option<(StateId, Vec<StateBytes>)>,
    pub(crate) next_state: Option<(StateId, Vec<StateBytes>)>,
    /// Devices besides the first: key, spool, bundle.
    pub(crate) more: Vec<(TransportPublicKey, SlotId, Option<Profile>)>,
}

#[derive(Debug, Clone)]
pub(crate) struct RelayInvite {
    pub(crate) owner: TransportPublicKey,
    pub(crate) proof: Hash,
    pub(crate) expires_ms: u64,
    pub(crate) record: Vec<u8>,
    pub(crate) request: Option<Vec<u8>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    Open,
    By(TransportPublicKey),
    Foreign,
}

#[derive(Debug, Clone)]
pub(crate) struct Edge {
    pub(crate) owner: TransportPublicKey,
    pub(crate) cap: Hash,
    pub(crate) link: Link,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Row {
    Redeemed(InviteId, Vec<u8>),
    Envelope(Vec<u8>),
}

#[derive(Debug, Clone)]
pub(crate) struct Relay {
    pub(crate) address: RelayAddress,
    pub(crate) tokens: Vec<String>,
    pub(crate) accounts: BTreeMap<TransportPublicKey, Account>,
    pub(crate) invites: BTreeMap<InviteId, RelayInvite>,
    pub(crate) edges: BTreeMap<EdgeId, Edge>,
    pub(crate) spools: BTreeMap<TransportPublicKey, Vec<Row>>,
    /// Whether nobody can reach it.
    pub(crate) down: bool,
    /// Everything it was ever sent, for looking for what it must not see.
    pub(crate) seen: Vec<u8>,
    /// Life of its spools.
    pub(crate) epoch: u8,
    made: u64,
}

fn no() -> Answer {
    Answer::refused(RefusalCode::No)
}

impl Relay {
    pub(crate) fn new(number: u8) -> Self {
        let at = format!("relay{number}.example.com").parse().unwrap();
        let pin = RelayPin::from_bytes([number; 16]);
        Self {
            address: RelayAddress { at, pin },
            tokens: vec!["token".to_owned()],
            accounts: BTreeMap::new(),
            invites: BTreeMap::new(),
            edges: BTreeMap::new(),
            spools: BTreeMap::new(),
            down: false,
            seen: Vec::new(),
            epoch: 1,
            made: u64::from(number) << 32,
        }
    }

    /// The first device of the account that a key belongs to.
    pub(crate) fn owner(&self, key: &TransportPublicKey) -> Option<TransportPublicKey> {
        let has = |account: &Account| account.more.iter().any(|(device, ..)| device == key);
        let further = self.accounts.iter().find(|(_, account)| has(account)).map(|(first, _)| *first);
        let first = self.accounts.get(key).is_some_and(|account| !account.first_gone);
        further.or_else(|| first.then_some(*key))
    }

    /// The device that a spool belongs to.
    fn device(&self, owner: &TransportPublicKey, slot: SlotId) -> Option<TransportPublicKey> {
        let account = self.accounts.get(owner)?;
        let further = account.more.iter().find(|(_, of, _)| *of == slot).map(|(device, ..)| *device);
        further.or_else(|| (account.slot == slot && !account.first_gone).then_some(*owner))
    }

    fn proved(&mut self, proof: &penpal_protocol::ids::AccountProof) -> Option<&mut Account> {
        let hash = proof.hash();
        self.accounts.values_mut().find(|account| account.proof == Some(hash))
    }

    /// It was put back to an older copy: another life, and no number twice.
    pub(crate) fn goes_on_after_a_restore(&mut self) {
        self.epoch += 1;
        self.made += 1 << 20;
    }

    fn id(&mut self) -> [u8; 16] {
        self.made += 1;
        let mut id = [0; 16];
        id[8..].copy_from_slice(&self.made.to_be_bytes());
        id
    }

    pub(crate) fn request(&mut self, caller: Caller, request: Request, now_ms: u64) -> Answer {
        self.seen.extend(request.encode());
        let account = caller.and_then(|key| self.owner(&key));
        let of_members = matches!(
            request,
            Request::PutManifest(_)
                | Request::PutBundle(_)
                | Request::EdgeCreate(_)
                | Request::EdgeRevoke(_)
                | Request::InviteCreate(_)
                | Request::InviteRevoke(_)
        );
        if of_members && account.is_none() {
            return Answer::refused(RefusalCode::NotRegistered);
        }
        match request {
            Request::Register(register) => {
                caller.map_or_else(no, |key| self.register(key, &register, now_ms))
            }
            Request::PutManifest(put) => {
                let Some(account) = account.and_then(|key| self.accounts.get_mut(&key)) else { return no() };
                let again =
                    account.revision == put.revision && account.manifest.as_ref() == Some(&put.profile);
                if again {
                    return Answer::Done;
                }
                if account.revision != put.expect || put.revision <= put.expect {
                    return Answer::refused(RefusalCode::Conflict);
                }
                account.revision = put.revision;
                account.manifest = Some(put.profile);
                Answer::Done
            }
            Request::PutBundle(put) => {
                let Some(account) = account.and_then(|key| self.accounts.get_mut(&key)) else { return no() };
                match account.more.iter_mut().find(|(device, ..)| Some(*device) == caller) {
                    Some((_, _, bundle)) => *bundle = Some(put.profile),
                    None => account.bundle = Some(put.profile),
                }
                Answer::Done
            }
            Request::InviteCreate(create) => {
                let Some(owner) = account else { return no() };
                if self.accounts[&owner].provisional.is_some() {
                    return no();
                }
                if let Some(invite) = self.invites.get(&create.invite) {
                    return if invite.owner == owner { Answer::Done } else { no() };
                }
                if create.expires_ms <= now_ms || create.expires_ms > now_ms + 30 * 86_400_000 {
                    return Answer::refused(RefusalCode::Malformed);
                }
                let invite = RelayInvite {
                    owner,
                    proof: create.proof_hash,
                    expires_ms: create.expires_ms,
                    record: create.record.to_vec(),
                    request: None,
                };
                self.invites.insert(create.invite, invite);
                Answer::Done
            }
            Request::InviteFetch(fetch) => match self.live_invite(&fetch.invite, now_ms) {
                None => no(),
                Some(invite) => Answer::Invite(InviteAnswer {
                    state: if invite.request.is_some() { InviteState::Redeemed } else { InviteState::Open },
                    record: invite
                        .request
                        .is_none()
                        .then(|| penpal_protocol::cbor::Blob::new(invite.record.clone()).unwrap()),
                }),
            },
            Request::InviteRedeem(redeem) => {
                self.redeem(caller, redeem.invite, redeem.request.to_vec(), now_ms)
            }
            Request::InviteRevoke(revoke) => {
                if self.invites.get(&revoke.invite).is_some_and(|invite| Some(invite.owner) == account) {
                    self.end_invite(&revoke.invite, None);
                }
                Answer::Done
            }
            Request::EdgeCreate(create) => {
                let Some(owner) = account else { return no() };
                if let Some(edge) = self.edges.get(&create.edge) {
                    return if edge.owner == owner && edge.cap == create.cap_hash {
                        Answer::Done
                    } else {
                        no()
                    };
                }
                self.edges.insert(create.edge, Edge { owner, cap: create.cap_hash, link: Link::Open });
                Answer::Done
            }
            Request::EdgeLink(link) => {
                let by = account.map_or(Link::Foreign, Link::By);
                let Some(edge) = self.edges.get_mut(&link.edge).filter(|edge| edge.cap == link.cap.hash())
                else {
                    return no();
                };
                if edge.link != Link::Open && edge.link != by {
                    return no();
                }
                edge.link = by;
                Answer::Done
            }
            Request::EdgeRevoke(revoke) => {
                if self.edges.get(&revoke.edge).is_some_and(|edge| Some(edge.owner) == account) {
                    self.edges.remove(&revoke.edge);
                }
                Answer::Done
            }
            Request::GetContactState(get) => {
                let Some(owner) = self.opened(&get.edge, &get.cap).map(|edge| edge.owner) else {
                    return no();
                };
                let account = &self.accounts[&owner];
                let first = account.bundle.iter().map(|profile| (account.slot, profile));
                let more =
                    account.more.iter().filter_map(|(_, slot, bundle)| Some((*slot, bundle.as_ref()?)));
                let bundles =
                    first.chain(more).map(|(slot, profile)| DeviceBundles { slot, profile: profile.clone() });
                Answer::ContactState(ContactState {
                    manifest: account.manifest.clone(),
                    bundles: List::new(bundles.collect()).unwrap(),
                })
            }
            Request::PutProof(put) => {
                let Some(account) = account.and_then(|key| self.accounts.get_mut(&key)) else { return no() };
                if account.proof.is_some_and(|held| held != put.proof_hash) {
                    return Answer::refused(RefusalCode::Conflict);
                }
                account.proof = Some(put.proof_hash);
                Answer::Done
            }
            Request::DeviceAdd(add) => {
                let fresh = SlotId::from_bytes(self.id());
                let Some(account) = self.proved(&add.proof) else { return no() };
                let known = account.more.iter().find(|(key, ..)| *key == add.key).map(|(_, slot, _)| *slot);
                if known.is_none() {
                    account.more.push((add.key, fresh, None));
                }
                let (account, slot, handle) = (account.id, known.unwrap_or(fresh), account.handle.clone());
                Answer::Registered(Registered { account, slot, handle })
            }
            Request::DeviceRemove(remove) => {
                let Some(account) = self.proved(&remove.proof) else { return no() };
                let before = account.more.len();
                account.more.retain(|(_, slot, _)| *slot != remove.slot);
                let first = account.slot == remove.slot && !account.first_gone;
                if first {
                    (account.first_gone, account.bundle) = (true, None);
                }
                if first || account.more.len() < before {
                    (account.revision, account.manifest) = (0, None);
                }
                Answer::Done
            }
            Request::PutState(put) => {
                let Some(account) = self.proved(&put.proof) else { return no() };
                let stored = account.state.as_ref().map(|(id, _)| *id);
                if stored == Some(put.state) {
                    return Answer::Done;
                }
                let begun = account.next_state.take().filter(|(id, _)| *id == put.state);
                let mut parts = begun.map(|(_, parts)| parts).unwrap_or_default();
                if stored != put.expect || parts.len() < usize::from(put.part) {
                    return Answer::refused(RefusalCode::Conflict);
                }
                parts.truncate(usize::from(put.part));
                parts.push(put.sealed);
                if parts.len() == usize::from(put.parts) {
                    account.state = Some((put.state, parts));
                } else {
                    account.next_state = Some((put.state, parts));
                }
                Answer::Done
            }
            Request::GetState(get) => {
                let Some(account) = self.proved(&get.proof) else { return no() };
                let (state, parts) = account.state.clone().unzip();
                let parts = parts.unwrap_or_default();
                Answer::State(StatePart {
                    handle: account.handle.clone(),
                    manifest_revision: account.revision,
                    state,
                    parts: u8::try_from(parts.len()).unwrap(),
                    sealed: parts.get(usize::from(get.part)).cloned(),
                    manifest: account.manifest.clone().filter(|_| get.part == 0),
                })
            }
            Request::Hello(_)
            | Request::Ack(_)
            | Request::BlobCreate(_)
            | Request::BlobPut(_)
            | Request::BlobGet(_)
            | Request::BlobDelete(_) => unreachable!("not asked by contacts"),
        }
    }

    fn opened(&self, edge: &EdgeId, cap: &Capability) -> Option<&Edge> {
        self.edges.get(edge).filter(|edge| edge.cap == cap.hash())
    }

    fn live_invite(&self, id: &InviteId, now_ms: u64) -> Option<&RelayInvite> {
        self.invites.get(id).filter(|invite| now_ms < invite.expires_ms)
    }

    /// Ends an invite; an account that was made with it and is not `kept` goes with it.
    fn end_invite(&mut self, id: &InviteId, kept: Option<TransportPublicKey>) {
        self.invites.remove(id);
        self.drop_provisional(*id, kept);
    }

    fn drop_provisional(&mut self, id: InviteId, kept: Option<TransportPublicKey>) {
        self.accounts.retain(|key, account| account.provisional != Some(id) || Some(*key) == kept);
    }

    fn register(&mut self, key: TransportPublicKey, register: &Register, now_ms: u64) -> Answer {
        if let Some(account) = self.accounts.get(&key) {
            let (account, slot, handle) = (account.id, account.slot, account.handle.clone());
            return Answer::Registered(Registered { account, slot, handle });
        }
        let by_invite = match (&register.token, &register.invite, &register.proof) {
            (Some(token), _, _) if self.tokens.iter().any(|known| *known == **token) => None,
            (None, Some(id), Some(proof)) => match self.live_invite(id, now_ms) {
                Some(invite) if invite.proof == proof.hash() && invite.request.is_none() => Some(*id),
                _ => return no(),
            },
            _ => return Answer::refused(RefusalCode::NeedsToken),
        };
        if self.accounts.values().any(|account| account.handle == register.handle) {
            return Answer::refused(RefusalCode::HandleTaken);
        }
        if let Some(id) = by_invite {
            self.drop_provisional(id, None);
        }
        let (id, slot) = (AccountId::from_bytes(self.id()), SlotId::from_bytes(self.id()));
        let account = Account {
            handle: register.handle.clone(),
            slot,
            id,
            provisional: by_invite,
            revision: 0,
            manifest: None,
            bundle: None,
            proof: None,
            first_gone: false,
            state: None,
            next_state: None,
            more: Vec::new(),
        };
        self.accounts.insert(key, account);
        Answer::Registered(Registered { account: id, slot, handle: register.handle.clone() })
    }

    fn redeem(&mut self, caller: Caller, id: InviteId, request: Vec<u8>, now_ms: u64) -> Answer {
        let Some(invite) = self.live_invite(&id, now_ms) else { return no() };
        if let Some(first) = &invite.request {
            return if *first == request { Answer::Done } else { Answer::refused(RefusalCode::Used) };
        }
        let owner = invite.owner;
        self.spools.entry(owner).or_default().push(Row::Redeemed(id, request.clone()));
        if let Some(invite) = self.invites.get_mut(&id) {
            invite.request = Some(request);
            invite.expires_ms = now_ms + REDEEMED_INVITE_LIFE_MS;
        }
        self.drop_provisional(id, caller);
        if let Some(account) = caller.and_then(|key| self.accounts.get_mut(&key)) {
            account.provisional = account.provisional.filter(|by| *by != id);
        }
        Answer::Done
    }

    pub(crate) fn deposit(&mut self, caller: Caller, deposit: &Deposit) -> DepositOutcome {
        self.seen.extend_from_slice(&deposit.envelope);
        let by = caller.and_then(|key| self.owner(&key)).map_or(Link::Foreign, Link::By);
        let edge = self.opened(&deposit.edge, &deposit.cap).filter(|edge| edge.link == by);
        let Some(owner) = edge.map(|edge| edge.owner) else { return DepositOutcome::No };
        let Some(device) = self.device(&owner, deposit.slot) else { return DepositOutcome::No };
        self.spools.entry(device).or_default().push(Row::Envelope(deposit.envelope.to_vec()));
        DepositOutcome::Accepted
    }
}
