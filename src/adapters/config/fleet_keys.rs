//! The file that `cluster.fleet_key_file` names. During a rotation it has several keys: the first seals, all open.

use postern_proto::{FleetKey, SharedKey};

use super::fields::Fields;
use super::key::{KeyFiles, key};
use super::problem::{Problem, Refusal};
use crate::model::cluster::Cluster;
use crate::model::settings::Gate;

const KEYS_MAX: usize = 4;

/// Not inlined, so that the caller can wipe its stack.
#[inline(never)]
pub(super) fn read(
    fields: &Fields<'_>,
    cluster: &Cluster,
    gate: Option<&Gate>,
    key_files: &KeyFiles<'_>,
) -> Vec<FleetKey> {
    let (Some(path), Some(gate)) = (&cluster.fleet_key_file, gate) else {
        return Vec::new();
    };
    let named_at = fields.file.place_name(fields.at("fleet_key_file"));
    let wrong = |what: String| {
        let cure = "write one line that postern keygen prints; up to 4 while you change it";
        Problem::of_file(path, format!("{what} (named at {named_at})"), cure)
    };
    let read = || {
        let lines: Vec<&str> = key_files.text(path, &named_at)?.lines().collect();
        if lines.len() > KEYS_MAX {
            return Err(wrong(format!("it has {} keys", lines.len())));
        }
        let mut keys = Vec::with_capacity(lines.len().max(1));
        for (number, line) in (1..).zip(&lines) {
            if lines.iter().filter(|other| *other == line).count() > 1 {
                return Err(wrong(format!("line {number} is there twice")));
            }
            let read = key(line, SharedKey::from_base64);
            let key = read.map_err(|Refusal { what, .. }| wrong(format!("line {number}: {what}")));
            keys.push(FleetKey::derive(&gate.name, &key?));
        }
        if keys.is_empty() {
            return Err(wrong("it has no key".to_owned()));
        }
        Ok(keys)
    };
    read().unwrap_or_else(|problem| {
        fields.file.refuse_other(problem);
        Vec::new()
    })
}
