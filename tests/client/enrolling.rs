//! `postern enroll` and `postern import`: the files they write, and knocks with the new profiles.

use std::fs;
use std::path::Path;

use postern::client::token::{EnrollRequest, Token, TokenKey};
use postern::model::grant_to::GrantTo;
use postern::model::quota::Quota;
use postern_proto::{
    GateName, KeyMaterial, PresharedKey, PrivateKey, PublicKey, SharedKey, UserKeys,
};

use crate::setup::{FakeGate, GATE, Home, Ran, key, mode, postern, run, says, set_mode, shared};

fn token(gate: &FakeGate, key: TokenKey) -> Token {
    Token {
        user: "alice".to_owned(),
        gate: GateName::new(GATE).unwrap(),
        addresses: vec![gate.address().to_string().parse().unwrap()],
        services: vec!["tcp/22".parse().unwrap()],
        duration: None,
        grant_to: GrantTo::Either,
        quota: Quota::default(),
        code: false,
        profile: None,
        key,
    }
}

/// A token with a shared key.
fn secret(gate: &FakeGate) -> String {
    let key = TokenKey::Shared(SharedKey::from_base64(&key(1)).unwrap());
    token(gate, key).to_line().unwrap().to_string()
}

fn gate_key() -> PrivateKey {
    PrivateKey::from_bytes([9; 32])
}

/// The token that answers this request.
fn answer(gate: &FakeGate, request: &EnrollRequest, psk: Option<PresharedKey>) -> String {
    let key = TokenKey::Enrolled {
        own: request.public_key,
        gate: gate_key().public(),
        psk,
    };
    let token = Token {
        profile: request.profile.clone(),
        ..token(gate, key)
    };
    token.to_line().unwrap().to_string()
}

/// The keys of an enrolled client, as the gate derives them.
fn at_gate(public: &PublicKey, psk: Option<&PresharedKey>) -> UserKeys {
    let material = KeyMaterial::pair_at_gate(&gate_key(), public, psk).unwrap();
    UserKeys::derive(&GateName::new(GATE).unwrap(), &material)
}

fn enroll(home: &Home, arguments: &[&str]) -> EnrollRequest {
    let ran = home.run(&[&["enroll"], arguments].concat());
    assert_eq!((ran.code, ran.out.lines().count()), (0, 1), "{}", ran.err);
    EnrollRequest::from_line(&ran.out).unwrap()
}

fn import(home: &Home, arguments: &[&str], input: &str) -> Ran {
    run(home
        .command(&[&["import"], arguments].concat())
        .write_stdin(input))
}

#[expect(clippy::disallowed_methods, reason = "a test reads what was written")]
fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

fn config(home: &Home) -> String {
    text(&home.path("config.toml"))
}

#[test]
fn enroll_prints_only_the_public_key() {
    let home = Home::new();
    let xdg = home.path("xdg");
    let ran = run(postern(&["enroll"]).env("XDG_CONFIG_HOME", &xdg));
    assert_eq!(ran.code, 0, "{}", ran.err);
    let file = xdg.join("postern/home.key");
    assert_eq!((mode(&file), mode(&xdg.join("postern"))), (0o600, 0o700));
    let private = text(&file);
    let request = EnrollRequest::from_line(&ran.out).unwrap();
    let public = PrivateKey::from_base64(private.trim()).unwrap().public();
    let expected = (request.public_key, Some("home"));
    assert_eq!((public, request.profile.as_deref()), expected);
    assert!(!ran.out.contains(private.trim()) && !ran.err.contains(private.trim()));
}

#[test]
fn enroll_never_replaces_a_key() {
    let home = Home::new();
    enroll(&home, &["work"]);
    let before = text(&home.path("work.key"));
    home.run(&["enroll", "work"])
        .fails(73, "…work.key: is there already; …");
    assert_eq!(text(&home.path("work.key")), before);
    for name in ["../work", ".work", "a/b", "", "wörk", &"w".repeat(33)] {
        assert_eq!(home.run(&["enroll", "--", name]).code, 2, "{name}");
    }
}

