//! `posternd explain` with packets, files and recordings.

use std::fs;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use etherparse::PacketBuilder;
use postern::client::seal_at_random;
use postern_proto::{
    Action, Allow, GateName, Item, KeyMaterial, Protocol, Request, Service, SharedKey, UserKeys,
};
use serde_json::Value;

use crate::gate::{Gate, KEY, Ran, run};
use crate::written::{Style, ethernet, pcap, pcapng};

/// A knock by alice's key for this gate and TCP port, with this age.
fn knock(gate: &str, port: u16, age_s: u64) -> Vec<u8> {
    let keys = UserKeys::derive(
        &GateName::new(gate).unwrap(),
        &KeyMaterial::shared(&SharedKey::from_base64(KEY).unwrap()),
    );
    let request = Request {
        action: Action::Open,
        allow: Allow::Source { prefix: 128 },
        timestamp_ms: now() - age_s * 1000,
        duration_s: 0,
        target: None,
        items: vec![Item::Service(
            Service::new(Protocol::Tcp, port, port).unwrap(),
        )],
    };
    seal_at_random(&keys, &request).unwrap().as_bytes().to_vec()
}

fn now() -> u64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

fn gate() -> Gate {
    Gate::good("", "", "key = \"KEY\"")
}

fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    PacketBuilder::ipv4([203, 0, 113, 9], [192, 0, 2, 1], 64)
        .udp(40_000, port)
        .write(&mut packet, payload)
        .unwrap();
    ethernet(&[0x0800], &packet)
}

impl Ran {
    /// The lines of a successful run without errors.
    fn lines(&self) -> Vec<&str> {
        assert_eq!(
            (self.code, self.err.as_str()),
            (Some(0), ""),
            "{}",
            self.out
        );
        self.out.lines().collect()
    }
}

pub(crate) fn explain_shows_one_line_or_every_step() {
    let gate = gate();
    let explain = |packet: &[u8], more: &str| {
        gate.run(format!("explain {} {more}", STANDARD.encode(packet)).as_str())
    };
    let admitted = explain(&knock("gate.test", 22, 0), "--source 203.0.113.9");
    assert_eq!(
        admitted.lines(),
        ["packet 1 203.0.113.9: admit: alice may open tcp/22 for 203.0.113.9/32 for 30s"]
    );
    let refused = explain(&knock("gate.test", 23, 0), "--source 203.0.113.9 -v");
    let lines = refused.lines();
    assert!(lines[0].contains("refuse services (step 9): alice asked to open tcp/23"));
    assert_eq!(lines.len(), 11, "{lines:?}");
    assert!(
        lines[8].starts_with("  ✓  8 mark")
            && lines[9].starts_with("  ✗  9 policy  tcp/23 is not in tcp/22; ")
            && lines[10] == "  - 10 quota"
    );
    let stale = explain(&knock("gate.test", 22, 312), "");
    assert!(
        stale.out.contains("alice's key, but made 5m 12s ago")
            && stale
                .out
                .ends_with(" (if the packet arrived earlier, give the time with --at)\n"),
        "{stale:?}"
    );
    let at = format!("--at @{}", now() / 1000 - 312);
    let then = explain(&knock("gate.test", 22, 312), &at);
    assert!(then.out.starts_with("packet 1: admit: "), "{then:?}");
    let other = explain(
        &knock("elsewhere.test", 22, 0),
        "--gate-name elsewhere.test",
    );
    assert!(other.out.contains(
        "alice's key, but the knock is for gate elsewhere.test, and this is gate gate.test: "
    ));
    let junk = explain(&[7; 200], "");
    assert!(
        junk.out
            .contains("no user's key made it, not for gate gate.test")
    );
}

