//! Tells by its text which program a config is for.

use super::table::{ACCESS, FWKNOPD};
use crate::client::import_fwknoprc::is_fwknoprc;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Access,
    /// fwknopd.conf.
    Server,
    Knockd,
    Uci,
    /// .fwknoprc.
    Client,
}

/// The kind of a text; `None` if no line tells. A text with comments only is a fwknopd.conf, as the package ships it.
pub(super) fn of(text: &str) -> Option<Kind> {
    let lines = text.lines().map(str::trim);
    let mut lines = lines.filter(|line| !line.is_empty() && !line.starts_with(['#', ';']));
    let Some(first) = lines.next() else {
        return (!text.is_empty()).then_some(Kind::Server);
    };
    if first.starts_with('[') {
        let is_client = is_fwknoprc(text);
        return Some(if is_client {
            Kind::Client
        } else {
            Kind::Knockd
        });
    }
    let mut names = std::iter::once(first).chain(lines).map(|line| {
        let name = line.split([' ', '\t', ';']).next().unwrap_or_default();
        name.strip_suffix(':').unwrap_or(name)
    });
    let mut in_both = false;
    let told = names.find_map(|name| match name {
        "config" | "package" => Some(Kind::Uci),
        "%include" | "%include_folder" | "%include_keys" => Some(Kind::Access),
        "GPG_HOME_DIR" | "GPG_EXE" => {
            in_both = true;
            None
        }
        _ if ACCESS.iter().any(|row| row.name == name) => Some(Kind::Access),
        _ if FWKNOPD.iter().any(|row| row.name == name) => Some(Kind::Server),
        _ => None,
    });
    told.or(in_both.then_some(Kind::Server))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_lines_tell_the_kind() {
        for (text, kind) in [
            ("", None),
            ("some text", None),
            ("# PCAP_INTF eth0;\n", Some(Kind::Server)),
            ("\n# x\nSOURCE: ANY;\n", Some(Kind::Access)),
            ("nonsense 1\nSOURCE ANY\n", Some(Kind::Access)),
            ("%include /etc/x\n", Some(Kind::Access)),
            ("GPG_EXE /x\nPCAP_INTF eth0;\n", Some(Kind::Server)),
            ("config access\n", Some(Kind::Uci)),
            ("[options]\n UseSyslog\n[a]\n", Some(Kind::Knockd)),
            ("[a]\nsequence = 1\n", Some(Kind::Knockd)),
            ("[default]\n\n[home]\nSPA_SERVER x\n", Some(Kind::Client)),
            ("[default]\nKEY: x\n", Some(Kind::Client)),
        ] {
            assert_eq!(of(text), kind, "{text}");
        }
    }
}
