//! The node's side of a supervised terminal.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use penpal_local_api::client::Client;
use penpal_local_api::home::Home;
use penpal_local_api::mail::CommitRequest;
use penpal_local_api::methods::{Commit, WakeTake, WakeWait};
use penpal_local_api::wake::{WakeTakeRequest, WakeWaitRequest};
use penpal_wake::Rung;

use super::Told;

/// How long one request waits for a wake.
const SLICE: Duration = Duration::from_secs(300);

/// How long an answer may take beyond that.
const GRACE: Duration = Duration::from_secs(10);

/// Pause while the node is away.
const PAUSE: Duration = Duration::from_secs(2);

/// What the terminal wants of the node.
#[derive(Debug)]
pub(super) enum Order {
    /// What waits for this session.
    Take(String),
    /// It was typed and sent.
    Commit(String),
    /// Nothing came of it; wait for the next wake.
    Again,
}

/// Starts the thread; it ends with the process.
pub(super) fn start(
    home: &Home,
    run: String,
    tell: Sender<Told>,
    poke: Arc<OwnedFd>,
) -> std::io::Result<Sender<Order>> {
    let (orders, received) = std::sync::mpsc::channel();
    let client = Client::new(home);
    std::thread::Builder::new()
        .name("node".to_owned())
        .stack_size(128 * 1024)
        .spawn(move || serve(&client, &run, &received, |told| say(&tell, &poke, told)))?;
    Ok(orders)
}

/// Tells the terminal something; false when it is gone.
pub(super) fn say(tell: &Sender<Told>, poke: &OwnedFd, told: Told) -> bool {
    let said = tell.send(told).is_ok();
    // A full pipe has woken it already.
    let poked = rustix::io::write(poke, &[1]);
    let _ = poked;
    said
}

fn serve(client: &Client, run: &str, orders: &Receiver<Order>, say: impl Fn(Told) -> bool) {
    let wait = WakeWaitRequest {
        by: Rung::Terminal.name().to_owned(),
        run: Some(run.to_owned()),
        wait_ms: u64::try_from(SLICE.as_millis()).unwrap_or(u64::MAX),
        ..WakeWaitRequest::default()
    };
    loop {
        let session = match client.call_within::<WakeWait>(&wait, SLICE + GRACE) {
            Ok(waited) if waited.wake => waited.session,
            Ok(_) => None,
            Err(_) => {
                std::thread::sleep(PAUSE);
                None
            }
        };
        let Some(session) = session else { continue };
        if !say(Told::Wanted(session)) || !attend(client, orders, &say) {
            return;
        }
    }
}

/// Does what one wake needs; false when the terminal is gone.
fn attend(client: &Client, orders: &Receiver<Order>, say: &impl Fn(Told) -> bool) -> bool {
    loop {
        match orders.recv() {
            Ok(Order::Take(session)) => {
                let request = WakeTakeRequest { session, by: Rung::Terminal.name().to_owned() };
                let taken = client.call::<WakeTake>(&request).ok();
                let taken = taken.and_then(|taken| Some((taken.lease?, taken.text)));
                if !say(Told::Taken(taken)) {
                    return false;
                }
            }
            Ok(Order::Commit(lease)) => {
                // The node may have seen it come back as a prompt already.
                drop(client.call::<Commit>(&CommitRequest { lease }));
                return true;
            }
            Ok(Order::Again) => return true,
            Err(_) => return false,
        }
    }
}
