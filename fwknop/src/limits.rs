//! Every length and limit of the packet (README.md, sections 1 to 3).

/// What the first byte of a payload can be: the fixed start of the ciphertext is cut off in the middle of a byte.
pub const FIRST_BYTES: [u8; 4] = *b"+/89";
/// The shortest payload that fwknop's server reads.
pub const PAYLOAD_MIN: usize = 140;
/// The longest payload that fwknop's server reads.
pub const PAYLOAD_MAX: usize = 1500;

/// Base64 of `Salted__`, as far as it does not depend on the salt. The wire leaves it out.
pub(crate) const PREFIX: &[u8; 10] = b"U2FsdGVkX1";
/// The first eight bytes of a run.
pub const MAGIC: &[u8; 8] = b"Salted__";
pub(crate) const SALT_LEN: usize = 8;
pub(crate) const BLOCK_LEN: usize = 16;
/// Magic, salt and ciphertext of the longest payload: 1,510 characters of base64.
pub(crate) const SEALED_MAX: usize = 1136;

/// A key of the cipher has 1 to 32 bytes.
pub const KEY_MAX: usize = 32;
/// The passphrase of an encrypted sequence has 8 to 128 bytes.
pub const PASSPHRASE_MAX: usize = 128;
/// A key of the mac has 1 to 128 bytes.
pub const MAC_KEY_MAX: usize = 128;
/// Base64 of the longest mac.
pub(crate) const TAG_MAX: usize = 86;

pub(crate) const TEXT_MIN: usize = 36;
pub(crate) const TEXT_MAX: usize = 1499;
pub(crate) const RANDOM_LEN: usize = 16;
/// A user name: 64 characters of base64 at most.
pub(crate) const USER_MAX: usize = 48;
pub(crate) const TIME_DIGITS_MAX: usize = 12;
pub(crate) const VERSION_MAX: usize = 8;
/// Base64 of a message, or of a NAT target.
pub(crate) const MESSAGE_TEXT_MAX: usize = 256;
/// One message has at most 30 ports: more do not fit into 256 characters.
pub const PORTS_MAX: usize = 30;
/// The longest time-out that a client can ask for, in seconds.
pub const TIMEOUT_MAX_S: u32 = 65_536;

/// A mark has 16 bytes.
pub const MARK_LEN: usize = 16;
