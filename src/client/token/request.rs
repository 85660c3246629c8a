//! The request of a client to be enrolled.

use postern_proto::PublicKey;
use zeroize::Zeroizing;

use super::line::{FieldReader, Fields, LineError, LineKind, open};
use super::name::is_profile_name;
use super::tag;

/// A client's request to be enrolled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrollRequest {
    /// The client's public key.
    pub public_key: PublicKey,
    /// The client's name for the profile; the token repeats it.
    pub profile: Option<String>,
}

impl EnrollRequest {
    /// Writes the line.
    pub fn to_line(&self) -> Result<Zeroizing<String>, LineError> {
        let mut fields = Fields::new();
        fields.list(tag::PROFILE, "profile", &self.profile)?;
        fields.add(tag::PUBLIC_KEY, "public key", self.public_key.as_bytes())?;
        fields.into_line(LineKind::Request)
    }

    /// Reads a line and ignores white space in it.
    pub fn from_line(text: &str) -> Result<Self, LineError> {
        let (kind, bytes) = open(text)?;
        if kind != LineKind::Request {
            return Err(LineError::NotARequest);
        }
        let fields = FieldReader::new(&bytes)?;
        fields.only(&[tag::PROFILE, tag::PUBLIC_KEY])?;
        Ok(Self {
            profile: fields.text(tag::PROFILE, is_profile_name, "profile")?,
            public_key: fields.public_key(tag::PUBLIC_KEY)?,
        })
    }
}
