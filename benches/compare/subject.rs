//! What is measured: a gate with its client in network namespaces, opened by the limit program, posternd or fwknopd.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postern_fwknop::{Allow, Key, MacKind, Message, Port, Protocol, Request};
use postern_harness::process::children;
use postern_harness::{
    Family, GATE_NAME, GateConfig, KNOCK, KnockMaker, Random, SERVICE, World, find, key, now,
    posternd, seed, socket_for, wait_at_most, wait_for,
};

use crate::time_to_open::time_to_open;

/// Seconds that a knock opens for, and those that a gate with many grants has open.
const OPEN_FOR: u32 = 2;
const LONG: u32 = 3600;
const LIMITS: &str = "quota = \"1000000/min\"\nmax_grants = 32768";

/// The three ways in which fwknopd runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fwknopd {
    /// Debian's config with keys and the name of the interface: it sniffs, and looks ten times a second.
    AsShipped,
    /// It waits on a UDP socket.
    Udp,
    /// Besides, one run of `ipset` opens, in place of those of `iptables`.
    UdpIpset,
}

pub(crate) struct Subject {
    pub(crate) name: String,
    pub(crate) world: World,
    maker: Maker,
    /// Of the limit program or fwknopd.
    child: Option<Child>,
}

enum Maker {
    Postern(KnockMaker),
    Fwknop(Box<Key>, Random),
}

impl Subject {
    pub(crate) fn limit(syncs: bool) -> Self {
        let world = prepare("nftables");
        let record = world.folder().join("record").display().to_string();
        let limit = posternd().replace("posternd", "postern-limit");
        let mut words = [GATE_NAME, &key("alice"), &record]
            .map(str::to_owned)
            .to_vec();
        words.extend([KNOCK, SERVICE].map(|port| port.to_string()));
        words.extend((!syncs).then(|| "no-sync".to_owned()));
        let mut child = world.gate.run(move || {
            let mut command = Command::new(limit);
            command.args(words).stdout(Stdio::piped()).spawn().unwrap()
        });
        let mut line = String::new();
        let said = child.stdout.as_mut().unwrap();
        BufReader::new(said).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self {
            name: if syncs {
                "limit"
            } else {
                "limit without fdatasync"
            }
            .to_owned(),
            world,
            maker: Maker::Postern(KnockMaker::new("alice")),
            child: Some(child),
        }
    }

    /// A posternd with so many grants open.
    pub(crate) fn postern(backend: &str, grants: u32) -> Self {
        let mut world = prepare(backend);
        world.start_again();
        let more = if grants > 0 {
            format!(", {grants} grants open")
        } else {
            String::new()
        };
        let subject = Self::serving(format!("Postern, {backend}{more}"), world);
        subject.open_many(grants);
        subject
    }

    /// A posternd that serves.
    pub(crate) fn serving(name: String, world: World) -> Self {
        Self {
            name,
            world,
            maker: Maker::Postern(KnockMaker::new("alice")),
            child: None,
        }
    }

    /// An fwknopd that serves; `None` where it is not installed.
    pub(crate) fn fwknopd(kind: Fwknopd) -> Option<Self> {
        let mut subject = Self::fwknopd_with(kind, "")?;
        wait_for("fwknopd to serve", || subject.time_to_open(0));
        Some(subject)
    }

    /// An fwknopd that may not serve yet, with these further stanzas.
    pub(crate) fn fwknopd_with(kind: Fwknopd, stanzas: &str) -> Option<Self> {
        let program = find("fwknopd").filter(|_| find("ipset").is_some())?;
        let world = prepare("iptables");
        let here = world.folder().display().to_string();
        let [key, mac] = ["key", "mac"].map(|which| seed(&format!("fwknop {which}")));
        let [key_text, mac_text] = [key, mac].map(|key| STANDARD.encode(key));
        let mut config = format!(
            "PCAP_INTF {};\nFWKNOP_RUN_DIR {here};\nFWKNOP_PID_FILE {here}/fwknopd.pid;\n\
             DIGEST_FILE {here}/digest.cache;\n",
            world.first.gate_end()
        );
        if kind != Fwknopd::AsShipped {
            config += &format!("ENABLE_UDP_SERVER Y;\nUDPSERV_PORT {KNOCK};\n");
        }
        let mut access = format!(
            "SOURCE ANY\nKEY_BASE64 {key_text}\nHMAC_KEY_BASE64 {mac_text}\nFW_ACCESS_TIMEOUT {OPEN_FOR}\n"
        );
        let mut rules = format!(
            "iptables -A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT\n\
             iptables -A INPUT -p tcp --dport {SERVICE} -j DROP\n"
        );
        if kind == Fwknopd::UdpIpset {
            access += &format!(
                "CMD_CYCLE_OPEN {} add opened $IP timeout {OPEN_FOR} -exist\nCMD_CYCLE_CLOSE NONE\n",
                find("ipset").unwrap().display()
            );
            rules = format!(
                "ipset create opened hash:ip timeout {OPEN_FOR}\n\
                 iptables -I INPUT -p tcp --dport {SERVICE} -m set --match-set opened src -j ACCEPT\n{rules}"
            );
        }
        access.push_str(stanzas);
        world.gate.sh(&rules);
        let [config, access] = [("fwknopd.conf", config), ("access.conf", access)]
            .map(|(name, text)| world.write(name, &text));
        let log = File::create(world.folder().join("fwknopd.log")).unwrap();
        let child = world.gate.run(move || {
            let mut command = Command::new(program);
            command
                .arg("-f")
                .arg("-c")
                .arg(config)
                .arg("-a")
                .arg(access);
            command
                .stdin(Stdio::null())
                .stdout(log.try_clone().unwrap())
                .stderr(log);
            command.spawn().unwrap()
        });
        let name = match kind {
            Fwknopd::AsShipped => "fwknopd as shipped",
            Fwknopd::Udp => "fwknopd, UDP server",
            Fwknopd::UdpIpset => "fwknopd, UDP server and ipset",
        };
        Some(Self {
            name: name.to_owned(),
            world,
            maker: Maker::Fwknop(
                Box::new(Key::new(&key, MacKind::Sha256, &mac).unwrap()),
                Random(1),
            ),
            child: Some(child),
        })
    }

