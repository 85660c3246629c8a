//! The hosts of a page, their links, and the servers that a page asks for.
//!
//! ```text
//!   you: 203.0.113.9, 2001:db8:9::9 == gate: 192.0.2.1, 2001:db8::1, 10.0.0.1, fd00::1 == inside: 10.0.0.5, fd00::5
//! ```
//!
//! With the word `two-gates` they are on one network; one of the gates has 192.0.2.1 beside its own address:
//!
//! ```text
//!   you: 203.0.113.9 == gate1: 192.0.2.11 == gate2: 192.0.2.12 == third: 192.0.2.13
//! ```

use std::path::Path;

use tempfile::TempDir;

mod host;

pub use host::{HOME, Host};

use crate::{Namespace, repository};

/// In prompts.
pub const HOSTS: [&str; 6] = ["gate", "you", "inside", "gate1", "gate2", "third"];

const TWO_GATES: &str = "two-gates";

/// Taken down in this order.
pub struct Hosts {
    hosts: Vec<(&'static str, Host)>,
    /// What the hosts of one network are connected to.
    switch: Option<Namespace>,
    _folder: TempDir,
}

impl Hosts {
    /// Connects the hosts and starts the servers that `words` name.
    pub fn make(words: &[String]) -> Self {
        let folder = crate::world::folder("postern-docs-");
        let has_two = words.iter().any(|word| word == TWO_GATES);
        let names: &[&'static str] = if has_two { &HOSTS[1..] } else { &HOSTS[..3] };
        let names = names.iter().filter(|name| !has_two || **name != "inside");
        let hosts = names.map(|name| (*name, Host::new(name, folder.path())));
        let world = Self {
            hosts: hosts.collect(),
            switch: has_two.then(Namespace::new),
            _folder: folder,
        };
        match &world.switch {
            Some(switch) => world.connect_to(switch),
            None => world.lay_cables(),
        }
        for word in words.iter().filter(|word| *word != TWO_GATES) {
            world.serve(word);
        }
        world
    }

    pub fn host(&self, name: &str) -> &Host {
        let mut hosts = self.hosts.iter();
        let found = hosts.find(|(one, _)| *one == name);
        let (_, host) = found.unwrap_or_else(|| panic!("there is no host {name}"));
        host
    }

    fn connect_to(&self, switch: &Namespace) {
        switch.ip_batch("link add lan type bridge\nlink set lan up");
        for (name, address) in [
            ("you", "203.0.113.9/24"),
            ("gate1", "192.0.2.11/24"),
            ("gate2", "192.0.2.12/24"),
            ("third", "192.0.2.13/24"),
        ] {
            let space = &self.host(name).space;
            let there = space.thread_id;
            switch.ip_batch(&format!(
                "link add {name} type veth peer name eth0 netns {there}\nlink set {name} master lan up"
            ));
            space.ip_batch(&format!(
                "addr add {address} dev eth0\nlink set lo up\nlink set eth0 up"
            ));
            let other = if name == "you" {
                "192.0.2.0"
            } else {
                "203.0.113.0"
            };
            space.ip_batch(&format!("route add {other}/24 dev eth0"));
        }
    }

    fn lay_cables(&self) {
        let [gate, you, inside] = ["gate", "you", "inside"].map(|name| &self.host(name).space);
        let ours = ["192.0.2.1/32", "2001:db8::1/128"];
        let theirs = ["203.0.113.9/32", "2001:db8:9::9/128"];
        gate.link_as(you, ["eth0", "eth0"], &ours, &theirs);
        let ours = ["10.0.0.1/24", "fd00::1/64"];
        let theirs = ["10.0.0.5/24", "fd00::5/64"];
        gate.link_as(inside, ["eth1", "eth0"], &ours, &theirs);
        gate.ip_batch("route add 203.0.113.0/24 dev eth0\nroute add 2001:db8:9::/64 dev eth0");
        you.ip_batch("route add 192.0.2.1 dev eth0\nroute add 2001:db8::1 dev eth0");
        you.ip_batch("route add 0.0.0.0/0 via 192.0.2.1\nroute add ::/0 via 2001:db8::1");
        inside.ip_batch("route add 0.0.0.0/0 via 10.0.0.1\nroute add ::/0 via fd00::1");
    }

    /// `gate/sshd`, `gate/http:8080`, `inside/udp:22`, `gate/git`: a server on a host, or a repository.
    fn serve(&self, word: &str) {
        let (name, server) = word
            .split_once('/')
            .unwrap_or_else(|| panic!("{word} is not MACHINE/SERVER"));
        let host = self.host(name);
        let said = match server.split_once(':') {
            None if server == "sshd" => {
                let said = host.run(SSHD);
                let you = self.host("you");
                let key = you.run("mkdir -p -m 700 ~/.ssh && [ -f ~/.ssh/id_ed25519 ] || ssh-keygen -q -t ed25519 -N '' -f ~/.ssh/id_ed25519 && cat ~/.ssh/id_ed25519.pub");
                host.write("~/.ssh/authorized_keys", &key);
                // In addition to the page's ~/.ssh/config: nobody can answer a question.
                you.write(
                    "/etc/ssh/ssh_config.d/docs.conf",
                    "Host *\n    StrictHostKeyChecking accept-new\n    LogLevel ERROR\n    BatchMode yes\n",
                );
                said
            }
            // The host is behind the gate, which forwards everything.
            None if server == "stun" => {
                let routes = self
                    .host("gate")
                    .run("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
                routes
                    + &host.run(&started(STUN, ""))
                    + &host.run(&LISTENS_UDP.replace("PORT", "3478"))
            }
            None if server == "git" => host.run(GIT),
            None if server == "firewalld" => {
                let bus = "mkdir -p /run/dbus; rm -f /run/dbus/pid;";
                let bus = format!(
                    "{bus} {}",
                    started("dbus-daemon --system --nofork --nopidfile", "")
                );
                host.run(&bus)
                    + &host.run(&started("firewalld --nofork --nopid", ""))
                    + &host.run(FIREWALLD_RUNS)
            }
            // A stand-in for the program of OpenWrt: it loads rules of the shape that fw4 makes.
            None if server == "fw4" => {
                host.write(
                    "/usr/local/bin/fw4",
                    &format!("#!/bin/sh\nexec nft -f - <<'X'\n{FW4}X\n"),
                );
                host.run("chmod 755 /usr/local/bin/fw4; fw4")
            }
            None if server == "docker" => host.run(&tool("docker", DOCKER, "docker.save")),
            None if server == "libvirt" => host.run(&tool("virsh", VIRSH, "libvirt.save")),
            None if server == "https" => {
                host.write("/srv/https.py", HTTPS);
                let said =
                    host.run(CERTIFICATE) + &host.run(&started("python3 /srv/https.py", "443"));
                // Any certificate is accepted here.
                self.host("you").write(
                    "/etc/ssl/certs/ca-certificates.crt",
                    &host.run("cat /srv/https.pem"),
                );
                said
            }
            Some(("http", port)) => {
                let server = format!("python3 -m http.server -b :: -d /srv/www {port}");
                let page = format!("echo 'hello from {name}' >/srv/www/index.html");
                let server = started(&server, port);
                host.run(&format!("mkdir -p /srv/www && {page}; {server}"))
            }
            Some(("udp", port)) => {
                host.write("/srv/udp.py", &UDP_ECHO.replace("PORT", port));
                host.run(&started("python3 /srv/udp.py", ""))
                    + &host.run(&LISTENS_UDP.replace("PORT", port))
            }
            _ => panic!("no server {word}"),
        };
        assert_eq!(said, "", "{word}");
        let path = Path::new("/run/started");
        host.space.run(move || assert!(path.is_dir()));
    }
}

/// A script in the place of a tool, which loads the rules that the tool writes.
fn tool(name: &str, script: &str, rules: &str) -> String {
    let rules = repository().join("tests/rulesets").join(rules);
    let script = script.replace("RULES", &rules.display().to_string());
    format!("cat >/usr/local/bin/{name} <<'X'\n{script}X\nchmod 755 /usr/local/bin/{name}")
}

/// A web server in a network namespace is the container.
const DOCKER: &str = "#!/bin/sh
set -e
ip netns add web
ip link add docker0 type veth peer name eth0 netns web
ip addr add 172.17.0.1/16 dev docker0; ip link set docker0 up
ip -n web addr add 172.17.0.2/16 dev eth0; ip -n web link set eth0 up
ip -n web route add default via 172.17.0.1
sysctl -qw net.ipv4.ip_forward=1
iptables-restore <RULES
mkdir -p /srv/www; echo 'hello from a container' >/srv/www/index.html
setsid ip netns exec web sh -c 'echo $$ >/run/started/web; exec python3 -m http.server -d /srv/www 80' </dev/null >/dev/null 2>&1 &
for _ in $(seq 200); do ip netns exec web ss --no-header -ltn | grep -q ':80 ' && break; sleep 0.05; done
echo 6d1f0c2a9b7e4f58
";

/// Another one is the guest.
const VIRSH: &str = "#!/bin/sh
set -e
ip netns add guest
ip link add virbr0 type veth peer name eth0 netns guest
ip addr add 192.168.122.1/24 dev virbr0; ip link set virbr0 up
ip -n guest addr add 192.168.122.10/24 dev eth0; ip -n guest link set eth0 up
ip -n guest route add default via 192.168.122.1
sysctl -qw net.ipv4.ip_forward=1
iptables-restore <RULES
mkdir -p /srv/www; echo 'hello from a guest' >/srv/www/index.html
setsid ip netns exec guest sh -c 'echo $$ >/run/started/guest; exec python3 -m http.server -d /srv/www 80' </dev/null >/dev/null 2>&1 &
for _ in $(seq 200); do ip netns exec guest ss --no-header -ltn | grep -q ':80 ' && break; sleep 0.05; done
echo Network default started
";

const CERTIFICATE: &str = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc -days 2 -subj /CN=gate.example.org \
    -addext subjectAltName=DNS:gate.example.org -keyout /srv/https.key -out /srv/https.pem 2>/dev/null";

/// A web server on port 443.
const HTTPS: &str = r#"
import http.server, socket, ssl

class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello from the web\n")

class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6

context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/srv/https.pem", "/srv/https.key")
server = Server(("::", 443), Page)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"#;

/// A repository in the home folder, with one commit in it.
const GIT: &str = "set -e; git init -q -b main /srv/notes; cd /srv/notes; echo hello >note; git add note; \
    git -c user.name=docs -c user.email=docs@example.org commit -q -m 'The first note'; git clone -q --bare . ~/notes.git";

/// A real sshd with keys of its own.
const SSHD: &str = "set -e; mkdir -p -m 755 /run/sshd; mkdir -p -m 700 ~/.ssh; ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/docs_host_key; \
    printf 'HostKey /etc/ssh/docs_host_key\\nPidFile none\\nUsePAM no\\nPermitRootLogin yes\\nStrictModes no\\nSubsystem sftp internal-sftp\\n' >/etc/ssh/docs_sshd_config; \
    setsid sh -c 'echo $$ >/run/started/sshd; exec /usr/sbin/sshd -D -f /etc/ssh/docs_sshd_config' </dev/null >/dev/null 2>&1 & \
    for _ in $(seq 200); do ss --no-header -ltn | grep -q ':22 ' && exit 0; sleep 0.05; done; echo sshd does not listen";

const FIREWALLD_RUNS: &str = "for _ in $(seq 200); do firewall-cmd --state >/dev/null 2>&1 && exit 0; sleep 0.1; done; echo firewalld does not run";

/// A zone for each side, and rejects in a chain that all share, as in OpenWrt 23.05.
pub const FW4: &str = r#"
table inet fw4
flush table inet fw4
table inet fw4 {
  chain handle_reject { meta l4proto tcp reject with tcp reset; reject with icmpx port-unreachable; }
  chain reject_from_wan { iifname != "br-lan" counter jump handle_reject; }
  chain syn_flood { limit rate 25/second burst 50 packets return; drop; }
  chain input_lan { accept; }
  chain input_wan { meta nfproto ipv4 udp dport 68 counter accept; ip saddr 198.51.100.9 drop; meta l4proto ipv6-icmp accept; jump reject_from_wan; }
  chain input {
    type filter hook input priority filter; policy drop;
    iif lo accept; ct state vmap { established : accept, related : accept }; tcp flags & (fin | syn | rst | ack) == syn jump syn_flood;
    iifname "br-lan" jump input_lan; iifname != { "lo", "br-lan" } jump input_wan; jump handle_reject;
  }
  chain forward { type filter hook forward priority filter; policy drop; ct state vmap { established : accept, related : accept }; jump handle_reject; }
  chain prerouting { type filter hook prerouting priority dstnat; policy accept; }
  chain mangle_forward { type filter hook forward priority mangle; policy accept; tcp flags syn tcp option maxseg size set rt mtu; }
}
"#;

const STUN: &str = "turnserver -n -S --no-cli --no-tls --no-dtls -p 3478 --log-file stdout";
const LISTENS_UDP: &str = "for _ in $(seq 200); do ss --no-header -lun | grep -q ':PORT ' && exit 0; sleep 0.05; done; echo PORT is not listened on";

/// Sends back what it gets.
const UDP_ECHO: &str = "import socket; s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.bind(('::', PORT))\nwhile True: s.sendto(*s.recvfrom(2048))";

/// Starts a server and, where it has a TCP port, waits until it listens.
fn started(command: &str, port: &str) -> String {
    let letters = command.chars().filter(char::is_ascii_alphanumeric);
    let name: String = letters.take(24).collect();
    let start = format!(
        "setsid sh -c 'echo $$ >/run/started/{name}{port}; exec {command}' </dev/null >/dev/null 2>&1 &"
    );
    if port.is_empty() {
        return start;
    }
    format!(
        "{start} for _ in $(seq 200); do ss --no-header -ltn | grep -q ':{port} ' && exit 0; sleep 0.05; done; echo port {port} is not listened on"
    )
}
