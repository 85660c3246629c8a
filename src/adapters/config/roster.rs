//! This gate's part of the roster in force.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::thread;

use postern_proto::PrivateKey;
use toml::de::{DeTable, DeValue};
use zeroize::Zeroizing;

use super::config_text::ConfigText;
use super::fields::Fields;
use super::gate;
use super::how::STACK;
use super::kept_part::KeptPart;
use super::key::line_of;
use super::key_files::gate_key_file;
use super::parts::{PART, Parts};
use super::problem::{Problem, unreadable};
use super::roster_section;
use super::values;
use crate::adapters::config::bundle::{Bundle, BundleFile};
use crate::adapters::files::{self, FileError, FileErrorKind};
use crate::core::roster::minisign::PublicKey;
use crate::core::roster::{self, BREAK_LINE, Floor, Installed, Notes, Part, Roster, Trust};
use crate::model::exit::{CONFIG, ExitError};
use crate::model::policy::Policy;
use crate::model::roster::{RosterRefusal, RosterSettings};
use crate::model::service::Wanted;
use crate::model::settings::{Settings, monitor_path};
use crate::model::time::Timestamp;

/// The file of the roster in force, in the monitor's folder.
const IN_FORCE: &str = "roster";
const FLOOR: &str = "roster.floor";

/// What of a config says which roster a gate takes.
#[derive(Debug, Clone)]
pub(crate) struct RosterPlace {
    pub(crate) gate: String,
    pub(crate) state_dir: PathBuf,
    pub(crate) settings: RosterSettings,
}

/// What `posternd.toml` says of rosters; `None` without a `[roster]`, or if the file is wrong, which loading reports.
pub(crate) fn roster_place(main: &BundleFile) -> Option<RosterPlace> {
    if !main.text.contains("roster") {
        return None;
    }
    let parts = Parts::of(main, PART);
    let file = parts.rest();
    let values = file.values()?;
    let top = Fields::new(&file, "posternd.toml", &values, 0);
    let settings = roster_section::read(&top.table("roster", "[roster]")?)?;
    let gate = gate::read(&top.table("gate", "[gate]")?)?;
    Some(RosterPlace {
        gate: gate.name.as_str().to_owned(),
        state_dir: gate.state_dir,
        settings,
    })
}

impl RosterPlace {
    /// What loaded settings say; `None` without a `[roster]`.
    pub(crate) fn of(settings: &Settings) -> Option<Self> {
        Some(Self {
            gate: settings.gate.name.as_str().to_owned(),
            state_dir: settings.gate.state_dir.clone(),
            settings: settings.roster.clone()?,
        })
    }

    pub(crate) fn folder(&self) -> PathBuf {
        monitor_path(&self.state_dir)
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.folder().join(IN_FORCE)
    }

    pub(crate) fn trust(&self) -> Trust {
        let keys = self.settings.trust.iter();
        Trust {
            keys: keys.filter_map(|key| PublicKey::parse(key).ok()).collect(),
            signatures: self.settings.signatures,
        }
    }

    pub(crate) fn floor_file(&self) -> PathBuf {
        self.folder().join(FLOOR)
    }

    /// The file of the roster in force; `None` if there is none yet.
    pub(crate) fn read(&self) -> Result<Option<BundleFile>, ExitError> {
        let path = self.file();
        let text = present(files::read_roster(&path))?;
        Ok(text.map(|text| BundleFile { path, text }))
    }

    /// What the gate notes of the roster in force. Reads only the start of the file, so the rest may be damaged.
    pub(crate) fn notes(&self) -> Option<Notes> {
        Notes::read(&files::read_before(&self.file(), BREAK_LINE).ok()?)
    }

    /// What is never forgotten; `None` before the first roster. Fails if it is damaged.
    pub(crate) fn floor(&self) -> Result<Option<Floor>, ExitError> {
        let path = self.floor_file();
        let Some(file) = present(files::read_private(&path))? else {
            return Ok(None);
        };
        let what = "this file is damaged, so an older roster could be taken";
        let cure = "restore it; or remove it, if a newer roster follows";
        let damaged = || ExitError::new(CONFIG, format!("{}: {what}; {cure}", path.display()));
        Floor::read(&file).map(Some).ok_or_else(damaged)
    }

