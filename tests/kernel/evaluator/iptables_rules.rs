//! Random rules of iptables in the tables `mangle` and `filter`.

use std::fmt::Write;

use postern_harness::Random;

use super::packets::LAST_PORT;

const CHAINS: u64 = 4;
const RULES_MAX: u64 = 10;

const CONDITIONS: [&str; 22] = [
    "-s 192.0.2.0/24",
    "! -s 192.0.2.2/32",
    "-s 10.0.0.0/8",
    "! -s 198.51.100.0/22",
    "-s 203.0.113.5/32",
    "-m iprange --src-range 192.0.2.50-192.0.2.99",
    "-m iprange ! --src-range 198.51.100.1-203.0.113.4",
    "-d 192.0.2.1/32",
    "! -d 192.0.2.0/24",
    "-i gate0",
    "! -i gate0",
    "-i gate+",
    "-i lo",
    "-m conntrack --ctstate NEW",
    "-m conntrack --ctstate RELATED,ESTABLISHED",
    "-m conntrack ! --ctstate NEW,INVALID",
    "-m state --state NEW,UNTRACKED",
    "-m mark --mark 0x1/0x3",
    "-m mark ! --mark 0x0",
    "-m addrtype --dst-type LOCAL",
    "-m addrtype ! --dst-type LOCAL",
    "-m comment --comment \"two words\"",
];

pub(super) fn make(random: &mut Random) -> String {
    let mut text = "*mangle\n:PREROUTING ACCEPT [0:0]\n".to_owned();
    for _ in 0..random.below(6) {
        let mark = one(
            random,
            &["--set-mark 1", "--set-xmark 0x2/0x2", "--or-mark 4"],
        );
        writeln!(text, "-A PREROUTING {} -j MARK {mark}", conditions(random)).unwrap();
    }
    let policy = one(random, &["ACCEPT", "DROP"]);
    writeln!(text, "COMMIT\n*filter\n:INPUT {policy} [0:0]").unwrap();
    for chain in 1..=CHAINS {
        writeln!(text, ":c{chain} - [0:0]").unwrap();
    }
    for chain in 0..=CHAINS {
        for _ in 0..random.below(RULES_MAX) + 2 {
            let name = match chain {
                0 => "INPUT".to_owned(),
                number => format!("c{number}"),
            };
            let conditions = conditions(random);
            let target = target(random, chain);
            writeln!(text, "-A {name} {conditions} {target}").unwrap();
        }
    }
    text + "COMMIT\n"
}

fn one<'a>(random: &mut Random, choices: &[&'a str]) -> &'a str {
    choices[usize::try_from(random.below(choices.len() as u64)).unwrap()]
}

fn target(random: &mut Random, chain: u64) -> String {
    let next = chain + 1 + random.below((CHAINS - chain).max(1));
    match random.below(10) {
        0 | 1 => "-j ACCEPT".to_owned(),
        2 | 3 => "-j DROP".to_owned(),
        4 => "-j REJECT".to_owned(),
        5 | 6 if chain < CHAINS => format!("-j c{next}"),
        7 if chain < CHAINS => format!("-g c{next}"),
        8 if chain > 0 => "-j RETURN".to_owned(),
        _ => String::new(),
    }
}

fn conditions(random: &mut Random) -> String {
    let port = 1 + random.below(LAST_PORT);
    let last = port + random.below(40);
    let transport = match random.below(12) {
        0 => format!("-p tcp -m tcp --dport {port}"),
        1 | 2 => format!("-p tcp -m tcp --dport {port}:{last}"),
        3 => format!("-p tcp -m tcp ! --dport {port}:{last}"),
        4 => format!("-p udp -m udp --dport {port}:{last}"),
        5 => format!(
            "-p udp -m multiport --dports {port},{}:{}",
            last + 2,
            last + 30
        ),
        6 => format!("-p tcp -m multiport ! --dports {port},{}", last + 2),
        7 => "-p icmp -m icmp --icmp-type 8".to_owned(),
        8 => "-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN".to_owned(),
        9 => "! -p tcp".to_owned(),
        _ => String::new(),
    };
    let other = match random.below(3) {
        0 => "",
        _ => one(random, &CONDITIONS),
    };
    format!("{other} {transport}").trim().to_owned()
}