pub(crate) fn explain_reads_files_and_standard_input() {
    let gate = gate();
    let (first, second) = (
        STANDARD.encode(knock("gate.test", 22, 0)),
        STANDARD.encode(knock("gate.test", 23, 0)),
    );
    let wrapped: String = first
        .as_bytes()
        .chunks(76)
        .map(|line| format!("{}\n", str::from_utf8(line).unwrap()))
        .collect();
    gate.write("packets", &format!("{first}\n\n{second}\n{wrapped}"));
    let path = gate.path("packets").display().to_string();
    let from_file = gate.run(&["explain", &path]);
    for ran in [
        gate.run_through(&format!("exec \"$@\" <{path}"), "explain"),
        gate.run_through(&format!("cat {path} | \"$@\""), "explain -"),
    ] {
        assert_eq!((ran.code, ran.out.lines().count()), (Some(0), 3), "{ran:?}");
    }
    let lines = from_file.lines();
    assert!(
        lines[0].starts_with("packet 1: admit: ")
            && lines[1].starts_with("packet 2: refuse services "),
        "{lines:?}"
    );
    assert!(
        lines[2].starts_with("packet 3: drop duplicate (step 8): alice's key, but this very packet came before, admitted at "),
        "{lines:?}"
    );
    assert_eq!(
        gate.run(&["explain", &path, "--count", "2"]).lines().len(),
        2
    );
    let heard = gate.run_through(&format!("\"$@\" <{path} | head -n 1"), "explain");
    assert_eq!(
        heard.lines().len(),
        1,
        "a reader who has seen enough is no failure"
    );
}

pub(crate) fn explain_uses_times_of_a_recording() {
    let gate = gate();
    let packet = knock("gate.test", 22, 0);
    let at = now();
    let frames = [
        udp(62201, &packet),
        udp(62201, &packet),
        udp(53, &packet),
        udp(62201, &knock("gate.test", 22, 40)),
        udp(62201, &[7; 600]),
        ethernet(&[0x0806], &[0; 28]),
    ];
    let recorded: Vec<(u64, &[u8])> = frames
        .iter()
        .enumerate()
        .map(|(n, frame)| (at + n as u64 * 2000, &frame[..]))
        .collect();
    for (name, file) in [
        ("a.pcap", pcap(Style::ETHERNET, &recorded)),
        ("a.pcapng", pcapng(Style::ETHERNET, &recorded)),
    ] {
        let path = gate.path(name);
        fs::write(&path, file).unwrap();
        let ran = gate.run(&["explain", path.to_str().unwrap()]);
        let lines = ran.lines();
        assert_eq!(lines.len(), 4, "{lines:?}");
        assert!(
            lines[0].ends_with(
                "Z 203.0.113.9: admit: alice may open tcp/22 for 203.0.113.9/32 for 30s"
            ),
            "{lines:?}"
        );
        for (line, said) in lines[1..].iter().zip([
            "drop replay (step 8): alice's key",
            ", but made 4",
            "drop length (step 1): more than 516 bytes",
        ]) {
            assert!(line.contains(said), "{said} is not in {line}");
        }
        let all = gate.run(&["explain", "--all", path.to_str().unwrap()]);
        assert_eq!(all.lines().len(), 6);
        assert!(
            all.out
                .contains(": no knock: UDP to port 53, which is no knock port\n"),
            "{}",
            all.out
        );
        assert!(
            all.out
                .contains(": no knock: no IP packet, ethertype 0x0806\n"),
            "{}",
            all.out
        );
        let piped = gate.run_through(
            &format!("cat {} | \"$@\"", path.display()),
            &["explain", "--json"],
        );
        let numbers: Vec<Value> = piped
            .lines()
            .iter()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["number"].clone())
            .collect();
        assert_eq!(numbers, [1, 2, 4, 5], "as Wireshark counts them");
        let line = gate
            .run(&["explain", path.to_str().unwrap(), "--at", "5m"])
            .one_line(2);
        assert!(line.contains("leave out --at and --source"), "{line}");
    }
}

pub(crate) fn explain_reports_damaged_recording() {
    let gate = gate();
    let path = gate.path("a.pcap");
    let explain = || gate.run(&["explain", path.to_str().unwrap()]);
    fs::write(&path, pcap(Style::ETHERNET, &[(now(), &udp(53, b"name?"))])).unwrap();
    let nothing = explain();
    assert_eq!((nothing.code, nothing.out.as_str()), (Some(0), ""));
    assert_eq!(
        nothing.err,
        "posternd: 1 packet, and none to UDP port 62201; --all shows what they are\n"
    );
    let radio = Style {
        link_type: 105,
        ..Style::ETHERNET
    };
    fs::write(&path, pcap(radio, &[(now(), &[0; 60])])).unwrap();
    assert!(
        explain()
            .err
            .contains("link type 105, which is not supported"),
        "{}",
        explain().err
    );
    let frame = udp(62201, &[7; 200]);
    let whole = pcap(Style::ETHERNET, &[(now(), &frame[..]); 2]);
    fs::write(&path, &whole[..whole.len() - 10]).unwrap();
    let cut = explain();
    assert_eq!(
        (cut.code, cut.out.lines().count()),
        (Some(65), 1),
        "what is whole is told: {cut:?}"
    );
    assert_eq!(
        cut.err,
        "posternd: the rest of the recording is not readable: it ends in the middle of a packet\n"
    );
}