    /// When the users of a roster that was confirmed at this time end, even if the roster does not.
    fn stale(&self, confirmed: Timestamp) -> Option<Timestamp> {
        self.settings.freshness.ends(confirmed)
    }

    fn kept_part(&self, digest: &str, confirmed: Timestamp, closed: &[String]) -> KeptPart {
        let stale = self.stale(confirmed);
        KeptPart::new(&self.folder(), &self.gate, digest, stale, closed)
    }

    /// Keeps the part in the bundle, whose secrets are opened, for the next load. It belongs to the roster with this digest.
    pub(crate) fn keep(
        &self,
        bundle: &Bundle,
        digest: &str,
        confirmed: Timestamp,
        closed: &[String],
    ) {
        keep(&self.kept_part(digest, confirmed, closed), bundle);
    }

    /// This gate's part of a roster.
    pub(crate) fn part(&self, roster: &Roster, confirmed: Timestamp) -> Part {
        let until = roster.until();
        let stale = self.stale(confirmed);
        roster.part(&self.gate, stale.map_or(until, |stale| stale.min(until)))
    }
}

fn part_name(place: &RosterPlace) -> PathBuf {
    format!("{} (this gate's part)", place.file().display()).into()
}

/// The text of a part that is loaded with the config.
pub(crate) fn gate_part(place: &RosterPlace, part: &Part, closed: &[String]) -> BundleFile {
    let path = part_name(place);
    let closed = closed.iter().map(|policy| format!("[[closed]]\n{policy}"));
    BundleFile::new(path, part.users.clone() + &closed.collect::<String>())
}

/// Puts this gate's part of the roster in force into the bundle, unless it has one. Returns where to keep it, if it is not kept yet.
pub(super) fn take_in_force(bundle: &mut Bundle) -> Result<Option<KeptPart>, ExitError> {
    let place = bundle.main.as_ref().and_then(roster_place);
    let Some(place) = place.filter(|_| bundle.roster.is_none()) else {
        return Ok(None);
    };
    let Some(file) = place.read()? else {
        // It was lost: no user is left, and what earlier ones could open stays closed.
        if let Some(floor) = place.floor()? {
            bundle.roster = Some(gate_part(&place, &Part::default(), &floor.services));
        }
        return Ok(None);
    };
    let unusable = |what: &str| unusable(&place.file(), what);
    let installed = Installed::read(&file.text).ok_or_else(|| unusable("this file is damaged"))?;
    let Notes { in_force, closed } = &installed.notes;
    let refused = |refusal: RosterRefusal| unusable(&refusal.to_string());
    let text = installed.text.as_bytes();
    let trust = place.trust();
    let signed = roster::verify_again(text, installed.signatures, &trust, in_force.signatures);
    let signed = signed.map_err(refused)?;
    let stale = place.stale(in_force.confirmed);
    let kept = place.kept_part(&signed.digest, in_force.confirmed, closed);
    let key = gate_key_file(bundle).and_then(|path| files::read_private(&path).ok());
    if let Some(text) = key.and_then(|key| kept.open(&gate_key(&key)?)) {
        let path = part_name(&place);
        bundle.roster = Some(BundleFile { path, text });
        return Ok(None);
    }
    let part = roster::signed_part(&signed, &place.gate, stale).map_err(refused)?;
    bundle.roster = Some(gate_part(&place, &part, closed));
    Ok(Some(kept))
}

fn present(
    read: Result<Zeroizing<String>, FileError>,
) -> Result<Option<Zeroizing<String>>, ExitError> {
    match read {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == FileErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(error)),
    }
}

fn unusable(path: &Path, what: &str) -> ExitError {
    let cure = "take a roster with: posternd roster apply FILE; or remove this file, then its users are refused";
    ExitError::new(CONFIG, format!("{}: {what}; {cure}", path.display()))
}

