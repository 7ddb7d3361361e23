//! Noticing that the machine's network changed.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::udp::source_address;

/// Quiet time that ends a burst of changes: joining a network makes dozens of them.
const QUIET: Duration = Duration::from_millis(300);

/// Longest time a burst is waited for.
const BURST: Duration = Duration::from_secs(2);

/// Waits for the kernel to report changes of links, addresses or routes.
#[derive(Debug)]
pub struct NetworkWatch {
    events: events::Events,
}

impl NetworkWatch {
    /// Starts watching. Needs a tokio runtime. Fails where the system does not report changes; then call
    /// [`PathWatch::check`] when anything else wakes the program.
    pub fn new() -> io::Result<Self> {
        Ok(Self { events: events::Events::open()? })
    }

    /// Waits for a burst of changes and its end: 300 ms of quiet, or 2 s. Cancel-safe, except that a burst under way is
    /// reported by the next call only if it goes on.
    pub async fn changed(&mut self) -> io::Result<()> {
        self.events.next().await?;
        let end = Instant::now() + BURST;
        loop {
            match timeout_at(end.min(Instant::now() + QUIET), self.events.next()).await {
                Ok(event) => event?,
                Err(_) => return Ok(()),
            }
        }
    }
}

/// How the way to a peer changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathChange {
    /// Packets leave from another address than before, or can leave again: dial now.
    Usable,
    /// There is no route any more: dialling is in vain until [`Self::Usable`].
    Gone,
}

/// Tells whether a change matters for one peer: whether packets to it would leave from another address.
///
/// Most changes do not: a container starts, an IPv6 lifetime is renewed, a VPN for another network comes up.
#[derive(Debug)]
pub struct PathWatch {
    peers: Vec<SocketAddr>,
    sources: Vec<Option<IpAddr>>,
}

impl PathWatch {
    /// Remembers the present way to the peers.
    pub fn new(peers: Vec<SocketAddr>) -> Self {
        let sources = sources_of(&peers);
        Self { peers, sources }
    }

    /// Watches other peers from now on, for instance after a new lookup of the relay's name.
    pub fn set_peers(&mut self, peers: Vec<SocketAddr>) {
        *self = Self::new(peers);
    }

    /// Looks again; says what changed since the last look. A few system calls, no waiting.
    pub fn check(&mut self) -> Option<PathChange> {
        let sources = sources_of(&self.peers);
        self.check_sources(sources)
    }

    fn check_sources(&mut self, sources: Vec<Option<IpAddr>>) -> Option<PathChange> {
        if sources == self.sources {
            return None;
        }
        self.sources = sources;
        let usable = self.sources.iter().any(Option::is_some);
        Some(if usable { PathChange::Usable } else { PathChange::Gone })
    }
}

fn sources_of(peers: &[SocketAddr]) -> Vec<Option<IpAddr>> {
    peers.iter().map(|peer| source_address(*peer).ok()).collect()
}

#[cfg(target_os = "linux")]
mod events {
    use std::io;
    use std::os::fd::OwnedFd;

    use rustix::io::Errno;
    use rustix::net::netlink::SocketAddrNetlink;
    use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};
    use tokio::io::unix::AsyncFd;

    use crate::watch::readable;

    /// `RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_IFADDR | RTMGRP_IPV6_ROUTE`, rtnetlink(7).
    const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;

    /// A netlink socket of which only the fact that something arrives is used.
    #[derive(Debug)]
    pub(super) struct Events(AsyncFd<OwnedFd>);

    impl Events {
        pub(super) fn open() -> io::Result<Self> {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            // No protocol is protocol 0, which for netlink is NETLINK_ROUTE.
            let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
            bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
            Ok(Self(readable(socket)?))
        }

        /// Waits for messages and throws away all there are.
        pub(super) async fn next(&mut self) -> io::Result<()> {
            loop {
                let mut ready = self.0.readable().await?;
                let mut any = false;
                loop {
                    // A message is cut to the buffer: its content does not matter.
                    let mut scrap = [0; 64];
                    match recv(self.0.get_ref(), &mut scrap, RecvFlags::TRUNC) {
                        // ENOBUFS: messages were lost, so there were some.
                        Ok(_) | Err(Errno::NOBUFS) => any = true,
                        Err(Errno::INTR) => {}
                        Err(Errno::AGAIN) => break,
                        Err(error) => return Err(error.into()),
                    }
                }
                ready.clear_ready();
                if any {
                    return Ok(());
                }
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod events {
    use std::io;

    /// Not available here.
    #[derive(Debug)]
    pub(super) enum Events {}

    impl Events {
        pub(super) fn open() -> io::Result<Self> {
            Err(io::ErrorKind::Unsupported.into())
        }

        pub(super) async fn next(&mut self) -> io::Result<()> {
            match *self {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_changed_source_counts() {
        let mut path = PathWatch { peers: Vec::new(), sources: vec![None, None] };
        let one: IpAddr = "10.0.0.1".parse().unwrap();
        let two: IpAddr = "10.0.0.2".parse().unwrap();
        assert_eq!(path.check_sources(vec![Some(one), None]), Some(PathChange::Usable));
        assert_eq!(path.check_sources(vec![Some(one), None]), None);
        assert_eq!(path.check_sources(vec![Some(two), None]), Some(PathChange::Usable));
        assert_eq!(path.check_sources(vec![None, None]), Some(PathChange::Gone));
        assert_eq!(path.check_sources(vec![None, None]), None);
    }

    #[test]
    fn loopback_is_reached_from_loopback() {
        assert_eq!(
            source_address("127.0.0.1:9".parse().unwrap()).unwrap(),
            "127.0.0.1".parse::<IpAddr>().unwrap()
        );
        assert_eq!(PathWatch::new(vec!["127.0.0.1:9".parse().unwrap()]).check(), None);
    }
}
