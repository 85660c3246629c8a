//! Makes knocks and sends them.
