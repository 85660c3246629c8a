//! The text of a gate's config to settings, policies and keys.
