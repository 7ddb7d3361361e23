//! Asks the node for a content until it is there.

use std::time::{Duration, Instant};

use penpal_local_api::artifact::{GetRequest, Got};
use penpal_local_api::caller::Caller;
use penpal_local_api::error::{ApiError, ErrorCode};
use penpal_local_api::methods::ArtifactGet;

use super::OnProgress;
use crate::interrupt;
use crate::launch::Node;

/// How long one request waits.
const SLICE: Duration = Duration::from_millis(250);

/// How long a relay, or a node that was killed, may be away before that is said.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long it is waited for a relay without a word.
pub(crate) const SILENCE: Duration = Duration::from_secs(2);

/// How long nothing may come although the relay is there: longer than a part may take.
const STILL: Duration = Duration::from_secs(20 * 60);

/// Waits until a content is on the node's shelf, `limit` long at most; says once that nothing comes, and once why. What was fetched stays: asking again
/// goes on.
///
/// # Errors
/// The node's; [`ErrorCode::RelayAway`] when nothing came for half a minute; [`ErrorCode::NotInTime`].
pub(crate) fn fetch(
    node: &Node,
    hash: &str,
    caller: &Caller,
    limit: Option<Duration>,
    progress: OnProgress<'_>,
    say: &mut dyn FnMut(&str),
) -> Result<Got, ApiError> {
    let wait_ms = u64::try_from(SLICE.as_millis()).unwrap_or_default();
    let request = GetRequest { caller: caller.clone(), hash: hash.to_owned(), wait_ms };
    let begun = Instant::now();
    let (mut there, mut moved, mut here) = (begun, begun, 0);
    let (mut said, mut said_why) = (false, false);
    loop {
        interrupt::check("nothing was written; what came is kept")?;
        let got = match node.call::<ArtifactGet>(&request) {
            Ok(got) => got,
            // A node that was killed is started by the next call.
            Err(error) if error.code == ErrorCode::NoNode && there.elapsed() < PATIENCE => {
                std::thread::sleep(SLICE);
                continue;
            }
            Err(error) => return Err(error),
        };
        if got.path.is_some() {
            return Ok(got);
        }
        progress(got.here_bytes);
        if got.waits_for.is_none() {
            there = Instant::now();
        }
        if got.here_bytes != here {
            (there, moved, here) = (Instant::now(), Instant::now(), got.here_bytes);
        }
        if let Some(why) = got.waits_for.as_ref().filter(|_| !said_why && there.elapsed() >= SILENCE) {
            (said, said_why) = (true, true);
            say(why);
        }
        // A relay that died is known to be away only after a while in which it says nothing.
        if !said && moved.elapsed() >= SILENCE {
            said = true;
            say("no news from the relay");
        }
        if there.elapsed() >= PATIENCE || moved.elapsed() >= STILL {
            let why = got.waits_for.unwrap_or_default();
            return Err(ApiError::new(ErrorCode::RelayAway, why)
                .hint("it is tried again by itself; run the same command again to go on"));
        }
        if limit.is_some_and(|limit| begun.elapsed() >= limit) {
            return Err(ApiError::new(ErrorCode::NotInTime, "not all of it came in time")
                .hint("it is fetched further; run the same command again"));
        }
    }
}
