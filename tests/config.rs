//! Files with keys on a real disk: which are read, which are refused, and that no message shows their content.

#![cfg(feature = "daemon")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use postern::adapters::config;
use postern::adapters::config::disk;
use postern::adapters::files::{self, FileErrorKind};

const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    mode(folder.path(), 0o755);
    folder
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn file(folder: &Path, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.join(name);
    files::write_private(&path, text.as_ref(), true).unwrap();
    path
}

/// The kind and the sentence of a refusal.
fn refused(path: &Path) -> (FileErrorKind, String) {
    let error = files::read_private(path).unwrap_err();
    assert!(
        !format!("{error} {error:?}").contains("AwQFBgcI"),
        "{error:?}"
    );
    (error.kind(), error.to_string())
}

fn names(folder: &Path) -> Vec<std::ffi::OsString> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    names
}

#[test]
fn private_files_of_the_owner_are_read() {
    let folder = folder();
    for (name, text) in [("a", KEY), ("empty", ""), ("ü", "grüße\n")] {
        let path = file(folder.path(), name, text);
        assert_eq!(files::read_private(&path).unwrap().as_str(), text);
    }
    mode(&folder.path().join("a"), 0o400);
    assert!(files::read_private(&folder.path().join("a")).is_ok());
}

#[test]
fn files_open_to_others_are_refused() {
    let folder = folder();
    let path = file(folder.path(), "key", KEY);
    for bits in [0o644, 0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o660] {
        mode(&path, bits);
        let (kind, message) = refused(&path);
        assert_eq!(kind, FileErrorKind::Exposed, "{bits:o}");
        assert!(message.contains(&format!("mode {bits:04o}")), "{message}");
        let cure = format!("run chmod 600 {}", path.display());
        assert!(message.ends_with(&cure), "{message}");
    }
    mode(&path, 0o600);
    assert!(files::read_private(&path).is_ok());
    for bits in [0o777, 0o775, 0o757] {
        mode(folder.path(), bits);
        let (kind, message) = refused(&path);
        assert_eq!(kind, FileErrorKind::Exposed, "{bits:o}");
        let cure = format!("run chmod go-w {}", folder.path().display());
        assert!(message.ends_with(&cure), "{message}");
        let new = folder.path().join("new");
        assert!(files::write_private(&new, b"", false).is_err());
    }
    mode(folder.path(), 0o1777);
    assert!(files::read_private(&path).is_ok(), "sticky");
}

/// Runs this with a file system of the kernel mounted on a folder, in a mount namespace of its own.
fn with_mounted(kind: &'static str, test: impl FnOnce(&Path) + Send + 'static) {
    use nix::mount::{MsFlags, mount};
    let inside = || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
        let none = None::<&str>;
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(none, "/", none, private, none).unwrap();
        let there = folder();
        mount(Some(kind), there.path(), Some(kind), MsFlags::empty(), none).unwrap();
        test(there.path());
    };
    if rustix::process::geteuid().is_root() {
        std::thread::spawn(inside).join().unwrap();
    }
}

fn make_read_only(folder: &Path) {
    use nix::mount::{MsFlags, mount};
    let (none, flags) = (None::<&str>, MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY);
    mount(none, folder, none, flags | MsFlags::MS_BIND, none).unwrap();
}

/// Kubernetes and Docker give secrets so, with the mode 0444 or 0440.
#[test]
fn read_only_secrets_in_memory_are_read() {
    with_mounted("tmpfs", |there| {
        let [open, written, other] = [0o444, 0o464, 0o400].map(|bits| {
            let path = file(there, &format!("{bits:o}"), KEY);
            mode(&path, bits);
            path
        });
        chown(&other, Some(12_345), None).unwrap();
        assert!(
            refused(&open).1.contains("; run chmod 600 "),
            "still writable"
        );
        make_read_only(there);
        assert_eq!(files::read_private(&open).unwrap().as_str(), KEY);
        for path in [written, other] {
            let (_, message) = refused(&path);
            let copy = format!(
                "run install -m 600 {} /etc/postern/ and name the copy",
                path.display()
            );
            let cure = format!("; it is mounted read-only: {copy}");
            assert!(message.ends_with(&cure), "{message}");
        }
    });
}

