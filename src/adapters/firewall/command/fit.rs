//! What root may run: a program that nobody else could have put there or changed.
//!
//! Looks and tells; runs nothing. Whoever names a program in the config of a gate has it run with root's rights.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const OTHERS_WRITE: u32 = 0o022;
const STICKY: u32 = 0o1000;

/// Why root should not run this program, and what to do: it is not there, is none, or others could change it or put another in its place.
pub fn unfit(program: &Path) -> Option<String> {
    let name = program.display();
    let found = match fs::metadata(program) {
        Ok(found) => found,
        Err(error) => {
            return Some(format!(
                "{name}: {error}; install it, or name another program"
            ));
        }
    };
    let mode = found.mode() & 0o7777;
    if !found.is_file() || mode & 0o111 == 0 {
        return Some(format!(
            "{name} is no program that can be run; run chmod 755 {name}, or name another"
        ));
    }
    if mode & OTHERS_WRITE != 0 || is_of_others(&found) {
        let what = format!(
            "{name} could be changed by others than root (user {}, mode {mode:04o})",
            found.uid()
        );
        return Some(format!(
            "{what}; run chown root {name} and chmod go-w {name}"
        ));
    }
    let folder = program.parent().unwrap_or(program);
    let Ok(found) = fs::metadata(folder) else {
        return Some(format!(
            "{name}: its folder can't be looked at; name another program"
        ));
    };
    let mode = found.mode() & 0o7777;
    if (mode & OTHERS_WRITE != 0 && mode & STICKY == 0) || is_of_others(&found) {
        let folder = folder.display();
        let what = format!(
            "{name} could be replaced by others than root: {folder} is of user {}, mode {mode:04o}",
            found.uid()
        );
        return Some(format!(
            "{what}; run chown root {folder} and chmod go-w {folder}, or move the program"
        ));
    }
    None
}

fn is_of_others(found: &Metadata) -> bool {
    found.uid() != 0 && found.uid() != rustix::process::geteuid().as_raw()
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_program_that_others_could_change_or_replace_is_not_run_by_root() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("p");
        let missing = unfit(&program).unwrap();
        assert!(
            missing.contains("No such file") && missing.contains("install it"),
            "{missing}"
        );
        fs::write(&program, "").unwrap();
        let set =
            |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        for (mode, folders, wrong) in [
            (0o644, 0o700, Some("chmod 755")),
            (0o777, 0o700, Some("chmod go-w")),
            (0o775, 0o700, Some("chmod go-w")),
            (0o755, 0o770, Some("could be replaced by others")),
            (0o755, 0o1777, None),
            (0o755, 0o755, None),
        ] {
            set(&program, mode);
            set(folder.path(), folders);
            let said = unfit(&program);
            assert_eq!(
                said.is_some(),
                wrong.is_some(),
                "{mode:o} in {folders:o}: {said:?}"
            );
            assert!(
                wrong.is_none_or(|wrong| said.as_deref().unwrap_or_default().contains(wrong)),
                "{mode:o} in {folders:o}: {said:?}"
            );
        }
    }
}
