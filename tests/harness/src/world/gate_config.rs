//! The config of a test's gate, and what the clients need for it: text in, files out.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postern::adapters::files::write_private;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::{FAMILIES, KNOCK, SERVICE};

/// The gate's name in every test.
pub const GATE_NAME: &str = "gate.test";

/// A gate's config, put together by a test. By default, user `alice` may open the service.
#[derive(Debug, Clone)]
pub struct GateConfig {
    pub backend: String,
    gate: Vec<String>,
    firewall: Vec<String>,
    services: Vec<String>,
    users: Vec<(String, String)>,
    pub is_quiet: bool,
}

impl GateConfig {
    /// For this firewall backend, with no user yet.
    pub fn empty(backend: &str) -> Self {
        let firewall = vec![format!("backend = \"{backend}\"")];
        Self {
            backend: backend.to_owned(),
            gate: Vec::new(),
            firewall,
            services: Vec::new(),
            users: Vec::new(),
            is_quiet: false,
        }
    }

    /// For this firewall backend, with `alice`.
    pub fn new(backend: &str) -> Self {
        Self::empty(backend).member("alice", "")
    }

    /// Without debug lines, as in normal operation.
    pub fn quiet(mut self) -> Self {
        self.is_quiet = true;
        self
    }

    /// A line for `[gate]`.
    pub fn gate(mut self, line: &str) -> Self {
        self.gate.push(line.to_owned());
        self
    }

    /// A line for `[firewall]`.
    pub fn firewall(mut self, line: &str) -> Self {
        self.firewall.push(line.to_owned());
        self
    }

    /// A named service.
    pub fn service(mut self, name: &str, ports: &str) -> Self {
        self.services
            .push(format!("[service.{name}]\nports = [\"{ports}\"]\n"));
        self
    }

    /// A section of the config, as it is.
    pub fn section(mut self, text: &str) -> Self {
        self.services.push(format!("{text}\n"));
        self
    }

    /// A user with a shared key of his own.
    pub fn user(self, name: &str, lines: &str) -> Self {
        let with_key = format!("key = \"{}\"\n{lines}", key(name));
        self.user_with(name, &with_key)
    }

    /// A user who may open the service, with these further lines.
    pub fn member(self, name: &str, lines: &str) -> Self {
        self.user(name, &format!("services = [\"tcp/{SERVICE}\"]\n{lines}"))
    }

    /// A user whose kind of key the lines say.
    pub fn user_with(mut self, name: &str, lines: &str) -> Self {
        self.users.push((name.to_owned(), lines.to_owned()));
        self
    }

    /// Writes the gate's config, and for each user a client's config with a profile a family.
    pub fn write(&self, folder: &Path) {
        let here = folder.display();
        let mut text = format!(
            "[gate]\nname = \"{GATE_NAME}\"\nstate_dir = \"{here}/state\"\ncontrol_socket = \"{here}/control.sock\"\n"
        );
        if !self.gate.iter().any(|line| line.contains("run_as")) {
            text += "run_as = \"daemon\"\n";
        }
        text += &format!(
            "{}\n\n[firewall]\n{}\n\n{}\n",
            self.gate.join("\n"),
            self.firewall.join("\n"),
            self.services.join("\n")
        );
        for (name, lines) in &self.users {
            text += &format!("[[user]]\nname = \"{name}\"\n{lines}\n\n");
            let profiles = FAMILIES.map(|family| {
                let address = std::net::SocketAddr::new(family.address(1), KNOCK);
                let (profile, key) = (family.name(), key(name));
                format!("[{profile}]\ngate = \"{GATE_NAME}\"\naddress = \"{address}\"\nkey = \"{key}\"\nservices = [\"tcp/{SERVICE}\"]\n")
            });
            write_private(
                &folder.join(format!("{name}.toml")),
                profiles.concat().as_bytes(),
                true,
            )
            .unwrap();
        }
        write_private(&folder.join("posternd.toml"), text.as_bytes(), true).unwrap();
    }
}

/// The key of this user: the same in every test, unlike anyone else's.
pub fn key(user: &str) -> String {
    STANDARD.encode(seed(&format!("the key of {user}")))
}

/// 32 bytes that look random and depend on the words alone.
pub fn seed(words: &str) -> [u8; 32] {
    Sha256::digest(format!("postern's tests: {words}")).into()
}

/// A folder that the engine's user may pass through and only its owner may change; gone with this value.
pub(crate) fn folder(prefix: &str) -> TempDir {
    let folder = tempfile::Builder::new().prefix(prefix).tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    folder
}
