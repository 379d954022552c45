//! `dmaproof write`

use std::io::Write;

use dmaproof_protocol::Direction;

use super::files::{Way, Wish, carry_out, check_end, intact, open, read_piece};
use crate::cli::WriteArgs;
use crate::describe::count;
use crate::exit::{AppError, Exit, Fate};
use crate::target::{Session, Target};
use crate::{interrupt, progress};

pub(super) fn run(
    arguments: &WriteArgs,
    target: &dyn Target,
    out: &mut dyn Write,
) -> Result<Exit, AppError> {
    let (mut file, length) = open(&arguments.file)?;
    writeln!(out, "{}", target.describe())?;
    let (path, offset) = (arguments.file.clone(), arguments.offset);
    let wish = Wish { path: arguments.path.path, target: target.options() };
    let interrupted = interrupt::flag();
    let bar = progress::bytes(length);
    let body_bar = bar.clone();
    let body = move |session: &mut dyn Session| -> Result<Way, AppError> {
        let way = Way::find(session, wish)?;
        way.check(Direction::ToDevice, offset, length)?;
        let mut buffer = vec![0; way.piece_max().min(length) as usize];
        let mut done = 0;
        while done < length {
            if interrupted.load(std::sync::atomic::Ordering::Relaxed) {
                return Err(AppError::Interrupted(Fate::Reached(done)));
            }
            // CAST: not longer than the buffer.
            let piece = (length - done).min(buffer.len() as u64) as usize;
            let piece = &mut buffer[..piece];
            let fate = Fate::Reached(done);
            read_piece(&mut file, &path, piece, fate)?;
            way.carry(session, Direction::ToDevice, offset + done, piece, fate)
                .map_err(|error| interrupted_by(error, fate))?;
            done += piece.len() as u64;
            body_bar.inc(piece.len() as u64);
        }
        check_end(&mut file, &path, length, Fate::Reached(done))?;
        Ok(way)
    };
    let (way, ended) = carry_out(target, body, &bar, out)?;
    let bytes = count(length, "byte");
    writeln!(out, "wrote {bytes} at device offset {offset} by {}", way.route)?;
    if !target.options().starts_with("--device ") {
        writeln!(
            out,
            "the simulated device's memory ends with this command; `dmaproof copy FILE OUT {}` \
             moves a file there and back",
            target.options()
        )?;
    }
    intact(&ended)
}

/// A cancelled request is the user's wish, and what was sent before it stays sent.
fn interrupted_by(error: AppError, fate: Fate) -> AppError {
    match error {
        AppError::Request { status, .. } if status.is_cancelled() && interrupt::happened() => {
            AppError::Interrupted(fate)
        }
        error => error,
    }
}
