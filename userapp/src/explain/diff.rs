//! Expected and actual bytes side by side.

use std::fmt::Write;

/// Bytes in a line of the diff.
const WIDTH: usize = 16;
/// How many lines of bytes are shown.
const LINES: usize = 3;

/// A few lines from the one that holds the first wrong byte on: offset, expected bytes, actual
/// bytes, with a mark under each wrong one.
pub(super) fn lines(expected: &[u8], actual: &[u8], first_wrong: usize) -> Vec<String> {
    let start = first_wrong / WIDTH * WIDTH;
    let mut lines = Vec::new();
    for (index, (expected, actual)) in
        expected[start..].chunks(WIDTH).zip(actual[start..].chunks(WIDTH)).take(LINES).enumerate()
    {
        lines.push(format!("{:#06x} expected{}", start + index * WIDTH, hex(expected)));
        lines.push(format!("       actual  {}", hex(actual)));
        let marks: String = expected
            .iter()
            .zip(actual)
            .map(|(expected, actual)| if expected == actual { "   " } else { " ^^" })
            .collect();
        lines.push(format!("               {marks}").trim_end().to_owned());
    }
    lines.retain(|line| !line.is_empty());
    lines
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, " {byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_bytes_are_marked_from_the_line_that_holds_the_first() {
        let expected: Vec<u8> = (0..40).collect();
        let mut actual = expected.clone();
        actual[17] = 0xFF;
        let lines = lines(&expected, &actual, 17);
        assert_eq!(lines[0], "0x0010 expected 10 11 12 13 14 15 16 17 18 19 1a 1b 1c 1d 1e 1f");
        assert_eq!(lines[1], "       actual   10 ff 12 13 14 15 16 17 18 19 1a 1b 1c 1d 1e 1f");
        assert_eq!(lines[2], "                   ^^");
        assert_eq!(lines.len(), 5);
    }
}
