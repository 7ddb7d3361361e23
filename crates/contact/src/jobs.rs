//! Which requests to relays are wanted, on their way, or waiting to be tried again.
//!
//! A job is only a key: what is sent is derived from stored state at each try, so a restart needs no list of jobs and a retry
//! sends the same bytes.

use std::{collections::BTreeMap, time::Duration};

use penpal_protocol::ids::{DeviceId, EdgeId, Fingerprint, InviteId, SlotId};

use crate::command::{At, Token};

/// Longest pause between tries at our own relay when it cannot be reached. A new connection to it tries at once.
const LONGEST_HOME: Duration = Duration::from_secs(5 * 60);
/// Longest pause otherwise.
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// Longest pause before something is looked for again that somebody else leaves.
const LONGEST_NOT_YET: Duration = Duration::from_secs(10);

/// Why a job is tried again. Each pause in a row is twice as long as the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// The relay cannot be reached: first pause 2 seconds.
    Unreachable,
    /// It is busy or full: first pause 10 seconds.
    Busy,
    /// What is looked for is not there yet: first pause half a second.
    NotYet,
    /// It does not serve us, or answers something that does not fit: first pause one minute.
    Refused,
}

impl Why {
    fn first_pause(self) -> Duration {
        match self {
            Self::Unreachable => Duration::from_secs(2),
            Self::Busy => Duration::from_secs(10),
            Self::NotYet => Duration::from_millis(500),
            Self::Refused => Duration::from_secs(60),
        }
    }

    fn longest_pause(self, relay: &At) -> Duration {
        match (self, relay) {
            (Self::NotYet, _) => LONGEST_NOT_YET,
            (Self::Unreachable | Self::Busy, At::Home) => LONGEST_HOME,
            (Self::Unreachable | Self::Busy, At::Foreign(_)) | (Self::Refused, _) => LONGEST,
        }
    }
}

/// What is asked, and about what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Job {
    Register,
    PutManifest,
    PutBundle,
    CreateInvite(InviteId),
    RevokeInvite(InviteId),
    /// What became of an invite that we made.
    AskInvite(InviteId),
    /// The record of an invite that we use.
    FetchRecord(InviteId),
    Redeem(InviteId),
    /// What became of our request.
    AskRequest(InviteId),
    CreateEdge(EdgeId),
    RevokeEdge(EdgeId),
    /// Links the edge of a contact, by our edge to it.
    LinkEdge(Fingerprint, EdgeId),
    FetchProfile(Fingerprint),
    /// Leaves the hash of our account's proof.
    PutProof,
    /// Leaves the record of a code for a further device.
    CreateLink(InviteId),
    /// Makes the machine that used it a device.
    AddDevice(InviteId),
    /// Leaves the answer to it.
    AnswerLink(InviteId),
    /// Ends a device that was revoked.
    RemoveDevice(SlotId),
    /// Makes a machine that is listed a device once more, at a relay that may have forgotten it.
    AddAgain(DeviceId),
    /// The record of a code that makes this machine a device.
    FetchLink(InviteId),
    /// Hands our request in.
    JoinLink(InviteId),
    /// Looks whether the answer is there.
    AwaitLink(InviteId),
    /// Says that it came.
    ConfirmLink(InviteId),
    /// Asks for the state that our relay keeps, or that of a recovery code's account.
    GetState,
    /// Leaves the next part of it.
    PutState,
    /// Makes this machine a device of a recovery code's account.
    AddSelf,
}

impl Job {
    /// A job that must not be on its way at the same time: the relay could carry out the two in either order.
    fn waits_for(self) -> Option<Self> {
        match self {
            Self::RevokeInvite(id) => Some(Self::CreateInvite(id)),
            Self::RemoveDevice(_) | Self::AddAgain(_) | Self::PutState => Some(Self::PutProof),
            Self::RevokeEdge(edge) => Some(Self::CreateEdge(edge)),
            Self::Register
            | Self::PutManifest
            | Self::PutBundle
            | Self::CreateInvite(_)
            | Self::AskInvite(_)
            | Self::FetchRecord(_)
            | Self::Redeem(_)
            | Self::AskRequest(_)
            | Self::CreateEdge(_)
            | Self::LinkEdge(..)
            | Self::FetchProfile(_)
            | Self::PutProof
            | Self::CreateLink(_)
            | Self::AddDevice(_)
            | Self::AnswerLink(_)
            | Self::FetchLink(_)
            | Self::JoinLink(_)
            | Self::AwaitLink(_)
            | Self::ConfirmLink(_)
            | Self::GetState
            | Self::AddSelf => None,
        }
    }
}

#[derive(Debug, Clone)]
enum Stage {
    Ready,
    Asked {
        token: Token,
        relay: At,
    },
    /// To be tried again at this monotonic time.
    Paused {
        until: Duration,
        relay: At,
    },
}

#[derive(Debug, Clone)]
struct Progress {
    stage: Stage,
    tries: u32,
}

/// All jobs of a machine.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    jobs: BTreeMap<Job, Progress>,
    tokens: BTreeMap<Token, Job>,
    next_token: u64,
}

impl Jobs {
    /// Wants a job done; one that is wanted already goes on as it is.
    pub(crate) fn want(&mut self, job: Job) {
        self.jobs.entry(job).or_insert(Progress { stage: Stage::Ready, tries: 0 });
    }

    /// Whether a job is wanted.
    pub(crate) fn is_wanted(&self, job: Job) -> bool {
        self.jobs.contains_key(&job)
    }