#[test]
fn enrolled_client_knocks_with_its_key() {
    let gate = FakeGate::v4();
    for (arguments, profile, file) in [
        (&[][..], "home", "home.key"),
        (&["work"], "work", "work.key"),
        (&["k2", "--profile", "work-2"], "work-2", "k2.key"),
    ] {
        let home = Home::new();
        let request = enroll(&home, arguments);
        let out = import(&home, &[&answer(&gate, &request, None)], "").ok();
        says(
            &out,
            &format!("…where you are alice…next: postern knock {profile}\n"),
        );
        assert_eq!(mode(&home.path("config.toml")), 0o600);
        assert!(config(&home).contains(&format!("private_key_file = \"{file}\"\n")));
        home.run(&["knock", profile]).ok();
        gate.request(&at_gate(&request.public_key, None));
    }
}

#[test]
fn token_with_psk_is_secret_and_works() {
    let (gate, home) = (FakeGate::v4(), Home::new());
    let request = enroll(&home, &[]);
    let psk = || PresharedKey::from_bytes([8; 32]);
    let line = answer(&gate, &request, Some(psk()));
    import(&home, &[&line], "").fails(2, "this token holds a key…");
    import(&home, &["-"], &line).ok();
    home.line("knock home").ok();
    gate.request(&at_gate(&request.public_key, Some(&psk())));
}

#[test]
fn token_for_an_absent_key_is_refused() {
    let (gate, home) = (FakeGate::v4(), Home::new());
    let request = enroll(&home, &[]);
    fs::rename(home.path("home.key"), home.path("home.key~")).unwrap();
    let other = PrivateKey::from_bytes([7; 32]).to_base64();
    home.write("other.key", &format!("{}\n", &*other));
    home.write("nonsense.key", "nonsense");
    let ran = import(&home, &[&answer(&gate, &request, None)], "");
    ran.fails(
        78,
        "the private key of this token is not in …postern enroll…",
    );
    assert!(!home.path("config.toml").exists());
}

#[test]
fn secret_token_comes_from_input_or_file() {
    let gate = FakeGate::v4();
    let line = secret(&gate);
    let folder = Home::new();
    folder.write("token", &line);
    let file = folder.text_path("token");
    for (arguments, input) in [(&[][..], line.as_str()), (&["-"], &line), (&[&file], "")] {
        let home = Home::new();
        let out = import(&home, arguments, input).ok();
        says(&out, "added profile gate …\nnext: postern knock gate\n");
        assert_eq!(mode(&home.path("config.toml")), 0o600);
        home.line("knock gate").ok();
        gate.request(&shared(&key(1)));
    }
}

#[test]
fn exposed_secret_token_is_refused() {
    let (gate, home) = (FakeGate::v4(), Home::new());
    let line = secret(&gate);
    home.write("token", &line);
    set_mode(&home.path("token"), 0o644);
    let part = &line[line.len() - 40..line.len() - 20];
    let file = home.text_path("token");
    for (source, code, pattern) in [
        (
            &line,
            2,
            "…can see a command line; run postern import without it…",
        ),
        (
            &file,
            78,
            "…can be used by more than its owner (mode 0644); run chmod 600…",
        ),
    ] {
        let error = import(&home, &[source], "").fails(code, pattern);
        assert!(!error.contains(part), "{error}");
    }
    assert!(!home.path("config.toml").exists());
    let request = enroll(&home, &[]);
    home.write("token", &answer(&gate, &request, None));
    set_mode(&home.path("token"), 0o644);
    import(&home, &[&file], "").ok();
}

#[test]
fn replacement_is_explicit() {
    let (gate, home) = (FakeGate::v4(), Home::new());
    let mine = |name: &str| format!("[{name}]\ngate = \"{GATE}\"\nkey = \"{}\"\n", key(2));
    let before = format!("# mine\n{}", mine("gate"));
    home.write("config.toml", &before);
    let ran = import(&home, &[], &secret(&gate));
    ran.fails(1, "there is a profile gate in …--profile…--replace…");
    assert_eq!(config(&home), before);
    import(&home, &["--profile", "second"], &secret(&gate)).ok();
    let second = "\n[second] # for user alice\n";
    assert!(config(&home).starts_with(&format!("{before}{second}")));
    // The only profile of the gate is the one to replace; of several, none is.
    for (names, expected) in [
        (&["gate"][..], "replaced profile gate for gate "),
        (&["mine"], "replaced profile mine for gate "),
        (&["one", "two"], "added profile gate for gate "),
    ] {
        let profiles: Vec<String> = names.iter().map(|name| mine(name)).collect();
        home.write("config.toml", &profiles.concat());
        let out = import(&home, &["--replace"], &secret(&gate)).ok();
        assert!(out.starts_with(expected), "{out}");
        assert_eq!(mode(&home.path("config.toml")), 0o600);
    }
    home.line("knock gate").ok();
    gate.request(&shared(&key(1)));
}