pub(crate) fn explain_errors_have_exit_codes() {
    let gate = gate();
    for (arguments, code, said) in [
        (
            &["nonsense"][..],
            66,
            "nonsense is neither a file nor a packet in base64; give a packet as `postern knock --print` writes it",
        ),
        (
            &["/nonexistent/file.pcap"],
            66,
            "/nonexistent/file.pcap is neither a file nor",
        ),
        (
            &[gate.path("").to_str().unwrap()],
            65,
            "is a folder, not a file; name a file",
        ),
    ] {
        let line = gate.run(&[&["explain"], arguments].concat()).one_line(code);
        assert!(line.contains(said), "{line}");
    }
    // A key by mistake is not printed; `run` checks that.
    gate.run(&["explain", &format!("{KEY}{KEY}?")]).one_line(66);
    gate.write("text", "QUJD\nthis is no packet\n");
    let text = gate.run(&["explain", gate.path("text").to_str().unwrap()]);
    assert_eq!(
        (text.code, text.out.lines().count()),
        (Some(65), 1),
        "{text:?}"
    );
    assert!(
        text.err
            .starts_with("posternd: line 2 is not a packet in base64; "),
        "{text:?}"
    );
    for arguments in [
        &["--live", "QUJD"][..],
        &["--interface", "eth0"],
        &["--for", "5s"],
        &["--at", "soon"],
        &["--count", "0"],
        &["--live", "--all"],
    ] {
        let ran = run(
            "exec \"$@\" </dev/null",
            &[&["explain"], arguments].concat(),
            &[],
        );
        assert_eq!(
            (ran.code, ran.out.as_str()),
            (Some(2), ""),
            "{arguments:?}: {}",
            ran.err
        );
    }
    let broken = Gate::new("[gate]\nname = \"g\"\nprot = 1\n");
    assert!(broken.run("explain -").one_line(78).contains("prot"));
    assert!(
        gate.run_as_nobody("explain -")
            .one_line(77)
            .contains("; run as root")
    );
    let without_raw = "exec setpriv --bounding-set -net_raw --inh-caps -net_raw \"$@\"";
    let line = gate.run_through(without_raw, "explain --live");
    assert_eq!(line.code, Some(77), "{line:?}");
    assert!(
        line.err
            .contains("posternd explain --live needs CAP_NET_RAW to listen; run it as root"),
        "{line:?}"
    );
}

/// A recording may come from an attacker, so the reader drops its privileges first.
pub(crate) fn recording_is_read_without_privileges() {
    let gate = gate();
    let fifo = gate.path("fifo").display().to_string();
    fs::write(gate.path("head"), pcap(Style::ETHERNET, &[])).unwrap();
    fs::write(
        gate.path("rest"),
        &pcap(Style::ETHERNET, &[(now(), &udp(62201, &[7; 200]))])[24..],
    )
    .unwrap();
    let head = gate.path("head").display().to_string();
    let script = format!(
        "mkfifo {fifo}; \"$@\" & exec 3>{fifo}; cat {head} >&3; \
         for n in $(seq 500); do grep -q '^Uid:.65534.65534.65534.65534' /proc/$!/status && break; sleep 0.02; done; \
         grep -E '^(Uid|CapEff|CapPrm|CapBnd):' /proc/$! /proc/$!/status 2>/dev/null; cat {} >&3; exec 3>&-; wait $!",
        gate.path("rest").display()
    );
    let ran = gate.run_through(&script, &["explain", &fifo]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for line in [
        "Uid:\t65534\t65534\t65534\t65534",
        "CapPrm:\t0000000000000000",
        "CapEff:\t0000000000000000",
        "CapBnd:\t0000000000000000",
    ] {
        assert!(ran.out.contains(line), "{line} is not in {}", ran.out);
    }
    assert!(
        ran.out.contains("drop unknown-hint (step 2)"),
        "{}",
        ran.out
    );
}
