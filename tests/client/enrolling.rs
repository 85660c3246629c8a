//! `postern enroll` and `postern import`: what they write, who may read it, what they leave alone, and that it knocks.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use postern::client::token::{Request, Token, TokenKey};
use postern_proto::{
    GateName, KeyMaterial, PresharedKey, PrivateKey, PublicKey, SharedKey, UserKeys,
};
use serde_json::Value;

use crate::gate::FakeGate;
use crate::program::{GATE, Home, Ran, key, postern, run, shared};

/// In every shared key of these tests.
const TELLTALE: &str = "WlpaWlpa";

fn token(gate: &FakeGate, key: TokenKey) -> Token {
    Token {
        user: "alice".to_owned(),
        gate: GateName::new(GATE).unwrap(),
        addresses: vec![gate.address().to_string().parse().unwrap()],
        services: vec!["tcp/22".parse().unwrap()],
        duration: None,
        source_only: false,
        code: false,
        profile: None,
        key,
    }
}

fn secret(gate: &FakeGate) -> String {
    let key = SharedKey::from_base64(&key(1)).unwrap();
    token(gate, TokenKey::Shared(key))
        .to_line()
        .unwrap()
        .to_string()
}

fn gate_key() -> PrivateKey {
    PrivateKey::from_bytes([9; 32])
}

/// What the administrator sends back to this request.
fn answer(gate: &FakeGate, request: &Request, psk: Option<PresharedKey>) -> String {
    let key = TokenKey::Enrolled {
        own: request.public_key,
        gate: gate_key().public(),
        psk,
    };
    Token {
        profile: request.profile.clone(),
        ..token(gate, key)
    }
    .to_line()
    .unwrap()
    .to_string()
}

/// The keys of whoever enrolled so, as the gate has them.
fn at_gate(public: &PublicKey, psk: Option<&PresharedKey>) -> UserKeys {
    UserKeys::derive(
        &GateName::new(GATE).unwrap(),
        &KeyMaterial::pair_at_gate(&gate_key(), public, psk).unwrap(),
    )
}

/// Enrolls and returns the request.
fn enroll(home: &Home, arguments: &[&str]) -> Request {
    let ran = home.run(&[&["enroll"], arguments].concat());
    assert_eq!(
        (ran.code, ran.out.lines().count()),
        (0, 1),
        "{}{}",
        ran.out,
        ran.err
    );
    Request::from_line(&ran.out).unwrap()
}

fn import(home: &Home, arguments: &[&str], input: &str) -> Ran {
    run(home
        .command(&[&["import"], arguments].concat())
        .write_stdin(input))
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test looks at what was written"
)]
fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn enroll_keeps_the_private_key_in_a_file_of_its_owner_and_prints_the_public_one() {
    let home = Home::new();
    let xdg = home.path("xdg");
    let ran = run(postern(&["enroll"]).env("XDG_CONFIG_HOME", &xdg));
    assert_eq!(ran.code, 0, "{}", ran.err);
    let file = xdg.join("postern/home.key");
    assert_eq!((mode(&file), mode(&xdg.join("postern"))), (0o600, 0o700));
    let private = text(&file);
    let request = Request::from_line(&ran.out).unwrap();
    assert_eq!(
        PrivateKey::from_base64(private.trim()).unwrap().public(),
        request.public_key
    );
    assert_eq!(request.profile.as_deref(), Some("home"));
    assert!(!ran.out.contains(private.trim()) && !ran.err.contains(private.trim()));
    assert!(
        ran.err.contains(file.to_str().unwrap())
            && ran.err.contains("posternd user add NAME")
            && ran.err.contains("postern import")
    );
}

#[test]
fn enroll_never_writes_over_a_key() {
    let home = Home::new();
    enroll(&home, &["work"]);
    let before = text(&home.path("work.key"));
    let line = home.run(&["enroll", "work"]).failed(73);
    assert!(line.contains("work.key: is there already; "), "{line}");
    assert_eq!(text(&home.path("work.key")), before);
    for name in ["../work", ".work", "a/b", "", "wörk", &"w".repeat(33)] {
        let ran = home.run(&["enroll", "--", name]);
        assert_eq!(ran.code, 2, "{name}: {}", ran.err);
    }
}

