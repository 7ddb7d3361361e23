//! Key files: from any disk, and with a right checksum around any payload.

use std::path::Path;

use penpal_protocol::{
    hash::labelled,
    ids::{InviteId, InviteSecret},
};
use penpal_seal::{IdentityKeys, InviteEntry, KeyFile, KeyStorage as _, MemoryKeys, StoredReceiveKeys};

/// The first byte chooses the file, and whether the rest is all of it or a payload to be framed.
pub fn check(data: &[u8]) {
    let Some((how, rest)) = data.split_first() else { return };
    let file = if how & 1 == 0 { KeyFile::Identity } else { KeyFile::Receive };
    let bytes = if how & 2 == 0 { rest.to_vec() } else { framed(file, rest) };
    match file {
        KeyFile::Identity => identity(&bytes),
        KeyFile::Receive => receive(&bytes),
    }
}

/// `magic 8 | version 1 | file 1 | payload length 4 | payload | checksum 32`.
fn framed(file: KeyFile, payload: &[u8]) -> Vec<u8> {
    let number = match file {
        KeyFile::Identity => 1,
        KeyFile::Receive => 2,
    };
    let length = u32::try_from(payload.len()).expect("inputs are short");
    let mut out = [&b"penpalkf"[..], &[1, number], &length.to_be_bytes(), payload].concat();
    let checksum = labelled("key-file", &[&out]);
    out.extend(checksum);
    out
}

fn identity(bytes: &[u8]) {
    let Ok(keys) = IdentityKeys::decode(bytes, Path::new("identity.key")) else { return };
    let again = IdentityKeys::decode(&keys.encode(), Path::new("identity.key")).expect("our own file");
    assert_eq!(*again.encode(), *keys.encode());
}

fn receive(bytes: &[u8]) {
    let storage = MemoryKeys::default();
    storage.replace(KeyFile::Receive, bytes).expect("memory");
    let Ok(stored) = StoredReceiveKeys::load(storage.clone()) else { return };
    let (mut keys, _) = stored.with_assigned([]);
    let ids: Vec<_> = keys.ids().collect();
    if let Some(id) = ids.first() {
        assert!(keys.key(id).is_some(), "a key that is listed");
    }
    // Writing it back loses nothing.
    let id = InviteId::from_bytes([1; 16]);
    let invites = keys.invites().count() + usize::from(keys.invite(&id).is_none());
    let entry = InviteEntry { secret: InviteSecret::from_bytes([2; 20]), one_time: None };
    keys.keep_invite(id, entry).expect("memory");
    let (again, _) = StoredReceiveKeys::load(storage).expect("our own file").with_assigned([]);
    assert!(again.ids().eq(ids), "keys were lost");
    assert_eq!(again.invites().count(), invites);
}
