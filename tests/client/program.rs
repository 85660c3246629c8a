//! Runs `postern` with nothing of the tester's own environment, and keeps configs for it.

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use postern::adapters::files::write_private;
use postern_proto::limits::KEY_LEN;
use postern_proto::{GateName, KeyMaterial, SharedKey, UserKeys};
use tempfile::TempDir;

pub(crate) const GATE: &str = "gate.example.org";

pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// The output of a command that must have done its work without a word of complaint.
    pub(crate) fn ok(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (0, ""), "{}", self.out);
        self.out
    }

    /// The one line of a command that must have failed so, having written nothing else.
    pub(crate) fn failed(self, code: i32) -> String {
        assert_eq!(self.code, code, "{}{}", self.out, self.err);
        assert_eq!(self.out, "", "{}", self.err);
        let line = self.err.strip_suffix('\n').expect("a whole line");
        assert!(
            !line.contains('\n') && line.starts_with("postern: ") && line.contains("; "),
            "{line}"
        );
        line.to_owned()
    }
}

/// A folder with a config, gone at the end of the test.
pub(crate) struct Home {
    folder: TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self {
            folder: TempDir::new().unwrap(),
        }
    }

    /// One profile, `home`, for the gate of these tests.
    pub(crate) fn with_profile(body: &str) -> Self {
        let home = Self::new();
        home.write(
            "config.toml",
            &format!("[home]\ngate = \"{GATE}\"\n{body}\n"),
        );
        home
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        write_private(&self.path(name), text.as_bytes(), true).unwrap();
    }

    /// With this folder's config.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = postern(arguments);
        command.env("POSTERN_CONFIG", self.path("config.toml"));
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        run(&mut self.command(arguments))
    }
}

pub(crate) fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_postern"))
}

pub(crate) fn postern(arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    command
        .args(arguments)
        .env_clear()
        .env("HOME", "/nonexistent");
    command
}

pub(crate) fn run(command: &mut Command) -> Ran {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran {
        code: output.status.code().expect("no signal"),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

/// A key that differs from test to test by its first byte, and is easy to find in output.
pub(crate) fn key(byte: u8) -> String {
    let mut bytes = [0x5a; KEY_LEN];
    bytes[0] = byte;
    SharedKey::from_bytes(bytes).to_base64().to_string()
}

/// What the gate derives from a shared key.
pub(crate) fn shared(key: &str) -> UserKeys {
    let key = SharedKey::from_base64(key).unwrap();
    UserKeys::derive(&GateName::new(GATE).unwrap(), &KeyMaterial::shared(&key))
}

/// Fails unless `docs/json.md` has every field of this output, in the section of its command or in one that it points to.
pub(crate) fn expect_documented(value: &serde_json::Value) {
    let page = include_str!("../../docs/json.md");
    match value {
        serde_json::Value::Object(fields) => fields.iter().for_each(|(field, inside)| {
            assert!(
                page.contains(&format!("`{field}`")),
                "{field} is not in docs/json.md"
            );
            expect_documented(inside);
        }),
        serde_json::Value::Array(items) => items.iter().for_each(expect_documented),
        _ => {}
    }
}
