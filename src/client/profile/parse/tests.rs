//! Every key of a profile, and what is said of a wrong one.

use super::*;
use crate::client::profile::Passphrase;

const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
/// The X25519 base point; any 32 bytes will do.
const PUBLIC: &str = "CQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

fn read(text: &str) -> Result<Profiles, String> {
    parse(text, Path::new("/etc/x/config.toml")).map_err(|error| error.to_string())
}

fn home(body: &str) -> String {
    format!("[home]\ngate = \"gate.example.org\"\n{body}\n")
}

fn profile(body: &str) -> Profile {
    read(&home(body)).unwrap().remove("home").unwrap()
}

fn addresses(profile: &Profile) -> Vec<String> {
    profile.addresses.iter().map(ToString::to_string).collect()
}

#[test]
fn every_key_is_read() {
    let profile = profile(&format!(
        "address = [\"192.0.2.1\", \"[2001:db8::1]:1000\"]\nkey = \"{KEY}\"\nservices = [\"tcp/22\", \"web\"]\n\
         allow = \"source/24\"\nduration = \"10m\"\ntarget = \"10.0.0.5\"\ncode = \"ask\"\ntime_offset = \"-30s\"\n\
         grant_to = \"claimed\"\nquota = \"5/10s\""
    ));
    assert_eq!(profile.gate.as_str(), "gate.example.org");
    let expected = ["192.0.2.1:62201", "[2001:db8::1]:1000"];
    assert_eq!(addresses(&profile), expected);
    let key = SharedKey::from_base64(KEY).unwrap();
    assert!(
        matches!(profile.key, Some(KeySource::Postern(PosternKey::Shared(read))) if read == key)
    );
    let found = profile.services;
    assert_eq!(found, ["tcp/22".parse().unwrap(), "web".parse().unwrap()]);
    assert_eq!(profile.allow, AllowSetting::SourceV4(24));
    assert_eq!(profile.duration, Some(Duration::from_secs(600)));
    assert_eq!(profile.target.unwrap().as_str(), "10.0.0.5");
    assert_eq!(profile.code, Some(CodeSource::Ask));
    assert_eq!(
        profile.time_offset,
        TimeOffset::Earlier(Duration::from_secs(30))
    );
    assert_eq!(profile.grant_to, GrantTo::Claimed);
    assert_eq!(profile.quota.to_string(), "5/10s");
}

#[test]
fn lists_of_one_may_be_text() {
    for allow in ["\"stun:a\"", "[\"stun:a\"]"] {
        let found = profile(&format!("allow = {allow}")).allow.to_string();
        assert_eq!(found, "stun:a:3478");
    }
    assert_eq!(addresses(&profile("address = \"a:1\"")), ["a:1"]);
}

#[test]
fn missing_keys_have_defaults() {
    let profile = profile("");
    assert_eq!(addresses(&profile), ["gate.example.org:62201"]);
    assert_eq!(profile.allow, AllowSetting::Auto);
    assert!(profile.key.is_none() && profile.services.is_empty() && profile.code.is_none());
    assert!(profile.duration.is_none() && profile.target.is_none());
    assert_eq!(profile.grant_to, GrantTo::Either);
    assert_eq!(profile.quota.to_string(), "30/min");
}

#[test]
fn key_files_are_beside_the_config() {
    let pair = format!("private_key_file = \"k\"\ngate_public_key = \"{PUBLIC}\"");
    for (body, expected) in [
        ("key_file = \"keys/home\"", "/etc/x/keys/home"),
        ("key_file = \"/k\"", "/k"),
        (&pair, "/etc/x/k"),
    ] {
        let own = match profile(body).key.unwrap() {
            KeySource::Postern(PosternKey::Pair { own, .. }) => own,
            KeySource::Postern(PosternKey::SharedFile(path)) => PrivateSource::File(path),
            other => panic!("{body}: {other:?}"),
        };
        assert!(matches!(own, PrivateSource::File(path) if path == Path::new(expected)));
    }
}

