//! Ctrl-C and the other signals that end a command, where something has to be put in order first.
//!
//! Without a [`Guard`] they end the process as ever. A loop that moves many bytes holds one and asks [`check`] between its steps: it then
//! fails like anything else, and what was begun is cleared away on the way out. A second signal ends the process at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Once, PoisonError};

use penpal_local_api::error::{ApiError, ErrorCode};
use tokio::signal::unix::{SignalKind, signal};

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
    let mut interrupted = signal(SignalKind::interrupt())?;
    let (mut hung_up, mut terminated) = (signal(SignalKind::hangup())?, signal(SignalKind::terminate())?);
    drop(guard);
    let serve = async move {
        loop {
            tokio::select! {
                _ = interrupted.recv() => {}
                _ = hung_up.recv() => {}
                _ = terminated.recv() => {}
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

#[expect(clippy::exit, reason = "what the signal does without a guard")]
fn end() {
    std::process::exit(i32::from(ErrorCode::Interrupted.exit_status()));
}
