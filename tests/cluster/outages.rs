//! Faults of a coordinator, and plans of them at random.

use std::io::Write;
use std::ops::Range;

use postern_harness::{Namespace, Random};
use rustix::process::Signal;
use tempfile::TempDir;

use super::fleet;
use super::process::Process;
use super::servers::Server;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Kill,
    Pause,
    Stop,
    /// Nothing comes to it.
    Cut,
    /// Nothing comes from it: what it carries out nobody hears of.
    Mute,
    /// Connections are reset.
    Reset,
    /// One gate alone is cut off.
    Apart(u8),
}

const FAULTS: [Fault; 7] = [
    Fault::Kill,
    Fault::Kill,
    Fault::Pause,
    Fault::Stop,
    Fault::Cut,
    Fault::Mute,
    Fault::Reset,
];

impl Fault {
    pub(crate) fn is_of_process(self) -> bool {
        matches!(self, Self::Kill | Self::Pause | Self::Stop)
    }

    /// Gates reach the coordinator by a link, and processes alone by 127.0.0.2. etcd itself uses 127.0.0.1.
    fn rules(self, server: &Server) -> String {
        let (hook, from, port, to, verdict) = match self {
            Self::Mute => ("output", "oifname", "sport", "saddr", "drop"),
            Self::Reset => (
                "input",
                "iifname",
                "dport",
                "daddr",
                "reject with tcp reset",
            ),
            _ => ("input", "iifname", "dport", "daddr", "drop"),
        };
        let ways = match self {
            Self::Apart(gate) => vec![format!("iifname gate{gate}")],
            _ => vec![format!("{from} != lo"), format!("ip {to} 127.0.0.2")],
        };
        let table = self.table(server);
        let mut text = format!(
            "add table inet {table}\nadd chain inet {table} cut {{ type filter hook {hook} priority 0; }}\n"
        );
        let ports: Vec<u16> = match self {
            Self::Apart(_) => server.ports().collect(),
            _ => server.reached_ports(),
        };
        for (port_of, way) in ports
            .iter()
            .flat_map(|one| ways.iter().map(move |way| (one, way)))
        {
            text += &format!("add rule inet {table} cut {way} tcp {port} {port_of} {verdict}\n");
        }
        text
    }

    /// Faults that overlap have tables of their own.
    fn table(self, server: &Server) -> String {
        match self {
            Self::Apart(gate) => format!("apart{gate}"),
            _ => format!("cut{}to{}", server.reached.start, server.reached.end),
        }
    }
}

/// Reaches the nodes that [`Server::reached`] says.
pub(crate) fn begin(server: &mut Server, space: &Namespace, fault: Fault) {
    match fault {
        Fault::Kill => server.kill(),
        Fault::Stop => server.stop(),
        Fault::Pause => server.signal(Signal::STOP),
        _ => nft(space, fault.rules(server)),
    }
}

pub(crate) fn end(server: &mut Server, space: &Namespace, fault: Fault) {
    match fault {
        Fault::Kill | Fault::Stop => server.start_again(space),
        Fault::Pause => server.signal(Signal::CONT),
        _ => nft(
            space,
            format!("delete table inet {}\n", fault.table(server)),
        ),
    }
}

fn nft(space: &Namespace, commands: String) {
    space.run(move || {
        let mut child = std::process::Command::new("nft")
            .args(["-f", "-"])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(commands.as_bytes()).unwrap();
        drop(stdin);
        assert!(child.wait().unwrap().success(), "{commands}");
    });
}

/// A fault of these nodes. Times are milliseconds.
#[derive(Debug, Clone)]
pub(crate) struct Outage {
    pub(crate) fault: Fault,
    pub(crate) nodes: Range<usize>,
    pub(crate) times: Range<u64>,
}

impl Outage {
    /// Both cannot be: a process ends once.
    fn clashes(&self, other: &Self) -> bool {
        let is_same = match (self.fault, other.fault) {
            (Fault::Apart(one), Fault::Apart(other)) => one == other,
            (Fault::Apart(_), _) | (_, Fault::Apart(_)) => false,
            (one, two) => {
                one.is_of_process() == two.is_of_process() && meet(&self.nodes, &other.nodes)
            }
        };
        is_same && meet(&self.times, &other.times)
    }

    pub(crate) fn reaches(&self, node: usize) -> bool {
        !matches!(self.fault, Fault::Apart(_)) && self.nodes.contains(&node)
    }
}

fn meet<T: Ord>(one: &Range<T>, other: &Range<T>) -> bool {
    one.start < other.end && other.start < one.end
}

/// Faults that begin until then, or little later. Some are over at once, some are long, and some overlap.
pub(crate) fn plan(random: &mut Random, nodes: usize, gates: u8, until: u64) -> Vec<Outage> {
    let mut plan: Vec<Outage> = Vec::new();
    let mut at = 0;
    while at < until {
        at += 300 + random.below(3000);
        let long = match random.below(6) {
            0 => 1 + random.below(50),
            1 => 1 + random.below(8000),
            _ => 1 + random.below(2000),
        };
        let fault = match random.below(8) {
            0 if gates > 1 => Fault::Apart(1 + u8::try_from(random.below(gates.into())).unwrap()),
            _ => FAULTS[usize::try_from(random.below(7)).unwrap()],
        };
        let count = if random.below(2) == 0 {
            nodes
        } else {
            1 + usize::try_from(random.below(2)).unwrap().min(nodes - 1)
        };
        let first =
            usize::try_from(random.below(u64::try_from(nodes - count).unwrap() + 1)).unwrap();
        let outage = Outage {
            fault,
            nodes: first..first + count,
            times: at..at + long,
        };
        if !plan.iter().any(|other| other.clashes(&outage)) {
            plan.push(outage);
        }
        if random.below(4) > 0 {
            at += long;
        }
    }
    plan
}

/// A coordinator in its namespace.
pub(crate) struct Shore {
    pub(crate) space: Namespace,
    server: Server,
    kind: &'static str,
    _folder: TempDir,
}

impl Shore {
    pub(crate) fn start(kind: &'static str) -> Self {
        let (folder, space) = (fleet::folder(), Namespace::new());
        let server = Server::start(kind, &space, folder.path(), &[]);
        Self {
            space,
            server,
            kind,
            _folder: folder,
        }
    }

    pub(crate) fn process(&self, member: &str) -> Process {
        Process::start(&self.space, self.kind, member)
    }

    pub(crate) fn begin(&mut self, fault: Fault) {
        begin(&mut self.server, &self.space, fault);
    }

    pub(crate) fn end(&mut self, fault: Fault) {
        end(&mut self.server, &self.space, fault);
    }
}
