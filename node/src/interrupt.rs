//! Ctrl-C and the other signals that end a command, where something has to be put in order first.
//!
//! Without a [`Guard`] they end the process as ever. A loop that moves many bytes holds one and asks [`check`] between its steps: it then
//! fails like anything else, and what was begun is cleared away on the way out. A second signal ends the process at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Once, PoisonError};

use penpal_local_api::error::{ApiError, ErrorCode};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal does.
enum Duty {
    /// It ends the process.
    End,
    /// It is asked for.
    Ask,
    /// This is done, and then it ends the process.
    Do(Box<dyn FnOnce() + Send>),
}

static DUTY: Mutex<Duty> = Mutex::new(Duty::End);
static ASKED: AtomicBool = AtomicBool::new(false);
static WATCH: Once = Once::new();

/// Signals do not end the process by themselves while this exists.
#[derive(Debug)]
pub(crate) struct Guard(());

impl Guard {
    /// Signals are asked for by [`check`].
    pub(crate) fn asking() -> Self {
        Self::with(Duty::Ask)
    }

    /// A signal ends the process after this was done.
    pub(crate) fn doing(what: impl FnOnce() + Send + 'static) -> Self {
        Self::with(Duty::Do(Box::new(what)))
    }

    /// Signals end the process by themselves again. Where one came already, what it does ends the process, and this does not return.
    pub(crate) fn release(self) {
        while matches!(set(Duty::End), Duty::End) {
            std::thread::park();
        }
    }

    fn with(duty: Duty) -> Self {
        set(duty);
        WATCH.call_once(|| {
            if let Err(error) = watch() {
                tracing::debug!(%error, "signals end this process at once");
            }
        });
        Self(())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        set(Duty::End);
    }
}

fn set(duty: Duty) -> Duty {
    std::mem::replace(&mut DUTY.lock().unwrap_or_else(PoisonError::into_inner), duty)
}

/// Whether a signal came.
pub(crate) fn asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}

/// Fails when a signal came; `left` says what was not done.
///
/// # Errors
/// [`ErrorCode::Interrupted`].
pub(crate) fn check(left: &str) -> Result<(), ApiError> {
    if asked() {
        return Err(ApiError::new(ErrorCode::Interrupted, format!("interrupted; {left}")));
    }
    Ok(())
}

fn watch() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let guard = runtime.enter();
    let [mut interrupted, mut hung_up, mut terminated] = [
        unless_ignored(SignalKind::interrupt())?,
        unless_ignored(SignalKind::hangup())?,
        unless_ignored(SignalKind::terminate())?,
    ];
    drop(guard);
    let serve = async move {
        loop {
            tokio::select! {
                () = came(&mut interrupted) => {}
                () = came(&mut hung_up) => {}
                () = came(&mut terminated) => {}
            }
            match set(Duty::End) {
                Duty::Ask => ASKED.store(true, Ordering::Relaxed),
                Duty::Do(what) => {
                    what();
                    end();
                }
                Duty::End => end(),
            }
        }
    };
    std::thread::Builder::new()
        .name("interrupts".to_owned())
        .stack_size(128 * 1024)
        .spawn(move || runtime.block_on(serve))?;
    Ok(())
}

/// A signal, but for one that whoever started this process had it ignore, as `nohup` does.
fn unless_ignored(kind: SignalKind) -> std::io::Result<Option<Signal>> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    (!is_ignored(kind.as_raw_value(), &status)).then(|| signal(kind)).transpose()
}

/// Whether a process ignores a signal, as its status says; not where the system says nothing. See proc(5), `SigIgn`.
fn is_ignored(signal: i32, status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    let bit = u32::try_from(signal).ok().and_then(|number| number.checked_sub(1));
    bit.and_then(|bit| mask.checked_shr(bit)).is_some_and(|from| from & 1 == 1)
}

async fn came(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

#[expect(clippy::exit, reason = "what the signal does without a guard")]
fn end() {
    std::process::exit(i32::from(ErrorCode::Interrupted.exit_status()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nohup_had_ignored_stays_so() {
        let status = "Name:\tpenpal\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000002\n";
        let hung_up = SignalKind::hangup().as_raw_value();
        assert!(is_ignored(hung_up, status) && is_ignored(13, status));
        assert!(!is_ignored(SignalKind::interrupt().as_raw_value(), status));
        assert!(!is_ignored(hung_up, "") && !is_ignored(hung_up, "SigIgn:\tx") && !is_ignored(0, status));
    }
}
