//! Key files: durable, private, never silently replaced.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use penpal_protocol::ids::{InviteId, KeyId};
use penpal_seal::{
    IdentityKeys, InviteEntry, InviteSecret, KeyFile, KeyFileError, KeyFolder, KeyStorage, MemoryKeys,
    ReceiveKeys, ReceiveSeed, SEED_POOL, StoredReceiveKeys, load_identity, store_identity,
};
use proptest::prelude::*;
use tempfile::TempDir;
use zeroize::Zeroizing;

use crate::people::rng;

fn folder() -> (TempDir, KeyFolder) {
    let temporary = TempDir::new().unwrap();
    let folder = KeyFolder::open(temporary.path().join("keys")).unwrap();
    (temporary, folder)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn receive_keys<S: KeyStorage>(storage: S) -> ReceiveKeys<S> {
    let (keys, missing) = StoredReceiveKeys::load(storage).unwrap().with_assigned([]);
    assert_eq!(missing, []);
    keys
}

#[test]
fn an_identity_survives_and_is_private() {
    let (_temporary, folder) = folder();
    assert!(load_identity(&folder).unwrap().is_none());
    let mut keys = IdentityKeys::generate(&mut rng(1));
    for without in [false, true] {
        if without {
            (keys.root, keys.account) = (None, None);
        }
        store_identity(&folder, &keys).unwrap();
        assert_eq!(load_identity(&folder).unwrap().unwrap(), keys);
    }
    let path = folder.path(KeyFile::Identity);
    let parent = path.parent().unwrap();
    assert_eq!((mode(&path), mode(parent)), (0o600, 0o700));
    let tag = fs::read_to_string(parent.join("CACHEDIR.TAG")).unwrap();
    assert!(tag.starts_with("Signature: 8a477f597d28d172789f06886806bc55\n"));
    let files: BTreeSet<_> = fs::read_dir(parent).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(files, ["CACHEDIR.TAG", "identity.key"].map(Into::into).into());
}

#[test]
fn a_file_that_others_can_read_is_refused_by_name() {
    let (_temporary, folder) = folder();
    store_identity(&folder, &IdentityKeys::generate(&mut rng(1))).unwrap();
    let path = folder.path(KeyFile::Identity);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let error = load_identity(&folder).unwrap_err();
    assert!(matches!(error, KeyFileError::Exposed { mode: 0o640, .. }));
    assert!(error.to_string().contains("identity.key") && error.to_string().contains("640"));
    fs::set_permissions(path.parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
    assert!(matches!(
        KeyFolder::open(path.parent().unwrap()),
        Err(KeyFileError::Exposed { mode: 0o755, .. })
    ));
}

#[test]
fn what_an_interrupted_replacement_left_is_removed_and_the_old_file_stands() {
    let (_temporary, folder) = folder();
    let keys = IdentityKeys::generate(&mut rng(1));
    store_identity(&folder, &keys).unwrap();
    let path = folder.path(KeyFile::Identity);
    let leftover = path.with_file_name("identity.key.new");
    fs::write(&leftover, b"half of a new fi").unwrap();
    let folder = KeyFolder::open(path.parent().unwrap()).unwrap();
    assert!(!leftover.exists());
    assert_eq!(load_identity(&folder).unwrap().unwrap(), keys);
}

#[test]
fn what_cannot_be_removed_before_a_replacement_is_named() {
    let (_temporary, folder) = folder();
    let in_the_way = folder.path(KeyFile::Identity).with_file_name("identity.key.new");
    fs::create_dir(&in_the_way).unwrap();
    let error = store_identity(&folder, &IdentityKeys::generate(&mut rng(1))).unwrap_err();
    assert!(
        matches!(&error, KeyFileError::Io { action: "remove", path, .. } if *path == in_the_way),
        "{error}"
    );
}

#[test]
fn a_boxed_storage_is_the_one_in_the_box() {
    let memory = MemoryKeys::default();
    let boxed: Box<dyn KeyStorage> = Box::new(memory.clone());
    assert!(boxed.read(KeyFile::Identity).unwrap().is_none());
    boxed.replace(KeyFile::Identity, b"contents").unwrap();
    assert_eq!(memory.read(KeyFile::Identity).unwrap().unwrap().as_slice(), b"contents");
    assert_eq!(boxed.read(KeyFile::Identity).unwrap().unwrap().as_slice(), b"contents");
    assert_eq!(boxed.path(KeyFile::Receive), Path::new("receive.keys"));
}

#[test]
fn no_bad_file_is_taken_for_a_new_node() {
    let (_temporary, folder) = folder();
    store_identity(&folder, &IdentityKeys::generate(&mut rng(1))).unwrap();
    receive_keys(folder.clone()).refill(&mut rng(2)).unwrap();
    for file in [KeyFile::Identity, KeyFile::Receive] {
        let path = folder.path(file);
        let good = fs::read(&path).unwrap();
        let load = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            match file {
                KeyFile::Identity => load_identity(&folder).map(drop).unwrap_err(),
                KeyFile::Receive => StoredReceiveKeys::load(folder.clone()).map(drop).unwrap_err(),
            }
        };
        let mut errors = Vec::new();
        for end in [0, 3, 8, 13, 14, good.len() / 2, good.len() - 1] {
            let error = load(&good[..end]);
            assert!(matches!(error, KeyFileError::Torn { .. }), "cut at {end}: {error}");
            errors.push(error);
        }
        let mut longer = good.clone();
        longer.push(0);
        errors.push(load(&longer));
        let mut later = good.clone();
        later[8] = 2;
        errors.push(load(&later));
        assert!(matches!(errors.last(), Some(KeyFileError::Version { expected: 1, got: 2, .. })));
        let mut damaged = good.clone();
        damaged[20] ^= 1;
        errors.push(load(&damaged));
        assert!(matches!(errors.last(), Some(KeyFileError::Damaged { .. })));
        for foreign in [&b"-----BEGIN PRIVATE KEY-----"[..], &[0; 4096]] {
            errors.push(load(foreign));
            assert!(matches!(errors.last(), Some(KeyFileError::Foreign { .. })));
        }
        for error in errors {
            assert!(error.to_string().contains(file.name()), "{error}");
        }
        fs::write(&path, &good).unwrap();
    }
    // One file in the place of the other.
    fs::copy(folder.path(KeyFile::Receive), folder.path(KeyFile::Identity)).unwrap();
    assert!(matches!(load_identity(&folder), Err(KeyFileError::Foreign { .. })));
}

#[test]
fn a_file_of_absurd_size_is_not_read_into_memory() {
    let (_temporary, folder) = folder();
    store_identity(&folder, &IdentityKeys::generate(&mut rng(1))).unwrap();
    let file = fs::OpenOptions::new().write(true).open(folder.path(KeyFile::Identity)).unwrap();
    file.set_len(1 << 40).unwrap();
    assert!(matches!(load_identity(&folder), Err(KeyFileError::Torn { got: 0x100_0000_0000, .. })));
    // 24 MiB of payload and its frame.
    let longest = 24 * 1024 * 1024 + 46;
    file.set_len(longest).unwrap();
    assert_eq!(folder.read(KeyFile::Identity).unwrap().unwrap().len() as u64, longest);
    file.set_len(longest + 1).unwrap();
    assert!(matches!(folder.read(KeyFile::Identity), Err(KeyFileError::Torn { expected: 0x180_002e, .. })));
}

#[test]
fn seeds_are_made_in_pools_and_stay_until_deleted() {
    let storage = MemoryKeys::default();
    let mut keys = receive_keys(storage.clone());
    assert_eq!((keys.unused_count(), keys.take_unused()), (0, None));
    keys.refill(&mut rng(1)).unwrap();
    assert_eq!(keys.unused_count(), SEED_POOL);
    let (id, public) = keys.take_unused().unwrap();
    assert_eq!(keys.unused_count(), SEED_POOL - 1);
    assert_eq!(*keys.key(&id).unwrap().public(), public);
    assert!(!keys.mark_assigned(&id), "it is assigned already");
    let other = keys.unused().next().unwrap();
    assert!(keys.mark_assigned(&other));

    // A start: the log says what was handed out.
    let unknown = KeyId::from_bytes([0xee; 8]);
    let (mut again, missing) = StoredReceiveKeys::load(storage.clone()).unwrap().with_assigned([id, unknown]);
    assert_eq!(missing, [unknown]);
    assert_eq!(again.unused_count(), SEED_POOL - 1);
    assert!(again.unused().all(|unused| unused != id));
    assert_eq!(*again.key(&id).unwrap().public(), public);

    let gone = BTreeSet::from([id, other, unknown]);
    let held = again.key(&id).unwrap();
    assert_eq!(again.rewrite_without(&gone).unwrap(), 2);
    assert_eq!(Arc::strong_count(&held), 1, "the cache has let go of a deleted key");
    assert!(again.key(&id).is_none() && again.key(&other).is_none());
    assert_eq!((again.ids().count(), again.unused_count()), (SEED_POOL - 2, SEED_POOL - 2));
    assert_eq!(receive_keys(storage).ids().count(), SEED_POOL - 2);
}

#[test]
fn a_restored_node_starts_with_fresh_keys() {
    let storage = MemoryKeys::default();
    let mut keys = receive_keys(storage.clone());
    keys.refill(&mut rng(1)).unwrap();
    let backup = storage.snapshot();
    let old: BTreeSet<_> = receive_keys(backup.clone()).ids().collect();
    assert_eq!(old.len(), SEED_POOL);
    keys.replace_all(&mut rng(2)).unwrap();
    assert_eq!(keys.ids().count(), SEED_POOL);
    assert!(keys.ids().all(|id| !old.contains(&id)));
    assert_eq!(receive_keys(backup).ids().collect::<BTreeSet<_>>(), old, "a snapshot is a copy");
}

#[test]
fn invites_are_kept_and_erased() {
    let storage = MemoryKeys::default();
    let mut keys = receive_keys(storage.clone());
    keys.refill(&mut rng(1)).unwrap();
    let (inviter, invited) = (InviteId::from_bytes([1; 16]), InviteId::from_bytes([2; 16]));
    let secret = InviteSecret::from_bytes([3; 20]);
    let with_key = InviteEntry { secret: secret.clone(), one_time: Some(ReceiveSeed::from_bytes([4; 32])) };
    keys.keep_invite(inviter, with_key.clone()).unwrap();
    keys.keep_invite(invited, InviteEntry { secret, one_time: None }).unwrap();
    let mut again = receive_keys(storage.clone());
    assert_eq!(again.invite(&inviter), Some(&with_key));
    assert_eq!(again.invites().count(), 2);
    again.erase_invite(&inviter).unwrap();
    again.erase_invite(&inviter).unwrap();
    let stored = storage.read(KeyFile::Receive).unwrap().unwrap();
    assert!(!stored.windows(32).any(|window| window == [4; 32]), "erased from the file");
    let last = receive_keys(storage);
    assert_eq!((last.invite(&inviter), last.invites().count(), last.ids().count()), (None, 1, SEED_POOL));
}

/// Storage whose writes fail.
#[derive(Clone)]
struct FullDisk(MemoryKeys);

impl KeyStorage for FullDisk {
    fn read(&self, file: KeyFile) -> Result<Option<Zeroizing<Vec<u8>>>, KeyFileError> {
        self.0.read(file)
    }

    fn replace(&self, file: KeyFile, _: &[u8]) -> Result<(), KeyFileError> {
        let source = std::io::Error::from(std::io::ErrorKind::StorageFull);
        Err(KeyFileError::Io { action: "write", path: self.path(file), source })
    }

    fn path(&self, file: KeyFile) -> PathBuf {
        self.0.path(file)
    }
}

#[test]
fn a_failed_write_changes_nothing() {
    let storage = MemoryKeys::default();
    receive_keys(storage.clone()).refill(&mut rng(1)).unwrap();
    let mut keys = receive_keys(FullDisk(storage.clone()));
    let before: Vec<_> = keys.ids().collect();
    assert!(keys.refill(&mut rng(2)).is_err());
    assert!(keys.rewrite_without(&before.iter().copied().collect()).is_err());
    let entry = InviteEntry { secret: InviteSecret::from_bytes([3; 20]), one_time: None };
    assert!(keys.keep_invite(InviteId::from_bytes([1; 16]), entry).is_err());
    assert_eq!(keys.ids().collect::<Vec<_>>(), before);
    assert_eq!(keys.unused_count(), SEED_POOL);
    assert!(keys.key(&before[0]).is_some() && keys.invites().count() == 0);
}

#[test]
fn what_is_not_held_is_deleted_without_a_write() {
    let storage = MemoryKeys::default();
    receive_keys(storage.clone()).refill(&mut rng(1)).unwrap();
    let mut keys = receive_keys(FullDisk(storage));
    assert_eq!(keys.rewrite_without(&BTreeSet::from([KeyId::from_bytes([0xee; 8])])).unwrap(), 0);
    keys.erase_invite(&InviteId::from_bytes([1; 16])).unwrap();
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let temporary = TempDir::new().unwrap();
    let in_the_way = temporary.path().join("keys");
    fs::write(&in_the_way, b"a file").unwrap();
    let error = KeyFolder::open(&in_the_way).unwrap_err();
    assert!(matches!(&error, KeyFileError::Io { path, .. } if *path == in_the_way), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_changed_byte_of_a_key_file_is_an_error(at: prop::sample::Index, change in 1_u8..) {
        let good = IdentityKeys::generate(&mut rng(1)).encode();
        let mut bad = good.to_vec();
        let at = at.index(bad.len());
        bad[at] ^= change;
        prop_assert!(IdentityKeys::decode(&bad, Path::new("identity.key")).is_err());
    }

    #[test]
    fn noise_never_panics(noise: Vec<u8>) {
        prop_assert!(IdentityKeys::decode(&noise, Path::new("identity.key")).is_err());
    }
}