#[test]
fn toml_profile_is_imported_and_renamed() {
    let (gate, home) = (FakeGate::v4(), Home::new());
    let profile = format!(
        "# from your administrator\n[gate] # for you\ngate = \"{GATE}\"\naddress = \"{}\"\n\
         key = \"{}\" # secret\nservices = [\"tcp/22\"]\n",
        gate.address(),
        key(1)
    );
    let from_windows = format!("\u{feff}{profile}");
    import(&home, &["-", "--profile", "home"], &from_windows).ok();
    assert!(config(&home).starts_with("[home] # for you\ngate = "));
    home.line("knock home").ok();
    gate.request(&shared(&key(1)));
    home.write("profile", &profile);
    set_mode(&home.path("profile"), 0o640);
    import(&home, &[&home.text_path("profile")], "").fails(78, "…chmod 600…");
    let before = config(&home);
    for wrong in [
        "",
        "hello",
        "key = 1",
        "[a]\n[b]\n",
        &profile.replace("gate = \"", "gat = \""),
        &profile.replace("[gate]", "[\"../gate\"]"),
        // What runs a program, reads other files or opens for others is added by hand only.
        &format!("{profile}code_command = [\"/bin/true\"]\n"),
        &format!("{profile}allow = \"198.51.100.1\"\n"),
        &format!("{profile}target = \"10.0.0.5\"\n"),
        &profile.replace("key = ", "private_key_file = \"/etc/shadow\"\n# "),
    ] {
        let ran = import(&home, &[], wrong);
        ran.shows_no_key();
        ran.fails(78, "…");
        assert_eq!(config(&home), before);
    }
}

#[test]
fn invalid_token_writes_nothing() {
    let (gate, home) = (FakeGate::v4(), Home::new());
    let line = secret(&gate);
    let request = enroll(&home, &[]).to_line().unwrap();
    let key = "fyPbTQjV707H1t6C4O0gMNzlbQwzTDsnkmtueUN8kiU=";
    for (text, pattern) in [
        (
            &line[..line.len() - 3],
            "this line is cut or mistyped; copy all of it…",
        ),
        (
            &line.replace("-1.", "-2."),
            "…of another version of Postern; …",
        ),
        (&request, "this is a request, not a token; …"),
        (
            key,
            "…neither an enrolment token nor one profile in TOML; …",
        ),
    ] {
        let error = import(&home, &[], text).fails(78, pattern);
        assert!(!error.contains(&key[..6]), "{error}");
    }
    import(&home, &["no-such-file"], "").fails(66, "no-such-file: does not exist; …");
    assert!(!home.path("config.toml").exists());
}

#[test]
fn wrong_or_exposed_config_stays_unchanged() {
    let gate = FakeGate::v4();
    for (before, bits) in [
        ("[home]\ngat = 1\n", 0o600),
        ("[home]\ngate = \"g\"\n", 0o644),
        ("home = { gate = \"g\" }\n", 0o600),
    ] {
        let home = Home::new();
        home.write("config.toml", before);
        set_mode(&home.path("config.toml"), bits);
        import(&home, &["--profile", "home", "--replace"], &secret(&gate)).fails(78, "…");
        assert_eq!(config(&home), before);
        assert_eq!(mode(&home.path("config.toml")), bits);
    }
}

#[test]
fn symbolic_link_to_the_config_stays() {
    let (gate, home) = (FakeGate::v4(), Home::new());
    home.write("real.toml", "[work]\ngate = \"work\"\n");
    std::os::unix::fs::symlink("real.toml", home.path("config.toml")).unwrap();
    import(&home, &[], &secret(&gate)).ok();
    let link = fs::symlink_metadata(home.path("config.toml")).unwrap();
    assert!(link.is_symlink());
    assert!(text(&home.path("real.toml")).contains("[gate]"));
}
