//! Files with keys on a real disk: which are read, which are refused, and that nothing of them is said.

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

#[test]
fn a_file_that_only_its_owner_may_read_is_read() {
    let folder = folder();
    for (name, text) in [("a", KEY), ("empty", ""), ("ü", "grüße\n")] {
        assert_eq!(
            files::read_private(&file(folder.path(), name, text))
                .unwrap()
                .as_str(),
            text
        );
    }
    mode(&folder.path().join("a"), 0o400);
    assert!(files::read_private(&folder.path().join("a")).is_ok());
}

#[test]
fn any_permission_for_others_is_refused_with_the_command_that_takes_it_away() {
    let folder = folder();
    let path = file(folder.path(), "key", KEY);
    for bits in [0o644, 0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o660] {
        mode(&path, bits);
        let (kind, said) = refused(&path);
        assert_eq!(kind, FileErrorKind::Exposed, "{bits:o}");
        assert!(
            said.contains(&format!("mode {bits:04o}"))
                && said.ends_with(&format!("run chmod 600 {}", path.display())),
            "{said}"
        );
    }
    mode(&path, 0o600);
    assert!(files::read_private(&path).is_ok());
}

#[test]
fn a_folder_that_others_may_write_to_is_refused_unless_it_is_sticky() {
    let folder = folder();
    let path = file(folder.path(), "key", KEY);
    for bits in [0o777, 0o775, 0o757] {
        mode(folder.path(), bits);
        let (kind, said) = refused(&path);
        assert_eq!(kind, FileErrorKind::Exposed, "{bits:o}");
        assert!(
            said.ends_with(&format!("run chmod go-w {}", folder.path().display())),
            "{said}"
        );
        assert!(
            files::write_private(&folder.path().join("new"), b"", false).is_err(),
            "nor is a key written there"
        );
    }
    mode(folder.path(), 0o1777);
    assert!(files::read_private(&path).is_ok());
}

#[test]
fn behind_a_link_the_file_and_its_real_folder_are_checked() {
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
fn what_is_missing_or_no_file_or_too_large_or_no_text_is_refused() {
    let folder = folder();
    let missing = folder.path().join("missing");
    assert_eq!(
        refused(&missing),
        (
            FileErrorKind::NotFound,
            format!(
                "{}: does not exist; make it, or name the right one",
                missing.display()
            )
        )
    );
    assert_eq!(refused(&missing.join("deeper")).0, FileErrorKind::NotFound);
    assert!(refused(folder.path()).1.contains("is a folder, not a file"));

    let pipe = folder.path().join("pipe");
    let owner_only = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        owner_only,
        0,
    )
    .unwrap();
    let (kind, said) = refused(&pipe);
    assert_eq!(
        kind,
        FileErrorKind::Other,
        "and it does not wait for a writer"
    );
    assert!(said.contains("is not a regular file"), "{said}");

    let most = file(folder.path(), "most", vec![b'a'; 1 << 20]);
    assert_eq!(files::read_private(&most).unwrap().len(), 1 << 20);
    let (kind, said) = refused(&file(folder.path(), "large", vec![b'a'; (1 << 20) + 1]));
    assert!(
        kind == FileErrorKind::Other && said.contains("is larger than 1 MiB"),
        "{said}"
    );
    let (kind, said) = refused(&file(
        folder.path(),
        "latin",
        [KEY.as_bytes(), b"\xfc"].concat(),
    ));
    assert!(
        kind == FileErrorKind::Other && said.contains("is not UTF-8 text"),
        "{said}"
    );
}

#[test]
fn a_file_of_somebody_else_is_refused_to_root_too() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let folder = folder();
    let path = file(folder.path(), "key", KEY);
    chown(&path, Some(12_345), None).unwrap();
    let (kind, said) = refused(&path);
    assert_eq!(kind, FileErrorKind::Exposed);
    assert!(
        said.contains("belongs to user 12345")
            && said.ends_with(&format!("run chown 0 {}", path.display())),
        "{said}"
    );
    chown(&path, Some(0), None).unwrap();
    chown(folder.path(), Some(12_345), None).unwrap();
    assert_eq!(
        refused(&path).0,
        FileErrorKind::Exposed,
        "the owner of the folder could put another file there"
    );
}

#[test]
fn a_reader_without_the_right_is_told_so() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let folder = folder();
    let path = file(folder.path(), "key", KEY);
    // The kernel counts users by thread: only this one steps down, and it ends.
    let reader = std::thread::spawn(move || {
        let nobody = rustix::process::Uid::from_raw(65_534);
        rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
        refused(&path)
    });
    let (kind, said) = reader.join().unwrap();
    assert_eq!(kind, FileErrorKind::Permission);
    assert!(
        said.contains("cannot be read: permission denied; run as root"),
        "{said}"
    );
}

