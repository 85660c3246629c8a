//! A profile with `fwknop` sends packets of fwknop, and refuses what they cannot carry.

use postern_fwknop::{Allow, Key, MacKind, Message, Mode, Opened, Packet};

use crate::setup::{FakeGate, Home, Ran, open_port, run, says};

const KEYS: &str = "passphrase = \"cipher\", hmac_passphrase = \"mac\"";

fn home(gate: &FakeGate, fwknop: &str, more: &str) -> Home {
    Home::with_profile(&format!(
        "address = \"{}\"\nfwknop = {{ {fwknop} }}\n{more}",
        gate.address()
    ))
}

/// The next packet, opened as fwknop's server does it.
fn opened(gate: &FakeGate, key: &Key) -> Opened {
    let bytes = gate.packet();
    let packet = Packet::parse(&bytes).unwrap();
    key.open(&key.verify(&packet).unwrap()).unwrap()
}

fn keys() -> Key {
    Key::new(b"cipher", MacKind::Sha256, b"mac").unwrap()
}

#[test]
fn profile_sends_all_six_types() {
    for (nat, options, kind, fields) in [
        ("", "-s tcp/22", 1, "0.0.0.0,tcp/22"),
        (
            "",
            "-s tcp/22 -s udp/53 --for 20s",
            3,
            "0.0.0.0,tcp/22,udp/53:20",
        ),
        (
            ", nat_access = \"10.0.0.5:23\"",
            "-s tcp/2400",
            2,
            "0.0.0.0,tcp/2400:10.0.0.5,23",
        ),
        (
            ", nat_access = \"inner:23\"",
            "-s tcp/2400 --for 1m",
            4,
            "0.0.0.0,tcp/2400:inner,23:60",
        ),
        (
            ", nat_local = \"gate.example.org:22\"",
            "-s tcp/2400",
            5,
            "0.0.0.0,tcp/2400:gate.example.org,22",
        ),
        (
            ", nat_local = \"127.0.0.1:22\"",
            "-s tcp/2400 --for 18h",
            6,
            "0.0.0.0,tcp/2400:127.0.0.1,22:64800",
        ),
    ] {
        let gate = FakeGate::v4();
        let home = home(&gate, &format!("{KEYS}, username = \"alice\"{nat}"), "");
        home.line(&format!("knock home --allow source {options}"))
            .ok();
        let opened = opened(&gate, &keys());
        let mut shown = opened.request.message_text();
        shown.extend(opened.request.target().map(|to| format!(":{to}")));
        shown.extend(opened.request.timeout_s.map(|time| format!(":{time}")));
        assert_eq!(
            (opened.request.type_number(), shown.as_str()),
            (kind, fields)
        );
        assert_eq!(
            (opened.request.user.as_str(), opened.version.as_str()),
            ("alice", "3.0.0")
        );
    }
}

#[test]
fn keys_have_every_form_of_fwknop() {
    let gate = FakeGate::v4();
    let sha512 = Key::new(b"\x01\x02", MacKind::Sha3_512, b"\x03\x04").unwrap();
    let legacy = Key::without_mac(b"short", Mode::Legacy).unwrap();
    let cbc = Key::without_mac(b"short", Mode::Cbc).unwrap();
    for (fwknop, key) in [
        (
            "key = \"AQI=\", hmac_key = \"AwQ\", hmac = \"sha3_512\"",
            &sha512,
        ),
        (
            "key_file = \"a\", hmac_key_file = \"b\", hmac = \"sha3_512\"",
            &sha512,
        ),
        (
            "passphrase = \"short\", mode = \"legacy\", insecure_without_hmac = true",
            &legacy,
        ),
        ("passphrase = \"short\", insecure_without_hmac = true", &cbc),
    ] {
        let home = home(
            &gate,
            fwknop,
            "services = [\"tcp/22\"]\nallow = \"192.0.2.9\"",
        );
        home.write("a", "AQI=\n");
        home.write("b", "AwQ=\n");
        run(home.command(&["knock", "home"]).env("USER", "carol")).ok();
        let request = opened(&gate, key).request;
        assert_eq!(request.allow, Allow::Address("192.0.2.9".parse().unwrap()));
        assert_eq!(request.user, "carol");
    }
}

