//! Keys stay where they are: whatever is run, and however it ends, none is in the output.

use crate::program::{GATE, Home, Ran, key, postern, run};

/// Any eight characters of a key's middle would give it away; these are in all keys of these tests.
const TELLTALE: &str = "WlpaWlpa";

fn hides(ran: &Ran) {
    assert!(
        !ran.out.contains(TELLTALE) && !ran.err.contains(TELLTALE),
        "{}{}",
        ran.out,
        ran.err
    );
}

#[test]
fn keys_have_the_telltale() {
    assert!(key(1).contains(TELLTALE));
}

#[test]
fn no_command_shows_the_key_that_it_uses() {
    let home = Home::with_profile(&format!(
        "address = \"127.0.0.1:9\"\nkey = \"{}\"\nservices = [\"tcp/22\"]",
        key(1)
    ));
    for arguments in [
        &["knock", "home"][..],
        &["knock", "home", "--json"],
        &["knock", "home", "--dry-run"],
        &["knock", "home", "--dry-run", "--json"],
        &["knock", "home", "--print"],
        &["close", "home", "--json"],
        &["run", "home", "-q", "-s", "udp/53", "--", "/bin/true"],
        &["profiles"],
        &["profiles", "--json"],
    ] {
        let ran = home.run(arguments);
        hides(&ran);
        ran.ok();
    }
    hides(&home.run(&["open-packet", "home", "AAAA"]));
}

#[test]
fn no_error_shows_a_key_that_was_put_in_the_wrong_place() {
    let key = key(1);
    for body in [
        format!("key = \"{key}"),
        format!("key = \"{key}\"\nkey_file = \"k\""),
        format!("key = \"{key}A\""),
        format!("secret = \"{key}\""),
        format!("\"{key}\" = \"secret\""),
        format!("services = [\"{key}\"]"),
        format!("address = \"{key}\""),
        format!("allow = \"{key}\""),
        format!("private_key = \"{key}\""),
        format!("[{key}]\ngate = \"g\""),
    ] {
        let ran = Home::with_profile(&body).run(&["knock", "home"]);
        hides(&ran);
        ran.failed(78);
    }
}

#[test]
fn no_error_shows_a_key_that_was_typed_on_the_command_line() {
    let key = key(1);
    for arguments in [
        &["knock", "home", "--key", &key][..],
        &["knock", "home", &format!("--key={key}")],
        &["knock", "home", &key],
        &["knock", "home", "-s", &key],
        &["knock", "home", "--allow", &key],
        &["knock", "--gate", GATE, "--address", &key, "-s", "tcp/22"],
        &[&key],
    ] {
        let ran = run(&mut postern(arguments));
        hides(&ran);
        ran.failed(2);
    }
}
