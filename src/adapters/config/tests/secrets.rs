//! Keys in all the wrong places.

use super::*;

/// Wherever somebody could put a key by mistake, no part of it may come back in a message (invariant 7).
#[test]
fn invariant_7_no_part_of_a_key_reaches_a_problem() {
    let gates = [
        "private_key = \"KEY\"",
        "name = \"KEY\"\nname = \"KEY\"",
        "KEY",
        "KEY = 1",
        "\"KEY\" = 1",
        "port = \"KEY\"",
        "address = \"KEY\"",
        "address = [\"KEY\"]",
        "interfaces = [\"KEY\"]",
        "window = \"KEY\"",
        "state_dir = \"KEY\"",
        "control_socket = \"KEY\"",
        "run_as = \"KEY\"",
        "capture = \"KEY\"",
        "[firewall]\nbackend = \"KEY\"",
        "[firewall]\nKEY = 1",
        "[KEY]",
        "[\"KEY\"]",
        "[service.\"KEY\"]\nports = [\"tcp/1\"]",
        "[service.x]\nports = [\"KEY\"]",
        "service = \"KEY\"",
        "private_key = KEY",
        "private_key = \"KEY",
        "private_key = 'KEY\n",
        "private_key = \"\"\"KEY",
        "x.\"KEY\".y = 1",
        "user = \"KEY\"",
        "private_key = \"\\u0041KEY\"",
        "private_key = \"KEY\\q\"",
        "private_key = [\"KEY\"]",
        "private_key = { a = \"KEY\" }",
        "state_dir = \"/KEY\"\nwindow=\"1\"",
    ];
    let users = [
        "key = KEY",
        "key = \"KEY",
        "key = KEY\"",
        "key = 'KEY\"",
        "key = [\"KEY\"]",
        "key = { key = \"KEY\" }",
        "key = \"KEY\\n\"",
        "key = \"KEYKEY\"",
        "key = \" KEY\"",
        "key \"KEY\"",
        "key: \"KEY\"",
        "keys = \"KEY\"\nkey=\"\"",
        "key = \"KEY\"\nkey = \"KEY\"",
        "key = \"KEY\"\npsk = \"KEY\"",
        "old_key = \"KEY\"",
        "old_key = KEY",
        "old_public_key = \"KEY\"\nold_key = \"KEY\"",
        "old_psk = \"KEY\"",
        "old_until = \"KEY\"",
        "disabled = \"KEY\"",
        "key = \"KEY\"\nkey_file = \"KEY\"",
        "key_file = \"KEY\"",
        "key_file = KEY",
        "key_file = \"KEY \"",
        "key_file = \"base64:KEYKEY\"",
        "key_file = \"key = KEY\"",
        "public_key = \"KEY\"",
        "public_key = \"KEYx\"",
        "public_key = \"KEY\"\npsk = \"KEYx\"",
        "psk = \"KEY\"",
        "name = \"KEY\"",
        "name = KEY",
        "services = \"KEY\"",
        "services = [\"KEY\"]",
        "targets = [\"KEY\"]",
        "networks = [\"KEY\"]",
        "grant_to = \"KEY\"",
        "max_prefix = \"KEY\"",
        "max_prefix = { v4 = \"KEY\" }",
        "max_prefix = { \"KEY\" = 1 }",
        "duration = \"KEY\"",
        "max_duration = \"KEY\"",
        "quota = \"KEY\"",
        "quota = \"1/KEY\"",
        "KEY",
        "\"KEY\"",
        "\"KEY\" = true",
        "quota = 2020-01-01KEY",
        "quota = 0xKEY",
        "totp = KEY",
        "totp = \"KEY",
        "totp = \"KEY1\"",
        "totp = [\"KEY\"]",
        "totp = \"KEY KEY\"",
        "totp = \"KEY\"\ntotp = \"KEY\"",
        "totp = \"KEY\"\ntotp_digits = 9",
        "totp_digits = \"KEY\"",
    ];
    // One key of letters and digits only, which TOML takes for a bare word, one with the other letters, and a secret for codes.
    for secret in [
        "Zm9vYmFyQUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo=",
        "q/+/Zm8vYm+yQUJDREV/R0hJSktMTU5PUFF+U1RVVld/8A8=",
        "GEZDGNBVGY3TQOJQABCDEFGHIJKLMNOP",
    ] {
        let mains = gates
            .iter()
            .map(|line| with(line, ""))
            .chain(users.iter().map(|line| with("", line)));
        for text in mains {
            let text = text.replace("KEY", secret);
            let bundle = bundle(&text, &[("users.d/u.toml", &text), ("a.key", secret)]);
            let problems = load(&bundle).map(|loaded| loaded.settings).unwrap_err();
            let files = key_files(&bundle);
            let shown = format!("{problems}\n{problems:?}\n{files:?}\n{bundle:?}");
            for part in secret.as_bytes().windows(8) {
                let part = std::str::from_utf8(part).unwrap();
                assert!(
                    !shown.contains(part),
                    "{part} of the key of\n{text}\nis in\n{shown}"
                );
            }
        }
    }
}