#[test]
fn each_repeat_is_another_packet() {
    let gate = FakeGate::v4();
    let home = home(&gate, KEYS, "services = [\"tcp/1\"]\ntime_offset = \"-1h\"");
    let ran = home.line("knock home --wait=1s");
    assert_eq!(ran.code, 3, "{}", ran.err);
    let all: Vec<Opened> = (0..3).map(|_| opened(&gate, &keys())).collect();
    assert!(all[0].random != all[1].random && all[1].random != all[2].random);
    assert!(matches!(all[0].request.message, Message::Access(_)));
    let printed = home.line("knock home --print").ok();
    let packet = Packet::parse_line(printed.as_bytes()).unwrap();
    let last = keys().open(&keys().verify(&packet).unwrap()).unwrap();
    let later = last.request.timestamp_s - all[0].request.timestamp_s;
    assert!(later <= 3, "{later}");
    let now = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap()
        .as_secs();
    assert!((3599..3630).contains(&(now - last.request.timestamp_s)));
}

#[test]
fn run_says_that_the_grant_stays() {
    let gate = FakeGate::v4();
    let (_listener, service) = open_port();
    let home = home(&gate, KEYS, &format!("services = [\"{service}\"]"));
    let Ran { code, err, .. } = home.line("run home -- /bin/true");
    assert_eq!(code, 0, "{err}");
    assert!(
        err.ends_with("postern: a knock of this profile cannot close; the grant ends by itself\n"),
        "{err}"
    );
    opened(&gate, &keys());
    gate.got_nothing();
}

const RC: &str = "[default]\nKEY cipher\nHMAC_KEY mac\nUSE_HMAC Y\n\
    [office]\nSPA_SERVER 127.0.0.1\nSPA_SERVER_PORT @@\nACCESS tcp/22\nALLOW_IP 192.0.2.9\nFW_TIMEOUT 60\n\
    [nat]\nSPA_SERVER 127.0.0.1\nSPA_SERVER_PORT @@\nACCESS tcp/22\nNAT_LOCAL Y\nNAT_PORT 2400\nALLOW_IP source\n";

#[test]
fn stanzas_of_fwknoprc_become_profiles() {
    let gate = FakeGate::v4();
    let home = Home::with_profile("key_file = \"k\"");
    let rc = RC.replace("@@", &gate.address().port().to_string());
    home.write("rc", &rc);
    let rc = home.text_path("rc");
    let before = std::fs::read_to_string(home.path("config.toml")).unwrap();
    let dry = home.run(&["import", "--dry-run", &rc]).ok();
    assert!(
        dry.contains("key = \"…\"") && !dry.contains("Y2lwaGVy"),
        "{dry}"
    );
    assert_eq!(
        std::fs::read_to_string(home.path("config.toml")).unwrap(),
        before
    );
    let said = home.run(&["import", &rc]).ok();
    says(
        &said,
        "added profile office from …rc:5, in …\nadded profile nat from …rc:11, in …\nnext: postern knock office\n",
    );
    home.line("knock office").ok();
    let office = opened(&gate, &keys()).request;
    assert_eq!(
        (office.message_text().as_str(), office.timeout_s),
        ("192.0.2.9,tcp/22", Some(60))
    );
    home.line("knock nat").ok();
    let nat = opened(&gate, &keys()).request;
    assert_eq!(
        (nat.type_number(), nat.message_text().as_str()),
        (5, "0.0.0.0,tcp/2400")
    );
    assert_eq!(nat.target().unwrap().to_string(), "127.0.0.1,22");
    // all or none
    let after = std::fs::read_to_string(home.path("config.toml")).unwrap();
    assert!(after.starts_with(&before));
    home.write(
        "rc",
        &format!("[new]\nSPA_SERVER a\nKEY k\n{RC}").replace("@@", "1"),
    );
    let refused =
        "there is a profile office in … already; rename its section in .fwknoprc, or …--replace";
    home.run(&["import", &rc]).fails(1, refused);
    assert_eq!(
        std::fs::read_to_string(home.path("config.toml")).unwrap(),
        after
    );
    let said = home.run(&["import", "--replace", &rc]).ok();
    says(
        &said,
        "added profile new …replaced profile office …replaced profile nat …",
    );
    home.run(&["import", "--profile", "x", &rc])
        .fails(2, "a .fwknoprc names its profiles itself; …");
    let json = home.run(&["import", "--replace", "--json", &rc]).json();
    assert_eq!(
        json["profiles"],
        serde_json::json!(["new", "office", "nat"])
    );
    // what cannot be kept is left out, and said
    home.write(
        "rc",
        "[gpg]\nSPA_SERVER a\nUSE_GPG Y\nKEY k\n[more]\nSPA_SERVER a\nKEY k\n",
    );
    let ran = home.run(&["import", &rc]);
    assert_eq!(ran.code, 1);
    says(
        &ran.err,
        "…rc:3: USE_GPG refused: …settings that were refused: 1; …\n",
    );
    says(&ran.out, "added profile more …");
    home.line("profiles").ok();
}

