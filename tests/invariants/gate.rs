//! Invariants 1, 2, 3, 7 and 9: the gate and the engine around it.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::Path;
use std::slice;
use std::time::Duration;

use allocation_counter::measure;
use postern::adapters::config::bundle::{Bundle, BundleFile};
use postern::adapters::store::ReplayStore;
use postern::adapters::store::disk::DiskStore;
use postern::adapters::store::memory::MemoryStore;
use postern::core::gate::{Gate, HintTable, User};
use postern::core::order::{self, Order, Report};
use postern::daemon::engine::commit;
use postern::daemon::engine::core::Core;
use postern::model::datagram::Datagram;
use postern::model::mark::StoredMarks;
use postern::model::policy::Quota;
use postern::model::reason::{Drop, Reason, Rule};
use postern_proto::{
    Action, Allow, GateName, Item, KeyMaterial, OpenBuffer, PresharedKey, PrivateKey, Protocol,
    Request, RootKey, Service, SharedKey, seal,
};

use crate::{KEY, NOW, config};

fn keys() -> RootKey {
    RootKey::extract(
        &GateName::new("gate.example.org").unwrap(),
        &KeyMaterial::shared(&SharedKey::from_bytes(KEY)),
    )
}

fn core(kept: StoredMarks) -> Core {
    let settings = config().settings;
    let quota = Quota {
        count: NonZeroU32::new(1000).unwrap(),
        per: Duration::from_secs(1),
    };
    let policy = settings.policies[0].clone();
    let policy = policy.with(|rules| rules.quota = quota);
    let mut gate = Gate::new(
        vec![User {
            keys: keys(),
            policy,
        }],
        Vec::new(),
        settings.catalog,
        settings.gate.window,
        kept,
    );
    let table = HintTable::build(&gate.hint_keys(), gate.table_wanted(NOW).unwrap());
    gate.install(table);
    Core::new(gate, "gate.example.org", NOW)
}

fn knock(nonce: u8) -> Vec<u8> {
    knock_at(nonce, 22)
}

fn knock_at(nonce: u8, port: u16) -> Vec<u8> {
    let request = Request {
        action: Action::Open,
        allow: Allow::Source { prefix: 128 },
        timestamp_ms: NOW.as_millis(),
        duration_s: 0,
        target: None,
        items: vec![Item::Service(
            Service::new(Protocol::Tcp, port, port).unwrap(),
        )],
    };
    seal(&keys().keys(), &request, [nonce; 12], 200)
        .unwrap()
        .as_bytes()
        .to_vec()
}

fn datagram(bytes: &[u8]) -> Datagram {
    Datagram::new(
        IpAddr::from([192, 0, 2, 7]),
        IpAddr::from([198, 51, 100, 1]),
        62201,
        bytes,
    )
}

#[test]
fn invariant_1_equal_inputs_give_equal_decisions() {
    let decide = || {
        let mut core = core(StoredMarks::default());
        (1..20)
            .map(|n| core.gate().handle(NOW, &datagram(&knock(n % 7))))
            .collect::<Vec<_>>()
    };
    assert_eq!(decide(), decide());
}

#[test]
fn invariant_2_strangers_allocate_nothing() {
    let mut core = core(StoredMarks::default());
    let right = knock(1);
    let changed = |at: usize| {
        let mut bytes = right.clone();
        bytes[at] ^= 1;
        datagram(&bytes)
    };
    let strangers = [
        (datagram(&[]), Drop::Length),
        (datagram(&[7; 1400]), Drop::Length),
        (datagram(&[7; 200]), Drop::UnknownHint),
        (changed(0), Drop::UnknownHint),
        (changed(10), Drop::BadMac),
        (changed(30), Drop::BadMac),
        (changed(100), Drop::BadMac),
    ];
    for (stranger, reason) in &strangers {
        let allocated = measure(|| {
            for _ in 0..1000 {
                assert!(core.datagram(NOW, stranger).is_none());
            }
        });
        assert_eq!(
            (allocated.count_total, core.gate().marks()),
            (0, 0),
            "{reason:?}"
        );
    }
    for reason in [Drop::Length, Drop::UnknownHint, Drop::BadMac] {
        let sent = strangers.iter().filter(|(_, of)| *of == reason).count() as u64;
        assert_eq!(
            core.gate().counters().of(Reason::Drop(reason)),
            1000 * sent,
            "{reason:?}"
        );
    }
    let admitted = measure(|| assert!(core.datagram(NOW, &datagram(&right)).is_some()));
    assert!(
        admitted.count_total > 0 && core.gate().marks() == 1,
        "the counter counts"
    );
}

/// A flood of replays is cheap: a copy is found before it is decrypted or decoded.
#[test]
fn a_replay_costs_no_more_than_a_mac() {
    let mut core = core(StoredMarks::default());
    let copies = [datagram(&knock(1)), datagram(&knock_at(2, 23))];
    assert!(core.datagram(NOW, &copies[0]).is_some() && core.datagram(NOW, &copies[1]).is_none());
    assert_eq!(core.gate().counters().of(Reason::Refuse(Rule::Service)), 1);
    for (later, reason) in [
        (0, Drop::Duplicate),
        (1001, Drop::Replay),
        (30_001, Drop::TooOld),
    ] {
        let now = NOW.plus(Duration::from_millis(later));
        let allocated =
            measure(|| assert!(copies.iter().all(|copy| core.datagram(now, copy).is_none())));
        // Decoding a body would allocate a list of items.
        assert_eq!(
            (
                allocated.count_total,
                core.gate().counters().of(Reason::Drop(reason))
            ),
            (0, 2),
            "{reason:?}"
        );
    }
}

