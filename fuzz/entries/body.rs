//! Any bytes as a body (specification, section 5; step 6.5).
//!
//! What is accepted is canonical: it encodes to the same bytes, and no other body of that length says the same.

use postern_proto::Request;
use postern_proto::limits::{BODY_HEAD_LEN, BODY_MAX, BODY_MIN};

pub(crate) fn run(data: &[u8]) {
    let Ok(request) = Request::decode(data) else { return };
    assert!((BODY_MIN..=BODY_MAX).contains(&data.len()), "a body of {} bytes is none", data.len());
    assert!((BODY_HEAD_LEN..=data.len()).contains(&request.encoded_len()), "{request:?}");

    let mut again = vec![0xaa; data.len()];
    request.encode(&mut again).expect("what was read can be written");
    assert_eq!(again, data, "{request:?}");
    // Its padding says nothing: the shortest body for it is the same request.
    let mut shortest = vec![0xaa; request.encoded_len().max(BODY_MIN)];
    request.encode(&mut shortest).expect("it has the room it asks for");
    assert_eq!(Request::decode(&shortest).as_ref(), Ok(&request));
}
