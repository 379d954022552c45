//! The catalogue of rules, as `dmaproof rules` shows it.

use std::io::{self, Write};

use serde::Serialize;

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// Its name, such as `DMA-54`.
    pub id: String,
    /// What it is about.
    pub title: String,
    /// What it demands.
    pub text: String,
    /// What Driver Verifier does about it; empty if nothing is documented.
    pub verifier: String,
    /// Where it is enforced.
    pub homes: Vec<String>,
    /// The same in a few words: `type`, `check`, `note`, `inf`, `review`.
    pub enforced: String,
    /// The pages and source files that it comes from.
    pub sources: Vec<String>,
    /// The errors of Linux's dma-debug that are the same mistake.
    pub dma_debug: Vec<String>,
}

/// An error of Linux's dma-debug.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DmaDebug {
    /// Its number and message.
    pub error: String,
    /// The rules that forbid the same mistake, or why none does.
    pub counterpart: String,
}

impl Rule {
    /// Writes everything about the rule.
    ///
    /// # Errors
    ///
    /// Those of the output.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}: {}", self.id, self.title)?;
        for line in wrap(&self.text, 96) {
            writeln!(out, "  {line}")?;
        }
        let verifier = if self.verifier.is_empty() { "nothing" } else { &self.verifier };
        writeln!(out, "  Driver Verifier: {verifier}")?;
        writeln!(out, "  enforced by:     {}", self.homes.join("; "))?;
        writeln!(out, "  sources:         {}", self.sources.join("\n                   "))?;
        if self.dma_debug.is_empty() {
            return Ok(());
        }
        writeln!(out, "  Linux dma-debug: {}", self.dma_debug.join("\n                   "))
    }
}

/// Breaks a text into lines of at most `width` characters, where it has spaces.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().filter(|line| {
            line.is_empty() || line.chars().count() + 1 + word.chars().count() <= width
        });
        match line {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) => {
                line.push(' ');
                line.push_str(word);
            }
            None => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_at_spaces_and_lose_nothing() {
        let text = "one two three four five six seven";
        let lines = wrap(text, 9);
        assert!(lines.iter().all(|line| line.len() <= 9));
        assert_eq!(lines.join(" "), text);
        assert_eq!(wrap("unbreakable-word", 4), ["unbreakable-word"]);
    }
}