#[test]
fn enroll_says_the_same_as_json() {
    let home = Home::new();
    let said: Value = serde_json::from_str(
        &home
            .run(&["enroll", "work-2", "--profile", "work", "--json"])
            .ok(),
    )
    .unwrap();
    let request = Request::from_line(said["request"].as_str().unwrap()).unwrap();
    assert_eq!(
        (
            said["version"].as_u64(),
            said["command"].as_str(),
            said["profile"].as_str()
        ),
        (Some(1), Some("enroll"), Some("work"))
    );
    assert_eq!(
        said["public_key"].as_str(),
        Some(&*request.public_key.to_base64())
    );
    assert_eq!(said["file"].as_str(), home.path("work-2.key").to_str());
    assert_eq!(request.profile.as_deref(), Some("work"));
}

#[test]
fn enrolled_client_knocks_with_its_own_key_once_it_has_the_token() {
    let gate = FakeGate::v4();
    for (arguments, profile, file) in [
        (&[][..], "home", "home.key"),
        (&["work"], "work", "work.key"),
        (&["k2", "--profile", "work-2"], "work-2", "k2.key"),
    ] {
        let home = Home::new();
        let request = enroll(&home, arguments);
        let said = import(&home, &[&answer(&gate, &request, None)], "").ok();
        assert!(
            said.ends_with(&format!("next: postern knock {profile}\n"))
                && said.contains("where you are alice"),
            "{said}"
        );
        assert_eq!(mode(&home.path("config.toml")), 0o600);
        assert!(
            text(&home.path("config.toml")).contains(&format!("private_key_file = \"{file}\"\n"))
        );
        home.run(&["knock", profile]).ok();
        gate.knock(&at_gate(&request.public_key, None));
    }
}

#[test]
fn token_with_a_pre_shared_key_for_an_enrolled_client_is_a_secret_and_works() {
    let (gate, home) = (FakeGate::v4(), Home::new());
    let request = enroll(&home, &[]);
    let psk = || PresharedKey::from_bytes([8; 32]);
    let line = answer(&gate, &request, Some(psk()));
    assert!(
        import(&home, &[&line], "")
            .failed(2)
            .contains("this token holds a key")
    );
    import(&home, &["-"], &line).ok();
    home.run(&["knock", "home"]).ok();
    gate.knock(&at_gate(&request.public_key, Some(&psk())));
}

#[test]
fn token_for_a_key_that_is_not_here_is_refused() {
    let (gate, home) = (FakeGate::v4(), Home::new());
    let request = enroll(&home, &[]);
    fs::rename(home.path("home.key"), home.path("home.key~")).unwrap();
    home.write(
        "other.key",
        &format!("{}\n", &*PrivateKey::from_bytes([7; 32]).to_base64()),
    );
    home.write("nonsense.key", "nonsense");
    let line = import(&home, &[&answer(&gate, &request, None)], "").failed(78);
    assert!(
        line.contains("this token is for a private key that does not lie in ")
            && line.contains("postern enroll"),
        "{line}"
    );
    assert!(!home.path("config.toml").exists());
}

#[test]
fn token_with_a_key_comes_from_standard_input_or_a_private_file_and_knocks() {
    let gate = FakeGate::v4();
    let line = secret(&gate);
    let home = Home::new();
    home.write("token", &line);
    for (arguments, input) in [
        (&[][..], line.as_str()),
        (&["-"], &line),
        (&[home.path("token").to_str().unwrap()], ""),
    ] {
        let home = Home::new();
        let said = import(&home, arguments, input).ok();
        assert_eq!(
            said,
            format!(
                "added profile gate for gate {GATE}, where you are alice, in {}\nnext: postern knock gate\n",
                home.path("config.toml").display()
            )
        );
        assert_eq!(mode(&home.path("config.toml")), 0o600);
        home.run(&["knock", "gate"]).ok();
        gate.knock(&shared(&key(1)));
    }
}