#[test]
fn text_of_windows_is_read() {
    let folder = folder();
    let path = file(folder.path(), "key", format!("\u{feff}{KEY}\r\n"));
    assert_eq!(files::read_private(&path).unwrap().trim(), KEY);
    let text = "[gate]\r\nname = \"gate\"\r\n[[user]]\r\nname = \"alice\"\r\nservices = [\"tcp/22\"]\r\nkey_file = \"key\"\r\n";
    let path = file(folder.path(), "posternd.toml", format!("\u{feff}{text}"));
    assert_eq!(disk::load(&path).unwrap().1.policies.len(), 1);
}

#[test]
fn links_are_checked_at_their_target() {
    let (here, there) = (folder(), folder());
    let path = file(there.path(), "key", KEY);
    let link = here.path().join("link");
    symlink(&path, &link).unwrap();
    assert!(files::read_private(&link).is_ok());
    mode(there.path(), 0o777);
    assert_eq!(refused(&link).0, FileErrorKind::Exposed);
    mode(there.path(), 0o755);
    mode(&path, 0o644);
    assert_eq!(refused(&link).0, FileErrorKind::Exposed);
}

#[test]
fn odd_files_are_refused() {
    use FileErrorKind::{NotFound, Other};
    let folder = folder();
    let missing = folder.path().join("missing");
    let pipe = folder.path().join("pipe");
    let owner_only = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, fifo, owner_only, 0).unwrap();
    let large = file(folder.path(), "large", vec![b'a'; (1 << 20) + 1]);
    let latin = file(folder.path(), "latin", [KEY.as_bytes(), b"\xfc"].concat());
    for (path, kind, words) in [
        (
            &missing,
            NotFound,
            "does not exist; make it, or name the right one",
        ),
        (&missing.join("deeper"), NotFound, "does not exist"),
        (&folder.path().to_owned(), Other, "is a folder, not a file"),
        (&pipe, Other, "is not a regular file"),
        (&large, Other, "is larger than 1 MiB"),
        (&latin, Other, "is not UTF-8 text"),
    ] {
        let (found, message) = refused(path);
        assert_eq!(found, kind, "{message}");
        assert!(message.contains(words), "{message}");
    }
    let most = file(folder.path(), "most", vec![b'a'; 1 << 20]);
    assert_eq!(files::read_private(&most).unwrap().len(), 1 << 20);
}

#[test]
fn files_of_another_user_are_refused_even_to_root() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let folder = folder();
    let path = file(folder.path(), "key", KEY);
    chown(&path, Some(12_345), None).unwrap();
    let (kind, message) = refused(&path);
    assert_eq!(kind, FileErrorKind::Exposed);
    assert!(message.contains("belongs to user 12345"), "{message}");
    let cure = format!("run chown 0 {}", path.display());
    assert!(message.ends_with(&cure), "{message}");
    chown(&path, Some(0), None).unwrap();
    chown(folder.path(), Some(12_345), None).unwrap();
    assert_eq!(refused(&path).0, FileErrorKind::Exposed);
}

#[test]
fn missing_permission_is_reported() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let folder = folder();
    let path = file(folder.path(), "key", KEY);
    // The kernel keeps user ids by thread: only this thread loses its rights.
    let reader = std::thread::spawn(move || {
        let nobody = rustix::process::Uid::from_raw(65_534);
        rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
        refused(&path)
    });
    let (kind, message) = reader.join().unwrap();
    assert_eq!(kind, FileErrorKind::Permission);
    let words = "cannot be read: permission denied; run as root";
    assert!(message.contains(words), "{message}");
}

