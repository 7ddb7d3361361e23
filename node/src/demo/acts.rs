//! The acts of the demo, in order. Each returns its line only after what it says was seen.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use penpal_local_api::account::RegisterRequest;
use penpal_local_api::caller::Caller;
use penpal_local_api::contacts::{AddRequest, ContactState, InviteRequest, ListRequest, NameRequest};
use penpal_local_api::daemon::StopRequest;
use penpal_local_api::error::ErrorCode;
use penpal_local_api::mail::{IdRequest, InboxRequest, Message, SendRequest, Sent, Stage};
use penpal_local_api::methods::{
    ContactAccept, ContactAdd, ContactInvite, ContactList, ContactRemove, DaemonStop, Inbox, Register, Send,
    SessionOpen, SessionSummary, Trace,
};
use penpal_local_api::sessions::{OpenRequest, SummaryRequest};

use super::echo::Echo;
use super::world::{Broken, LOOK, PATIENCE, Person, World, broken, search_files, until};
use crate::launch::Start;

/// What an act prints.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) act: &'static str,
    /// Whether it claims something, rather than introduces it.
    pub(super) proved: bool,
    pub(super) detail: String,
}

type Act = fn(&mut World) -> Result<Line, Broken>;

/// All acts.
pub(super) const ALL: [Act; 8] = [alice, bob, contact, send, offline, crash, blind, revoke];

/// Messages that are sent while everything is killed.
const CRASH_MESSAGES: usize = 200;

fn proved(act: &'static str, detail: String) -> Line {
    Line { act, proved: true, detail }
}

fn opens_session(person: &Person, summary: &str) -> Result<Line, Broken> {
    let open = OpenRequest {
        caller: Caller::default(),
        name: person.session.clone(),
        agent: Some("echo".to_owned()),
    };
    person.call::<SessionOpen>(person.handle, &open)?;
    let summary = SummaryRequest {
        caller: Caller::default(),
        name: Some(person.session.clone()),
        text: summary.to_owned(),
    };
    person.call::<SessionSummary>(person.handle, &summary)?;
    let detail = format!("{} · session {} (agent: echo)", person.device, person.session);
    Ok(Line { act: person.handle, proved: false, detail })
}

fn alice(world: &mut World) -> Result<Line, Broken> {
    opens_session(&world.alice, "waits for the schema")
}

fn bob(world: &mut World) -> Result<Line, Broken> {
    let summary = "canary-summary-2b7e151628aed2a6";
    world.canaries.push(summary.to_owned());
    opens_session(&world.bob, summary)
}

fn contact(world: &mut World) -> Result<Line, Broken> {
    let act = "contact";
    let token = world.token()?;
    let register = RegisterRequest {
        caller: Caller::default(),
        address: world.relay_address().to_owned(),
        handle: world.alice.handle.to_owned(),
        device: Some(world.alice.device.to_owned()),
        token: Some(token),
    };
    world.alice.call::<Register>(act, &register)?;
    let invite = InviteRequest { caller: Caller::default(), life_ms: None, count: None, auto_accept: false };
    let code = world.alice.call::<ContactInvite>(act, &invite)?.code;
    let add = AddRequest {
        caller: Caller::default(),
        code,
        handle: Some(world.bob.handle.to_owned()),
        device: Some(world.bob.device.to_owned()),
        wait_ms: 0,
    };
    world.bob.call::<ContactAdd>(act, &add)?;
    until(act, "bob's request", || {
        Ok(state_of(act, &world.alice, "bob")?.filter(|state| *state == ContactState::PendingIn))
    })?;
    let accept = NameRequest { caller: Caller::default(), name: "bob".to_owned() };
    let accepted = world.alice.call::<ContactAccept>(act, &accept)?;
    until(act, "the contact", || {
        Ok(state_of(act, &world.bob, "alice")?.filter(|state| *state == ContactState::Active))
    })?;
    let number = accepted.contact.safety_number.unwrap_or_default();
    let theirs = contacts(act, &world.bob)?
        .into_iter()
        .find(|one| one.name == "alice")
        .and_then(|one| one.safety_number);
    if theirs.as_deref() != Some(number.as_str()) || number.is_empty() {
        return Err(broken(act, "the two sides see different safety numbers"));
    }
    let short: Vec<&str> = number.split(' ').take(2).collect();
    Ok(proved(
        act,
        format!("alice invited bob, bob added, alice accepted          safety {} …", short.join(" ")),
    ))
}

