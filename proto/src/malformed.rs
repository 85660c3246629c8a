//! The closed list of rules that a body can break (README.md section 5; section 6, step 5).

use core::fmt;

macro_rules! rules {
    ($($(#[$doc:meta])* $variant:ident = $name:literal: $sentence:literal,)*) => {
        /// The rule that a body broke.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Malformed {
            $(#[doc = $sentence] $variant,)*
        }

        impl Malformed {
            /// Every rule, in the order in which the specification lists them.
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$variant),*];

            /// The rule's name, as counters, logs and vectors write it.
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

rules! {
    Version = "version": "the version is not 1",
    Action = "action": "the action is neither open nor close",
    AllowPrefix = "allow-prefix": "the allow prefix is longer than 128",
    Reserved = "reserved": "the reserved byte is not zero",
    HostBits = "host-bits": "the allow address has bits beyond its prefix",
    ItemTruncated = "item-truncated": "the body ends in the middle of a field or an item",
    Padding = "padding": "a byte behind the end of the items is not zero",
    ServiceLength = "service-length": "a service does not have 5 bytes",
    ServiceProtocol = "service-protocol": "a service's protocol is none of TCP, UDP, SCTP, ICMP and ICMPv6",
    ServicePorts = "service-ports": "a service's ports are out of order, or not what its protocol has",
    NameLength = "name-length": "a service's name does not have 1 to 32 bytes",
    NameCharacters = "name-characters": "a service's name has a character that it may not have there",
    CodeLength = "code-length": "a code does not have 6 to 8 digits",
    CodeDigits = "code-digits": "a code has a character that is no digit",
    UnknownItem = "unknown-item": "an item of an unknown kind may not be skipped",
    DuplicateItem = "duplicate-item": "two items are equal",
    TooManyServices = "too-many-services": "there are more than 16 services",
    TooManyCodes = "too-many-codes": "there is more than one code",
    NoService = "no-service": "it would open no service",
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
    }
}

impl core::error::Error for Malformed {}
