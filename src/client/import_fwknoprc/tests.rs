//! Each setting of .fwknoprc.

use super::*;
use crate::model::foreign::Verdict;

const START: &str =
    "[home]\nSPA_SERVER gate.example.org\nKEY_BASE64 c2VjcmV0LWtleS1vZi1hbGljZQ==\n";
const HMAC: &str = "HMAC_KEY_BASE64 c2VjcmV0LWhtYWMtb2YtYWxpY2U=\n";

fn import(lines: &str) -> (Vec<NewProfile>, String) {
    let (profiles, findings) = convert(Path::new("rc"), &format!("{START}{HMAC}{lines}"));
    let said: Vec<String> = findings.0.iter().map(ToString::to_string).collect();
    for new in &profiles {
        crate::client::profile::parse(&new.toml.full, Path::new("config.toml")).unwrap();
    }
    (profiles, said.join("\n"))
}

#[test]
fn section_becomes_a_profile() {
    let (profiles, said) = import(
        "Spa_Server_Port: 4000;\nACCESS tcp/22\nALLOW_IP source # me\nFW_TIMEOUT 60\n\
         HMAC_DIGEST_TYPE sha512\nUSE_HMAC y\nTIME_OFFSET -2m\nSPOOF_USER alice\nNAT_ACCESS 10.0.0.5,22\nNAT_PORT 2222\n",
    );
    assert_eq!(said, "");
    let expected = "[home] # from rc:1\ngate = \"gate.example.org\"\naddress = \"gate.example.org:4000\"\n\
        fwknop = { key = \"c2VjcmV0LWtleS1vZi1hbGljZQ==\", hmac_key = \"c2VjcmV0LWhtYWMtb2YtYWxpY2U=\", hmac = \"sha512\", \
        username = \"alice\", nat_access = \"10.0.0.5:22\" }\n\
        services = [\"tcp/2222\"]\nallow = \"source\"\nduration = \"60s\"\ntime_offset = \"-120s\"\n";
    assert_eq!(*profiles[0].toml.full, expected);
    assert!(!profiles[0].toml.masked.contains("c2Vj"));
    assert!(!format!("{profiles:?}").contains("c2Vj"));
}

/// As fwknop's client makes the packet of such a section.
#[test]
fn nat_settings_become_one_place() {
    for (lines, services, nat) in [
        ("ACCESS tcp/22\nNAT_PORT 77", "tcp/77", ""),
        (
            "ACCESS tcp/22\nNAT_ACCESS 10.0.0.5",
            "tcp/22",
            "nat_access = \"10.0.0.5:22\"",
        ),
        (
            "ACCESS tcp/22,udp/5\nNAT_ACCESS inner,23",
            "tcp/22\", \"udp/5",
            "nat_access = \"inner:23\"",
        ),
        ("NAT_ACCESS inner:23", "", "nat_access = \"inner:23\""),
        (
            "ACCESS tcp/22\nNAT_LOCAL Y",
            "tcp/22",
            "nat_local = \"gate.example.org:22\"",
        ),
        (
            "ACCESS tcp/22\nNAT_LOCAL Y\nNAT_PORT 77",
            "tcp/77",
            "nat_local = \"gate.example.org:22\"",
        ),
        (
            "ACCESS tcp/22\nNAT_LOCAL Y\nNAT_ACCESS 10.0.0.1,33",
            "tcp/22",
            "nat_local = \"10.0.0.1:33\"",
        ),
        ("ACCESS tcp/22\nFW_TIMEOUT 0\nNAT_LOCAL N", "tcp/22", ""),
    ] {
        let (profiles, said) = import(lines);
        let toml = &profiles[0].toml.full;
        assert!(
            toml.contains(services) && toml.contains(nat) && said.is_empty(),
            "{said}{}",
            **toml
        );
        assert_eq!(toml.contains("nat_"), !nat.is_empty());
        assert!(!toml.contains("duration"));
    }
    let (profiles, said) = import("NAT_PORT 77");
    assert!(
        profiles.len() == 1 && said.contains("NAT_PORT narrowed: there is no ACCESS"),
        "{said}"
    );
}

#[test]
fn default_gives_its_settings_to_all() {
    let text = "[default]\nKEY testkey\nSPA_SERVER_PORT 1\n[a]\nSPA_SERVER a\n[b.c]\nSPA_SERVER b\nSPA_SERVER_PORT 2\nKEY other\n";
    assert!(is_fwknoprc(text) && !is_fwknoprc("[a]\ngate = \"b\"\n") && !is_fwknoprc("KEY a\n"));
    let (profiles, findings) = convert(Path::new("rc"), text);
    assert_eq!(findings.0.len(), 0);
    let read = profiles.iter().map(|one| {
        let toml: toml::Table = one.toml.full.parse().unwrap();
        let profile = &toml[&one.name];
        format!(
            "{} {} {}",
            one.name, profile["address"], profile["fwknop"]["key"]
        )
    });
    let read: Vec<String> = read.collect();
    assert_eq!(
        read,
        ["a \"a:1\" \"dGVzdGtleQ==\"", "b-c \"b:2\" \"b3RoZXI=\""]
    );
    let (profiles, _) = convert(Path::new("rc"), START);
    assert!(
        profiles[0]
            .toml
            .full
            .contains("insecure_without_hmac = true")
    );
}

