//! Draws a QR code on the terminal. A line of half blocks shows two rows.

use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};
use zeroize::Zeroizing;

use crate::model::exit::{ExitError, FAILED};

const COLOURS: &str = "\u{1b}[40;97m";
const PLAIN: &str = "\u{1b}[0m";

/// The lines of the code. `colours` sets the terminal's colours, so that the code is right on a white terminal too.
pub(super) fn lines(text: &str, colours: bool) -> Result<Zeroizing<String>, ExitError> {
    let code = QrCode::with_error_correction_level(text, EcLevel::L);
    let code = code.map_err(|error| {
        let what = format!("the text is too long for a QR code ({error}); leave out --qr");
        ExitError::new(FAILED, what)
    })?;
    // Light modules are drawn, because most terminals are dark.
    let drawn = Zeroizing::new(
        code.render::<Dense1x2>()
            .dark_color(Dense1x2::Light)
            .light_color(Dense1x2::Dark)
            .build(),
    );
    let (before, after) = if colours { (COLOURS, PLAIN) } else { ("", "") };
    // Enough for all, so that the buffer never grows.
    let more = drawn.lines().count().saturating_mul(32);
    let mut lines = Zeroizing::new(String::with_capacity(drawn.len().saturating_add(more)));
    for line in drawn.lines() {
        for part in [before, line, after, "\n"] {
            lines.push_str(part);
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The dark modules of a drawing, without the quiet zone.
    fn modules(drawn: &str, width: usize) -> Vec<bool> {
        let is_dark = |block: char, upper: bool| match block {
            '█' => false,
            '▀' => !upper,
            '▄' => upper,
            ' ' => true,
            other => panic!("{other:?}"),
        };
        let halves = drawn.lines().flat_map(|line| [(line, true), (line, false)]);
        let row = |(line, upper): (&str, bool)| -> Vec<bool> {
            let blocks = line.chars().skip(4).take(width);
            blocks.map(|block| is_dark(block, upper)).collect()
        };
        halves.skip(4).take(width).flat_map(row).collect()
    }

    #[test]
    fn drawing_is_the_code_with_quiet_zone() {
        let text = "postern-token-1.AQVhbGljZQIQZ2F0ZS5leGFtcGxlLm9yZwMWZ2F0ZS5leGFtcGxlLm9yZzo2MjIwMQQGdGNwLzIy";
        let code = QrCode::with_error_correction_level(text, EcLevel::L).unwrap();
        let colours = code.to_colors().into_iter();
        let wanted: Vec<bool> = colours.map(|one| one == qrcode::Color::Dark).collect();
        let drawn = lines(text, false).unwrap();
        assert_eq!(modules(&drawn, code.width()), wanted);
        let first = drawn.lines().next().unwrap();
        assert!(first.chars().all(|block| block == '█'), "light around");
        let width = code.width() + 8;
        assert!(drawn.lines().all(|line| line.chars().count() == width));
        let coloured = lines(text, true).unwrap();
        assert_eq!(coloured.replace(COLOURS, "").replace(PLAIN, ""), *drawn);
    }

    #[test]
    fn too_long_text_is_refused() {
        assert!(lines(&"x".repeat(3000), false).is_err());
    }
}