#[test]
fn token_with_a_key_on_the_command_line_or_in_a_file_of_everyone_is_refused_and_not_repeated() {
    let (gate, home) = (FakeGate::v4(), Home::new());
    let line = secret(&gate);
    let on_command_line = import(&home, &[&line], "").failed(2);
    assert!(
        on_command_line.contains("can see a command line; run postern import without it"),
        "{on_command_line}"
    );
    home.write("token", &line);
    fs::set_permissions(home.path("token"), Permissions::from_mode(0o644)).unwrap();
    let in_file = import(&home, &[home.path("token").to_str().unwrap()], "").failed(78);
    assert!(
        in_file.contains("can be used by more than its owner (mode 0644); run chmod 600"),
        "{in_file}"
    );
    let part = &line[line.len() - 40..line.len() - 20];
    assert!(!on_command_line.contains(part) && !in_file.contains(part));
    assert!(!home.path("config.toml").exists());
}

#[test]
fn token_without_a_key_may_lie_in_a_file_that_anyone_can_read() {
    let (gate, home) = (FakeGate::v4(), Home::new());
    let request = enroll(&home, &[]);
    home.write("token", &answer(&gate, &request, None));
    fs::set_permissions(home.path("token"), Permissions::from_mode(0o644)).unwrap();
    import(&home, &[home.path("token").to_str().unwrap()], "").ok();
}

#[test]
fn profile_is_replaced_only_when_that_is_asked_for_and_the_rest_stays_to_the_byte() {
    let (gate, home) = (FakeGate::v4(), Home::new());
    let others = format!(
        "# my gates\n[gate] # the old one\ngate = \"old\"\nkey = \"{}\"\n\n# at work\n[work]\ngate = \"work\" # mine\n",
        key(2)
    );
    home.write("config.toml", &others);
    let line = import(&home, &[], &secret(&gate)).failed(1);
    assert!(
        line.contains("there is a profile gate in ")
            && line.contains("--profile")
            && line.contains("--replace"),
        "{line}"
    );
    assert_eq!(text(&home.path("config.toml")), others);

    import(&home, &["--profile", "second"], &secret(&gate)).ok();
    let added = text(&home.path("config.toml"));
    assert!(
        added.starts_with(&format!("{others}\n[second] # for user alice\n")),
        "{added}"
    );

    let said = import(&home, &["--replace"], &secret(&gate)).ok();
    assert!(
        said.starts_with("replaced profile gate for gate "),
        "{said}"
    );
    let replaced = text(&home.path("config.toml"));
    assert!(
        replaced.starts_with("# my gates\n[gate] # for user alice\n") && !replaced.contains("old"),
        "{replaced}"
    );
    assert!(
        replaced.contains("\n\n# at work\n[work]\ngate = \"work\" # mine\n\n[second]"),
        "{replaced}"
    );
    assert_eq!(mode(&home.path("config.toml")), 0o600);
    home.run(&["knock", "gate"]).ok();
    gate.knock(&shared(&key(1)));
}

#[test]
fn replacement_finds_the_only_profile_of_its_gate_whatever_that_is_called() {
    let (gate, home) = (FakeGate::v4(), Home::new());
    let mine = |name: &str| format!("[{name}]\ngate = \"{GATE}\"\nkey = \"{}\"\n", key(2));
    home.write("config.toml", &mine("mine"));
    assert!(
        import(&home, &["--replace"], &secret(&gate))
            .ok()
            .starts_with("replaced profile mine for gate ")
    );
    home.run(&["knock", "mine"]).ok();
    gate.knock(&shared(&key(1)));
    home.write("config.toml", &[mine("one"), mine("two")].concat());
    assert!(
        import(&home, &["--replace"], &secret(&gate))
            .ok()
            .starts_with("added profile gate for gate "),
        "it can't know which"
    );
}

