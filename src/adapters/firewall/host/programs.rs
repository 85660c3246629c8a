//! The programs of iptables, and how to run them.

use std::path::PathBuf;

use crate::model::run::Run;

pub(crate) struct Tools<'a> {
    pub(crate) run: &'a mut dyn Run,
    pub(crate) find: fn(&str) -> Option<PathBuf>,
}

/// The program that changes tables of a variant, `nft` or `legacy`: the plain name if it is of that variant.
pub(super) fn variant(
    find: fn(&str) -> Option<PathBuf>,
    name: &str,
    wanted: &str,
) -> Option<String> {
    let resolved = |name: String| find(&name).and_then(|path| path.canonicalize().ok());
    let plain = resolved(format!("{name}-save"));
    let named = resolved(format!("{name}-{wanted}-save"));
    let other = if wanted == "nft" { "legacy" } else { "nft" };
    let is_of = |path: &PathBuf, variant: &str| path.to_string_lossy().contains(variant);
    match (plain, named) {
        (Some(plain), Some(named)) if plain == named => Some(name.to_owned()),
        (_, Some(_)) => Some(format!("{name}-{wanted}")),
        // the programs before there were variants are legacy
        (Some(plain), None)
            if is_of(&plain, wanted) || wanted == "legacy" && !is_of(&plain, other) =>
        {
            Some(name.to_owned())
        }
        (_, None) => None,
    }
}
