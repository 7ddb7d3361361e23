//! Tells the engine when an agent's process ends, without looking again and again.
//!
//! On Linux the kernel says so: one thread waits on a process descriptor for each watched process and on a pipe for changes. Elsewhere the thread looks every few
//! seconds, and only while something is watched.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{Receiver, Sender, TryRecvError};

use penpal_sessions::ProcessRef;
use rustix::event::{PollFd, PollFlags, poll};

use super::inputs::EngineHandle;
use crate::engine::Input;

/// How often processes are looked at where the kernel does not tell.
const LOOK: rustix::event::Timespec = rustix::event::Timespec { tv_sec: 5, tv_nsec: 0 };

/// Most processes that are watched at once; sessions are bounded below it.
const MAX_WATCHED: usize = 1024;

/// What the thread is asked.
#[derive(Debug)]
enum Order {
    Watch(ProcessRef),
    Unwatch(ProcessRef),
}

/// The engine's end. Dropping it ends the thread.
#[derive(Debug)]
pub(super) struct ProcessWatch {
    orders: Sender<Order>,
    poke: std::fs::File,
}

impl ProcessWatch {
    /// Starts the thread.
    ///
    /// # Errors
    /// When no pipe or thread can be had.
    pub(super) fn start(engine: EngineHandle, runtime: tokio::runtime::Handle) -> std::io::Result<Self> {
        let (orders, receiver) = std::sync::mpsc::channel();
        let (pipe, poke) = rustix::pipe::pipe()?;
        std::thread::Builder::new().name("processes".to_owned()).stack_size(128 * 1024).spawn(move || {
            run(&receiver, &pipe, &engine, &runtime);
        })?;
        Ok(Self { orders, poke: std::fs::File::from(poke) })
    }

    /// Reports when this process ends, at once when it is gone.
    pub(super) fn watch(&mut self, process: ProcessRef) {
        self.order(Order::Watch(process));
    }

    /// Reports nothing about it any more.
    pub(super) fn unwatch(&mut self, process: ProcessRef) {
        self.order(Order::Unwatch(process));
    }

    fn order(&mut self, order: Order) {
        let handed = self.orders.send(order);
        drop(handed);
        // A full pipe has woken the thread already.
        let poked = self.poke.write(&[1]);
        drop(poked);
    }
}

fn run(orders: &Receiver<Order>, pipe: &OwnedFd, engine: &EngineHandle, runtime: &tokio::runtime::Handle) {
    let mut watched: BTreeMap<ProcessRef, Option<OwnedFd>> = BTreeMap::new();
    loop {
        loop {
            match orders.try_recv() {
                Ok(Order::Watch(process)) if watched.len() < MAX_WATCHED => {
                    watched.insert(process, descriptor(process));
                }
                Ok(Order::Watch(process)) => tracing::warn!(pid = process.pid, "too many processes to watch"),
                Ok(Order::Unwatch(process)) => {
                    watched.remove(&process);
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return,
            }
        }
        let gone: Vec<ProcessRef> = watched.keys().copied().filter(|process| !is_alive(*process)).collect();
        for process in gone {
            watched.remove(&process);
            runtime.block_on(engine.input(Input::ProcessGone(process)));
        }
        wait(&watched, pipe);
    }
}

/// Waits for a process to end, an order, or the next look.
fn wait(watched: &BTreeMap<ProcessRef, Option<OwnedFd>>, pipe: &OwnedFd) {
    let mut descriptors = vec![PollFd::new(pipe, PollFlags::IN)];
    descriptors
        .extend(watched.values().flatten().map(|one| PollFd::from_borrowed_fd(one.as_fd(), PollFlags::IN)));
    let all_tell = watched.values().all(Option::is_some);
    let polled = poll(&mut descriptors, if all_tell { None } else { Some(&LOOK) });
    let poked = polled.is_ok() && descriptors.first().is_some_and(|first| !first.revents().is_empty());
    if poked {
        let mut sink = [0; 64];
        let read = rustix::io::read(pipe, &mut sink);
        let _ = read;
    }
}

#[cfg(target_os = "linux")]
fn descriptor(process: ProcessRef) -> Option<OwnedFd> {
    let pid = rustix::process::Pid::from_raw(i32::try_from(process.pid).ok()?)?;
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()
}

#[cfg(not(target_os = "linux"))]
fn descriptor(_: ProcessRef) -> Option<OwnedFd> {
    None
}

/// Whether the process with this number is still the one that was meant.
fn is_alive(process: ProcessRef) -> bool {
    penpal_agents::evidence::process_started(process.pid) == Some(process.started)
}
