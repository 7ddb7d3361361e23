//! Repository and worktree of a folder, by reading `.git`; no git is run.

use std::fs;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

/// Longest `.git` or `commondir` file that is read, in bytes.
const MAX_POINTER_BYTES: u64 = 8 * 1024;

/// Where a folder stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worktree {
    /// Root of the worktree.
    pub worktree: PathBuf,
    /// Root of the repository's main worktree; of a bare repository, its folder.
    pub repository: PathBuf,
}

/// The worktree that holds an absolute folder; `None` outside any repository.
///
/// A submodule is a repository of its own.
#[must_use]
pub fn worktree_of(folder: &Path) -> Option<Worktree> {
    folder.ancestors().find_map(|root| {
        let dot_git = root.join(".git");
        let kind = fs::metadata(&dot_git).ok()?;
        if kind.is_dir() {
            // A folder of that name without HEAD is no repository.
            fs::metadata(dot_git.join("HEAD")).ok()?;
            return Some(Worktree { worktree: root.to_path_buf(), repository: root.to_path_buf() });
        }
        let pointer = read_short(&dot_git)?;
        let git_dir = root.join(pointer.strip_prefix("gitdir:")?.trim());
        let repository = match read_short(&git_dir.join("commondir")) {
            Some(common) => main_worktree(&normal(&git_dir.join(common.trim()))),
            None => root.to_path_buf(),
        };
        Some(Worktree { worktree: root.to_path_buf(), repository })
    })
}

fn main_worktree(common: &Path) -> PathBuf {
    match (common.file_name(), common.parent()) {
        (Some(name), Some(parent)) if name == ".git" => parent.to_path_buf(),
        _ => common.to_path_buf(),
    }
}

fn read_short(path: &Path) -> Option<String> {
    let mut text = String::new();
    fs::File::open(path).ok()?.take(MAX_POINTER_BYTES).read_to_string(&mut text).ok()?;
    Some(text)
}

/// Takes `.` and `..` out of a path without looking at the disk; links are kept as they are written.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => out.push(part),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().expect("has a folder")).expect("folder");
        fs::write(path, text).expect("file");
    }

    #[test]
    fn a_plain_repository() {
        let home = tempfile::tempdir().expect("folder");
        let root = home.path().join("proj");
        write(&root.join(".git/HEAD"), "ref: refs/heads/main\n");
        fs::create_dir_all(root.join("a/b")).expect("folder");
        let found = worktree_of(&root.join("a/b")).expect("in a repository");
        assert_eq!(found, Worktree { worktree: root.clone(), repository: root });
    }

    #[test]
    fn a_linked_worktree_names_its_own_folder_and_the_main_one() {
        let home = tempfile::tempdir().expect("folder");
        let main = home.path().join("proj");
        let linked = home.path().join("proj-fix");
        write(&main.join(".git/HEAD"), "ref: refs/heads/main\n");
        write(&main.join(".git/worktrees/proj-fix/commondir"), "../..\n");
        write(&linked.join(".git"), &format!("gitdir: {}\n", main.join(".git/worktrees/proj-fix").display()));
        let found = worktree_of(&linked).expect("in a worktree");
        assert_eq!(found, Worktree { worktree: linked, repository: main });
    }

    #[test]
    fn a_worktree_of_a_bare_repository() {
        let home = tempfile::tempdir().expect("folder");
        let bare = home.path().join("proj.git");
        let linked = home.path().join("main");
        write(&bare.join("worktrees/main/commondir"), "../..\n");
        write(&linked.join(".git"), &format!("gitdir: {}\n", bare.join("worktrees/main").display()));
        let found = worktree_of(&linked).expect("in a worktree");
        assert_eq!(found, Worktree { worktree: linked, repository: bare });
    }

    #[test]
    fn a_submodule_is_a_repository_of_its_own() {
        let home = tempfile::tempdir().expect("folder");
        let outer = home.path().join("proj");
        let inner = outer.join("lib");
        write(&outer.join(".git/HEAD"), "ref: refs/heads/main\n");
        write(&outer.join(".git/modules/lib/HEAD"), "ref: refs/heads/main\n");
        write(&inner.join(".git"), "gitdir: ../.git/modules/lib\n");
        let found = worktree_of(&inner).expect("in a repository");
        assert_eq!(found, Worktree { worktree: inner.clone(), repository: inner });
    }

    #[test]
    fn garbage_is_no_repository() {
        let home = tempfile::tempdir().expect("folder");
        let folder = home.path().join("x");
        write(&folder.join(".git"), "what?");
        assert_eq!(worktree_of(&folder).filter(|found| found.worktree == folder), None);
        fs::remove_file(folder.join(".git")).expect("gone");
        fs::create_dir(folder.join(".git")).expect("folder");
        assert_eq!(worktree_of(&folder).filter(|found| found.worktree == folder), None);
    }
}
