//! Any bytes as a body (specification, section 5; step 6.5).
//!
//! Two decoders that share no line say the same of it: its fields, or the first rule that it breaks. What is accepted is
//! canonical: it encodes to the same bytes, and no other body of that length says the same.

use postern_proto::limits::{BODY_HEAD_LEN, BODY_MAX, BODY_MIN};
use postern_proto::{Action, Allow, Request};

use crate::second::body as second;

pub fn run(data: &[u8]) {
    if let Some(request) = both(data) {
        canonical(&request, data);
    }
}

/// What both decoders make of a body, where it is one.
pub fn both(body: &[u8]) -> Option<Request> {
    match (Request::decode(body), second::decode(body)) {
        (Ok(request), Ok(other)) => {
            assert_eq!(fields(&request), other);
            Some(request)
        }
        (Err(rule), Err(broken)) => {
            // No packet carries a body of another length, so there is no name for that.
            assert!(
                broken[0] == "length" || broken[0] == rule.as_str(),
                "{rule:?}, {broken:?}"
            );
            None
        }
        (ours, other) => panic!("{ours:?}, {other:?}"),
    }
}

fn canonical(request: &Request, body: &[u8]) {
    assert!(
        (BODY_MIN..=BODY_MAX).contains(&body.len()),
        "not a body: {} bytes",
        body.len()
    );
    assert!(
        (BODY_HEAD_LEN..=body.len()).contains(&request.encoded_len()),
        "{request:?}"
    );

    let mut again = [0xaa; BODY_MAX];
    let again = &mut again[..body.len()];
    request.encode(again).expect("what was read can be written");
    assert_eq!(again, body, "{request:?}");
    assert_eq!(
        second::encode(&fields(request), body.len()),
        body,
        "{request:?}"
    );
    // Its padding says nothing: the shortest body for it is the same request.
    let mut shortest = [0xaa; BODY_MAX];
    let shortest = &mut shortest[..request.encoded_len().max(BODY_MIN)];
    request
        .encode(shortest)
        .expect("it has the room it asks for");
    assert_eq!(Request::decode(shortest).as_ref(), Ok(request));
}

/// A request in the second decoder's plain words.
pub fn fields(request: &Request) -> second::Body {
    let (allow, prefix) = match request.allow {
        Allow::Source { prefix } => ([0; 16], prefix),
        Allow::Network { address, prefix } => (address.octets(), prefix),
    };
    second::Body {
        action: match request.action {
            Action::Open => 1,
            Action::Close => 2,
        },
        prefix,
        timestamp_ms: request.timestamp_ms,
        duration_s: request.duration_s,
        allow,
        target: request.target.map_or([0; 16], |target| target.octets()),
        items: request.items.iter().map(item).collect(),
    }
}

fn item(item: &postern_proto::Item) -> second::Item {
    use postern_proto::Item::{Code, Name, Service, Skipped};
    let (kind, value) = match item {
        Service(service) => {
            let (first, last) = (service.first().to_be_bytes(), service.last().to_be_bytes());
            (
                1,
                vec![
                    service.protocol().number(),
                    first[0],
                    first[1],
                    last[0],
                    last[1],
                ],
            )
        }
        Name(name) => (2, name.as_str().as_bytes().to_vec()),
        Code(code) => (3, code.as_str().as_bytes().to_vec()),
        Skipped { kind, value } => (*kind, value.clone()),
    };
    second::Item { kind, value }
}
