//! Checks that nobody but root and the caller can change a program that root runs.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::adapters::files::Medium;

const OTHERS_WRITE: u32 = 0o022;
const STICKY: u32 = 0o1000;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProgramFault {
    #[error("{path}: {1}; install it, or name another program", path = .0.display())]
    Missing(PathBuf, String),
    #[error("{path} is not an executable file; run chmod 755 {path}, or name another program", path = .0.display())]
    NotExecutable(PathBuf),
    #[error("{path} could be changed by others than root (user {1}, mode {2:04o}); {cure}", path = .0.display(), cure = cure(.0, .0, *.3))]
    Writable(PathBuf, u32, u32, Medium),
    #[error("{path} could be replaced by others than root: {folder} belongs to user {2}, mode {3:04o}; {cure}, or move the program", path = .0.display(), folder = .1.display(), cure = cure(.0, .1, *.4))]
    Replaceable(PathBuf, PathBuf, u32, u32, Medium),
}

pub(crate) fn program_fault(program: &Path) -> Option<ProgramFault> {
    let path = || program.to_owned();
    let missing = |error: std::io::Error| Some(ProgramFault::Missing(path(), error.to_string()));
    let found = match fs::metadata(program) {
        Ok(found) => found,
        Err(error) => return missing(error),
    };
    let mode = found.mode() & 0o7777;
    if !found.is_file() || mode & 0o111 == 0 {
        return Some(ProgramFault::NotExecutable(path()));
    }
    if mode & OTHERS_WRITE != 0 || has_other_owner(&found) {
        let medium = Medium::of(program);
        return Some(ProgramFault::Writable(path(), found.uid(), mode, medium));
    }
    let folder = program.parent().unwrap_or(program);
    let found = match fs::metadata(folder) {
        Ok(found) => found,
        Err(error) => return missing(error),
    };
    let mode = found.mode() & 0o7777;
    let is_replaceable =
        (mode & OTHERS_WRITE != 0 && mode & STICKY == 0) || has_other_owner(&found);
    let fault = || {
        let (medium, folder) = (Medium::of(folder), folder.to_owned());
        ProgramFault::Replaceable(path(), folder, found.uid(), mode, medium)
    };
    is_replaceable.then(fault)
}

fn cure(program: &Path, exposed: &Path, medium: Medium) -> String {
    let (program, exposed) = (program.display(), exposed.display());
    match medium.obstacle() {
        None => format!("run chown root {exposed} and chmod go-w {exposed}"),
        Some(why) => {
            format!("{why}: run install -m 755 {program} /usr/local/sbin/ and name the copy")
        }
    }
}

fn has_other_owner(found: &Metadata) -> bool {
    found.uid() != 0 && found.uid() != rustix::process::geteuid().as_raw()
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn program_that_others_can_change_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("p");
        let missing = program_fault(&program).unwrap().to_string();
        assert!(missing.contains("No such file"), "{missing}");
        assert!(missing.contains("install it"), "{missing}");
        fs::write(&program, "").unwrap();
        let set = |path: &Path, mode| {
            fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        };
        for (mode, folder_mode, words) in [
            (0o644, 0o700, Some("chmod 755")),
            (0o777, 0o700, Some("chmod go-w")),
            (0o775, 0o700, Some("chmod go-w")),
            (0o755, 0o770, Some("could be replaced by others")),
            (0o755, 0o1777, None),
            (0o755, 0o755, None),
        ] {
            set(&program, mode);
            set(folder.path(), folder_mode);
            let fault = program_fault(&program).map(|fault| fault.to_string());
            match (&fault, words) {
                (Some(fault), Some(words)) => assert!(fault.contains(words), "{fault}"),
                _ => assert!(fault.is_none() && words.is_none(), "{mode:o}: {fault:?}"),
            }
        }
    }
}
