//! Rules that were not followed where it did no harm, as every command that moves data lists them.

use std::io::{self, Write};

use maud::{Markup, html};

use crate::target::Note;

/// Adds the notes of another run: what was seen before, at the same place, is counted there.
pub fn add(all: &mut Vec<Note>, more: impl IntoIterator<Item = Note>) {
    let kind = |note: &Note| (note.rule.clone(), note.call_site.clone(), note.harmless);
    for note in more {
        match all.iter_mut().find(|known| kind(known) == kind(&note)) {
            Some(known) => known.count += note.count,
            None => all.push(note),
        }
    }
}

/// The first that can lose data: a rule was broken, on a machine that went on.
#[must_use]
pub fn broken(notes: &[Note]) -> Option<&Note> {
    notes.iter().find(|note| !note.harmless)
}

/// Writes them for people.
///
/// # Errors
///
/// Those of the output.
pub fn write(out: &mut dyn Write, notes: &[Note]) -> io::Result<()> {
    if !notes.is_empty() {
        writeln!(out, "\nnotes")?;
    }
    for Note { rule, text, call_site, count, harmless } in notes {
        let times = if *count > 1 { format!(" ({count} times)") } else { String::new() };
        let effect = if *harmless { "; harmless on this machine" } else { "" };
        writeln!(out, "  {rule} not followed at {call_site}{effect}{times}")?;
        writeln!(out, "    {text}")?;
    }
    Ok(())
}

/// A panel of them for a page; nothing if there are none.
#[must_use]
pub fn panel(notes: &[Note]) -> Markup {
    html! {
        @if !notes.is_empty() {
            section.panel {
                h2 { "Rules that were not followed" }
                ul { @for note in notes {
                    li { b { (note.rule) } " at " code { (note.call_site) }
                        @if note.harmless { ", harmless on this machine" }
                        @if note.count > 1 { ", " (note.count) " times" }
                        ": " (note.text) }
                } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(rule: &str, call_site: &str, harmless: bool, count: u64) -> Note {
        let (rule, call_site) = (rule.to_owned(), call_site.to_owned());
        Note { rule, text: format!("seen {count} times"), call_site, count, harmless }
    }

    #[test]
    fn what_is_seen_again_at_its_place_is_counted_and_the_rest_is_kept() {
        let first = note("DMA-85", "a.rs:1", true, 2);
        let others = [
            note("DMA-85", "a.rs:2", true, 1),
            note("DMA-86", "a.rs:1", true, 1),
            note("DMA-85", "a.rs:1", false, 1),
        ];
        let mut all = vec![first.clone()];
        add(&mut all, others.clone());
        assert_eq!(broken(&all), Some(&others[2]));
        add(&mut all, [note("DMA-85", "a.rs:1", true, 5)]);
        assert_eq!(all[0], Note { count: 7, ..first });
        assert_eq!(all[1..], others);
        assert_eq!(broken(&all[..3]), None);
    }
}
