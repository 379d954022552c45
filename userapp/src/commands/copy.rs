//! `dmaproof copy`

use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dmaproof_protocol::Direction;
use indicatif::ProgressBar;

use super::files::{
    NewFile, Way, Wish, carry_out, check_end, file_error, intact, open, read_piece,
};
use crate::cli::CopyArgs;
use crate::describe::count;
use crate::exit::{AppError, Exit, Fate};
use crate::explain::{Evidence, Explanation, Seen, explain, explain_breach};
use crate::guard::Arena;
use crate::history::History;
use crate::pattern::Codec;
use crate::route::Route;
use crate::target::{Session, Target};
use crate::{interrupt, progress};

pub(super) fn run(
    arguments: &CopyArgs,
    target: &dyn Target,
    out: &mut dyn Write,
) -> Result<Exit, AppError> {
    let (source, length) = open(&arguments.file)?;
    let new_file = NewFile::begin(&arguments.out, arguments.force, Some(&source))?;
    let copier = Copier {
        source,
        copy: new_file.handle()?,
        length,
        arguments: (arguments.file.clone(), arguments.out.clone()),
        interrupted: interrupt::flag(),
        bar: progress::bytes(length),
    };
    writeln!(out, "{}", target.describe())?;
    let wish = Wish { path: arguments.path.path, target: target.options() };
    let bar = copier.bar.clone();
    let body = move |session: &mut dyn Session| copier.run(session, wish);
    let (route, ended) = carry_out(target, body, &bar, out)?;
    new_file.finish()?;
    writeln!(
        out,
        "copied {} through the device by {route}; every byte is intact",
        count(length, "byte")
    )?;
    intact(&ended)
}

/// Copies a file piece by piece.
struct Copier {
    source: File,
    copy: File,
    length: u64,
    /// The names of the two files, for messages.
    arguments: (std::path::PathBuf, std::path::PathBuf),
    interrupted: Arc<AtomicBool>,
    bar: ProgressBar,
}

impl Copier {
    fn run(mut self, session: &mut dyn Session, wish: Wish) -> Result<Route, AppError> {
        let way = Way::find(session, wish)?;
        way.check_memory()?;
        let longest = way.piece_max().min(self.length);
        way.check(Direction::ToDevice, 0, longest)?;
        way.check(Direction::FromDevice, 0, longest)?;
        let codec = Codec::new(1);
        // CAST: at most the longest piece.
        let mut sent = Arena::new(codec, longest as usize);
        let mut received = Arena::new(codec, longest as usize);
        let mut done = 0;
        while done < self.length {
            if self.interrupted.load(Ordering::Relaxed) {
                return Err(AppError::Interrupted(Fate::Dropped));
            }
            let piece = (self.length - done).min(longest) as usize;
            sent.place(0, piece);
            read_piece(&mut self.source, &self.arguments.0, sent.buffer_mut(), Fate::Dropped)?;
            round_trip(session, &way, &mut sent, &mut received, &codec)
                .map_err(|found| self.corrupted(done, &way, found))?;
            self.copy
                .write_all(received.buffer())
                .map_err(|error| file_error("write", &self.arguments.1, &error, Fate::Dropped))?;
            done += piece as u64;
            self.bar.inc(piece as u64);
        }
        check_end(&mut self.source, &self.arguments.0, self.length, Fate::Dropped)?;
        Ok(way.route)
    }

    fn corrupted(&self, at: u64, way: &Way, found: Found) -> AppError {
        let explanation = match found {
            Found::Request(error) => return error,
            Found::Data(explanation) => explanation,
        };
        let rule = explanation.rule.map_or(String::new(), |rule| format!("; usual cause: {rule}"));
        AppError::Corrupted(format!(
            "the data was corrupted on its way through the device by {}, in the piece at file \
             offset {at}: {}: {}{rule}\n  {}\nnothing was kept; `{}` finds out more",
            way.route,
            explanation.class,
            explanation.text,
            explanation.diff.join("\n  "),
            way.test()
        ))
    }
}

/// What went wrong with a piece.
enum Found {
    Request(AppError),
    Data(Box<Explanation>),
}

/// Sends a piece, receives it over its complement, and compares.
fn round_trip(
    session: &mut dyn Session,
    way: &Way,
    sent: &mut Arena,
    received: &mut Arena,
    codec: &Codec,
) -> Result<(), Found> {
    let data = sent.buffer().to_vec();
    let before: Vec<u8> = data.iter().map(|byte| !byte).collect();
    received.place(0, data.len());
    received.buffer_mut().copy_from_slice(&before);
    let dropped = Fate::Dropped;
    way.carry(session, Direction::ToDevice, 0, sent.buffer_mut(), dropped)
        .map_err(Found::Request)?;
    way.carry(session, Direction::FromDevice, 0, received.buffer_mut(), dropped)
        .map_err(Found::Request)?;
    let injected = session.observe().injected;
    let history = History::default();
    for (arena, direction) in [(sent, Direction::ToDevice), (received, Direction::FromDevice)] {
        let position = arena.position();
        let evidence = Evidence {
            expected: &data,
            actual: arena.buffer(),
            before: &before,
            tag: None,
            route: way.route,
            direction,
            position,
            device_offset: 0,
            codec,
            history: &history,
            seen: &Seen::NOTHING,
        };
        if let Some(explanation) = explain(&evidence) {
            return Err(Found::Data(Box::new(explanation.of_injected(&injected, &[]))));
        }
        if let Some(breach) = arena.breaches().first() {
            let buffer = position..position + data.len();
            let explanation = explain_breach(breach, buffer, &[], way.route, direction);
            return Err(Found::Data(Box::new(explanation)));
        }
    }
    Ok(())
}