/// The body of a profile, and a part of the error. KEY and PUBLIC stand for keys.
const ERRORS: &str = r#"
colour = "red" => :3:1: unknown field `colour`, expected one of
services = ["tcp/70000"] => :3:12: "tcp/70000" is not a service; write
duration = "30" => :3:12: "30" is not a length of time; write it like
duration = "0s" => :3:12: "0s" cannot be granted;
duration = 30 => :3:12: invalid type: integer `30`, expected a string;
allow = "192.0.2.7/24" => :3:9: "192.0.2.7/24" has bits beyond its prefix; write 192.0.2.0/24
address = "gate:0" => :3:11: "gate:0" is not an address
address = [] => profile home: address is an empty list;
address = ["a", 5] => :3:17: invalid type: integer `5`
key = "AAEC" => :3:7: a key must have exactly 44 characters of base64; copy it again
key = 5 => :3:7: invalid type: integer `5`, expected a key: 44 characters of base64 in quotes;
target = "a b" => :3:10: "a b" is not a host;
gate = "again" => :3:1: duplicate key;
allow = ["auto"] => :3:9: "auto" is not a STUN server; write stun:HOST
allow = [] => :3:9: 0 STUN servers are named; name 1 to 8
allow = 5 => :3:9: invalid type: integer `5`, expected a text in quotes, or a list
quota = "0/min" => :3:9: "0/min" is not a quota; write knocks in a time
grant_to = "all" => :3:12: unknown variant `all`, expected one of
time_offset = "30" => :3:15: "30" is not a time offset; write +30s
code = "123456" => :3:8: code can only be "ask"; write that
code = "ask"\ncode_command = ["x"] => profile home: code and code_command are both there; keep one
code_command = [] => profile home: code_command names no program; write it like
code_command = "x" => :3:16: invalid type: string "x", expected a sequence;
duration => :3:
key = "KEY"\nkey_file = "k" => key and key_file are both there;
private_key = "KEY"\nprivate_key_file = "k" => private_key and private_key_file are both there;
key = "KEY"\npsk = "KEY" => :1:1: profile home: a shared key and parts of a key pair
key_file = "k"\ngate_public_key = "PUBLIC" => a shared key and parts of a key pair
private_key = "KEY" => gate_public_key is missing;
gate_public_key = "PUBLIC" => private_key is missing;
psk = "KEY" => psk requires private_key and gate_public_key;
fwknop = { hmac_key = "PUBLIC" } => fwknop has no key; add key
fwknop = { key = "KEY" } => fwknop has no HMAC; add hmac_key
fwknop = { key = "KEY", hmac = "md5", insecure_without_hmac = true } => hmac requires hmac_key;
fwknop = { key = "KEY", hmac_key = "PUBLIC", mode = "legacy" } => packets in the mode legacy never have an HMAC;
fwknop = { key = "KEY", hmac_key = "PUBLIC", insecure_without_hmac = true } => fwknop has both hmac_key and insecure_without_hmac;
fwknop = { key = "KEY", hmac_key = "KEY" } => both keys of fwknop are the same; make two keys
fwknop = { key = "KEY", key_file = "k" } => fwknop has both key and key_file;
fwknop = { passphrase = "WORDWORDWORDWORDWORDWORDWORDWORD+", hmac_key = "PUBLIC" } => an encryption key must have 1 to 32 bytes;
fwknop = { passphrase = "k", hmac_passphrase = "" } => an HMAC key must have 1 to 128 bytes;
fwknop = { key = "not base64", hmac_key = "PUBLIC" } => :3:18: a key must be base64 without stray bits; copy it
fwknop = { passphrase = 271828, hmac_key = "PUBLIC" } => :3:25: this is not a passphrase; write it in quotes
fwknop = { key = "KEY", hmac_key = "PUBLIC", hmac = "WORD" } => this is not a value of hmac; write one of md5
fwknop = { key = "KEY", hmac_key = "PUBLIC", mode = "WORD" } => this is not a value of mode; write cbc or legacy
fwknop = { key = "KEY", hmac_key = "PUBLIC", username = "a:b" } => no packet can state this username;
fwknop = { key = "KEY", hmac_key = "PUBLIC", nat_access = "10.0.0.5" } => this is not a place that a packet can name; write HOST:PORT
fwknop = { key = "KEY", hmac_key = "PUBLIC", nat_access = "300.0.0.1:22" } => this is not a place that a packet can name;
fwknop = { key = "KEY", hmac_key = "PUBLIC", nat_local = "[2001:db8::1]:22" } => this is not a place that a packet can name;
fwknop = { key = "KEY", hmac_key = "PUBLIC", nat_access = "a:1", nat_local = "a:1" } => fwknop has both nat_access and nat_local;
fwknop = { key = "KEY", hmac_key = "PUBLIC" }\nkey = "KEY" => fwknop and a key of Postern are both there;
fwknop = { key = "KEY", hmac_key = "PUBLIC" }\ncode = "ask" => fwknop and code are both there;
fwknop = { key = "KEY", hmac_key = "PUBLIC" }\ntarget = "a" => fwknop and target are both there;
"#;

