//! Names of profiles.

const NAME_MAX: usize = 32;

/// Whether a profile may have this name: it becomes a section of the config and may become the name of a key file.
pub(crate) fn is_profile_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.len() <= NAME_MAX
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
}

pub(crate) fn short_name(gate: &str) -> String {
    let first = gate.split('.').next().unwrap_or_default();
    let is_address = gate.parse::<std::net::IpAddr>().is_ok();
    let name = if is_address || !is_profile_name(first) {
        "gate"
    } else {
        first
    };
    name.to_owned()
}
