//! Profiles from text: what is read, what is refused and where, and that no key is ever shown.

use super::*;
use crate::client::profile::CodeSource;

const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
/// The X25519 base point: any 32 bytes will do.
const PUBLIC: &str = "CQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

fn read(text: &str) -> Result<Profiles, String> {
    parse(text, Path::new("/etc/x/config.toml")).map_err(|error| error.to_string())
}

fn profile(body: &str) -> Profile {
    read(&format!("[home]\ngate = \"gate.example.org\"\n{body}\n"))
        .unwrap()
        .remove("home")
        .unwrap()
}

fn refused(body: &str) -> String {
    read(&format!("[home]\ngate = \"gate.example.org\"\n{body}\n")).unwrap_err()
}

#[test]
fn a_profile_says_all_that_the_design_lists() {
    let profile = profile(&format!(
        "address = [\"192.0.2.1\", \"[2001:db8::1]:1000\"]\nkey = \"{KEY}\"\nservices = [\"tcp/22\", \"web\"]\nallow = \"source/24\"\nduration = \"10m\"\ntarget = \"10.0.0.5\"\n\
         code = \"ask\"\ntime_offset = \"-30s\""
    ));
    assert_eq!(profile.gate.as_str(), "gate.example.org");
    assert_eq!(
        profile
            .addresses
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        ["192.0.2.1:62201", "[2001:db8::1]:1000"]
    );
    assert!(
        matches!(profile.key, Some(KeySource::Shared(key)) if key == SharedKey::from_base64(KEY).unwrap())
    );
    assert_eq!(
        profile.services,
        ["tcp/22".parse().unwrap(), "web".parse().unwrap()]
    );
    assert_eq!(profile.allow, AllowSetting::SourceV4(24));
    assert_eq!(profile.duration, Some(Duration::from_secs(600)));
    assert_eq!(profile.target.unwrap().as_str(), "10.0.0.5");
    assert_eq!(
        (profile.code, profile.time_offset),
        (
            Some(CodeSource::Ask),
            TimeOffset::Earlier(Duration::from_secs(30))
        )
    );
}

#[test]
fn an_address_may_be_asked_of_one_stun_server_or_of_several() {
    for (written, shown) in [
        ("\"stun:a\"", "stun:a:3478"),
        ("[\"stun:a\"]", "stun:a:3478"),
        ("[\"stun:a\", \"stun:b:1\"]", "stun:a:3478,stun:b:1"),
        ("\"stun:a,stun:b:1\"", "stun:a:3478,stun:b:1"),
    ] {
        assert_eq!(
            profile(&format!("allow = {written}")).allow.to_string(),
            shown
        );
    }
}

#[test]
fn a_code_is_typed_or_comes_from_a_program_whose_arguments_are_not_shown() {
    let of = profile(&format!(
        "code_command = [\"/usr/bin/oathtool\", \"--totp\", \"{KEY}\"]"
    ));
    assert_eq!(
        of.code,
        Some(CodeSource::Program(vec![
            "/usr/bin/oathtool".to_owned(),
            "--totp".to_owned(),
            KEY.to_owned()
        ]))
    );
    assert!(!format!("{of:?}").contains("AAEC"));
}

#[test]
fn what_is_left_out_has_its_default() {
    let profile = profile("");
    assert_eq!(
        profile
            .addresses
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        ["gate.example.org:62201"]
    );
    assert_eq!(profile.allow, AllowSetting::Auto);
    assert!(
        profile.key.is_none()
            && profile.services.is_empty()
            && profile.duration.is_none()
            && profile.target.is_none()
    );
}

#[test]
fn key_files_lie_beside_the_config_unless_their_path_is_absolute() {
    let file = |body: &str| match profile(body).key {
        Some(
            KeySource::SharedFile(path)
            | KeySource::Pair {
                own: PrivateSource::File(path),
                ..
            },
        ) => path,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        file("key_file = \"keys/home\""),
        Path::new("/etc/x/keys/home")
    );
    assert_eq!(file("key_file = \"/k\""), Path::new("/k"));
    assert_eq!(
        file(&format!(
            "private_key_file = \"k\"\ngate_public_key = \"{PUBLIC}\""
        )),
        Path::new("/etc/x/k")
    );
}

#[test]
fn kinds_of_keys_are_not_mixed_and_pairs_are_whole() {
    for (body, says) in [
        (
            format!("key = \"{KEY}\"\nkey_file = \"k\""),
            "key and key_file are both there",
        ),
        (
            format!("private_key = \"{KEY}\"\nprivate_key_file = \"k\""),
            "private_key and private_key_file are both there",
        ),
        (
            format!("key = \"{KEY}\"\npsk = \"{KEY}\""),
            "a shared key and parts of a key pair",
        ),
        (
            format!("key_file = \"k\"\ngate_public_key = \"{PUBLIC}\""),
            "a shared key and parts of a key pair",
        ),
        (
            format!("private_key = \"{KEY}\""),
            "gate_public_key is missing",
        ),
        (
            format!("gate_public_key = \"{PUBLIC}\""),
            "private_key is missing",
        ),
        (format!("psk = \"{KEY}\""), "psk stands alone"),
    ] {
        let error = refused(&body);
        assert!(
            error.starts_with("/etc/x/config.toml:1:")
                && error.contains(says)
                && error.contains("; "),
            "{error}"
        );
    }
}