fn send(world: &mut World) -> Result<Line, Broken> {
    let act = "send";
    let _echo = Echo::start(&world.bob);
    let (body, subject) =
        ("is the v2 schema final? canary-body-3ad77bb40d7a3660", "canary-subject-a89ecaf32466ef97");
    world.canaries.extend(["canary-body-3ad77bb40d7a3660".to_owned(), subject.to_owned()]);
    // The first message also fetches keys and sessions; the second shows what a conversation feels like.
    let mut told = None;
    for _ in 0..2 {
        let request = SendRequest {
            subject: Some(subject.to_owned()),
            ask: true,
            ..note(world, "bob/web", body, 10_000)
        };
        let sent = world.alice.call_within::<Send>(act, &request, PATIENCE)?;
        if sent.stage != Stage::Answered || sent.reply.is_none() {
            return Err(broken(act, format!("{} instead of answered", word(sent.stage))));
        }
        let trace = world.alice.call::<Trace>(act, &IdRequest { caller: Caller::default(), id: sent.id })?;
        let at = |stage| trace.events.iter().find(|event| event.stage == stage);
        let (Some(queued), Some(delivered), Some(answered)) =
            (at(Stage::Queued), at(Stage::Delivered), at(Stage::Answered))
        else {
            return Err(broken(act, "the trace lacks a stage"));
        };
        if !delivered.signed || !answered.signed {
            return Err(broken(act, "a receipt is not signed"));
        }
        told =
            Some((delivered.at_ms.saturating_sub(queued.at_ms), answered.at_ms.saturating_sub(queued.at_ms)));
    }
    let (delivered, answered) = told.unwrap_or_default();
    let detail = format!(
        "alice/api → bob/web  \"is the v2 schema final?\"         delivered in {delivered} ms, answered in {answered} ms"
    );
    Ok(proved(act, detail))
}

fn offline(world: &mut World) -> Result<Line, Broken> {
    let act = "offline";
    world.bob.call::<DaemonStop>(act, &StopRequest { keep_stopped: true })?;
    let gone = world.bob.node.with_start(Start::Never);
    until(act, "bob's node to stop", || {
        Ok(std::os::unix::net::UnixStream::connect(gone.home().socket()).is_err().then_some(()))
    })?;
    for number in 1..=3 {
        let sent = world
            .alice
            .call::<Send>(act, &note(world, "bob/web", &format!("while you were away {number}"), 0))?;
        until(act, "the relay to take a message", || {
            Ok((stage_of(act, &world.alice, &sent.id)? == Stage::Relayed).then_some(()))
        })?;
    }
    let texts = wait_for_mail(act, &world.bob, "while you were away", 3)?;
    let expected: Vec<String> = (1..=3).map(|number| format!("while you were away {number}")).collect();
    if texts != expected {
        return Err(broken(act, format!("arrived as {texts:?}")));
    }
    Ok(proved(
        act,
        "bob's node stopped, 3 messages waited at the relay, all arrived in order after restart".to_owned(),
    ))
}

fn crash(world: &mut World) -> Result<Line, Broken> {
    let act = "crash";
    let (accepted, killed) = (AtomicU64::new(0), AtomicBool::new(false));
    let total = u64::try_from(CRASH_MESSAGES).unwrap_or_default();
    let sender = world.alice.clone();
    let template = note(world, "bob/web", "", 0);
    let mut kills = 0_u64;
    std::thread::scope(|scope| {
        let (accepted, killed, template) = (&accepted, &killed, &template);
        let sending = scope.spawn(move || {
            let mut number = 0_u64;
            let limit = Instant::now() + PATIENCE * 2;
            while accepted.load(Ordering::Relaxed) < total {
                // The last fifth is sent after the last kill: a sender that had ended before it would prove nothing.
                if accepted.load(Ordering::Relaxed) >= total * 4 / 5 && !killed.load(Ordering::Relaxed) {
                    std::thread::sleep(LOOK);
                    if Instant::now() > limit {
                        return Err(broken(act, "the kills do not end"));
                    }
                    continue;
                }
                let request = SendRequest { text: format!("crash {number:06}"), ..template.clone() };
                number += 1;
                // A call that failed may have been accepted or not: only what was said counts.
                if sender.node.call_within::<Send>(&request, Duration::from_secs(5)).is_ok() {
                    accepted.fetch_add(1, Ordering::Relaxed);
                }
                if Instant::now() > limit {
                    return Err(broken(act, "sending does not go on after the kills"));
                }
            }
            Ok(())
        });
        let passed = |share: u64| {
            until(act, "messages to flow", || {
                Ok((accepted.load(Ordering::Relaxed) >= total * share / 5).then_some(()))
            })
        };
        passed(1)?;
        World::kill_node(&world.bob);
        passed(2)?;
        world.kill_relay();
        world.start_relay()?;
        passed(3)?;
        World::kill_node(&world.alice);
        killed.store(true, Ordering::Relaxed);
        kills += 3;
        let sent = sending.join();
        sent.unwrap_or_else(|_| Err(broken(act, "the sender ended")))
    })?;
    let count = accepted.load(Ordering::Relaxed);
    let arrived = until(act, "everything accepted to arrive", || {
        let mail = mail(act, &world.bob)?;
        let mut times: BTreeMap<&str, u64> = BTreeMap::new();
        for message in mail.iter().filter(|message| message.body.starts_with("crash ")) {
            *times.entry(message.body.as_str()).or_default() += 1;
        }
        if let Some((text, seen)) = times.iter().find(|(_, seen)| **seen > 1) {
            return Err(broken(act, format!("{text:?} arrived {seen} times")));
        }
        let all = u64::try_from(times.len()).unwrap_or_default();
        Ok((all >= count).then_some(all))
    })?;
    let extra = arrived - count;
    let extra = if extra > 0 {
        format!(" (and {extra} whose sender was killed before the answer)")
    } else {
        String::new()
    };
    Ok(proved(
        act,
        format!(
            "relay and both nodes killed mid-flight ({kills} kills): {count} accepted, {count} arrived, 0 twice{extra}"
        ),
    ))
}

