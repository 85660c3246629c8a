//! What a door of knockd opens before and after: the second is never more than the first.

use super::*;

#[test]
fn no_door_admits_more_than_before() {
    let rule = |change: &str, port: &str| {
        format!("iptables {change} INPUT -s %IP% -p tcp --dport {port} -j ACCEPT")
    };
    for port in ["22", "80:443"] {
        for (stop, timeout) in [(true, ""), (true, "cmd_timeout = 60"), (false, "")] {
            for also in [
                "",
                "target = 10.0.0.1",
                "command_6 = /bin/a",
                "seq_timeout = x",
            ] {
                let stop = if stop {
                    format!("stop_command = {}", rule("-D", port))
                } else {
                    String::new()
                };
                let text = format!(
                    "[a]\nsequence = 7,8\ncommand = {}\n{stop}\n{timeout}\n{also}\n",
                    rule("-A", port)
                );
                let made = import(&[("knockd.conf", &text)]);
                let longest = match (stop.is_empty(), timeout.is_empty()) {
                    (true, _) => u64::MAX,
                    (false, true) => 10,
                    (false, false) => 60,
                };
                for user in &made.users {
                    let user: toml::Table = user.toml.full.parse().unwrap();
                    let port = port.replace(':', "-");
                    assert_eq!(user["services"].to_string(), format!("[\"tcp/{port}\"]"));
                    assert_eq!(user["networks"].to_string(), "[\"0.0.0.0/0\"]");
                    let max = user["max_duration"]
                        .as_str()
                        .unwrap()
                        .strip_suffix('s')
                        .unwrap();
                    assert!(max.parse::<u64>().unwrap() <= longest);
                }
                let refused = also.starts_with("target") || also.starts_with("seq");
                assert_eq!(made.users.is_empty(), refused, "{text}");
            }
        }
    }
}
