//! What is sent for each job: always derived from stored state, so that a retry sends the same bytes.

use penpal_protocol::{
    ids::{EdgeId, Fingerprint},
    text::RelayAddress,
    wire::{
        EdgeCreate, EdgeLink, EdgeRevoke, GetContactState, InviteCreate, InviteFetch, InviteRedeem,
        InviteRevoke, PutBundle, PutManifest, Register, Request,
    },
};

use super::Contacts;
use crate::{
    command::At,
    jobs::Job,
    record::{AddStep, Contact, InviteState, Link},
};

impl Contacts {
    /// Our relay: that of our account, or the one that was asked for one, or of which this machine becomes a device.
    #[must_use]
    pub fn home_relay(&self) -> Option<&RelayAddress> {
        let registering = self.registering.as_ref().map(|registering| &registering.relay.0);
        let joining = self.joining.as_ref().map(|joining| &joining.relay.0);
        let recovering = self.recovering.as_ref().map(|recovering| &recovering.relay.0);
        let looking = self.looking.as_ref().map(|looking| &looking.relay);
        let own = self.own.as_ref().map(|own| &own.relay.0);
        own.or(registering).or(joining).or(recovering).or(looking)
    }

    /// The request of a job; `None` when state has moved on and nobody needs it.
    pub(super) fn request(&self, job: Job) -> Option<(At, Request)> {
        match job {
            Job::Register => self.registration(),
            Job::PutManifest => {
                let put = self.own.as_ref()?.manifest_put.as_ref()?;
                let (expect, revision) = (put.expect, put.mark.item);
                Some((
                    At::Home,
                    Request::PutManifest(PutManifest { expect, revision, profile: put.copies.profile() }),
                ))
            }
            Job::PutBundle => {
                let put = self.own.as_ref()?.bundle_put.as_ref()?;
                Some((At::Home, Request::PutBundle(PutBundle { profile: put.copies.profile() })))
            }
            Job::CreateInvite(id) => {
                let invite = self.invites.get(&id)?;
                let InviteState::Creating { sealed_record } = &invite.state else { return None };
                let proof_hash = self.secrets.get(&id)?.keys.registration().hash();
                let record = sealed_record.clone();
                let create = InviteCreate { invite: id, proof_hash, expires_ms: invite.expires_ms, record };
                Some((At::Home, Request::InviteCreate(create)))
            }
            Job::RevokeInvite(invite) => self
                .retired_invites
                .contains(&invite)
                .then_some((At::Home, Request::InviteRevoke(InviteRevoke { invite }))),
            Job::AskInvite(invite) => self
                .invites
                .contains_key(&invite)
                .then_some((At::Home, Request::InviteFetch(InviteFetch { invite }))),
            Job::FetchRecord(invite) | Job::AskRequest(invite) => {
                let at = self.at(&self.adding.get(&invite)?.relay.0);
                Some((at, Request::InviteFetch(InviteFetch { invite })))
            }
            Job::Redeem(invite) => {
                let adding = self.adding.get(&invite).filter(|adding| adding.step == AddStep::Redeeming)?;
                let request = adding.prepared.as_ref()?.sealed.clone();
                Some((self.at(&adding.relay.0), Request::InviteRedeem(InviteRedeem { invite, request })))
            }
            Job::CreateEdge(edge) => self.edge_creation(edge),
            Job::RevokeEdge(edge) => self
                .retired_edges
                .contains_key(&edge)
                .then_some((At::Home, Request::EdgeRevoke(EdgeRevoke { edge }))),
            Job::LinkEdge(contact, edge) => {
                let row = self.contacts.get(&contact)?;
                let link = links(row).find(|link| link.edge_in == edge && !link.linked)?;
                let request = EdgeLink { edge: link.edge_out, cap: link.cap_out.clone() };
                Some((self.at(&row.relay.0), Request::EdgeLink(request)))
            }
            Job::FetchProfile(contact) => self.profile_request(contact),
            Job::PutProof | Job::RemoveDevice(_) => self.device_request(job),
            Job::AddAgain(device) => self.again_request(device),
            Job::CreateLink(_) | Job::AddDevice(_) | Job::AnswerLink(_) => self.link_request(job),
            Job::FetchLink(_) | Job::JoinLink(_) | Job::AwaitLink(_) | Job::ConfirmLink(_) => {
                self.join_request(job)
            }
            Job::GetState | Job::PutState => self.kept_request(job),
            Job::AddSelf => self.recovery_request(),
        }
    }

    fn registration(&self) -> Option<(At, Request)> {
        let asked = self.registering.as_ref()?;
        let proof = asked
            .invite
            .and_then(|id| self.secrets.get(&id))
            .map(|secrets| secrets.keys.registration().clone());
        let register = Register {
            handle: asked.handle.clone(),
            token: asked.token.clone(),
            invite: asked.invite.filter(|_| proof.is_some()),
            proof,
        };
        Some((At::Home, Request::Register(register)))
    }

    fn edge_creation(&self, edge: EdgeId) -> Option<(At, Request)> {
        let prepared = self.adding.values().filter(|adding| adding.step == AddStep::MakingEdge);
        let prepared =
            prepared.filter_map(|adding| adding.prepared.as_ref()).find(|prepared| prepared.edge == edge);
        let mut offered = self.contacts.values().filter_map(|row| row.accepting.as_ref());
        let offered = || offered.find(|accepting| accepting.link.edge_in == edge && !accepting.link.made);
        let among_us = || {
            let link = self.contacts.get(&self.me()?)?.link.as_ref();
            link.filter(|link| link.edge_in == edge && !link.made)
        };
        let cap = prepared.map(|prepared| &prepared.cap).or_else(|| Some(&{ offered }()?.link.cap_in));
        let mut fresh = self.contacts.values().filter_map(|row| row.rekeying.as_ref());
        let rekeying = || fresh.find(|rekeying| rekeying.edge == edge && !rekeying.made);
        let cap = cap.or_else(|| Some(&among_us()?.cap_in)).or_else(|| Some(&{ rekeying }()?.cap))?;
        Some((At::Home, Request::EdgeCreate(EdgeCreate { edge, cap_hash: cap.hash() })))
    }

    fn profile_request(&self, contact: Fingerprint) -> Option<(At, Request)> {
        let row = self.contacts.get(&contact)?;
        let link = profile_link(row)?;
        let request = GetContactState { edge: link.edge_out, cap: link.cap_out.clone() };
        Some((self.relay_of(row), Request::GetContactState(request)))
    }
}

/// Every connection of a contact.
pub(super) fn links(row: &Contact) -> impl Iterator<Item = &Link> {
    let accepting = row.accepting.as_ref().map(|accepting| &accepting.link);
    accepting.into_iter().chain(row.link.as_ref())
}

/// The connection by which a contact's profile is fetched: the newest that is linked.
pub(super) fn profile_link(row: &Contact) -> Option<&Link> {
    links(row).find(|link| link.linked).or(row.link.as_ref())
}