#[test]
fn wrong_lines_are_refused_with_their_message() {
    for (lines, part) in [
        (
            "NONSENSE 1",
            "rc:5: refused: fwknop has no setting of this name",
        ),
        ("ACCESS", "rc:5: refused: the line has no value"),
        ("ACCESS 22", "ACCESS refused: this is no list of ports"),
        ("ACCESS tcp/1-2", "ACCESS refused"),
        ("SPA_SERVER_PORT 0", "SPA_SERVER_PORT refused"),
        (
            "SPA_SERVER_PROTO tcp",
            "SPA_SERVER_PROTO refused: Postern sends UDP packets only",
        ),
        ("ALLOW_IP host", "ALLOW_IP refused"),
        ("FW_TIMEOUT x", "FW_TIMEOUT refused"),
        ("KEY secret", "KEY refused: the same key is there in base64"),
        ("KEY_FILE /a", "KEY_FILE refused"),
        ("HMAC_KEY_FILE /a", "HMAC_KEY_FILE refused"),
        ("HMAC_DIGEST_TYPE x", "HMAC_DIGEST_TYPE refused"),
        ("ENCRYPTION_MODE CTR", "ENCRYPTION_MODE refused"),
        ("TIME_OFFSET x", "TIME_OFFSET refused"),
        ("RAND_PORT Y", "RAND_PORT refused"),
        ("NAT_RAND_PORT Y", "NAT_RAND_PORT refused"),
        ("NAT_ACCESS x", "NAT_ACCESS refused"),
        ("NAT_ACCESS [::1]:5", "NAT_ACCESS refused"),
        ("NAT_ACCESS 300.0.0.1:5", "NAT_ACCESS refused"),
        (
            "NAT_LOCAL Y",
            "NAT_LOCAL refused: without ACCESS it names no port",
        ),
        (
            "ACCESS tcp/1,tcp/2\nNAT_PORT 5",
            "rc:6: NAT_PORT refused: it stands for one port",
        ),
        ("ACCESS TCP/22", "ACCESS refused"),
        (
            "ENCRYPTION_MODE legacy",
            "ENCRYPTION_MODE refused: packets in the mode legacy never",
        ),
        (
            "SPA_SERVER 2001:db8::1",
            "SPA_SERVER refused: packets of fwknop go over IPv4 only",
        ),
        ("SPOOF_USER a:b", "SPOOF_USER refused: no packet can state"),
        (
            "USE_GPG Y",
            "USE_GPG refused: Postern writes no GnuPG packets",
        ),
    ] {
        let (profiles, said) = import(lines);
        assert!(
            said.contains(part) && profiles.is_empty(),
            "{lines}: {said}"
        );
    }
    for (text, part) in [
        ("[a]\nKEY x\n", "SPA_SERVER refused"),
        ("[a]\nSPA_SERVER a\n", "the section has no key"),
        (
            "[a]\nSPA_SERVER a\nKEY x\nHMAC_KEY_BASE64 eA==\n",
            "rc:1: refused: both keys are the same",
        ),
        ("KEY x\n", "the line is in no section"),
        ("[]\nSPA_SERVER a\nKEY x\n", "no name for a profile"),
        ("[-]\nSPA_SERVER a\nKEY x\n", "no name for a profile"),
        ("[a]\nSPA_SERVER a\nKEY x\nUSE_HMAC Y\n", "USE_HMAC refused"),
    ] {
        let (profiles, findings) = convert(Path::new("rc"), text);
        let said: String = findings.0.iter().map(ToString::to_string).collect();
        assert!(said.contains(part) && profiles.is_empty(), "{text}: {said}");
    }
}

#[test]
fn sections_of_one_name_are_refused() {
    let text = "[a.b]\nSPA_SERVER a\nKEY x\n[a-b]\nSPA_SERVER b\nKEY x\n";
    let (profiles, findings) = convert(Path::new("rc"), text);
    let said: String = findings.0.iter().map(ToString::to_string).collect();
    assert!(
        said.contains("rc:4: refused: an earlier section becomes the same profile"),
        "{said}"
    );
    assert_eq!(profiles.len(), 1);
}

#[test]
fn every_setting_has_its_verdict() {
    for row in FWKNOPRC {
        let (_, said) = import(&format!("{} Y\n", row.name.to_ascii_lowercase()));
        assert!(!said.contains("no setting of this name"), "{said}");
        if row.verdict >= Verdict::Narrow {
            assert!(said.contains(row.why) && said.contains(row.cure), "{said}");
        }
    }
}
