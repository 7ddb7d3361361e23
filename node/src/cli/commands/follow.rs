//! What becomes of a message that was accepted, for as long as somebody waits for it.

use std::sync::mpsc::{self, Sender};
use std::time::{Duration, Instant};

use penpal_local_api::artifact::SendingRequest;
use penpal_local_api::error::{ApiError, ErrorCode};
use penpal_local_api::mail::{SendRequest, SendWaitRequest, Sent, Stage};
use penpal_local_api::methods::{ArtifactSending, SendWait};

use super::send;
use crate::cli::output::{Output, clean};
use crate::cli::progress::Progress;
use crate::cli::{Context, parse};
use crate::files::SILENCE;
use crate::interrupt::Guard;
use crate::launch::Node;

/// Pause between two looks at files that are on their way.
const LOOK_PAUSE: Duration = Duration::from_millis(150);

/// How long news of a message are waited for once its files are there.
const NEWS_WAIT: Duration = Duration::from_secs(2);

/// How much later than asked for the node may answer.
const GRACE: Duration = Duration::from_secs(15);

/// How long the node may take to accept what was given to it before a signal, and to wait a moment for news of it.
const ACCEPTING: Duration = Duration::from_secs(3);

/// How long somebody who wants to leave waits for the node to say how far a message is.
const PARTING: Duration = Duration::from_secs(1);

/// Waits for what the request says, or until its files are there and a moment longer; `begun` is when it was accepted.
pub(super) fn follow(
    node: &Node,
    sent: Sent,
    begun: Instant,
    request: &SendRequest,
    context: &Context,
) -> Sent {
    let until = request.wait_ms.map(|ms| Instant::now() + Duration::from_millis(ms));
    let has_files = !request.artifacts.is_empty() && sent.stage == Stage::Queued;
    if has_files && !files_went(node, &sent, begun, request, until, context) {
        return Sent { timed_out: until.is_some(), ..sent };
    }
    let left = until.map(|until| until.saturating_duration_since(Instant::now()));
    let wait = left.unwrap_or(NEWS_WAIT);
    let news = SendWaitRequest { wait_ms: parse::millis(wait), ..look(&sent, request) };
    // It was accepted: what happens to the node meanwhile is no reason to send it again.
    let Ok(answer) = node.call_within::<SendWait>(&news, wait.saturating_add(GRACE)) else {
        return Sent { timed_out: until.is_some(), ..sent };
    };
    let timed_out = answer.timed_out && until.is_some();
    let remarks = if has_files { Vec::new() } else { sent.remarks };
    Sent { remarks, timed_out, ..answer }
}

fn look(sent: &Sent, request: &SendRequest) -> SendWaitRequest {
    SendWaitRequest {
        caller: request.caller.clone(),
        id: sent.id.clone(),
        wait_ms: 0,
        mechanism: request.mechanism.clone(),
    }
}

/// What a signal does from the moment on in which a message may be accepted: it is named, and that it goes on, before the process ends.
pub(super) struct Parting {
    guard: Guard,
    accepted: Sender<Sent>,
}

impl Parting {
    /// Before the message is given to the node.
    pub(super) fn begin(request: &SendRequest, context: &Context) -> Self {
        let (accepted, sent) = mpsc::channel();
        let (node, out, request) = (context.running_node(), context.out, request.clone());
        let guard = Guard::doing(move || {
            let say = move || {
                if let Ok(sent) = sent.recv_timeout(ACCEPTING) {
                    goes_on(&node, sent, &request, out);
                }
            };
            // Signals are heard on a thread that is too small for this.
            let told = std::thread::Builder::new().spawn(say);
            drop(told.map(std::thread::JoinHandle::join));
        });
        Self { guard, accepted }
    }

    /// It was accepted.
    pub(super) fn accepted(&self, sent: &Sent) {
        // Nobody listens once a signal was answered, and the process ends.
        let told = self.accepted.send(sent.clone());
        drop(told);
    }

    /// What is to be said of it is said by the command itself from now on.
    pub(super) fn over(self) {
        self.guard.release();
    }
}

fn goes_on(node: &Node, sent: Sent, request: &SendRequest, out: Output) {
    let now = node.call_within::<SendWait>(&look(&sent, request), PARTING).unwrap_or_else(|_| sent.clone());
    // An answer that came just now stays unread: nobody stays to read it.
    let now = Sent { remarks: sent.remarks, reply: None, reply_quote: None, lease: None, ..now };
    let error = ApiError::new(ErrorCode::Interrupted, "interrupted; the message was accepted and goes on")
        .hint(format!("do not send again; penpal trace {}", now.short));
    let shown = send::show(out, &now, Some(&error), request.ask, true);
    drop(shown);
    out.explain(&error);
}

/// Shows how the files of a message get to the relay; tells whether it is to be waited for further.
fn files_went(
    node: &Node,
    sent: &Sent,
    begun: Instant,
    request: &SendRequest,
    until: Option<Instant>,
    context: &Context,
) -> bool {
    let ask = SendingRequest { caller: request.caller.clone(), id: sent.id.clone() };
    let mut bar: Option<Progress> = None;
    let (mut moved, mut went, mut said) = (begun, 0, false);
    loop {
        let Ok(sending) = node.call::<ArtifactSending>(&ask) else { return false };
        if !sending.waits || until.is_some_and(|until| Instant::now() >= until) {
            return true;
        }
        // Without anybody to look, a relay that is away is no reason to stay: the node goes on by itself.
        if let Some(why) = &sending.waits_for {
            drop(bar.take());
            context.out.remark(format_args!("  its files wait: {}", clean(why)));
            return until.is_some();
        }
        if sending.sent_bytes != went {
            (moved, went) = (Instant::now(), sending.sent_bytes);
        }
        // A relay that died is known to be away only after a while in which it says nothing.
        if !said && moved.elapsed() >= SILENCE {
            said = true;
            drop(bar.take());
            context.out.remark("  its files wait: no news from the relay");
        }
        let bar = bar.get_or_insert_with(|| Progress::new("files", sending.bytes));
        bar.set(sending.sent_bytes);
        std::thread::sleep(LOOK_PAUSE);
    }
}
