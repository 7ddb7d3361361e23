//! Work that blocks: reading, sealing and writing parts of files.

/// Where such work is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Offload {
    /// In threads beside the runtime's, so that nothing else waits.
    #[default]
    Threads,
    /// At once, by whoever asks: for a world that has one thread and whose events have one order.
    Inline,
}

impl Offload {
    /// Does it. `None` when it panicked, or the runtime ends.
    pub async fn run<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        match self {
            Self::Threads => tokio::task::spawn_blocking(work).await.ok(),
            Self::Inline => Some(work()),
        }
    }
}
