//! Doing what the operator asks, whether a relay runs in the folder or not.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use penpal_protocol::text::Label;
use penpal_relay_core::{AdminAnswer, AdminRequest, Census};
use penpal_store::Stats;
use tokio::sync::oneshot;

use super::shape::{ACCOUNTS_PAGE, Ask, BackupShape, Reply, StatsShape, minute_ms};
use crate::backup;
use crate::code::Code;
use crate::engine::{Inbox, Input, Stopped, Upkeep};
use crate::folder::Folder;
use crate::metrics::Metrics;
use crate::relay::ask_engine;

/// Everything that a command may need.
#[derive(Debug, Clone)]
pub(crate) struct Office {
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) folder: Folder,
}

impl Office {
    /// Does it, and says what came of it.
    pub(crate) async fn perform(&self, ask: Ask) -> Reply {
        let done = match ask {
            Ask::TokenNew { note, life_ms, uses } => {
                self.core(AdminRequest::TokenNew { note, life_ms, uses }).await
            }
            Ask::TokenList => self.core(AdminRequest::TokenList).await,
            Ask::TokenRevoke { which } => self.core(AdminRequest::TokenRevoke { which }).await,
            Ask::AccountList { after } => {
                let after = after.and_then(|handle| Label::new(&handle).ok());
                self.core(AdminRequest::Accounts { after, limit: ACCOUNTS_PAGE }).await
            }
            Ask::AccountShow { handle } => match Label::new(&handle) {
                Ok(handle) => self.core(AdminRequest::Account { handle }).await,
                Err(_) => Ok(AdminAnswer::NoAccount.into()),
            },
            Ask::AccountSuspend { handle, suspended } => match Label::new(&handle) {
                Ok(handle) => self.core(AdminRequest::Suspend { handle, suspended }).await,
                Err(_) => Ok(AdminAnswer::NoAccount.into()),
            },
            Ask::AccountDelete { handle } => match Label::new(&handle) {
                Ok(handle) => self.delete(AdminRequest::Delete { handle }).await,
                Err(_) => Ok(AdminAnswer::NoAccount.into()),
            },
            Ask::Stats => self.stats().await,
            Ask::Backup { to, keys_to } => self.backup(to, keys_to).await,
            Ask::RebuildIndex => self.rebuild().await,
        };
        done.unwrap_or_else(|error| {
            Reply::failed(Code::Stopping, error.to_string(), "try again when it has stopped")
        })
    }

    /// What there is and how large the store is.
    pub(crate) async fn census(&self) -> Result<Option<(Census, Stats)>, Stopped> {
        let AdminAnswer::Census(census) = ask_engine(&self.inbox, AdminRequest::Census).await? else {
            return Ok(None);
        };
        let sizes = self.upkeep(|reply| Upkeep::Sizes { reply }).await?;
        Ok(Some((census, sizes)))
    }

    async fn core(&self, request: AdminRequest) -> Result<Reply, Stopped> {
        Ok(ask_engine(&self.inbox, request).await?.into())
    }

    async fn upkeep<T>(&self, what: impl FnOnce(oneshot::Sender<T>) -> Upkeep) -> Result<T, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.inbox.send(Input::Upkeep(what(reply))).await?;
        answer.await.map_err(|_| Stopped)
    }

    async fn delete(&self, request: AdminRequest) -> Result<Reply, Stopped> {
        let answer = ask_engine(&self.inbox, request).await?;
        let AdminAnswer::Account(info) = answer else { return Ok(answer.into()) };
        let deleted = info.into();
        let erased = self.upkeep(|done| Upkeep::Erase { done }).await?;
        let detail = erased.err().map(|error| error.to_string());
        Ok(Reply::Deleted { v: 1, deleted, erased: erased.is_ok(), detail })
    }

    async fn stats(&self) -> Result<Reply, Stopped> {
        let Some((census, store)) = self.census().await? else {
            return Ok(Reply::from(AdminAnswer::Failed));
        };
        let seen = self.metrics.seen();
        let stats = StatsShape {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            up_seconds: seen.up_seconds,
            connections: seen.connections,
            connections_opened: seen.connections_opened,
            handshakes_refused: seen.handshakes_refused,
            accounts: census.accounts,
            accounts_online: census.receiving,
            edges: census.edges,
            invites: census.invites,
            spools: census.spools,
            waiting: census.rows,
            waiting_bytes: census.bytes,
            oldest_ms: census.oldest_minute.map(minute_ms),
            blobs: census.blobs,
            blob_bytes: census.blob_bytes,
            deposits_accepted: seen.deposits_accepted,
            deposits_refused: seen.deposits_refused,
            delivered: seen.delivered,
            commits: seen.commits,
            commit_micros_mean: seen.commit_micros_mean,
            disk_bytes: store.disk_bytes,
            live_bytes: store.live_bytes,
            disk_full: store.full,
            alarms: seen.alarms,
        };
        Ok(Reply::Stats { v: 1, stats: Box::new(stats) })
    }

    async fn backup(&self, to: PathBuf, keys_to: PathBuf) -> Result<Reply, Stopped> {
        let copy = match self.upkeep(|reply| Upkeep::Backup { reply }).await? {
            Ok(copy) => copy,
            Err(error) => {
                return Ok(Reply::failed(Code::StorageFailed, error.to_string(), "penpal-relay doctor"));
            }
        };
        let folder = self.folder.clone();
        let (data, keys) = (to.clone(), keys_to.clone());
        let written = tokio::task::spawn_blocking(move || backup::write(&folder, copy, &data, &keys)).await;
        Ok(match written {
            Ok(Ok(bytes)) => Reply::Backup { v: 1, backup: BackupShape { data: to, keys: keys_to, bytes } },
            Ok(Err(error)) => {
                let hint = "the user that runs the relay must be able to write there, for instance in its own folder";
                Reply::failed(Code::Backup, crate::cli::chain(&error), hint)
            }
            Err(_) => Reply::failed(Code::Internal, "writing the copy panicked", "please report this"),
        })
    }

    async fn rebuild(&self) -> Result<Reply, Stopped> {
        let began = Instant::now();
        if let Err(error) = self.upkeep(|done| Upkeep::Rebuild { done }).await? {
            return Ok(Reply::failed(Code::DiskFull, error.to_string(), "free some space and try again"));
        }
        let rebuilt_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(Reply::Rebuilt { v: 1, rebuilt_ms })
    }
}
