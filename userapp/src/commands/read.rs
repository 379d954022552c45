//! `dmaproof read`

use std::io::Write;

use dmaproof_protocol::Direction;

use super::files::{NewFile, Way, Wish, carry_out, file_error, intact};
use crate::cli::ReadArgs;
use crate::describe::count;
use crate::exit::{AppError, Exit, Fate};
use crate::target::{Session, Target};
use crate::{interrupt, progress};

pub(super) fn run(
    arguments: &ReadArgs,
    target: &dyn Target,
    out: &mut dyn Write,
) -> Result<Exit, AppError> {
    let new_file = NewFile::begin(&arguments.out, arguments.force, None)?;
    let mut file = new_file.handle()?;
    writeln!(out, "{}", target.describe())?;
    let (path, offset) = (arguments.out.clone(), arguments.offset);
    let wish = Wish { path: arguments.path.path, target: target.options() };
    let asked = arguments.length;
    let interrupted = interrupt::flag();
    let bar = progress::bytes(0);
    let body_bar = bar.clone();
    let body = move |session: &mut dyn Session| -> Result<(Way, u64), AppError> {
        let way = Way::find(session, wish)?;
        let length = asked.unwrap_or(way.window().saturating_sub(offset));
        way.check(Direction::FromDevice, offset, length)?;
        body_bar.set_length(length);
        let mut buffer = vec![0; way.piece_max().min(length) as usize];
        let mut done = 0;
        while done < length {
            if interrupted.load(std::sync::atomic::Ordering::Relaxed) {
                return Err(AppError::Interrupted(Fate::Dropped));
            }
            // CAST: not longer than the buffer.
            let piece = (length - done).min(buffer.len() as u64) as usize;
            let piece = &mut buffer[..piece];
            way.carry(session, Direction::FromDevice, offset + done, piece, Fate::Dropped)?;
            file.write_all(piece)
                .map_err(|error| file_error("write", &path, &error, Fate::Dropped))?;
            done += piece.len() as u64;
            body_bar.inc(piece.len() as u64);
        }
        Ok((way, length))
    };
    let ((way, length), ended) = carry_out(target, body, &bar, out)?;
    new_file.finish()?;
    writeln!(out, "read {} at device offset {offset} by {}", count(length, "byte"), way.route)?;
    intact(&ended)
}
