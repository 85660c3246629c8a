//! The Postern knock, version 1.
#![no_std]