    /// Waits until the knock port has a socket.
    pub(crate) fn wait_for_socket(&self) {
        wait_at_most(Duration::from_secs(60), "a socket", || {
            let sockets = || fs::read_to_string("/proc/thread-self/net/udp").unwrap();
            let sockets = self.world.gate.run(sockets);
            sockets.contains(&format!(":{KNOCK:04X} ")).then_some(())
        });
    }

    /// A knock for this address.
    pub(crate) fn knock(&mut self, allow: Ipv4Addr) -> Vec<u8> {
        match &mut self.maker {
            Maker::Postern(maker) => maker.open(allow.into(), SERVICE, OPEN_FOR),
            Maker::Fwknop(key, random) => fwknop_packet(key, random, allow),
        }
    }

    /// The time from the knock of this round to the open port.
    pub(crate) fn time_to_open(&mut self, round: u32) -> Option<Duration> {
        let from = Ipv4Addr::from_bits(0x0a80_0001 + round);
        let knock = self.knock(from);
        time_to_open(&self.world.first, knock, from, round * 617 % 1000)
    }

    /// Its processes.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let first = self
            .child
            .as_ref()
            .map_or_else(|| self.world.daemon.pid(), Child::id);
        let mut all = vec![first];
        all.extend(children(first));
        all
    }

    fn open_many(&self, count: u32) {
        let maker = KnockMaker::new("crowd");
        let to = SocketAddr::new(Family::V4.address(1), KNOCK);
        let socket = self.world.first.space.run(move || socket_for(to));
        for n in 0..count {
            let allow = IpAddr::from(Ipv4Addr::from_bits(0x0a90_0000 + n));
            socket
                .send_to(&maker.open(allow, SERVICE, LONG), to)
                .unwrap();
            if n % 100 == 99 {
                self.world.daemon.wait_for_admitted(u64::from(n) + 1);
            }
        }
        self.world.wait_for_grants(count as usize);
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A gate on which nothing runs yet, and a client with many addresses. One user has keys of fwknop, so that its look-alikes count.
pub(crate) fn prepare(backend: &str) -> World {
    let config = GateConfig::empty(backend).quiet();
    let config = config.member("alice", LIMITS).member("crowd", LIMITS);
    let [fwknop, mac] =
        ["key", "mac"].map(|which| STANDARD.encode(seed(&format!("classic {which}"))));
    let classic = format!(
        "fwknop = {{ key = \"{fwknop}\", hmac_key = \"{mac}\" }}\nservices = [\"tcp/{SERVICE}\"]"
    );
    let world = World::prepare(&config.user_with("classic", &classic));
    world.first.space.ip("route add local 10.128.0.0/9 dev lo");
    let (client, link) = (world.first.address(Family::V4), world.first.gate_end());
    world
        .gate
        .ip(&format!("route add 10.128.0.0/9 via {client} dev {link}"));
    world
}

fn fwknop_packet(key: &Key, random: &mut Random, allow: Ipv4Addr) -> Vec<u8> {
    let port = Port {
        protocol: Protocol::Tcp,
        number: NonZeroU16::new(SERVICE).unwrap(),
    };
    let request = Request {
        user: "alice".to_owned(),
        timestamp_s: now().as_millis() / 1000,
        allow: Allow::Address(allow),
        message: Message::Access(vec![port]),
        timeout_s: None,
    };
    let random = std::array::from_fn(|_| random.below(256) as u8);
    key.seal(&request, &random).unwrap().into_bytes()
}

/// The processor time of these processes and of the programs that they ran, in user space and in the kernel, in seconds.
pub(crate) fn processor_times(processes: &[u32]) -> [f64; 2] {
    let mut all = [0.0; 2];
    for pid in processes {
        let line = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields = line.rsplit_once(") ").map_or("", |(_, fields)| fields);
        // hundredths of a second: own user, own kernel, children's user, children's kernel
        for (n, ticks) in fields.split(' ').skip(11).take(4).enumerate() {
            all[n % 2] += ticks.parse::<f64>().unwrap() / 100.0;
        }
    }
    all
}