#[test]
fn written_key_is_private_and_kept() {
    let folder = folder();
    let path = folder.path().join("key");
    files::write_private(&path, b"first", false).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    let error = files::write_private(&path, b"second", false).unwrap_err();
    let words = "is there already; name another file";
    assert!(error.to_string().contains(words), "{error}");
    assert_eq!(files::read_private(&path).unwrap().as_str(), "first");

    mode(&path, 0o644);
    files::write_private(&path, b"third", true).unwrap();
    assert_eq!(files::read_private(&path).unwrap().as_str(), "third");

    let link = folder.path().join("link");
    symlink(folder.path().join("nowhere"), &link).unwrap();
    assert!(files::write_private(&link, b"", false).is_err());
    // A leftover of a killed process with the same number.
    let hidden = format!(".new.{}", std::process::id());
    file(folder.path(), &hidden, "half");
    files::write_private(&folder.path().join("new"), b"whole", false).unwrap();
    assert_eq!(names(folder.path()), ["key", "link", "new"]);
    let error = files::write_private(&folder.path().join("no/key"), b"", false).unwrap_err();
    assert_eq!(error.kind(), FileErrorKind::NotFound);
}

#[test]
fn made_folder_is_private() {
    let folder = folder();
    let path = folder.path().join("a/b");
    assert!(files::make_folder(&path, 0o700).unwrap());
    assert!(!files::make_folder(&path, 0o755).unwrap());
    for made in [&path, &folder.path().join("a")] {
        assert_eq!(fs::metadata(made).unwrap().mode() & 0o7777, 0o700);
    }
    mode(&path, 0o777);
    let error = files::make_folder(&path, 0o700).unwrap_err();
    assert_eq!(error.kind(), FileErrorKind::Exposed);
    let error = files::make_folder(&file(folder.path(), "file", ""), 0o700).unwrap_err();
    assert!(error.to_string().contains("is not a folder"), "{error}");
}

#[test]
fn config_loads_from_disk_with_its_key_files() {
    let folder = folder();
    let main = file(folder.path(), "posternd.toml", "[gate]\nname = \"g\"\n");
    assert!(disk::load(&main).is_ok(), "users.d may be missing");

    let users = folder.path().join("users.d");
    fs::create_dir(&users).unwrap();
    mode(&users, 0o700);
    let user = |name: &str, key: &str| format!("name = \"{name}\"\n{key}\nservices = [\"tcp/22\"]");
    let bob = format!("key = \"{}\"", KEY.replace("AAE", "BBE"));
    file(&users, "b.toml", user("bob", &bob));
    file(&users, "a.toml", user("amy", "key_file = \"amy.key\""));
    file(&users, "amy.key", format!("{KEY}\n"));
    for ignored in [".c.toml", "c.toml~", "README"] {
        file(&users, ignored, "not = read");
    }
    let (bundle, settings) = disk::load(&main).unwrap();
    assert_eq!(config::key_files(&bundle), [users.join("amy.key")]);
    let policies = settings.policies.iter();
    let names: Vec<&str> = policies.map(|policy| policy.user.as_str()).collect();
    assert_eq!(names, ["amy", "bob"]);

    for (path, wrong, right) in [
        (users.join("b.toml"), 0o644, 0o600),
        (users.clone(), 0o777, 0o700),
    ] {
        mode(&path, wrong);
        let error = disk::read_bundle(&main).unwrap_err();
        let expected = (FileErrorKind::Exposed, &*path);
        assert_eq!((error.kind(), error.path()), expected);
        mode(&path, right);
    }
    let key = users.join("amy.key");
    mode(&key, 0o644);
    let error = disk::load(&main).unwrap_err();
    assert_eq!(error.code, 78);
    assert_eq!(error.message.lines().count(), 1, "{}", error.message);
    assert!(error.message.contains("amy.key: "), "{}", error.message);
}