    /// Does not want a job any more. One on its way stays until its answer, which then finds no use.
    pub(crate) fn drop_unless_asked(&mut self, job: Job) {
        if !self.jobs.get(&job).is_some_and(|progress| matches!(progress.stage, Stage::Asked { .. })) {
            self.jobs.remove(&job);
        }
    }

    /// Jobs to be sent now.
    pub(crate) fn due(&self, now: Duration) -> Vec<Job> {
        let is_due = |progress: &Progress| match progress.stage {
            Stage::Ready => true,
            Stage::Asked { .. } => false,
            Stage::Paused { until, .. } => until <= now,
        };
        // What needs the proof comes after it, and not beside it.
        let awaited = |other| self.is_asked(other) || (other == Job::PutProof && self.is_wanted(other));
        let clear = |job: &Job| job.waits_for().is_none_or(|other| !awaited(other));
        self.jobs
            .iter()
            .filter(|(job, progress)| is_due(progress) && clear(job))
            .map(|(job, _)| *job)
            .collect()
    }

    fn is_asked(&self, job: Job) -> bool {
        self.jobs.get(&job).is_some_and(|progress| matches!(progress.stage, Stage::Asked { .. }))
    }

    /// Marks a job as sent.
    pub(crate) fn sent(&mut self, job: Job, relay: At) -> Token {
        self.next_token = self.next_token.saturating_add(1);
        let token = Token(self.next_token);
        if let Some(progress) = self.jobs.get_mut(&job) {
            progress.stage = Stage::Asked { token, relay };
            progress.tries = progress.tries.saturating_add(1);
        }
        self.tokens.insert(token, job);
        token
    }

    /// Takes the job of an answer; `None` for one that is not waited for.
    pub(crate) fn answered(&mut self, token: Token) -> Option<Job> {
        self.tokens.remove(&token)
    }

    /// Ends a job.
    pub(crate) fn done(&mut self, job: Job) {
        if let Some(Progress { stage: Stage::Asked { token, .. }, .. }) = self.jobs.remove(&job) {
            self.tokens.remove(&token);
        }
    }

    /// Tries a job again after a pause.
    pub(crate) fn pause(&mut self, job: Job, now: Duration, why: Why) {
        let Some(progress) = self.jobs.get_mut(&job) else { return };
        let relay = match &progress.stage {
            Stage::Asked { relay, .. } | Stage::Paused { relay, .. } => relay.clone(),
            Stage::Ready => At::Home,
        };
        let doublings = progress.tries.saturating_sub(1).min(16);
        let pause = why.first_pause().saturating_mul(1 << doublings).min(why.longest_pause(&relay));
        progress.stage = Stage::Paused { until: now.saturating_add(pause), relay };
    }

    /// Tries everything again that waits for a relay.
    pub(crate) fn wake(&mut self, at: &At) {
        for progress in self.jobs.values_mut() {
            if matches!(&progress.stage, Stage::Paused { relay, .. } if relay == at) {
                *progress = Progress { stage: Stage::Ready, tries: 0 };
            }
        }
    }

    /// When the next pause ends.
    pub(crate) fn next(&self) -> Option<Duration> {
        let until = |progress: &Progress| match progress.stage {
            Stage::Paused { until, .. } => Some(until),
            Stage::Ready | Stage::Asked { .. } => None,
        };
        self.jobs.values().filter_map(until).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(10);

    #[test]
    fn a_second_answer_to_one_request_has_no_job() {
        let mut jobs = Jobs::default();
        jobs.want(Job::Register);
        let token = jobs.sent(Job::Register, At::Home);
        assert_eq!(jobs.answered(token), Some(Job::Register));
        assert_eq!(jobs.answered(token), None);
        jobs.pause(Job::Register, START, Why::Unreachable);
        let again = jobs.sent(Job::Register, At::Home);
        assert_eq!((jobs.answered(token), jobs.answered(again)), (None, Some(Job::Register)));
    }

    #[test]
    fn an_edge_is_not_ended_while_its_creation_is_on_its_way() {
        let edge = EdgeId::from_bytes([1; 16]);
        let mut jobs = Jobs::default();
        jobs.want(Job::CreateEdge(edge));
        let token = jobs.sent(Job::CreateEdge(edge), At::Home);
        jobs.drop_unless_asked(Job::CreateEdge(edge));
        jobs.want(Job::RevokeEdge(edge));
        assert_eq!(jobs.due(START), []);
        assert_eq!(jobs.answered(token), Some(Job::CreateEdge(edge)));
        jobs.done(Job::CreateEdge(edge));
        assert_eq!(jobs.due(START), [Job::RevokeEdge(edge)]);
    }

    #[test]
    fn pauses_double_up_to_a_limit_and_end_when_the_relay_is_back() {
        let mut jobs = Jobs::default();
        jobs.want(Job::PutBundle);
        let mut pauses = Vec::new();
        for _ in 0..10 {
            let token = jobs.sent(Job::PutBundle, At::Home);
            jobs.answered(token);
            jobs.pause(Job::PutBundle, START, Why::Unreachable);
            pauses.push((jobs.next().unwrap() - START).as_secs());
        }
        assert_eq!(pauses, [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(jobs.due(START), []);
        jobs.wake(&At::Home);
        assert_eq!(jobs.due(START), [Job::PutBundle]);
        assert_eq!(jobs.next(), None);
    }

    #[test]
    fn a_dropped_job_is_forgotten() {
        let mut jobs = Jobs::default();
        jobs.want(Job::PutManifest);
        jobs.drop_unless_asked(Job::PutManifest);
        assert!(!jobs.is_wanted(Job::PutManifest));
    }
}
