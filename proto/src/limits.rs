//! Every length and limit of the knock (README.md sections 2 to 5).

/// The version that this crate writes and accepts, the body's first byte.
pub const VERSION: u8 = 1;

/// Bytes of every key: shared, private, public, pre-shared and derived.
pub const KEY_LEN: usize = 32;
/// Characters of a key written in base64.
pub const KEY_TEXT_LEN: usize = 44;
/// The longest gate name, in bytes of UTF-8. The shortest has one.
pub const GATE_NAME_MAX: usize = 255;

/// Milliseconds in one step, for which a user's hint stays the same.
pub const STEP_MS: u64 = 64_000;

/// Bytes of the hint.
pub const HINT_LEN: usize = 8;
/// Bytes of the nonce.
pub const NONCE_LEN: usize = 12;
/// Bytes of the packet's mac.
pub const MAC_LEN: usize = 32;
/// Bytes of the AEAD's tag.
pub const TAG_LEN: usize = 16;
/// Bytes of the mac that replay protection remembers.
pub const MARK_LEN: usize = 16;
/// Bytes before the sealed body: hint, nonce and mac.
pub const HEAD_LEN: usize = HINT_LEN + NONCE_LEN + MAC_LEN;

/// Bytes of the shortest body.
pub const BODY_MIN: usize = 64;
/// Bytes of the longest body.
pub const BODY_MAX: usize = 448;
/// Bytes of the body before its first item.
pub const BODY_HEAD_LEN: usize = 48;

/// Bytes of the shortest packet.
pub const PACKET_MIN: usize = HEAD_LEN + BODY_MIN + TAG_LEN;
/// Bytes of the longest packet.
pub const PACKET_MAX: usize = HEAD_LEN + BODY_MAX + TAG_LEN;

/// The longest prefix of an address, in IPv6 space.
pub const PREFIX_MAX: u8 = 128;

/// Most services, plain and named together, in one request.
pub const MAX_SERVICES: usize = 16;
/// Most codes in one request.
pub const MAX_CODES: usize = 1;
/// Bytes of a service item's value.
pub const SERVICE_LEN: usize = 5;
/// Most characters of a service's name. The shortest has one.
pub const NAME_MAX: usize = 32;
/// Fewest digits of a code.
pub const CODE_MIN: usize = 6;
/// Most digits of a code.
pub const CODE_MAX: usize = 8;
/// Seconds in one step of a code, for which it stays the same (RFC 6238).
pub const CODE_STEP_S: u64 = 30;
/// Bytes of the shortest secret that codes are made from (RFC 4226, section 4, R6).
pub const CODE_SECRET_MIN: usize = 16;
/// Bytes of the longest secret: one block of SHA-1. HMAC would hash a longer one down to 20 bytes.
pub const CODE_SECRET_MAX: usize = 64;

// The packet's lengths are part of the specification. A changed field must not change them unnoticed.
const _: () = assert!(PACKET_MIN == 132 && PACKET_MAX == 516 && HEAD_LEN == 52);
