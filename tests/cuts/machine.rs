//! A machine whose power can be cut: a file system on a disk of its own, and whatever runs in it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use fuser::BackgroundSession;
use penpal_tests::seed::Seeded;
use penpal_tests::wait;

use crate::disk::{Disk, IMAGE, Keep, Lost};

/// Bytes of each machine's disk: room for the segments of one store, with those kept in reserve.
const DISK_BYTES: u64 = 256 * 1024 * 1024;

/// One machine.
#[derive(Debug)]
pub(crate) struct Machine {
    name: String,
    folder: PathBuf,
    disk: Disk,
    session: Option<BackgroundSession>,
    /// Starts of the machine.
    lives: u32,
}

/// An ext4 image without files.
pub(crate) fn empty_image(folder: &Path) -> Vec<u8> {
    let path = folder.join("empty.ext4");
    let file = std::fs::File::create(&path).expect("an image");
    file.set_len(DISK_BYTES).expect("its size");
    drop(file);
    let options = "nodiscard,lazy_itable_init=0,lazy_journal_init=0";
    run("mkfs.ext4", &["-q", "-F", "-m", "0", "-J", "size=8", "-E", options, text(&path)]);
    let image = std::fs::read(&path).expect("the image");
    std::fs::remove_file(path).expect("it goes");
    image
}

impl Machine {
    /// A machine with this disk, switched on.
    pub(crate) fn new(folder: &Path, name: &str, image: &[u8]) -> Self {
        let mut machine = Self {
            name: name.to_owned(),
            folder: folder.join(name),
            disk: Disk::new(image),
            session: None,
            lives: 0,
        };
        std::fs::create_dir_all(machine.path()).expect("a folder");
        machine.switch_on();
        machine
    }

    /// Where its files are.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.join("fs")
    }

    /// Its disk.
    pub(crate) fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Ends all that runs here while the disk holds, and lets the disk go.
    pub(crate) fn end_processes(&self) {
        self.disk.cut();
        let killed = kill_all(&self.path());
        self.disk.release();
        wait::until("processes without power to be gone", || kill_all(&self.path()) == 0);
        assert!(killed < 1000, "{killed} processes on {}", self.name);
    }

    /// Starts again with what the disk kept. Nothing runs here.
    pub(crate) fn power_back(&mut self, keep: Keep, seeded: &mut Seeded) -> Lost {
        let (disk, lost) = self.disk.after(keep, seeded);
        self.switch_off();
        self.disk = disk;
        self.switch_on();
        lost
    }

    fn switch_on(&mut self) {
        self.lives += 1;
        let device = self.folder.join(format!("device-{}", self.lives));
        std::fs::create_dir_all(&device).expect("a folder");
        let session = fuser::spawn_mount(self.disk.clone(), &device, &fuser::Config::default());
        self.session = Some(session.expect("a FUSE mount"));
        let image = device.join(IMAGE);
        run("mount", &["-t", "ext4", "-o", "loop,noatime,nodiscard", text(&image), text(&self.path())]);
    }

    fn switch_off(&mut self) {
        let path = self.path();
        let mut refused = String::new();
        let gone = std::time::Instant::now() + wait::PATIENCE;
        while let Err(error) = try_run("umount", &[text(&path)]) {
            assert!(std::time::Instant::now() < gone, "{refused}{error}");
            refused = error;
            std::thread::park_timeout(Duration::from_millis(20));
        }
        if let Some(session) = self.session.take() {
            // The loop device lets go of its file a moment after the last user is gone.
            let device = self.folder.join(format!("device-{}", self.lives));
            wait::until("the device to be free", || try_run("umount", &[text(&device)]).is_ok());
            session.join().expect("the FUSE thread ends");
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // The mount goes with the namespace; what matters is that nobody waits for a disk that nobody serves.
        self.disk.release();
        let _ended = kill_all(&self.path());
        let _unmounted = try_run("umount", &["-l", text(&self.path())]);
    }
}

/// Sends `kill -9` to every process that was started for this folder; answers how many there were, or may have been.
fn kill_all(folder: &Path) -> usize {
    let marker = text(folder).as_bytes();
    let mut killed = 0;
    for entry in std::fs::read_dir("/proc").expect("a list of processes").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if pid == i32::try_from(std::process::id()).unwrap_or(0) {
            continue;
        }
        let said =
            ["cmdline", "environ"].map(|file| std::fs::read(entry.path().join(file)).unwrap_or_default());
        if said.iter().any(|bytes| bytes.windows(marker.len()).any(|part| part == marker)) {
            let Some(pid) = rustix::process::Pid::from_raw(pid) else { continue };
            // It may have ended meanwhile.
            let _sent = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            killed += 1;
        } else if said.iter().all(Vec::is_empty) && is_alive(&entry.path()) {
            // Between two programs it says neither, and a spawn returns before that is over; the same while it ends, with
            // files that are still open. It is asked again.
            killed += 1;
        }
    }
    killed
}

/// Whether anything of a process still runs: its first thread may have ended before others.
fn is_alive(process: &Path) -> bool {
    let threads = std::fs::read_dir(process.join("task")).into_iter().flatten().flatten();
    threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("stat")).ok()).any(|stat| {
        // The name before it is in brackets, and may hold some itself.
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        state.is_some_and(|state| !"ZX".contains(state))
    })
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

fn run(program: &str, arguments: &[&str]) {
    if let Err(error) = try_run(program, arguments) {
        panic!("{error}");
    }
}

pub(crate) fn try_run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr)))
}
