//! Runs the programs that list rules: the save programs of both iptables variants, and nft.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{iptables_save, nft_listing};
use crate::adapters::files;
use crate::core::host_rules::Chain;
use crate::model::address::Family;
use crate::model::run::{Call, Run};

/// Limit for a listing in bytes. A large set of addresses is listed element by element.
const MAX_LISTING: usize = 64 << 20;

pub(crate) struct Tools<'a> {
    pub(crate) run: &'a mut dyn Run,
    pub(crate) find: fn(&str) -> Option<PathBuf>,
}

struct SaveProgram {
    changer: String,
    family: Family,
    path: PathBuf,
}

pub(super) fn read(tools: &mut Tools<'_>, unseen: &mut Vec<String>) -> Vec<Chain> {
    let mut shown: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
    let mut chains = Vec::new();
    for program in save_programs(tools, unseen) {
        match output(tools, &program.path, &[]) {
            Ok(text) => {
                let saved = iptables_save::read(&program.changer, program.family, &text);
                if text.contains("(nf_tables)") {
                    let family = iptables_save::nft_family(program.family);
                    shown.entry(family).or_default().extend(saved.tables);
                }
                chains.extend(saved.chains);
            }
            Err(error) => unseen.push(format!(
                "cannot read the rules of {}: {error}",
                program.changer
            )),
        }
    }
    match nft_chains(tools) {
        Ok(listed) => chains.extend(without_shown(listed, &shown)),
        Err(error) => unseen.push(format!("cannot read nft rules: {error}")),
    }
    chains
}

fn nft_chains(tools: &mut Tools<'_>) -> Result<Vec<Chain>, ListError> {
    let path = (tools.find)("nft").ok_or(ListError::NoNft)?;
    let text = output(tools, &path, &["-j", "list", "ruleset"])?;
    nft_listing::read(&text).map_err(|error| ListError::Failed {
        program: path,
        why: error.to_string(),
    })
}

pub(super) fn without_shown(
    chains: Vec<Chain>,
    shown: &BTreeMap<&'static str, Vec<String>>,
) -> Vec<Chain> {
    let is_new = |chain: &Chain| {
        let names = shown.get(chain.table.family);
        names.is_none_or(|names| !names.contains(&chain.table.name))
    };
    chains.into_iter().filter(is_new).collect()
}

/// The save programs of both variants, each once.
///
/// The variant that the plain name `iptables` runs is listed under that name. The legacy program is not run if the kernel has no
/// legacy tables, because the program could create them.
fn save_programs(tools: &Tools<'_>, unseen: &mut Vec<String>) -> Vec<SaveProgram> {
    let mut programs = Vec::new();
    for (family, name, tables) in [
        (Family::V4, "iptables", "/proc/net/ip_tables_names"),
        (Family::V6, "ip6tables", "/proc/net/ip6_tables_names"),
    ] {
        let find = |variant: &str| (tools.find)(&format!("{name}{variant}-save"));
        let resolved = |path: &PathBuf| path.canonicalize().ok();
        let plain = find("");
        let has_legacy_tables =
            files::read_system(Path::new(tables)).is_ok_and(|text| !text.trim().is_empty());
        let (nft, legacy) = (find("-nft"), find("-legacy"));
        if nft.is_some() && legacy.is_none() && has_legacy_tables {
            unseen.push(format!(
                "cannot read the legacy rules of {name}: {name}-legacy-save is not installed"
            ));
        }
        let legacy = legacy.filter(|_| has_legacy_tables);
        let variants = [("-nft", nft), ("-legacy", legacy)];
        let program = |variant, path| SaveProgram {
            changer: format!("{name}{variant}"),
            family,
            path,
        };
        let before = programs.len();
        for (variant, path) in variants {
            let Some(path) = path else { continue };
            let plain = plain.as_ref().and_then(resolved);
            let is_plain = plain.is_some() && plain == resolved(&path);
            programs.push(program(if is_plain { "" } else { variant }, path));
        }
        if programs.len() == before {
            programs.extend(plain.map(|path| program("", path)));
        }
    }
    programs
}

#[derive(Debug, thiserror::Error)]
enum ListError {
    #[error("the program nft is not installed; apt-get install nftables")]
    NoNft,
    #[error("{}: {why}", program.display())]
    Failed { program: PathBuf, why: String },
}

fn output(tools: &mut Tools<'_>, program: &Path, args: &[&str]) -> Result<String, ListError> {
    let failed = |why: String| ListError::Failed {
        program: program.to_owned(),
        why,
    };
    let call = Call {
        program,
        args,
        stdin: b"",
        most: MAX_LISTING,
    };
    let ran = tools.run.run(&call);
    let ran = ran.map_err(|error| failed(error.to_string()))?;
    if ran.status == Some(0) {
        return Ok(ran.stdout);
    }
    let why = ran.stderr.lines().next().unwrap_or("it failed");
    Err(failed(why.to_owned()))
}
