//! A name server on loopback that says what a test wants: RFC 1035, as little of it as needed.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// What is known of one name and type.
#[derive(Debug, Clone)]
pub(crate) enum Known {
    A(&'static str),
    Srv { priority: u16, weight: u16, port: u16, target: &'static str },
    Txt(String),
    Cname(&'static str),
}

/// Ends when dropped.
pub(crate) struct NameServer {
    pub(crate) address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    stop: UdpSocket,
    thread: Option<JoinHandle<()>>,
}

type Zone = BTreeMap<String, Vec<Known>>;

/// Answers for these names; any other does not exist. A name with no records exists without any; names that begin with
/// `silent.` get no answer at all.
pub(crate) fn serve(records: &[(&str, &[Known])]) -> NameServer {
    let zone = Arc::new(Mutex::new(zone_of(records)));
    let answers = Arc::clone(&zone);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let thread = thread::spawn(move || {
        let mut buffer = [0; 1_500];
        while let Ok((bytes, from)) = socket.recv_from(&mut buffer) {
            if bytes == 0 {
                return;
            }
            let zone = answers.lock().unwrap();
            if let Some(answer) = answer(&zone, &buffer[..bytes]) {
                socket.send_to(&answer, from).unwrap();
            }
        }
    });
    let stop = UdpSocket::bind("127.0.0.1:0").unwrap();
    stop.connect(address).unwrap();
    stop.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    NameServer { address, zone, stop, thread: Some(thread) }
}

fn zone_of(records: &[(&str, &[Known])]) -> Zone {
    records.iter().map(|(name, known)| ((*name).to_owned(), known.to_vec())).collect()
}

impl NameServer {
    /// Answers like this from now on.
    pub(crate) fn say(&self, records: &[(&str, &[Known])]) {
        *self.zone.lock().unwrap() = zone_of(records);
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stop.send(&[]).unwrap();
        self.thread.take().unwrap().join().unwrap();
    }
}

fn answer(zone: &Zone, question: &[u8]) -> Option<Vec<u8>> {
    let (mut name, mut at) = (Vec::new(), 12);
    while question[at] != 0 {
        let length = usize::from(question[at]);
        name.push(String::from_utf8(question[at + 1..=at + length].to_vec()).unwrap().to_lowercase());
        at += 1 + length;
    }
    let end = at + 5;
    let kind = u16::from_be_bytes([question[at + 1], question[at + 2]]);
    let name = name.join(".");
    if name.contains("silent.") {
        return None;
    }
    let mut records = Vec::new();
    let mut current = name.clone();
    while let Some(known) = zone.get(&current).filter(|_| records.len() < 16) {
        let before = current.clone();
        for record in known {
            match (record, kind) {
                (Known::A(text), 1 | 28) => match text.parse::<IpAddr>().unwrap() {
                    IpAddr::V4(address) if kind == 1 => {
                        records.push(resource(&current, 1, &address.octets()))
                    }
                    IpAddr::V6(address) if kind == 28 => {
                        records.push(resource(&current, 28, &address.octets()))
                    }
                    IpAddr::V4(_) | IpAddr::V6(_) => {}
                },
                (Known::Srv { priority, weight, port, target }, 33) => {
                    let numbers = [*priority, *weight, *port].map(u16::to_be_bytes).concat();
                    records.push(resource(&current, 33, &[numbers, wire(target)].concat()));
                }
                (Known::Txt(text), 16) => {
                    let parts = text.as_bytes().chunks(20);
                    let parts = parts.map(|part| [&[u8::try_from(part.len()).unwrap()], part].concat());
                    records.push(resource(&current, 16, &parts.collect::<Vec<_>>().concat()));
                }
                (Known::Cname(target), _) => {
                    records.push(resource(&current, 5, &wire(target)));
                    current = (*target).to_owned();
                }
                _ => {}
            }
        }
        if current == before {
            break;
        }
    }
    let code = if zone.contains_key(&name) { 0 } else { 3 };
    let mut out = question[..2].to_vec();
    out.extend([0x84, 0x80 | code, 0, 1]);
    out.extend(u16::try_from(records.len()).unwrap().to_be_bytes());
    out.extend([0, 0, 0, 0]);
    out.extend(&question[12..end]);
    out.extend(records.concat());
    Some(out)
}

fn resource(name: &str, kind: u16, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).unwrap().to_be_bytes();
    [&wire(name)[..], &kind.to_be_bytes(), &[0, 1, 0, 0, 0, 60], &length, data].concat()
}

fn wire(name: &str) -> Vec<u8> {
    let labels = name.split('.').filter(|label| !label.is_empty());
    let mut out: Vec<u8> =
        labels.flat_map(|label| [&[u8::try_from(label.len()).unwrap()], label.as_bytes()].concat()).collect();
    out.push(0);
    out
}