#[test]
fn an_error_names_the_line_and_the_column_and_what_to_do() {
    for (body, says) in [
        (
            "colour = \"red\"",
            ":3:1: unknown field `colour`, expected one of",
        ),
        (
            "services = [\"tcp/70000\"]",
            ":3:12: \"tcp/70000\" is not a service; write",
        ),
        (
            "duration = \"30\"",
            ":3:12: \"30\" is not a length of time; write it like",
        ),
        (
            "duration = \"0s\"",
            ":3:12: \"0s\" is not a length that can be granted; ",
        ),
        (
            "duration = 30",
            ":3:12: invalid type: integer `30`, expected a string; ",
        ),
        (
            "allow = \"192.0.2.7/24\"",
            ":3:9: \"192.0.2.7/24\" has bits beyond its prefix; write 192.0.2.0/24",
        ),
        (
            "address = \"gate:0\"",
            ":3:11: \"gate:0\" is not an address to knock at; write",
        ),
        ("address = []", "profile home: address is an empty list; "),
        ("address = [\"a\", 5]", ":3:17: invalid type: integer `5`"),
        (
            "key = \"AAEC\"",
            ":3:7: a key must have exactly 44 characters of base64; copy it again",
        ),
        (
            "key = 5",
            ":3:7: invalid type: integer `5`, expected a key: 44 characters of base64 in quotes; ",
        ),
        ("target = \"a b\"", ":3:10: \"a b\" is not a host; "),
        ("gate = \"again\"", ":3:1: duplicate key; "),
        (
            "allow = [\"auto\"]",
            ":3:9: \"auto\" is not a STUN server; write stun:HOST",
        ),
        ("allow = []", ":3:9: 0 STUN servers are named; name 1 to 8"),
        (
            "allow = 5",
            ":3:9: invalid type: integer `5`, expected an address in quotes, or a list of STUN servers; ",
        ),
        (
            "time_offset = \"30\"",
            ":3:15: \"30\" is not a time offset; write +30s",
        ),
        (
            "code = \"123456\"",
            ":3:8: code can only be \"ask\"; write that",
        ),
        (
            "code = \"ask\"\ncode_command = [\"x\"]",
            "profile home: code and code_command are both there; keep one",
        ),
        (
            "code_command = []",
            "profile home: code_command names no program; write it like",
        ),
        (
            "code_command = \"x\"",
            ":3:16: invalid type: string \"x\", expected a sequence; ",
        ),
        ("duration", ":3:"),
    ] {
        let error = refused(body);
        assert!(
            error.starts_with("/etc/x/config.toml:")
                && error.contains(says)
                && error.contains("; "),
            "{body}: {error}"
        );
        assert!(!error.contains('\n'), "{error}");
    }
    let error = read("[home]\nservices = []\n").unwrap_err();
    assert!(
        error.contains(":1:") && error.contains("missing field `gate`; add gate"),
        "{error}"
    );
    let error = read("gate = \"g\"\n").unwrap_err();
    assert!(
        error.contains(":1:") && error.contains("every key stands below a profile's name"),
        "{error}"
    );
    let error = read("[home]\ngate = \"a b\"\n").unwrap_err();
    assert!(
        error.contains(":2:8: profile home: the gate's name is not a host; add address"),
        "{error}"
    );
}

#[test]
fn no_error_shows_a_key_wherever_it_was_put() {
    let (head, tail) = KEY.split_at(20);
    for body in [
        format!("key = \"{KEY}"),
        format!("key = {KEY}"),
        format!("key = \"{KEY}\" \"{KEY}\""),
        format!("key = \"{head} {tail}\""),
        format!("key = \"{}\"", KEY.replace('=', "A")),
        format!("key = [\"{KEY}\"]"),
        format!("key = {{ value = \"{KEY}\" }}"),
        KEY.to_owned(),
        format!("\"{KEY}\" = 1"),
        format!("secret = \"{KEY}\""),
        format!("services = [\"{KEY}\"]"),
        format!("services = \"{KEY}\""),
        format!("allow = \"{KEY}\""),
        format!("address = \"{KEY}\""),
        format!("duration = \"{KEY}\""),
        format!("target = \"{KEY}\""),
        format!("code = \"{KEY}\""),
        format!("code_command = \"{KEY}\""),
        format!("code_command = [[\"{KEY}\"]]"),
        format!("time_offset = \"{KEY}\""),
        format!("allow = [\"stun:{KEY}\"]"),
        format!("private_key = \"{KEY}\""),
        format!("[home.\"{KEY}\"]"),
    ] {
        let error = refused(&body);
        assert!(
            !error.contains(&KEY[..8]) && !error.contains(&KEY[24..32]),
            "{body}\n{error}"
        );
    }
}

#[test]
fn a_profile_in_debug_shows_no_secret() {
    let shared = profile(&format!("key = \"{KEY}\""));
    let pair = profile(&format!(
        "private_key = \"{KEY}\"\ngate_public_key = \"{PUBLIC}\"\npsk = \"{KEY}\""
    ));
    let shown = format!("{shared:?} {pair:?}");
    assert!(
        !shown.contains("AAEC") && !shown.contains("[0, 1, 2"),
        "{shown}"
    );
    assert!(shown.contains(PUBLIC));
}
