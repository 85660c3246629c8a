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

use crate::gate::{Gate, KEY, run, says};
use postern_harness::packets::framed;
use postern_harness::recordings::{Style, pcap, pcapng};

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
    u64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap()
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
    framed(&[0x0800], &packet)
}

pub(crate) fn explain_uses_given_time_and_gate_name() {
    let gate = gate();
    let explain = |packet: &[u8], more: &str| {
        let packet = STANDARD.encode(packet);
        gate.run(&format!("explain {packet} {more}")).ok()
    };
    let refused = explain(&knock("gate.test", 23, 0), "-v");
    let steps = "  ✓  8 mark…\n  ✗  9 policy  tcp/23 is not in tcp/22; …\n  - 10 quota\n";
    says(&refused, &format!("…{steps}"));
    let old = knock("gate.test", 22, 312);
    let stale = explain(&old, "");
    let hint = " (if the packet arrived earlier, give the time with --at)\n";
    says(&stale, &format!("…alice's key, but made 5m 12s ago…{hint}"));
    let at = format!("--at @{}", now() / 1000 - 312);
    says(&explain(&old, &at), "packet 1: admit: …");
    let other = knock("elsewhere.test", 22, 0);
    let other = explain(&other, "--gate-name elsewhere.test");
    let names = "the knock is for gate elsewhere.test, and this is gate gate.test: ";
    says(&other, &format!("…alice's key, but {names}…"));
}

pub(crate) fn explain_reads_files_and_standard_input() {
    let gate = gate();
    let [first, second] = [22, 23].map(|port| STANDARD.encode(knock("gate.test", port, 0)));
    let lines = first
        .as_bytes()
        .chunks(76)
        .map(|line| [line, b"\n"].concat());
    let wrapped = String::from_utf8(lines.collect::<Vec<_>>().concat()).unwrap();
    gate.write("packets", &format!("{first}\n\n{second}\n{wrapped}"));
    let path = gate.place("packets");
    for said in [
        gate.run(&format!("explain {path}")).ok(),
        gate.run_through(&format!("exec \"$@\" <{path}"), "explain")
            .ok(),
        gate.run_through(&format!("cat {path} | \"$@\""), "explain -")
            .ok(),
    ] {
        let duplicate = "packet 3: drop duplicate (step 8): alice's key, but this same packet came before, admitted at …";
        let pattern = format!("packet 1: admit: …\npacket 2: refuse services …\n{duplicate}");
        says(&said, &pattern);
        assert_eq!(said.lines().count(), 3, "{said}");
    }
    let two = gate.run(&format!("explain {path} --count 2")).ok();
    assert_eq!(two.lines().count(), 2);
    let head = format!("\"$@\" <{path} | head -n 1");
    assert_eq!(gate.run_through(&head, "explain").ok().lines().count(), 1);
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
        framed(&[0x0806], &[0; 28]),
    ];
    let times = (at..).step_by(2000);
    let recorded: Vec<(u64, &[u8])> = times.zip(frames.iter().map(Vec::as_slice)).collect();
    for (name, file) in [
        ("a.pcap", pcap(Style::ETHERNET, &recorded)),
        ("a.pcapng", pcapng(Style::ETHERNET, &recorded)),
    ] {
        fs::write(gate.path(name), file).unwrap();
        let path = gate.place(name);
        let explain = |options: &str| gate.run(&format!("explain {path} {options}"));
        let said = explain("").ok();
        let lines: Vec<&str> = said.lines().collect();
        let patterns = [
            "…Z 203.0.113.9: admit: alice may open tcp/22 for 203.0.113.9/32 for 30s",
            "…drop replay (step 8): alice's key…",
            "…, but made 4…",
            "…drop length (step 1): more than 516 bytes…",
        ];
        assert_eq!(lines.len(), patterns.len(), "{said}");
        lines
            .iter()
            .zip(patterns)
            .for_each(|(line, pattern)| says(line, pattern));
        let all = explain("--all").ok();
        assert_eq!(all.lines().count(), 6);
        says(
            &all,
            "…: no knock: UDP to port 53, which is no knock port\n…",
        );
        says(&all, "…: no knock: no IP packet, ethertype 0x0806\n…");
        let pipe = format!("cat {path} | \"$@\"");
        let piped = gate.run_through(&pipe, "explain --json").ok();
        let number = |line| serde_json::from_str::<Value>(line).unwrap()["number"].clone();
        let numbers: Vec<Value> = piped.lines().map(number).collect();
        assert_eq!(numbers, [1, 2, 4, 5], "as Wireshark counts them");
        explain("--at 5m").fails(2, "…leave out --at and --source…");
    }
}

pub(crate) fn explain_reports_damaged_recording() {
    let gate = gate();
    let explain = |file: &[u8]| {
        fs::write(gate.path("a.pcap"), file).unwrap();
        gate.run(&format!("explain {}", gate.place("a.pcap")))
    };
    let nothing = explain(&pcap(Style::ETHERNET, &[(now(), &udp(53, b"name?"))]));
    assert_eq!((nothing.code, nothing.out.as_str()), (Some(0), ""));
    let none = "posternd: 1 packet, and none to UDP port 62201; --all shows what they are\n";
    assert_eq!(nothing.err, none);
    let radio = Style {
        link_type: 105,
        ..Style::ETHERNET
    };
    let odd = explain(&pcap(radio, &[(now(), &[0; 60])]));
    says(&odd.err, "…link type 105, which is not supported…");
    let frame = udp(62201, &[7; 200]);
    let whole = pcap(Style::ETHERNET, &[(now(), &frame[..]); 2]);
    let cut = explain(&whole[..whole.len() - 10]);
    let expected = (Some(65), 1);
    assert_eq!((cut.code, cut.out.lines().count()), expected, "{cut:?}");
    let rest = "the rest of the recording is not readable: it ends in the middle of a packet";
    assert_eq!(cut.err, format!("posternd: {rest}\n"));
}

