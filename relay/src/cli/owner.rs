//! Root works on the folder of a relay that runs as somebody else: what root makes there must be that one's, or the relay, which reads
//! its own files only, cannot start any more.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, lchown};
use std::path::Path;

/// User and group.
type Owner = (u32, u32);

/// Gives what root made in a relay's folders to the owner of its data. Does nothing for anybody but root, and where root is the owner.
pub(super) fn give_back(data: &Path, keys: Option<&Path>) {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let Ok(found) = fs::metadata(data) else { return };
    let owner = (found.uid(), found.gid());
    if owner.0 == 0 {
        return;
    }
    for folder in [Some(data), keys].into_iter().flatten() {
        if let Err(error) = give(folder, owner) {
            tracing::warn!(%error, "a file in {} stays root's; the relay may not start", folder.display());
        }
    }
}

fn give(path: &Path, owner: Owner) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_dir() => {
                give_one(&path, &found, owner)?;
                give(&path, owner)?;
            }
            Ok(found) => give_one(&path, &found, owner)?,
            // A socket or a temporary file that went meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Only what is root's, and has one name: whoever owns the folder could have put another name of somebody else's file there.
fn give_one(path: &Path, found: &Metadata, owner: Owner) -> io::Result<()> {
    let has_one_name = found.is_dir() || found.is_file() && found.nlink() == 1;
    if found.uid() == 0 && has_one_name { lchown(path, Some(owner.0), Some(owner.1)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As root only: nobody else can own what another one made.
    #[test]
    fn what_root_made_in_another_ones_folder_is_the_other_ones() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        const OWNER: Owner = (61_184, 61_184);
        let all = tempfile::tempdir().unwrap();
        let data = all.path().join("data");
        fs::create_dir_all(data.join("keys")).unwrap();
        lchown(&data, Some(OWNER.0), Some(OWNER.1)).unwrap();
        fs::write(data.join("keys/relay.key"), "secret").unwrap();
        fs::write(all.path().join("outside"), "root's").unwrap();
        std::os::unix::fs::symlink(all.path().join("outside"), data.join("link")).unwrap();
        fs::hard_link(all.path().join("outside"), data.join("name")).unwrap();
        give_back(&data, None);
        let owner = |path: &str| fs::symlink_metadata(all.path().join(path)).unwrap().uid();
        assert_eq!(["data/keys", "data/keys/relay.key", "outside"].map(owner), [OWNER.0, OWNER.0, 0]);
        assert_eq!(fs::metadata(data.join("name")).unwrap().uid(), 0);
    }
}
