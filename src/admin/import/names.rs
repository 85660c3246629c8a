//! Names of imported users and services: valid, and each one once.

use std::collections::BTreeSet;

use crate::model::user_name::is_user_name;

/// Room for a number behind the name.
const USER_MAX: usize = 60;
const SERVICE_MAX: usize = 32;

#[derive(Default)]
pub(super) struct Names {
    users: BTreeSet<String>,
    services: BTreeSet<String>,
}

impl Names {
    /// A user name like this text, or the other text if none of it can stay.
    pub(super) fn user(&mut self, text: &str, otherwise: &str) -> String {
        let kept = |c: char| {
            if c.is_ascii_alphanumeric() || "._-@".contains(c) {
                c
            } else {
                '-'
            }
        };
        let name: String = text.chars().map(kept).take(USER_MAX).collect();
        let name = name.trim_start_matches(['.', '_', '-', '@']);
        let name = if is_user_name(name) { name } else { otherwise };
        unique(&mut self.users, name, usize::MAX)
    }

    /// A service name that begins like this text and ends with that one.
    pub(super) fn service(&mut self, text: &str, end: &str) -> String {
        let kept = |c: char| {
            if c.is_ascii_alphanumeric() || "_-".contains(c) {
                c
            } else {
                '-'
            }
        };
        let text: String = text.to_ascii_lowercase().chars().map(kept).collect();
        let room = SERVICE_MAX.saturating_sub(end.len());
        let start: String = text.chars().take(room).collect();
        unique(&mut self.services, &format!("{start}{end}"), SERVICE_MAX)
    }
}

fn unique(taken: &mut BTreeSet<String>, name: &str, most: usize) -> String {
    let mut all = (1_u32..).map(|number| match number {
        1 => name.to_owned(),
        _ => {
            let end = format!("-{number}");
            let start: String = name.chars().take(most.saturating_sub(end.len())).collect();
            start + &end
        }
    });
    let free = all.find(|name| !taken.contains(name)).unwrap_or_default();
    taken.insert(free.clone());
    free
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_valid_and_unique() {
        let mut names = Names::default();
        let mut user = |text: &str| names.user(text, "fwknop-1");
        let made = ["alice", "alice", "a b/c", "..", "äö"].map(&mut user);
        assert_eq!(
            made,
            ["alice", "alice-2", "a-b-c", "fwknop-1", "fwknop-1-2"]
        );
        let long = "A".repeat(40);
        let made = [
            ("Web", ""),
            ("web", ""),
            (&long, "-tcp-22"),
            (&long, "-tcp-22"),
        ];
        let made = made.map(|(text, end)| names.service(text, end));
        assert_eq!(made[..2], ["web", "web-2"]);
        assert_eq!(made[2], format!("{}-tcp-22", "a".repeat(25)));
        assert_eq!(made[3], format!("{}-tcp--2", "a".repeat(25)));
        assert!(made.iter().all(|name| name.len() <= 32));
    }
}
