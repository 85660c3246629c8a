//! What an import leaves on the disk: all of it or nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use super::*;
use crate::admin::import::import as import_files;

const ACCESS: &str = "REQUIRE_USERNAME alice\nOPEN_PORTS tcp/2222\nFORCE_NAT 10.0.0.5 22\n";

/// A folder with a config and an access.conf.
fn folder() -> (TempDir, PathBuf, Vec<PathBuf>) {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        write(&path, text);
        path
    };
    let config = file("posternd.toml", "[gate]\nname = \"g\"\n");
    let access = file("access.conf", &format!("SOURCE ANY\n{KEY}{HMAC}{ACCESS}"));
    (folder, config, vec![access])
}

#[allow(clippy::disallowed_methods)]
fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// The names of all TOML files but the config, and their texts.
#[allow(clippy::disallowed_methods)]
fn files(folder: &TempDir) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for below in ["users.d", "services.d"] {
        let Ok(entries) = fs::read_dir(folder.path().join(below)) else {
            continue;
        };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.extension().is_some_and(|ending| ending == "toml") && path.is_file() {
                let name = path
                    .strip_prefix(folder.path())
                    .unwrap()
                    .display()
                    .to_string();
                found.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found
}

#[test]
fn users_and_services_are_written() {
    let (folder, config, access) = folder();
    let imported = import_files(&config, &access, false).unwrap();
    assert_eq!(imported.files.len(), 2);
    let files = files(&folder);
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        ["users.d/alice.toml", "services.d/alice-tcp-2222.toml"]
    );
    let (head, user) = files[0].1.split_once('\n').unwrap();
    assert!(
        head.starts_with("# Made by posternd import from ") && head.contains("access.conf:1"),
        "{head}"
    );
    assert_eq!(user, *imported.converted.users[0].toml.full);
    let mode = fs::metadata(folder.path().join(names[0]))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn dry_run_writes_nothing() {
    let (folder, _, access) = folder();
    let none = folder.path().join("none.toml");
    let imported = import_files(&none, &access, true).unwrap();
    assert_eq!((imported.files.len(), files(&folder).len()), (2, 0));
    assert!(!folder.path().join("users.d").exists());
}

#[test]
fn existing_names_keep_everything_out() {
    let alice = format!(
        "name = \"alice\"\nkey = \"{}=\"\nservices = [\"tcp/22\"]\n",
        "A".repeat(43)
    );
    let web = "[service.alice-tcp-2222]\nports = [\"tcp/80\"]\n";
    for (path, text, part) in [
        (
            "users.d/alice.toml",
            alice.as_str(),
            "user alice already exists",
        ),
        (
            "services.d/web.toml",
            web,
            "service alice-tcp-2222 already exists",
        ),
        (
            "services.d/alice-tcp-2222.toml",
            "",
            "alice-tcp-2222.toml already exists",
        ),
    ] {
        let (folder, config, access) = folder();
        let there = folder.path().join(path);
        fs::create_dir_all(there.parent().unwrap()).unwrap();
        write(&there, text);
        let error = import_files(&config, &access, false)
            .map(|_| ())
            .unwrap_err();
        assert!(error.message.contains(part), "{}", error.message);
        assert_eq!(files(&folder).len(), 1, "{part}");
    }
}

/// What the config refuses is not written, and its message names the new file.
#[test]
fn files_that_the_config_refuses_are_not_written() {
    let (folder, config, mut inputs) = folder();
    let knockd = folder.path().join("knockd.conf");
    write(&knockd, "[a]\nsequence = 62201:udp\ncommand = /bin/true\n");
    inputs.push(knockd);
    let error = import_files(&config, &inputs, false)
        .map(|_| ())
        .unwrap_err();
    for part in [
        "users.d/a.toml:3: udp/62201 is a knock port",
        "this user comes from ",
        "knockd.conf:1\nnothing is written; ",
    ] {
        assert!(error.message.contains(part), "{}", error.message);
    }
    assert_eq!(files(&folder).len(), 0);
}

/// Every key of a stanza and of a door is one that the config reads.
#[test]
fn config_reads_every_key_that_is_written() {
    let ssh = "sequence = 7000,8000:udp\nseq_timeout = 300\ntcpflags = syn,!ack\n";
    let rule = "-s %IP% -p tcp --dport 23 -j ACCEPT";
    let knockd = format!(
        "[a]\n{ssh}start_command = /sbin/iptables -A INPUT {rule}\nstop_command = /sbin/iptables -D INPUT {rule}\n\
         [b]\nsequence = 9000\ncommand = /bin/true {{x}} %IP%\nstop_command = /bin/true\n\
         [c]\nsequence = 9001\ncommand = nft add element inet filter knock {{ %IP% timeout 2m }}\n\
         [d]\nsequence = 9002\ncommand = /sbin/iptables -D INPUT {rule}\n"
    );
    let more = |name: &str, lines: &str| {
        format!("SOURCE 192.0.2.0/24,10.0.0.1\nREQUIRE_USERNAME {name}\n{lines}\n")
    };
    let keyless = "KEY passphrase\nENCRYPTION_MODE legacy\nACCESS_EXPIRE 06/30/2037\nOPEN_PORTS tcp/25\nREQUIRE_SOURCE Y";
    let sha3 = "KEY other\nHMAC_KEY hmac\nHMAC_DIGEST_TYPE SHA3_512\nOPEN_PORTS udp/53\nACCESS_EXPIRE_EPOCH 2000000000";
    let cycle = "KEY third\nHMAC_KEY hmac3\nOPEN_PORTS tcp/9\nCMD_CYCLE_OPEN /bin/true $IP $PORT $PROTO $TIMEOUT $CLIENT_TIMEOUT\nCMD_CYCLE_CLOSE /bin/true $SRC";
    let nat = "KEY fourth\nHMAC_KEY hmac4\nFORCE_NAT 10.0.0.6 22\nFORCE_MASQUERADE Y";
    let (folder, config, mut inputs) = folder();
    let stanzas = [
        ("b u", keyless),
        ("carol", sha3),
        ("dan", cycle),
        ("eve", nat),
    ];
    let access = stanzas.map(|(name, lines)| more(name, lines)).concat();
    for (name, text) in [("more.conf", &access), ("knockd.conf", &knockd)] {
        inputs.push(folder.path().join(name));
        write(&folder.path().join(name), text);
    }
    let imported =
        import_files(&config, &inputs, false).unwrap_or_else(|error| panic!("{}", error.message));
    assert!(
        !imported.converted.findings.has_refused(),
        "{:?}",
        said(&imported.converted)
    );
    assert_eq!(imported.converted.users.len(), 9);
}

#[test]
fn keys_that_others_may_read_are_told_of() {
    let (folder, config, access) = folder();
    fs::set_permissions(&access[0], fs::Permissions::from_mode(0o644)).unwrap();
    let imported = import_files(&config, &access, true).unwrap();
    assert!(said(&imported.converted)[0].contains("run chmod 600"));
    drop(folder);
}