/// Keeps the part in the bundle, with its secrets opened.
pub(super) fn keep(kept: &KeptPart, bundle: &Bundle) {
    let path = gate_key_file(bundle);
    let key = path.and_then(|path| gate_key(bundle.key_file(&path)?));
    if let Some((key, part)) = key.zip(bundle.roster.as_ref()) {
        kept.keep(&key, &part.text);
    }
}

/// Opens the secrets of the part in the bundle, which costs an X25519 for each. The gate's private key is in the bundle.
pub(super) fn open_secrets(bundle: &mut Bundle) -> Result<(), Problem> {
    let part = bundle.roster.as_ref();
    let part = part.filter(|part| roster::has_sealed(&part.text));
    let place = bundle.main.as_ref().and_then(roster_place);
    let Some((part, place)) = part.zip(place) else {
        return Ok(());
    };
    let path = gate_key_file(bundle);
    let key = path.and_then(|path| gate_key(bundle.key_file(&path)?));
    let opened = opened(part, &place.gate, key.as_ref())?;
    bundle.roster = Some(opened);
    Ok(())
}

fn gate_key(text: &str) -> Option<PrivateKey> {
    PrivateKey::from_base64(line_of(text)).ok()
}

fn opened(part: &BundleFile, gate: &str, key: Option<&PrivateKey>) -> Result<BundleFile, Problem> {
    let parts = Parts::of(part, PART);
    let users: Vec<&str> = parts.users.iter().map(|users| users.text).collect();
    // What follows the users has no secret.
    let end = users.iter().map(|users| users.len()).sum();
    let tail = part.text.get(end..).unwrap_or_default();
    let open = |text: &&str| roster::opened(text, gate, key);
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let each = users.len().div_ceil(processors).max(1);
    let open_all = |texts: &[&str]| {
        let opened: Result<Vec<_>, _> = texts.iter().map(open).collect();
        zeroize::zeroize_stack::<STACK>();
        opened
    };
    let open_all = &open_all;
    // To open one takes 40 µs.
    let opened = thread::scope(|scope| {
        let threads = users.chunks(each).map(|texts| {
            let work = move || open_all(texts);
            (thread::Builder::new().spawn_scoped(scope, work), texts)
        });
        let threads: Vec<_> = threads.collect();
        let results = threads.into_iter().map(|(thread, texts)| {
            let opened = thread.ok().and_then(|thread| thread.join().ok());
            opened.unwrap_or_else(|| open_all(texts))
        });
        results.collect::<Result<Vec<Vec<_>>, _>>()
    });
    let opened = opened.and_then(|opened| Ok((opened, open(&tail)?)));
    let (opened, tail) = opened.map_err(|fault| {
        let cure = "name the private key in [gate], private_key = \"gate.key\", whose public key is in the roster";
        Problem::of_file(&part.path, fault.to_string(), cure)
    })?;
    // One buffer of its final size, so that no copy of a key is left behind.
    let mut text = Zeroizing::new(String::with_capacity(part.text.len()));
    let all = opened.iter().flatten().chain([&tail]);
    all.for_each(|opened| text.push_str(opened));
    let path = part.path.clone();
    Ok(BundleFile { path, text })
}

/// The services that stay closed. One that the gate has no longer is closed no longer.
pub(super) fn kept_closed(
    file: &ConfigText<'_>,
    values: &DeTable<'_>,
    named: Option<&BTreeMap<String, String>>,
) -> Vec<Policy> {
    let Some(DeValue::Array(tables)) = values.get("closed").map(|value| value.get_ref()) else {
        return Vec::new();
    };
    let tables = tables.iter().filter_map(|table| {
        let fields = Fields::new(file, "[[closed]]", table.get_ref().as_table()?, 0);
        let services = fields.texts("services", values::wanted)?.into_iter();
        let is_known = |service: &Wanted| match service {
            Wanted::Named(name) => named.is_some_and(|named| named.contains_key(name)),
            Wanted::Ports(_) => true,
        };
        let services = services.map(|(_, service)| service).filter(is_known);
        let mut policy = Policy::for_user("", services.collect());
        let targets = fields.texts("targets", values::network).unwrap_or_default();
        policy.targets = targets.into_iter().map(|(_, network)| network).collect();
        Some(policy)
    });
    tables.collect()
}
