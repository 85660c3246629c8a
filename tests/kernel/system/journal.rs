//! The journal: systemd's native protocol, as a socket in journald's place gets it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{IoSliceMut, Read, Seek};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg, sockopt};

use super::DRIVER;
use postern_harness::{Family, GateConfig, World, wait_for};

#[derive(Debug, Clone)]
struct Entry {
    fields: BTreeMap<String, String>,
    pid: u32,
}

impl Entry {
    fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    fn expect(&self, fields: &[(&str, &str)]) {
        for (name, value) in fields {
            assert_eq!(self.field(name), *value, "{name}: {self:?}");
        }
    }
}

#[derive(Clone, Default)]
struct Journal(Arc<Mutex<Vec<Entry>>>);

impl Journal {
    fn listen(folder: &Path) -> Self {
        fs::create_dir(folder.join("journal")).unwrap();
        let path = folder.join("journal/socket");
        let socket = UnixDatagram::bind(&path).unwrap();
        // As journald's is.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        sockopt::set_socket_passcred(&socket, true).unwrap();
        let journal = Self::default();
        let entries = Arc::clone(&journal.0);
        thread::spawn(move || {
            while let Some(entry) = receive(&socket) {
                entries
                    .lock()
                    .unwrap()
                    .extend(Some(entry).filter(|entry| !entry.fields.is_empty()));
            }
        });
        journal
    }

    fn entries(&self) -> Vec<Entry> {
        self.0.lock().unwrap().clone()
    }

    fn wait_for(&self, words: &str) -> Entry {
        wait_for(&format!("an entry with {words:?}"), || {
            self.entries()
                .into_iter()
                .find(|entry| entry.field("MESSAGE").contains(words))
        })
    }
}

fn receive(socket: &UnixDatagram) -> Option<Entry> {
    let mut bytes = vec![0; 1 << 18];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1), ScmCredentials(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    )
    .ok()?;
    bytes.truncate(received.bytes);
    let mut pid = 0;
    for message in ancillary.drain() {
        match message {
            // An entry that is too long for a datagram comes as a file in memory.
            RecvAncillaryMessage::ScmRights(files) => files.for_each(|file| bytes = whole(file)),
            RecvAncillaryMessage::ScmCredentials(sender) => {
                pid = sender.pid.as_raw_nonzero().get().cast_unsigned()
            }
            _ => {}
        }
    }
    Some(Entry {
        fields: fields(&bytes),
        pid,
    })
}

fn whole(file: OwnedFd) -> Vec<u8> {
    let (mut file, mut bytes) = (File::from(file), Vec::new());
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

/// `NAME=value` and a line's end, or `NAME`, a line's end, the length in eight bytes (little end first), value and a line's end.
fn fields(mut bytes: &[u8]) -> BTreeMap<String, String> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut fields = BTreeMap::new();
    while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
        let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
        if let Some(equals) = line.iter().position(|byte| *byte == b'=') {
            fields.insert(text(&line[..equals]), text(&line[equals + 1..]));
            bytes = rest;
        } else {
            let (len, rest) = rest.split_first_chunk::<8>().unwrap();
            let (value, rest) = rest.split_at(usize::try_from(u64::from_le_bytes(*len)).unwrap());
            fields.insert(text(line), text(value));
            bytes = rest.strip_prefix(b"\n").unwrap();
        }
    }
    assert!(bytes.is_empty(), "half a field: {bytes:?}");
    fields
}

/// Puts the folder's `journal` in the place of journald's, and says, as systemd does, that standard error leads there.
fn as_a_service(folder: &Path) -> String {
    let here = folder.display();
    format!(
        "mount -t tmpfs none /run && mkdir -p /run/systemd/journal && {{ ! test -e {here}/journal || mount --bind {here}/journal /run/systemd/journal; }} && \
         JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2) exec \"$@\""
    )
}

pub(crate) fn journal_gets_entries_with_fields() {
    let mut world = World::prepare(&GateConfig::new(DRIVER).gate("run_as = \"daemon\""));
    let journal = Journal::listen(world.folder());
    world.daemon.through = Some(as_a_service(world.folder()));
    world.daemon.start_process(&world.gate);
    let serves = journal.wait_for("the engine serves");
    serves.expect(&[("PRIORITY", "6")]);
    assert_eq!(serves.pid, world.daemon.pid());

    world.first.knock("alice", Family::V4, &[]);
    let open = journal.wait_for("open: grant");
    open.expect(&[
        ("POSTERN_USER", "alice"),
        ("POSTERN_ID", "1"),
        ("PRIORITY", "6"),
        ("SYSLOG_IDENTIFIER", "posternd"),
    ]);
    assert_eq!(open.pid, world.daemon.pid());

    // The engine has given its rights up by now, and writes all the same.
    world.first.knock("alice", Family::V6, &["-s", "tcp/1"]);
    let refused = journal.wait_for("refused: alice");
    refused.expect(&[
        ("POSTERN_USER", "alice"),
        ("POSTERN_RULE", "services"),
        ("POSTERN_SOURCE", "fd77::2"),
        ("PRIORITY", "6"),
        ("SYSLOG_IDENTIFIER", "posternd"),
    ]);
    assert_eq!(refused.pid, world.daemon.engine());

    world.first.send(Family::V4, &[7; 200]);
    let dropped = journal.wait_for("drop unknown-hint");
    dropped.expect(&[("POSTERN_REASON", "unknown-hint"), ("PRIORITY", "7")]);

    assert!(world.daemon.stop().success());
    journal.wait_for("stopped; the protection stays");
    assert_eq!(world.daemon.log(), "", "nothing is said twice");
}

pub(crate) fn missing_journal_leaves_standard_error() {
    let mut world = World::prepare(&GateConfig::new(DRIVER));
    world.daemon.through = Some(as_a_service(world.folder()));
    world.start_again();
    // Monitor and engine.
    let said = "the journal can't be reached, log lines go to standard error: ";
    world.daemon.wait_for_lines(2, &["WARN", said]);
    world.first.knock("alice", Family::V4, &[]);
    world
        .daemon
        .wait_for_lines(1, &["INFO", "open: grant 1", "user=\"alice\""]);
}
