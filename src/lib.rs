//! Postern hides network services behind single-packet authorization.
