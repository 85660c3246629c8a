//! A packet's mark as text: 32 lower-case hexadecimal digits. A mark is no secret, because it was sent in the packet.

use data_encoding::HEXLOWER;
use postern_proto::Mark;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MarkText(pub Mark);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a mark has 32 hexadecimal digits, in lower case")]
pub struct NotAMark;

impl TryFrom<String> for MarkText {
    type Error = NotAMark;

    fn try_from(text: String) -> Result<Self, NotAMark> {
        let bytes = HEXLOWER.decode(text.as_bytes()).ok();
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.map(|bytes| Self(Mark(bytes))).ok_or(NotAMark)
    }
}

impl From<MarkText> for String {
    fn from(mark: MarkText) -> Self {
        HEXLOWER.encode(&mark.0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mark_text_round_trips_and_is_strict() {
        let mark = MarkText(Mark(std::array::from_fn(|n| (n * 17) as u8)));
        let text = String::from(mark);
        let expected = ("00112233445566778899aabbccddeeff", Ok(mark));
        assert_eq!((text.as_str(), MarkText::try_from(text.clone())), expected);
        for bad in [
            "",
            "00",
            &text[1..],
            &format!("{text}00"),
            &text.to_uppercase(),
            &text.replace('f', "g"),
            &text.replace("ff", "é"),
        ] {
            assert_eq!(MarkText::try_from(bad.to_owned()), Err(NotAMark), "{bad}");
        }
    }
}
