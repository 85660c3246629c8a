//! Small texts that everyone may read: replaced whole, in one step, so that no reader ever finds half of one.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Puts this text in the place of what is there, readable by everyone. It need not outlive a crash, so nothing waits for the disk.
///
/// # Errors
/// What the system said; what was there then stays.
#[expect(
    clippy::disallowed_methods,
    reason = "beside files.rs, of which this is a part"
)]
pub fn publish(path: &Path, text: &str) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    // Not one that ends as the file does: whoever reads all such files must not find this one.
    let fresh = path.with_file_name(format!(
        ".{}.{}",
        name.to_string_lossy(),
        std::process::id()
    ));
    // Another run of this number may have died over it.
    let _ = fs::remove_file(&fresh);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&fresh)?;
    let done = file.write_all(text.as_bytes());
    // Only now, whatever the umask is.
    let done = done
        .and_then(|()| file.set_permissions(Permissions::from_mode(0o644)))
        .and_then(|()| fs::rename(&fresh, path));
    if done.is_err() {
        let _ = fs::remove_file(&fresh);
    }
    done
}

/// Takes it away again; none is fine.
///
/// # Errors
/// What the system said.
pub fn withdraw(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_replaced_whole_and_everyone_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("postern.prom");
        fs::write(
            folder
                .path()
                .join(format!(".postern.prom.{}", std::process::id())),
            "half",
        )
        .unwrap();
        let mut readers = Vec::new();
        for text in ["one\n", "the other\n", ""] {
            publish(&path, text).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            assert_eq!(
                fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
                0o644
            );
            readers.push((fs::File::open(&path).unwrap(), text));
        }
        for (reader, text) in readers {
            assert_eq!(
                io::read_to_string(reader).unwrap(),
                text,
                "who has it open reads on what was there"
            );
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        withdraw(&path).unwrap();
        withdraw(&path).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_link_that_somebody_laid_is_replaced_and_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (
            folder.path().join("postern.prom"),
            folder.path().join("other"),
        );
        fs::write(&other, "untouched").unwrap();
        for link in [
            path.clone(),
            folder
                .path()
                .join(format!(".postern.prom.{}", std::process::id())),
        ] {
            std::os::unix::fs::symlink(&other, link).unwrap();
        }
        publish(&path, "text").unwrap();
        assert_eq!(fs::read_to_string(&other).unwrap(), "untouched");
        assert!(fs::symlink_metadata(&path).unwrap().is_file());
    }

    #[test]
    fn what_cannot_be_written_is_an_error_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        assert!(publish(&folder.path().join("none/postern.prom"), "text").is_err());
        fs::create_dir(folder.path().join("postern.prom")).unwrap();
        assert!(publish(&folder.path().join("postern.prom"), "text").is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