#[test]
fn error_has_line_column_and_cure() {
    for row in ERRORS.trim().lines() {
        let (body, expected) = row.split_once(" => ").unwrap();
        let body = body
            .replace("\\n", "\n")
            .replace("KEY", KEY)
            .replace("PUBLIC", PUBLIC);
        let error = read(&home(&body)).unwrap_err();
        assert!(error.starts_with("/etc/x/config.toml:"), "{error}");
        assert!(error.contains(expected), "{row}: {error}");
        assert!(error.contains("; "), "{row}: {error}");
        assert!(!error.contains('\n'), "{error}");
        let has_secret = ["WORD", "271828", "not base64"].map(|secret| error.contains(secret));
        assert_eq!(has_secret, [false; 3], "{error}");
    }
    for (text, expected) in [
        ("[home]\nservices = []\n", "missing field `gate`; add gate"),
        (
            "gate = \"g\"\n",
            "write every key below the name of a profile",
        ),
        (
            "[home]\ngate = \"a b\"\n",
            ":2:8: profile home: the gate's name is not a host; ",
        ),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn misplaced_key_is_never_shown() {
    let (head, tail) = KEY.split_at(20);
    let mut bodies = vec![
        format!("key = \"{KEY}"),
        format!("key = {KEY}"),
        format!("key = \"{KEY}\" \"{KEY}\""),
        format!("key = \"{head} {tail}\""),
        format!("key = \"{}\"", KEY.replace('=', "A")),
        format!("key = [\"{KEY}\"]"),
        format!("key = {{ value = \"{KEY}\" }}"),
        KEY.to_owned(),
        format!("\"{KEY}\" = 1"),
        format!("services = [\"{KEY}\"]"),
        format!("code_command = [[\"{KEY}\"]]"),
        format!("allow = [\"stun:{KEY}\"]"),
        format!("[home.\"{KEY}\"]"),
    ];
    for name in [
        "secret",
        "services",
        "allow",
        "address",
        "duration",
        "target",
        "code",
        "code_command",
        "time_offset",
        "private_key",
    ] {
        bodies.push(format!("{name} = \"{KEY}\""));
    }
    for body in bodies {
        let error = read(&home(&body)).unwrap_err();
        let is_hidden = !error.contains(&KEY[..8]) && !error.contains(&KEY[24..32]);
        assert!(is_hidden, "{body}\n{error}");
    }
}

#[test]
fn debug_output_hides_secrets() {
    let shared = profile(&format!("key = \"{KEY}\""));
    let pair = profile(&format!(
        "private_key = \"{KEY}\"\ngate_public_key = \"{PUBLIC}\"\npsk = \"{KEY}\""
    ));
    let fwknop = profile("fwknop = { passphrase = \"AAEC1\", hmac_passphrase = \"AAEC2\" }");
    let command = ["/usr/bin/oathtool", "--totp", KEY].map(str::to_owned);
    let code = profile(&format!("code_command = {command:?}"));
    assert_eq!(code.code, Some(CodeSource::Program(command.to_vec())));
    let shown = format!("{shared:?} {pair:?} {code:?} {fwknop:?}");
    assert!(shown.contains("Fwknop(FwknopKey { key: Bytes(..)"));
    assert!(!shown.contains("AAEC"), "{shown}");
    assert!(
        !shown.contains("[0, 1, 2") && !shown.contains("[65, 65"),
        "{shown}"
    );
    assert!(shown.contains(PUBLIC));
}

#[test]
fn sequences_are_read_without_a_key() {
    let sequence = |text: &str| read(&home(&format!("sequence = {text}")));
    let plain = sequence("[\"tcp/7000\", \"udp/9000\"]").unwrap();
    let plain = plain["home"].sequence.as_ref().unwrap();
    assert!(matches!(plain, SequenceSource::Plain(hits) if hits[1].port == 9000));
    let keyed = format!("{{ key = \"{KEY}\", ports = \"udp/20000-60000\", hits = 6 }}");
    let keyed = sequence(&keyed).unwrap();
    let SequenceSource::Keyed { shape, .. } = keyed["home"].sequence.as_ref().unwrap() else {
        panic!("keyed");
    };
    assert_eq!((shape.first(), shape.hits()), (20_000, 6));
    let encrypted = sequence("{ passphrase_file = \"p\" }").unwrap();
    let SequenceSource::Encrypted { passphrase, offset } =
        encrypted["home"].sequence.as_ref().unwrap()
    else {
        panic!("encrypted");
    };
    assert_eq!(*offset, 61_000);
    assert!(matches!(passphrase, Passphrase::File(path) if path == Path::new("/etc/x/p")));
    for (text, what) in [
        ("[]", "config.toml:3:12: a sequence must have 1 to 32 hits"),
        ("[\"icmp\"]", "\"icmp\" is not a hit; write one port"),
        (
            "{ passphrase = \"secret words\", hits = 6 }",
            "no whole sequence; write {",
        ),
        (
            &format!("{{ key = \"{KEY}\", ports = \"1-9\", hits = 6 }}"),
            "at least 64 are needed",
        ),
        (
            "{ key = \"secret\", ports = \"1-9\", hits = 6 }",
            "a key must be canonical base64",
        ),
    ] {
        let error = sequence(text).unwrap_err();
        assert!(error.contains(what) && !error.contains("secret"), "{error}");
    }
}
