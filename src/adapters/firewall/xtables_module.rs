//! The module of iptables that one of its programs could not load, by what the program says.

const CURE: &str = "install it again with apt-get install --reinstall iptables";

/// What is missing or broken, and the cure; `None` if the program failed for another reason.
pub(super) fn missing(stderr: &str) -> Option<String> {
    let named = ["match `", "target `"].iter().find_map(|start| {
        let (_, rest) = stderr.split_once(start)?;
        rest.split_once('\'').map(|(name, _)| file(name))
    });
    let is_unnamed = stderr.contains("extension not found");
    let what = named.or_else(|| is_unnamed.then(|| "a module".to_owned()))?;
    Some(format!("{what} of iptables is missing or broken; {CURE}"))
}

fn file(name: &str) -> String {
    let name: String = name
        .chars()
        .filter(|letter| letter.is_ascii_alphanumeric() || "_-".contains(*letter))
        .take(32)
        .collect();
    match name.as_str() {
        "icmp" => "libipt_icmp.so".to_owned(),
        "icmp6" => "libip6t_icmp6.so".to_owned(),
        name => format!("libxt_{name}.so"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_module_is_named() {
        for (stderr, module) in [
            (
                "iptables-restore v1.8.9 (legacy): Couldn't load match `conntrack':No such file or directory\n",
                Some("libxt_conntrack.so"),
            ),
            (
                "/usr/lib/xtables/libxt_comment.so: file too short\nCan't find library for match `comment'\n",
                Some("libxt_comment.so"),
            ),
            (
                "Couldn't load target `MARK':No such file",
                Some("libxt_MARK.so"),
            ),
            ("Couldn't load match `icmp':", Some("libipt_icmp.so")),
            ("Error: match extension not found\n", Some("a module")),
            ("iptables-restore: line 2 failed", None),
            ("match `", None),
        ] {
            let told = missing(stderr);
            assert_eq!(told.is_some(), module.is_some(), "{stderr}");
            assert!(told.is_none_or(|told| told.starts_with(module.unwrap())));
        }
    }
}
