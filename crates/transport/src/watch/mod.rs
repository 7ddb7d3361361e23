//! What happens to the machine under a connection: its network changes, it sleeps and wakes.
//!
//! Nothing here polls. On Linux the kernel reports both ([`NetworkWatch`] by a netlink socket, [`SuspendWatch`] by a timer that
//! is cancelled when the clock jumps); elsewhere the shell calls the checks when anything else wakes it.

mod network;
mod suspend;

pub use network::{NetworkWatch, PathChange, PathWatch};
pub use suspend::{RESUME_THRESHOLD, SuspendCheck, SuspendWatch};

/// Registers a descriptor with tokio, for reading.
#[cfg(target_os = "linux")]
#[expect(
    deprecated,
    reason = "the replacement is an unsafe function, and unsafe code is forbidden here; its condition, that the \
              descriptor stays open and the same, is what an OwnedFd guarantees"
)]
fn readable(
    descriptor: std::os::fd::OwnedFd,
) -> std::io::Result<tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>> {
    tokio::io::unix::AsyncFd::with_interest(descriptor, tokio::io::Interest::READABLE)
}
