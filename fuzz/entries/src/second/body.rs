//! A second decoder of bodies, written from section 5 of the specification alone and as plainly as possible: it shares no line
//! and no type with `proto`, need not be fast, and notes each broken rule in the order of the bytes.
//!
//! The specification fixes which of several broken rules is named (section 5 and section 6, step 5): the first one noted.

/// A body that keeps every rule.
#[derive(Debug, PartialEq, Eq, Clone)]
pub struct Body {
    /// 1 or 2.
    pub action: u8,
    pub prefix: u8,
    pub timestamp_ms: u64,
    pub duration_s: u32,
    pub allow: [u8; 16],
    pub target: [u8; 16],
    pub items: Vec<Item>,
}

/// One item as encoded in the body.
#[derive(Debug, PartialEq, Eq, Clone)]
pub struct Item {
    pub kind: u8,
    pub value: Vec<u8>,
}

/// The body's fields, or the names of the rules it breaks, in order.
pub fn decode(body: &[u8]) -> Result<Body, Vec<&'static str>> {
    if body.len() < 64 || body.len() > 448 {
        return Err(vec!["length"]);
    }
    let mut broken = Vec::new();
    if body[0] != 1 {
        broken.push("version");
    }
    let action = body[1];
    if action != 1 && action != 2 {
        broken.push("action");
    }
    let prefix = body[2];
    if prefix > 128 {
        broken.push("allow-prefix");
    }
    if body[3] != 0 {
        broken.push("reserved");
    }
    let timestamp_ms = number(&body[4..12]);
    let duration_s = number(&body[12..16]) as u32;
    let allow: [u8; 16] = body[16..32].try_into().unwrap();
    for bit in usize::from(prefix)..128 {
        if allow[bit / 8] & (0x80 >> (bit % 8)) != 0 {
            broken.push("host-bits");
        }
    }
    let target = body[32..48].try_into().unwrap();
    let items = items(&body[48..], &mut broken);
    if action == 1 && count(&items, &[1, 2]) == 0 {
        broken.push("no-service");
    }
    if broken.is_empty() {
        Ok(Body {
            action,
            prefix,
            timestamp_ms,
            duration_s,
            allow,
            target,
            items,
        })
    } else {
        Err(broken)
    }
}

/// The same bytes again: the fields, the items, then zeros up to `length`.
pub fn encode(plain: &Body, length: usize) -> Vec<u8> {
    let mut body = vec![1, plain.action, plain.prefix, 0];
    body.extend(plain.timestamp_ms.to_be_bytes());
    body.extend(plain.duration_s.to_be_bytes());
    body.extend(plain.allow);
    body.extend(plain.target);
    for item in &plain.items {
        body.push(item.kind);
        body.push(item.value.len() as u8);
        body.extend(&item.value);
    }
    body.resize(length.max(body.len()), 0);
    body
}

/// Everything from offset 48 on. Bytes behind a truncated item cannot be read.
fn items(bytes: &[u8], broken: &mut Vec<&'static str>) -> Vec<Item> {
    let mut items: Vec<Item> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let kind = bytes[at];
        if kind == 0 {
            if bytes[at..].iter().any(|byte| *byte != 0) {
                broken.push("padding");
            }
            break;
        }
        let Some(length) = bytes.get(at + 1) else {
            broken.push("item-truncated");
            break;
        };
        let Some(value) = bytes.get(at + 2..at + 2 + usize::from(*length)) else {
            broken.push("item-truncated");
            break;
        };
        if let Some(rule) = wrong_value(kind, value) {
            broken.push(rule);
        }
        let item = Item {
            kind,
            value: value.to_vec(),
        };
        if items.contains(&item) {
            broken.push("duplicate-item");
        }
        items.push(item);
        if count(&items, &[1, 2]) > 16 {
            broken.push("too-many-services");
        }
        if count(&items, &[3]) > 1 {
            broken.push("too-many-codes");
        }
        at += 2 + usize::from(*length);
    }
    items
}

/// The first rule that a value of this kind breaks.
fn wrong_value(kind: u8, value: &[u8]) -> Option<&'static str> {
    match kind {
        1 => wrong_service(value),
        2 => wrong_name(value),
        3 if value.len() < 6 || value.len() > 8 => Some("code-length"),
        3 if value.iter().any(|byte| *byte < b'0' || *byte > b'9') => Some("code-digits"),
        4..=127 => Some("unknown-item"),
        _ => None,
    }
}

fn wrong_service(value: &[u8]) -> Option<&'static str> {
    if value.len() != 5 {
        return Some("service-length");
    }
    let (first, last) = (number(&value[1..3]), number(&value[3..5]));
    let right = match value[0] {
        6 | 17 | 132 => 1 <= first && first <= last,
        1 | 58 => first == 0 && last == 0,
        _ => return Some("service-protocol"),
    };
    if right { None } else { Some("service-ports") }
}

fn wrong_name(value: &[u8]) -> Option<&'static str> {
    if value.is_empty() || value.len() > 32 {
        return Some("name-length");
    }
    let letters = "abcdefghijklmnopqrstuvwxyz0123456789";
    for (nth, byte) in value.iter().enumerate() {
        let inside = nth > 0 && (*byte == b'-' || *byte == b'_');
        if !letters.as_bytes().contains(byte) && !inside {
            return Some("name-characters");
        }
    }
    None
}

fn count(items: &[Item], kinds: &[u8]) -> usize {
    items
        .iter()
        .filter(|item| kinds.contains(&item.kind))
        .count()
}

/// Big-endian.
fn number(bytes: &[u8]) -> u64 {
    let mut number = 0;
    for byte in bytes {
        number = number * 256 + u64::from(*byte);
    }
    number
}
