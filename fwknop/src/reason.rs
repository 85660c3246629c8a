//! The closed list of reasons to refuse a packet.

use core::fmt;

macro_rules! reasons {
    ($($variant:ident = $name:literal: $sentence:literal,)*) => {
        /// Why a payload is not a packet of this key's holder.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            $(#[doc = $sentence] $variant,)*
        }

        impl Reason {
            /// Every reason. With a later one a packet is nearer to being right: a key that does not open it says less
            /// than a wrong mac, and both less than what is wrong behind a right key.
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$variant),*];

            /// The reason's name, as counters and logs write it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            const fn sentence(self) -> &'static str {
                match self {
                    $(Self::$variant => $sentence,)*
                }
            }
        }
    };
}

reasons! {
    Length = "length": "the payload does not have 140 to 1500 bytes",
    FirstByte = "first-byte": "the first byte is none of 8, 9, + and /",
    Alphabet = "alphabet": "a byte is not in the base64 alphabet",
    Blocks = "blocks": "the ciphertext is not a whole number of blocks, or the mac has another length",
    SpareBits = "spare-bits": "the base64 has bits that mean nothing and are not zero",
    Key = "key": "the ciphertext does not open with this key",
    Mac = "mac": "the mac is not of this key",
    ModeEcb = "mode-ecb": "the client encrypts in the mode ECB; set it to CBC",
    ModeCfb = "mode-cfb": "the client encrypts in the mode CFB; set it to CBC",
    ModeOfb = "mode-ofb": "the client encrypts in the mode OFB; set it to CBC",
    ModeCtr = "mode-ctr": "the client encrypts in the mode CTR; set it to CBC",
    Text = "text": "the plaintext is not 36 to 1499 printable characters",
    DigestLength = "digest-length": "the digest does not have the length of a known hash",
    Digest = "digest": "the digest is not of this plaintext",
    Random = "random": "the random number does not have 16 digits",
    User = "user": "the user name is empty, too long, or has a character that it may not have",
    Time = "time": "the time is not a decimal number of at most 12 digits",
    Version = "version": "the version does not have 1 to 8 characters",
    Type = "type": "the type is not 0 to 6",
    Fields = "fields": "the number of fields is not that of the type",
    Message = "message": "the message is too long, not canonical base64, or not text",
    Address = "address": "the address to let in is not a dotted quad without leading zeros",
    Ports = "ports": "a port is not tcp/ or udp/ and 1 to 65535 without leading zeros",
    Command = "command": "the command is empty, not UTF-8, or has a control character",
    Nat = "nat": "the NAT target is not a host and a port",
    ServerAuth = "server-auth": "the field server_auth is not canonical base64",
    Timeout = "timeout": "the time-out is not a decimal number of at most 65536",
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
    }
}

impl core::error::Error for Reason {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::string::ToString;

    use super::*;

    #[test]
    fn each_reason_has_its_own_name_and_sentence() {
        let all = Reason::ALL.iter();
        let names: BTreeSet<_> = all.clone().map(|reason| reason.as_str()).collect();
        let sentences: BTreeSet<_> = all.map(ToString::to_string).collect();
        assert_eq!((names.len(), sentences.len()), (27, 27));
    }

    #[test]
    fn a_right_key_comes_nearer_than_a_wrong_one() {
        for (further, nearer) in [
            (Reason::Blocks, Reason::Key),
            (Reason::Key, Reason::Mac),
            (Reason::Mac, Reason::ModeEcb),
            (Reason::Key, Reason::ModeCtr),
            (Reason::ModeCtr, Reason::Text),
        ] {
            assert!(further < nearer, "{further:?}");
        }
    }
}