#[test]
fn profile_in_toml_is_taken_as_it_is_and_can_be_renamed() {
    let (gate, home) = (FakeGate::v4(), Home::new());
    let profile = format!(
        "# from your administrator\n[gate] # for you\ngate = \"{GATE}\"\naddress = \"{}\"\nkey = \"{}\" # secret\nservices = [\"tcp/22\"]\n",
        gate.address(),
        key(1)
    );
    import(&home, &["-", "--profile", "home"], &profile).ok();
    assert!(text(&home.path("config.toml")).starts_with("[home] # for you\ngate = "));
    home.run(&["knock", "home"]).ok();
    gate.knock(&shared(&key(1)));
    home.write("profile", &profile);
    fs::set_permissions(home.path("profile"), Permissions::from_mode(0o640)).unwrap();
    assert!(
        import(&home, &[home.path("profile").to_str().unwrap()], "")
            .failed(78)
            .contains("chmod 600")
    );
    for wrong in [
        "",
        "hello",
        "key = 1",
        "[a]\n[b]\n",
        &profile.replace("gate = \"", "gat = \""),
        &profile.replace("[gate]", "[\"../gate\"]"),
    ] {
        let before = text(&home.path("config.toml"));
        let ran = import(&home, &[], wrong);
        assert!(
            !ran.err.contains(TELLTALE) && !ran.out.contains(TELLTALE),
            "{}",
            ran.err
        );
        ran.failed(78);
        assert_eq!(text(&home.path("config.toml")), before);
    }
}

#[test]
fn what_is_no_token_is_told_in_one_line_and_nothing_is_written() {
    let (gate, home) = (FakeGate::v4(), Home::new());
    let line = secret(&gate);
    let request = enroll(&home, &[]).to_line().unwrap().to_string();
    for (text, says) in [
        (
            line[..line.len() - 3].to_owned(),
            "this line is cut or mistyped; copy all of it",
        ),
        (
            line.replace("-1.", "-2."),
            "of another version of Postern; ",
        ),
        (
            request,
            "this is a request, not a token; a token is what posternd user add prints",
        ),
        (
            "fyPbTQjV707H1t6C4O0gMNzlbQwzTDsnkmtueUN8kiU=".to_owned(),
            "neither an enrolment token nor one profile in TOML; ",
        ),
    ] {
        let said = import(&home, &[], &text).failed(78);
        assert!(said.contains(says) && !said.contains("fyPbTQ"), "{said}");
    }
    assert!(
        import(&home, &["no-such-file"], "")
            .failed(66)
            .contains("no-such-file: does not exist; ")
    );
    assert!(!home.path("config.toml").exists());
}

#[test]
fn config_that_is_wrong_or_open_to_others_is_not_touched() {
    let gate = FakeGate::v4();
    for (config, bits, code) in [
        ("[home]\ngat = 1\n", 0o600, 78),
        ("[home]\ngate = \"g\"\n", 0o644, 78),
        ("home = { gate = \"g\" }\n", 0o600, 78),
    ] {
        let home = Home::new();
        home.write("config.toml", config);
        fs::set_permissions(home.path("config.toml"), Permissions::from_mode(bits)).unwrap();
        import(&home, &["--profile", "home", "--replace"], &secret(&gate)).failed(code);
        assert_eq!(
            (
                text(&home.path("config.toml")).as_str(),
                mode(&home.path("config.toml"))
            ),
            (config, bits)
        );
    }
}

#[test]
fn import_says_the_same_as_json() {
    let (gate, home) = (FakeGate::v4(), Home::new());
    let said: Value =
        serde_json::from_str(&import(&home, &["--json"], &secret(&gate)).ok()).unwrap();
    let config = home.path("config.toml").display().to_string();
    let wanted = serde_json::json!({
        "version": 1, "command": "import", "profile": "gate", "gate": GATE, "user": "alice", "config": config, "replaced": false
    });
    assert_eq!(said, wanted);
}

#[test]
fn a_link_to_the_config_stays_a_link() {
    let (gate, home) = (FakeGate::v4(), Home::new());
    home.write("real.toml", "[work]\ngate = \"work\"\n");
    std::os::unix::fs::symlink("real.toml", home.path("config.toml")).unwrap();
    import(&home, &[], &secret(&gate)).ok();
    assert!(
        fs::symlink_metadata(home.path("config.toml"))
            .unwrap()
            .is_symlink()
    );
    assert!(text(&home.path("real.toml")).contains("[gate]"));
}
