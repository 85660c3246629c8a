//! What secret types have in common besides their `Drop`.

/// Promises that dropping wipes the value, and hides its content in `Debug`.
macro_rules! secret {
    ($name:ident) => {
        impl zeroize::ZeroizeOnDrop for $name {}

        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    };
}

pub(crate) use secret;
