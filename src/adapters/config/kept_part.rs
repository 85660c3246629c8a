//! This gate's part of the roster in force with its secrets, encrypted for this gate alone, so that a load of the config need not
//! open each secret again.
//!
//! It counts only for the roster, the gate, the private key and the end that it was made for. Any other one is made anew, from the
//! signed roster.

use std::path::{Path, PathBuf};

use postern_proto::{PrivateKey, keep_text, open_kept};
use tracing::debug;
use zeroize::Zeroizing;

use crate::adapters::files;
use crate::adapters::random;
use crate::model::time::Timestamp;

/// In the monitor's folder.
const KEPT: &str = "roster.part";

/// Raise it when the text of a part changes its form: builds of one version may differ.
const LAYOUT: u32 = 1;

pub(super) struct KeptPart {
    path: PathBuf,
    /// What its text depends on, beside the private key.
    context: String,
}

impl KeptPart {
    /// That of a gate, of the roster with this digest. Its users end at `stale`, if that is before the roster's end.
    pub(super) fn new(
        folder: &Path,
        gate: &str,
        digest: &str,
        stale: Option<Timestamp>,
        closed: &[String],
    ) -> Self {
        let version = env!("CARGO_PKG_VERSION");
        let stale = stale.map_or(0, Timestamp::as_millis);
        let closed = closed.concat();
        Self {
            path: folder.join(KEPT),
            // Only the last value can have line breaks.
            context: format!("{version}\n{LAYOUT}\n{gate}\n{digest}\n{stale}\n{closed}"),
        }
    }

    /// The part; `None` if it is not kept, or that of another roster, gate or key.
    pub(super) fn open(&self, key: &PrivateKey) -> Option<Zeroizing<String>> {
        let kept = files::read_private_bytes(&self.path).ok()?;
        open_kept(key, self.context.as_bytes(), kept)
    }

    /// Keeps it. If that fails, each load takes longer.
    pub(super) fn keep(&self, key: &PrivateKey, part: &str) {
        let Ok(random) = random::bytes() else { return };
        let kept = keep_text(key, &random, self.context.as_bytes(), part);
        if let Err(error) = files::write_private(&self.path, &kept, true) {
            debug!("this gate's part of the roster is not kept: {error}");
        }
    }
}
