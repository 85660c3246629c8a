//! What a packet of fwknop opens instead of the ports that it names: `commands` and `access` of `fwknop = {…}`.

use std::collections::BTreeMap;

use toml::de::DeValue;

use super::fields::{Fields, wrong_type};
use super::problem::refusal;
use super::values;
use crate::core::gate::Access;
use crate::model::service::Wanted;

const ANY: &str = "any";

/// What each command opens; `None` if something is wrong.
pub(super) fn commands(
    fields: &Fields<'_>,
    services: &[Wanted],
) -> Option<BTreeMap<String, Wanted>> {
    let form = "commands = { \"restart web\" = \"web-restart\" }";
    let read = services_by(fields, ["commands", "command"], form, services)?;
    let read = read.into_iter().map(|(at, text, service)| {
        let can_ask = postern_fwknop::is_command(&text).then_some(());
        let refused = || {
            let cure = "write 1 to 184 characters, none of them a control character";
            refusal("no packet can ask for this command", cure)
        };
        fields.file.check(at, can_ask.ok_or_else(refused))?;
        Some((text, service))
    });
    read.collect()
}

/// What each port opens; `None` if something is wrong.
pub(super) fn access(fields: &Fields<'_>, services: &[Wanted]) -> Option<Access> {
    let form = "access = { \"tcp/2222\" = \"inner\" }";
    let mut access = Access::default();
    for (at, port, service) in services_by(fields, ["access", "port"], form, services)? {
        if port == ANY {
            access.any = Some(service);
            continue;
        }
        let port = values::ports(&port).and_then(|ports| match ports.range() {
            Some((first, last)) if first == last => Ok(ports),
            _ => {
                let cure = "write tcp or udp with one port, like tcp/2222, or any";
                Err(refusal("a packet of fwknop never names this", cure))
            }
        });
        access.ports.insert(fields.file.check(at, port)?, service);
    }
    Some(access)
}

/// The entries of a table whose values are services of the user, with the place of each. A message names a key `word`.
fn services_by(
    fields: &Fields<'_>,
    [name, word]: [&str; 2],
    form: &'static str,
    services: &[Wanted],
) -> Option<Vec<(usize, String, Wanted)>> {
    let Some(table) = fields.table(name, form) else {
        return (!fields.has(name)).then(Vec::new);
    };
    let read = table.entries().map(|(key, value)| {
        let at = value.span().start;
        let DeValue::String(text) = value.get_ref() else {
            let wanted = "the name of a service";
            let name = format!("a {word}'s service");
            fields
                .file
                .refuse(at, wrong_type(&name, wanted, value.get_ref()));
            return None;
        };
        let service = fields.file.check(at, values::wanted(text))?;
        if !services.contains(&service) {
            let what = format!("the service of this {word} is not among the user's services");
            fields.file.refuse(at, refusal(what, "add it to services"));
            return None;
        }
        Some((key.span().start, key.get_ref().to_string(), service))
    });
    let read: Vec<_> = read.collect();
    read.into_iter().collect()
}
