//! The engine over a disk in memory that fails or is full.

use std::sync::Arc;
use std::thread;

use penpal_protocol::cbor::Text;
use penpal_protocol::ids::{AccountProof, TransportPublicKey};
use penpal_protocol::text::Label;
use penpal_protocol::wire::{Answer, DeviceAdd, DeviceRemove, PutProof, Register};
use penpal_relay_core::{AddressPrefix, AdminRequest, Config};
use penpal_store::disk::{Fault, MemDisk};
use penpal_store::{LogStore, MemIndex, Options};

use super::*;
use crate::folder::Keys;
use crate::relay::ask_engine;

fn engine(disk: &MemDisk, dir: &tempfile::TempDir) -> (Engine, Arc<Inbox>) {
    let inbox = Arc::new(Inbox::new());
    let options = Options { segment_bytes: 64 * 1024, ..Options::default() };
    let store = LogStore::open_in(Arc::new(disk.clone()), Box::new(MemIndex::new()), options).unwrap();
    let keys = Keys::open(dir.path(), false).unwrap();
    let engine = Engine::new(
        keys.into_parts(Config::default(), Box::new(store), dir.path().join("blobs")),
        Arc::clone(&inbox),
    )
    .unwrap();
    (engine, inbox)
}

fn token() -> AdminRequest {
    AdminRequest::TokenNew { note: String::new(), life_ms: 60_000, uses: 1 }
}

#[tokio::test]
async fn a_failed_disk_ends_the_engine_and_nobody_is_told_that_it_worked() {
    let (disk, dir) = (MemDisk::new(), tempfile::tempdir().unwrap());
    let (engine, inbox) = engine(&disk, &dir);
    let thread = thread::spawn(move || engine.run());
    assert!(matches!(ask_engine(&inbox, token()).await, Ok(AdminAnswer::TokenNew { .. })));
    disk.inject(Fault::PowerCut(0));
    assert!(ask_engine(&inbox, token()).await.is_err());
    assert!(matches!(thread.join().unwrap(), Err(EngineError::Commit(_))));
    assert!(ask_engine(&inbox, token()).await.is_err(), "nobody waits for a dead engine");
}

#[tokio::test]
async fn a_full_disk_is_told_and_no_end() {
    let (disk, dir) = (MemDisk::new(), tempfile::tempdir().unwrap());
    let (engine, inbox) = engine(&disk, &dir);
    let thread = thread::spawn(move || engine.run());
    disk.set_capacity(Some(0));
    let mut answers = Vec::new();
    while !answers.contains(&AdminAnswer::Full) {
        assert!(answers.len() < 5_000);
        answers.push(ask_engine(&inbox, token()).await.unwrap());
    }
    let known = |answer: &AdminAnswer| matches!(answer, AdminAnswer::TokenNew { .. } | AdminAnswer::Full);
    assert!(answers.iter().all(known));
    assert!(matches!(ask_engine(&inbox, AdminRequest::TokenList).await, Ok(AdminAnswer::Tokens(_))));
    inbox.send_now(Input::Stop);
    thread.join().unwrap().unwrap();
}

fn ask(engine: &mut Engine, request: Request) -> Answer {
    let (reply, mut answer) = oneshot::channel();
    engine.turn(&mut vec![Input::Request { conn: ConnId(1), request, reply }]).unwrap();
    match answer.try_recv().unwrap() {
        Reply::Answer(answer) => answer,
        Reply::Grant(grant) => panic!("{grant:?}"),
    }
}

fn new_token(engine: &mut Engine) -> AdminAnswer {
    let (reply, mut answer) = oneshot::channel();
    engine.turn(&mut vec![Input::Admin { request: token(), reply }]).unwrap();
    answer.try_recv().unwrap()
}

#[test]
fn a_device_is_cut_off_on_a_full_disk() {
    let (disk, dir) = (MemDisk::new(), tempfile::tempdir().unwrap());
    let (mut engine, _inbox) = engine(&disk, &dir);
    let (prefix, outbox) = (AddressPrefix::of([192, 0, 2, 7].into()), Arc::default());
    let peer = TransportPublicKey::from_bytes([1; 32]);
    engine.turn(&mut vec![Input::Connected { conn: ConnId(1), peer, prefix, outbox }]).unwrap();
    let AdminAnswer::TokenNew { token, .. } = new_token(&mut engine) else { panic!("no token") };
    let handle = Label::new("alice").unwrap();
    let token = Some(Text::new(token).unwrap());
    let register = Register { handle, token, invite: None, proof: None };
    assert!(matches!(ask(&mut engine, Request::Register(register)), Answer::Registered(_)));
    let proof = AccountProof::from_bytes([1; 32]);
    let put = PutProof { proof_hash: proof.hash() };
    assert_eq!(ask(&mut engine, Request::PutProof(put)), Answer::Done);
    let stolen = TransportPublicKey::from_bytes([2; 32]);
    let add = Request::DeviceAdd(DeviceAdd { key: stolen, proof: proof.clone() });
    let Answer::Registered(device) = ask(&mut engine, add) else { panic!("no device") };
    disk.set_capacity(Some(0));
    while new_token(&mut engine) != AdminAnswer::Full {}
    let remove = DeviceRemove { slot: device.slot, proof };
    assert_eq!(ask(&mut engine, Request::DeviceRemove(remove)), Answer::Done);
    assert_eq!(new_token(&mut engine), AdminAnswer::Full);
    let rows = StoreRows(&*engine.store);
    assert_eq!(rows.get(Table::Device, stolen.as_bytes()).unwrap(), None);
}
