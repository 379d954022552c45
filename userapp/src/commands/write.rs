//! `dmaproof write`

use std::io::{Read, Write};

use dmaproof_protocol::Direction;

use super::files::{Way, file_error, open};
use crate::cli::WriteArgs;
use crate::exit::{AppError, Exit};
use crate::target::{Session, Target, with_target};
use crate::{interrupt, progress};

pub(super) fn run(
    arguments: &WriteArgs,
    target: &dyn Target,
    out: &mut dyn Write,
) -> Result<Exit, AppError> {
    let (mut file, length) = open(&arguments.file)?;
    writeln!(out, "{}", target.describe())?;
    let (path, offset, chosen) = (arguments.file.clone(), arguments.offset, arguments.path.path);
    let interrupted = interrupt::flag();
    let bar = progress::bytes(length);
    let body_bar = bar.clone();
    let body = move |session: &mut dyn Session| -> Result<Way, AppError> {
        let way = Way::find(session, chosen)?;
        way.check(Direction::ToDevice, offset, length)?;
        let mut buffer = vec![0; way.piece_max().min(length) as usize];
        let mut done = 0;
        while done < length {
            if interrupted.load(std::sync::atomic::Ordering::Relaxed) {
                return Err(AppError::Interrupted);
            }
            // CAST: not longer than the buffer.
            let piece = (length - done).min(buffer.len() as u64) as usize;
            let piece = &mut buffer[..piece];
            file.read_exact(piece).map_err(|error| file_error("read", &path, &error))?;
            way.carry(session, Direction::ToDevice, offset + done, piece)?;
            done += piece.len() as u64;
            body_bar.inc(piece.len() as u64);
        }
        Ok(way)
    };
    let result = with_target(target, body);
    bar.finish_and_clear();
    let way = result??;
    writeln!(out, "wrote {length} bytes at device offset {offset} by {}", way.route)?;
    Ok(Exit::Intact)
}