#[test]
fn what_no_packet_carries_is_refused() {
    let gate = FakeGate::v4();
    let home = home(&gate, KEYS, "services = [\"tcp/22\"]");
    let many: String = (1..=31).map(|port| format!(" -s tcp/{port}")).collect();
    let long: String = (1..=30)
        .map(|port| format!(" -s tcp/6500{port:02}"))
        .collect();
    for (line, what) in [
        (
            "close home",
            "a packet of fwknop closes nothing; wait: the grant ends by itself; …",
        ),
        (
            "knock home --target 10.0.0.5",
            "a packet of fwknop has no target such as 10.0.0.5; write nat_access = …",
        ),
        (
            "knock home --allow source/24",
            "a packet of fwknop lets in one address; write source, …",
        ),
        (
            "knock home --allow 192.0.2.0/24",
            "a packet of fwknop lets in one IPv4 address, and not 192.0.2.0/24; …",
        ),
        (
            "knock home --allow 2001:db8::1",
            "a packet of fwknop lets in one IPv4 address, and not 2001:db8::1/128; …",
        ),
        (
            "knock home --for 19h",
            "a packet of fwknop asks for 65536 s at most; …",
        ),
        (
            "knock home -s web",
            "…names single ports of TCP and UDP, and not web; write each one like tcp/22",
        ),
        ("knock home -s tcp/1-2", "…and not tcp/1-2; …"),
        ("knock home -s icmp", "…and not icmp; …"),
        (
            &format!("knock home{many}"),
            "…names 30 ports at most, and not 31; knock twice",
        ),
        (
            &format!("knock home{}", long.replace("6500", "650")),
            "the ports are too many for a packet of fwknop; knock twice",
        ),
        (
            "knock home -6",
            "packets of fwknop go over IPv4 only: leave out -6",
        ),
        (
            "knock home --address [::1]:9",
            "packets of fwknop go over IPv4 only: [::1]:9 is an IPv6 address; …",
        ),
        (
            "knock home --key-file k",
            "--key-file and --key-stdin give a key of Postern, and the profile has others; …",
        ),
        (
            "open-packet home AAAA",
            "open-packet reads packets of Postern's own; …",
        ),
    ] {
        let ran = home.line(line);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{line}: {}", ran.err);
        says(&ran.err, &format!("postern: {what}\n"));
    }
    let with_code = run(home
        .command(&["knock", "home"])
        .env("POSTERN_CODE", "123456"));
    with_code.fails(
        2,
        "a packet of fwknop has no one-time code; unset POSTERN_CODE, …",
    );
    gate.got_nothing();
}