#[test]
fn a_written_key_is_private_and_replaced_only_on_request() {
    let folder = folder();
    let path = folder.path().join("key");
    files::write_private(&path, b"first", false).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    assert!(
        files::write_private(&path, b"second", false)
            .unwrap_err()
            .to_string()
            .contains("is there already")
    );
    assert_eq!(files::read_private(&path).unwrap().as_str(), "first");

    mode(&path, 0o644);
    files::write_private(&path, b"third", true).unwrap();
    assert_eq!(
        files::read_private(&path).unwrap().as_str(),
        "third",
        "also where the old one was open to all"
    );
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        1,
        "nothing is left beside it"
    );
    assert_eq!(
        files::write_private(&folder.path().join("no/key"), b"", false)
            .unwrap_err()
            .kind(),
        FileErrorKind::NotFound
    );
}

#[test]
fn a_placed_file_is_private_appears_whole_and_never_over_another() {
    let folder = folder();
    let path = folder.path().join("alice.toml");
    files::write_private(&path, b"first", false).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    assert!(
        files::write_private(&path, b"second", false)
            .unwrap_err()
            .to_string()
            .contains("is there already; name another file")
    );
    symlink(
        folder.path().join("nowhere"),
        folder.path().join("link.toml"),
    )
    .unwrap();
    assert!(
        files::write_private(&folder.path().join("link.toml"), b"", false).is_err(),
        "nor through a link that leads nowhere"
    );
    file(
        folder.path(),
        &format!(".bob.toml.{}", std::process::id()),
        "half",
    );
    files::write_private(&folder.path().join("bob.toml"), b"whole", false).unwrap();
    assert_eq!(files::read_private(&path).unwrap().as_str(), "first");
    let mut names: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(
        names,
        ["alice.toml", "bob.toml", "link.toml"],
        "nothing is left beside them"
    );
    mode(folder.path(), 0o777);
    assert!(
        files::write_private(&folder.path().join("new"), b"", false).is_err(),
        "others could replace it"
    );
}

#[test]
fn a_folder_is_made_once_with_its_mode_and_one_that_others_may_write_to_is_refused() {
    let folder = folder();
    let path = folder.path().join("a/b");
    assert!(files::make_folder(&path, 0o700).unwrap());
    assert!(!files::make_folder(&path, 0o755).unwrap());
    for made in [&path, &folder.path().join("a")] {
        assert_eq!(fs::metadata(made).unwrap().mode() & 0o7777, 0o700);
    }
    mode(&path, 0o777);
    assert_eq!(
        files::make_folder(&path, 0o700).unwrap_err().kind(),
        FileErrorKind::Exposed
    );
    assert!(
        files::make_folder(&file(folder.path(), "file", ""), 0o700)
            .unwrap_err()
            .to_string()
            .contains("is not a folder")
    );
}

#[test]
fn a_file_that_others_may_read_is_read_with_the_refusal_that_a_secret_in_it_would_meet() {
    let folder = folder();
    let path = file(folder.path(), "token", "text");
    assert!(files::read_open(&path).unwrap().1.is_ok());
    mode(&path, 0o644);
    let (text, private) = files::read_open(&path).unwrap();
    assert_eq!(
        (text.as_str(), private.unwrap_err().kind()),
        ("text", FileErrorKind::Exposed)
    );
    assert!(
        files::read_open(folder.path()).is_err()
            && files::read_open(&folder.path().join("none")).is_err()
    );
}

#[test]
fn a_config_is_read_with_its_users_and_key_files_and_loads() {
    let folder = folder();
    let main = file(folder.path(), "posternd.toml", "[gate]\nname = \"g\"\n");
    assert!(
        config::load(&disk::read_bundle(&main).unwrap())
            .unwrap()
            .keys
            .is_empty(),
        "no users.d is no error"
    );

    let users = folder.path().join("users.d");
    fs::create_dir(&users).unwrap();
    mode(&users, 0o700);
    file(
        &users,
        "b.toml",
        format!(
            "name = \"bob\"\nkey = \"{}\"\nservices = [\"tcp/22\"]",
            KEY.replace("AAE", "BBE")
        ),
    );
    file(
        &users,
        "a.toml",
        "name = \"amy\"\nkey_file = \"amy.key\"\nservices = [\"tcp/22\"]",
    );
    file(&users, "amy.key", format!("{KEY}\n"));
    for passed_over in [".c.toml", "c.toml~", "README"] {
        file(&users, passed_over, "not = read");
    }
    let (bundle, _) = disk::load(&main).unwrap();
    let named = config::key_files(&bundle);
    assert_eq!(named, [users.join("amy.key")]);
    let loaded = config::load(&bundle).unwrap();
    let names: Vec<&str> = loaded
        .settings
        .policies
        .iter()
        .map(|policy| policy.user.as_str())
        .collect();
    assert_eq!((names, loaded.keys.len()), (vec!["amy", "bob"], 2));

    mode(&users.join("b.toml"), 0o644);
    let error = disk::read_bundle(&main).unwrap_err();
    assert_eq!(
        (error.kind(), error.path()),
        (FileErrorKind::Exposed, users.join("b.toml").as_path())
    );
    mode(&users.join("b.toml"), 0o600);
    mode(&users, 0o777);
    let error = disk::read_bundle(&main).unwrap_err();
    assert_eq!(
        (error.kind(), error.path()),
        (FileErrorKind::Exposed, users.as_path())
    );
}
