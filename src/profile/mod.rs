//! The text of a client's config to profiles.
