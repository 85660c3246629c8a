//! The oracle for generated files, and for all files of a folder.

use std::fs;

use super::oracle::{compare, is_narrowed, keys};
use super::*;

const REQUESTS: usize = 40;

#[test]
fn no_stanza_admits_more_than_before() {
    let (mut same, mut less) = (0, 0);
    for source in ["ANY", "10.0.0.0/8", "192.0.2.1, 10.1.2.3", "192.0.2.1/25"] {
        for open in ["", "OPEN_PORTS tcp/22", "OPEN_PORTS tcp/22, udp/53, tcp/80"] {
            for closed in [
                "",
                "RESTRICT_PORTS tcp/80",
                "RESTRICT_PORTS tcp/1, udp/22, tcp/65535",
            ] {
                for times in [
                    "",
                    "FW_ACCESS_TIMEOUT 60\nACCESS_EXPIRE 1/1/27",
                    "MAX_FW_TIMEOUT 10\nREQUIRE_SOURCE Y",
                    "FW_ACCESS_TIMEOUT 3600\nMAX_FW_TIMEOUT 10",
                ] {
                    for more in [
                        "",
                        "FORCE_NAT 10.0.0.1 22",
                        "CMD_CYCLE_OPEN /bin/a $IP\nCMD_CYCLE_CLOSE NONE",
                        "CMD_CYCLE_OPEN /bin/a $PORT\nCMD_CYCLE_CLOSE NONE",
                        "DESTINATION 10.0.0.0/8",
                        "REQUIRE_USERNAME a",
                        "GPG_DECRYPT_ID A",
                    ] {
                        let text = format!(
                            "SOURCE {source}\n{KEY}{HMAC}{open}\n{closed}\n{times}\n{more}\n"
                        );
                        let made = import(&[("access.conf", &text)]);
                        let seed = u64::try_from(same + less).unwrap();
                        let alike = compare(&text, &made, REQUESTS, seed);
                        // A request to forward a port anywhere is narrowed for all stanzas.
                        if !is_narrowed(&made) {
                            assert!(alike >= REQUESTS / 2, "{text}: {:?}", said(&made));
                            same += 1;
                        } else {
                            less += 1;
                        }
                    }
                }
            }
        }
    }
    assert!(same > 400 && less > 200, "{same} {less}");
}

/// Stanzas with the same keys, of which some are not converted, or only in part.
#[test]
fn stanzas_that_share_keys_admit_the_same_in_their_order() {
    let parts = [
        "OPEN_PORTS tcp/22\nFW_ACCESS_TIMEOUT 5",
        "OPEN_PORTS tcp/80\nREQUIRE_USERNAME a",
        "DESTINATION 10.0.0.1\nFW_ACCESS_TIMEOUT 7",
        "FORCE_NAT 10.0.0.1 22",
        "FORWARD_ALL Y",
        "OPEN_PORTS tcp/443, tcp/2222\nFORCE_NAT 10.0.0.1 22",
        "ACCESS_EXPIRE 1/1/20",
        "CMD_CYCLE_OPEN /bin/a\nCMD_CYCLE_CLOSE NONE\nDESTINATION 192.0.2.1",
    ];
    let mut users = 0;
    for first in parts {
        for second in parts {
            for third in parts {
                let stanza = |source: &str, lines| format!("SOURCE {source}\n{KEY}{HMAC}{lines}\n");
                let text =
                    stanza("192.0.2.0/24", first) + &stanza("ANY", second) + &stanza("ANY", third);
                let made = import(&[("access.conf", &text)]);
                compare(&text, &made, REQUESTS, users);
                users += u64::try_from(made.users.len()).unwrap();
            }
        }
    }
    assert!(users > 700, "{users}");
}

/// All files of a folder: `POSTERN_CONFIGS=FOLDER cargo test --lib stanza_oracle -- --ignored --nocapture`. Prints for each
/// what became of it.
#[test]
#[ignore = "needs a folder with configs"]
#[allow(clippy::disallowed_methods, clippy::print_stdout)]
fn no_config_of_a_folder_admits_more_than_before() {
    let folder = PathBuf::from(std::env::var_os("POSTERN_CONFIGS").expect("POSTERN_CONFIGS"));
    let mut paths: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    let (mut all, mut converted) = (0, 0);
    for path in paths {
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        if text.contains("%include") || keys(&text).is_empty() && !text.contains("SOURCE") {
            continue;
        }
        let made = import(&[("access.conf", &text)]);
        let alike = compare(&text, &made, 2000, 1);
        let is_whole = !made.findings.has_refused() && !made.users.is_empty();
        (all, converted) = (all + 1, converted + usize::from(is_whole));
        println!(
            "{}: {} users, {alike} of 2000 the same",
            path.display(),
            made.users.len()
        );
    }
    println!("{converted} of {all} converted");
}
