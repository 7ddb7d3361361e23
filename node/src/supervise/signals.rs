//! Signals of a supervised terminal.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use tokio::signal::unix::{SignalKind, signal};

use super::Told;
use super::node::say;

/// Tells of a new size and of the end, from a thread of its own.
pub(super) fn watch(tell: Sender<Told>, poke: Arc<OwnedFd>) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let guard = runtime.enter();
    let mut resized = signal(SignalKind::window_change())?;
    let (mut hung_up, mut terminated) = (signal(SignalKind::hangup())?, signal(SignalKind::terminate())?);
    drop(guard);
    let serve = async move {
        loop {
            let told = tokio::select! {
                _ = resized.recv() => Told::Resized,
                _ = hung_up.recv() => Told::End,
                _ = terminated.recv() => Told::End,
            };
            if !say(&tell, &poke, told) {
                return;
            }
        }
    };
    std::thread::Builder::new()
        .name("signals".to_owned())
        .stack_size(128 * 1024)
        .spawn(move || runtime.block_on(serve))?;
    Ok(())
}