/// From the packet to the bytes of the order, and what follows when the monitor has answered.
#[test]
fn admitted_knock_allocates_little() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = DiskStore::open(folder.path()).unwrap();
    let mut core = core(StoredMarks::default());
    let mut knock = |nonce| {
        let knock = datagram(&knock(nonce));
        let mut commit = None;
        let decide = measure(|| commit = core.datagram(NOW, &knock));
        let mut commit = commit.unwrap();
        let write = measure(|| commit::write(slice::from_mut(&mut commit), &mut store).unwrap());
        let mut order = None;
        let encode =
            measure(|| order = Some(order::encode(&commit.take_order().unwrap()).unwrap()));
        let after = measure(|| {
            core.stored(NOW, commit.ticket, Ok(()));
            let (ticket, count) = (commit.ticket, 1);
            core.reported(Report::Closed { ticket, count });
        });
        assert!(order.unwrap().len() <= 512);
        [decide, write, encode, after].map(|part| part.count_total)
    };
    // Maps and lists grow with the first ones.
    for nonce in 1..100 {
        knock(nonce);
    }
    // The items of the knock, the services and the user of the request, the mark; the record; the message and a service as text.
    assert_eq!(knock(100), [4, 1, 2, 0]);
}

#[test]
fn invariant_3_no_order_without_a_durable_mark() {
    let mut core = core(StoredMarks::default());
    let mut store = MemoryStore::default();
    let [mut durable, mut lost] =
        [1, 2].map(|nonce| core.datagram(NOW, &datagram(&knock(nonce))).unwrap());
    assert_eq!(lost.take_order(), None, "not written yet");
    store.with(|disk| disk.failing = Some("the disk is gone".to_owned()));
    assert!(commit::write(slice::from_mut(&mut lost), &mut store).is_err());
    core.stored(NOW, lost.ticket, Err("the disk is gone"));
    assert_eq!(lost.take_order(), None);
    store.with(|disk| disk.failing = None);
    commit::write(slice::from_mut(&mut durable), &mut store).unwrap();
    assert!(matches!(durable.take_order(), Some(Order::Open { .. })));
    assert_eq!(durable.take_order(), None, "one mark, one order");
    assert_eq!(
        store.load().unwrap().marks,
        durable.change.marks,
        "the lost one is not stored"
    );
    assert_eq!(
        durable.change.marks[0].mark.0,
        knock(1)[20..36],
        "the mark of this knock"
    );
}

#[test]
fn invariant_7_debug_output_shows_no_key() {
    let shared = SharedKey::from_bytes(KEY);
    let text = shared.to_base64();
    let private = PrivateKey::from_bytes(KEY);
    let preshared = PresharedKey::from_bytes(KEY);
    let loaded = config();
    let file = BundleFile {
        path: "/k".into(),
        text: text.to_string().into(),
    };
    let bundle = Bundle {
        main: None,
        keys: vec![file],
        ..Bundle::default()
    };
    let mut core = core(StoredMarks::default());
    let packet = datagram(&knock(1));
    let commit = core.datagram(NOW, &packet).unwrap();
    let said = format!(
        "{shared:?} {private:?} {preshared:?} {text:?} {loaded:?} {bundle:?} {core:?} {:?} {:?} {:?} {packet:?} {commit:?} {:?}",
        keys(),
        keys().keys(),
        keys().hint_key(),
        OpenBuffer::new()
    );
    let hex: String = KEY.iter().map(|byte| format!("{byte:02x}")).collect();
    let list = format!("{KEY:?}");
    for secret in [
        text.as_bytes(),
        hex.as_bytes(),
        list.trim_matches(['[', ']']).as_bytes(),
        &KEY,
    ] {
        for part in secret.windows(12) {
            let part = String::from_utf8_lossy(part);
            assert!(!said.contains(&*part), "{part} is shown: {said}");
        }
    }
    // The bytes of derived keys are not accessible here.
    assert_eq!(
        format!("{:?} {:?} {:?}", keys(), keys().keys(), keys().hint_key()),
        "RootKey(..) UserKeys(..) HintKey(..)"
    );
}

/// The sources of the packet path name no call that sends. `tests/kernel/capture` checks real sockets.
#[test]
fn invariant_9_the_packet_path_cannot_send() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    for folder in ["core/gate", "adapters/capture", "daemon/engine"] {
        sources(&root.join(folder), &mut files);
    }
    for path in &files {
        let text = std::fs::read_to_string(path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        for word in ["send_to", "sendto", "sendmsg", "sendmmsg", "socket.send"] {
            assert!(!code.contains(word), "{}: {word}", path.display());
        }
    }
    assert!(files.len() > 25, "{} files", files.len());
}

fn sources(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for path in std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
    {
        if path.is_dir() {
            sources(&path, found)
        } else {
            found.push(path)
        }
    }
}
