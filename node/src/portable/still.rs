//! A home whose node stands still.

use std::fs::File;
use std::time::{Duration, Instant};

use penpal_local_api::daemon::StopRequest;
use penpal_local_api::error::{ApiError, ErrorCode};
use penpal_local_api::home::Home;
use penpal_local_api::methods::DaemonStop;

use crate::launch::{Node, Start};

/// How long a node may take to finish what is under way.
const LIMIT: Duration = Duration::from_secs(15);

/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// Holds the node's lock: no node runs in the home, and none starts.
#[derive(Debug)]
pub(super) struct Still {
    home: Home,
    _lock: File,
    ran: bool,
}

impl Still {
    /// Ends the node, if it runs, and takes its lock.
    pub(super) fn begin(home: &Home) -> Result<Self, ApiError> {
        crate::launch::prepare_home(home)?;
        let stopped =
            Node::new(home.clone(), Start::Never).call::<DaemonStop>(&StopRequest { keep_stopped: false });
        let ran = match stopped {
            Ok(_) => true,
            Err(error) if error.code == ErrorCode::NoNode => false,
            Err(error) => return Err(error),
        };
        let path = home.lock();
        let failed = |error: &dyn std::fmt::Display| {
            ApiError::new(ErrorCode::HomeUnusable, format!("cannot lock {}: {error}", path.display()))
        };
        let lock = File::options().create(true).truncate(false).write(true).open(&path);
        let lock = lock.map_err(|error| failed(&error))?;
        // It has answered and ends now: it writes until it lets go of its lock.
        let until = Instant::now() + LIMIT;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(Self { home: home.clone(), _lock: lock, ran }),
                Err(std::fs::TryLockError::WouldBlock) if Instant::now() < until => std::thread::sleep(LOOK),
                Err(error) => return Err(failed(&error)),
            }
        }
    }

    /// Lets the node go on, if it ran. That it cannot is no failure of what was done: the next command tries again.
    pub(super) fn end(self) {
        let Self { home, _lock, ran } = self;
        drop(_lock);
        if ran && let Err(error) = Node::new(home, Start::UnlessStopped).bring_up() {
            tracing::warn!(?error, "the node was not started again");
        }
    }
}