fn blind(world: &mut World) -> Result<Line, Broken> {
    let act = "blind";
    let folder = world.relay_folder();
    world.canaries.push("while you were away".to_owned());
    let searched = search_files(&folder, &world.canaries);
    let (bytes, found) =
        searched.map_err(|error| broken(act, format!("cannot read the relay's files: {error}")))?;
    // The search itself must be able to find something: the handles are the operator's to know.
    let control = search_files(&folder, &["alice".to_owned()]);
    if control.map_err(|error| broken(act, error.to_string()))?.1.is_empty() {
        return Err(broken(act, "the search finds not even what must be there"));
    }
    if let Some(text) = found.first() {
        return Err(broken(act, format!("{text:?} stands in the relay's files")));
    }
    Ok(proved(
        act,
        format!(
            "none of the {} canary texts occur in the relay's {} KiB of files",
            world.canaries.len(),
            bytes / 1024
        ),
    ))
}

fn revoke(world: &mut World) -> Result<Line, Broken> {
    let act = "revoke";
    let removed = world
        .alice
        .call::<ContactRemove>(act, &NameRequest { caller: Caller::default(), name: "bob".to_owned() })?;
    if !removed.at_relay {
        return Err(broken(act, "the relay was not told"));
    }
    let request = SendRequest {
        from_session: Some(world.bob.session.clone()),
        ..note(world, "alice/api", "still there?", 2_000)
    };
    let sent: Sent = world.bob.call::<Send>(act, &request)?;
    until(act, "the refusal", || {
        Ok(state_of(act, &world.bob, "alice")?.filter(|state| *state == ContactState::Gone))
    })?;
    if !matches!(stage_of(act, &world.bob, &sent.id)?, Stage::Queued | Stage::Refused) {
        return Err(broken(act, "the message got through"));
    }
    match world.bob.node.call::<Send>(&request) {
        Err(error) if error.code == ErrorCode::ContactGone => {}
        Ok(_) | Err(_) => return Err(broken(act, "bob could go on writing")),
    }
    let leaked = mail(act, &world.alice)?.iter().any(|message| message.body == "still there?");
    if leaked {
        return Err(broken(act, "alice got the message"));
    }
    Ok(proved(act, "alice removed bob; bob's next message was refused".to_owned()))
}

fn note(world: &World, to: &str, text: &str, wait_ms: u64) -> SendRequest {
    SendRequest {
        caller: Caller::default(),
        to: Some(to.to_owned()),
        text: text.to_owned(),
        subject: None,
        ask: false,
        reply_to: None,
        from_session: Some(world.alice.session.clone()),
        anyway: false,
        artifacts: Vec::new(),
        life_ms: None,
        wait_ms: Some(wait_ms),
        mechanism: None,
    }
}

fn contacts(
    act: &'static str,
    person: &Person,
) -> Result<Vec<penpal_local_api::contacts::ContactRow>, Broken> {
    Ok(person.call::<ContactList>(act, &ListRequest::default())?.contacts)
}

fn state_of(act: &'static str, person: &Person, name: &str) -> Result<Option<ContactState>, Broken> {
    Ok(contacts(act, person)?.into_iter().find(|one| one.name == name).map(|one| one.state))
}

fn stage_of(act: &'static str, person: &Person, id: &str) -> Result<Stage, Broken> {
    let trace = person.call::<Trace>(act, &IdRequest { caller: Caller::default(), id: id.to_owned() })?;
    trace.events.last().map(|event| event.stage).ok_or_else(|| broken(act, "the trace is empty"))
}

fn mail(act: &'static str, person: &Person) -> Result<Vec<Message>, Broken> {
    let request =
        InboxRequest { session: Some(person.session.clone()), all: true, ..InboxRequest::default() };
    Ok(person.call::<Inbox>(act, &request)?.messages)
}

fn wait_for_mail(
    act: &'static str,
    person: &Person,
    start: &str,
    count: usize,
) -> Result<Vec<String>, Broken> {
    until(act, "the messages to arrive", || {
        let texts: Vec<String> = mail(act, person)?
            .into_iter()
            .map(|message| message.body)
            .filter(|body| body.starts_with(start))
            .collect();
        Ok((texts.len() >= count).then_some(texts))
    })
}

fn word(stage: Stage) -> String {
    serde_json::to_value(stage).ok().and_then(|stage| stage.as_str().map(str::to_owned)).unwrap_or_default()
}