pub(crate) fn explain_errors_have_exit_codes() {
    let gate = gate();
    let folder = format!("explain {}", gate.place(""));
    gate.run(&folder)
        .fails(65, "…is a folder, not a file; name a file…");
    // A key by mistake is not printed; `run` checks that.
    gate.run(&format!("explain {KEY}{KEY}?")).one_line(66);
    gate.write("text", "QUJD\nthis is no packet\n");
    let text = gate.run(&format!("explain {}", gate.place("text")));
    let expected = (Some(65), 1);
    assert_eq!((text.code, text.out.lines().count()), expected, "{text:?}");
    says(&text.err, "posternd: line 2 is not a packet in base64; …");
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
        );
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{ran:?}");
    }
    let broken = Gate::new("[gate]\nname = \"g\"\nprot = 1\n");
    broken.run("explain -").fails(78, "…prot…");
    gate.run_as_nobody("explain -").fails(77, "…; run as root…");
    let without_raw = "exec setpriv --bounding-set -net_raw --inh-caps -net_raw \"$@\"";
    let ran = gate.run_through(without_raw, "explain --live");
    assert_eq!(ran.code, Some(77), "{ran:?}");
    says(
        &ran.err,
        "…explain --live needs CAP_NET_RAW to listen; run it as root…",
    );
}

/// A recording may come from an attacker, so the reader drops its privileges first.
pub(crate) fn recording_is_read_without_privileges() {
    let gate = gate();
    let file = pcap(Style::ETHERNET, &[(now(), &udp(62201, &[7; 200]))]);
    let (head, rest) = file.split_at(24);
    fs::write(gate.path("head"), head).unwrap();
    fs::write(gate.path("rest"), rest).unwrap();
    let [fifo, head, rest] = ["fifo", "head", "rest"].map(|name| gate.place(name));
    let script = format!(
        "mkfifo {fifo}; \"$@\" & exec 3>{fifo}; cat {head} >&3; \
         for n in $(seq 500); do grep -q '^Uid:.1.1.1.1' /proc/$!/status && break; sleep 0.02; done; \
         grep -E '^(Uid|CapEff|CapPrm|CapBnd):' /proc/$!/status; cat {rest} >&3; exec 3>&-; wait $!"
    );
    let said = gate.run_through(&script, &format!("explain {fifo}")).ok();
    let no_capability = ["CapPrm", "CapEff", "CapBnd"].map(|set| format!("{set}:\t{:016}", 0));
    for line in [
        "Uid:\t1\t1\t1\t1",
        &no_capability.join("\n"),
        "drop unknown-hint (step 2)",
    ] {
        assert!(said.contains(line), "{line} is not in {said}");
    }
}

pub(crate) fn explain_follows_hits_of_sequences() {
    let gate = Gate::good(
        "",
        "",
        "sequence = [\"tcp/7000\", \"tcp/8000\", \"udp/9000\"]",
    );
    let explain = |hits: &str| {
        gate.run(&format!("explain --source 192.0.2.7 --hits {hits}"))
            .ok()
    };
    let said = explain("tcp/7000,8000,udp/9000");
    let lines: Vec<&str> = said.lines().collect();
    says(
        lines[0],
        "hit 1: tcp/7000: hit 1 of 3 of alice; tcp/8000 is next",
    );
    says(
        lines[1],
        "hit 2: tcp/8000: hit 2 of 3 of alice; udp/9000 is next",
    );
    says(
        lines[2],
        "hit 3: udp/9000, the last hit: admit by the config: alice may open tcp/22 for …",
    );
    let said = explain("7000,udp/9000,7001,udp/9000");
    let lines: Vec<&str> = said.lines().collect();
    says(
        lines[1],
        "hit 2: udp/9000: drop wrong-hit: the attempt before is over: it had hit 1 of 3 of alice; tcp/8000 is next",
    );
    says(lines[2], "hit 3: tcp/7001: no port of a sequence");
    says(lines[3], "…: drop wrong-hit: no sequence begins with it");
    let json = explain("7000 --json");
    let value: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&value["hit"], &value["matched"], &value["next"][0]),
        (&"tcp/7000".into(), &1.into(), &"tcp/8000".into())
    );
    gate.run("explain --source 192.0.2.7 --hits sctp/9")
        .fails(2, "…write ports like tcp/7000…");
}

pub(crate) fn explain_finds_a_keyed_sequence_of_another_time() {
    let line = format!("sequence = {{ key = \"{KEY}\", ports = \"20000-60000\", hits = 6 }}");
    let gate = Gate::good("", "", &line);
    let key = postern_sequence::Key::from_base64(KEY).unwrap();
    let shape = postern_sequence::Shape::new(20_000, 60_000, 6).unwrap();
    let step = postern_sequence::step_at(now() / 1000) - 10;
    let hits = postern_sequence::ports(&key, step, shape);
    let hits: Vec<String> = hits.iter().map(ToString::to_string).collect();
    let said = gate
        .run(&format!(
            "explain --source 192.0.2.7 --hits {}",
            hits.join(",")
        ))
        .ok();
    says(
        said.lines().last().unwrap(),
        "…; these are the hits of alice at …Z: set the client's clock, or the gate's, whichever is wrong",
    );
}
