//! What the commands that move files share: opening, the choice of the path, pieces, and outputs
//! that appear under their name only when they are complete.

#[cfg(unix)]
use std::fs::Permissions;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::path::{Path as FilePath, PathBuf};

use dmaproof_protocol::{Direction, Limits, Path, TransferHeader, check_read_write, status};
use indicatif::ProgressBar;
use tempfile::NamedTempFile;

use crate::describe::count;
use crate::exit::{AppError, Exit, Fate};
use crate::route::Route;
use crate::sweep::reaches_memory;
use crate::target::{Ended, NtStatus, Session, Target, with_end};
use crate::{interrupt, notes, provoked};

/// The longest piece moved at once, in bytes, so that the progress bar moves too.
const PIECE_MAX: u64 = 1 << 20;

/// Opens a file to read, and its length.
pub(super) fn open(path: &FilePath) -> Result<(File, u64), AppError> {
    let usage = |error: io::Error| {
        let step = match error.kind() {
            io::ErrorKind::PermissionDenied => "you are not permitted to read it",
            _ => "check the name",
        };
        AppError::Usage(format!("cannot read {}: {error}; {step}", path.display()))
    };
    // Before it is opened: Windows opens no folder, and its reason would mislead.
    let metadata = fs::metadata(path).map_err(usage)?;
    if !metadata.is_file() {
        return Err(AppError::Usage(format!(
            "cannot read {}: it is not a regular file; name one",
            path.display()
        )));
    }
    let file = File::open(path).map_err(usage)?;
    let length = file.metadata().map_err(usage)?.len();
    Ok((file, length))
}

/// Reads the next piece of a file.
pub(super) fn read_piece(
    file: &mut File,
    path: &FilePath,
    piece: &mut [u8],
    fate: Fate,
) -> Result<(), AppError> {
    file.read_exact(piece).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => changed(path, fate),
        _ => file_error("read", path, &error, fate),
    })
}

/// Checks that a file of which `length` bytes were read ends there.
pub(super) fn check_end(
    file: &mut File,
    path: &FilePath,
    length: u64,
    fate: Fate,
) -> Result<(), AppError> {
    let failed = |error| file_error("read", path, &error, fate);
    let more = Read::by_ref(file).take(1).read_to_end(&mut Vec::new()).map_err(failed)?;
    if more > 0 || file.metadata().map_err(failed)?.len() != length {
        return Err(changed(path, fate));
    }
    Ok(())
}

fn changed(path: &FilePath, fate: Fate) -> AppError {
    AppError::Usage(format!(
        "cannot read {}: the file changed while it was copied, or has another length than it says; \
         {fate}",
        path.display()
    ))
}

/// A file that gets its name when all of it was written, and leaves nothing behind otherwise.
#[derive(Debug)]
pub(super) struct NewFile {
    temporary: NamedTempFile,
    path: PathBuf,
    force: bool,
    /// The permissions of the file that is replaced.
    #[cfg(unix)]
    replaced: Option<Permissions>,
    _part: interrupt::Part,
}

impl NewFile {
    /// Begins the file that a report is to be written to, if one was asked for, in place of what
    /// may have that name. Before anything runs: so that nobody waits for a file that cannot be
    /// written.
    pub(super) fn for_report(path: Option<&PathBuf>) -> Result<Option<Self>, AppError> {
        path.map(|path| Self::begin(path, true, None)).transpose()
    }

    /// Begins a file that will be called `path`; a new one may be used as `source` may, if there
    /// is one.
    pub(super) fn begin(
        path: &FilePath,
        force: bool,
        source: Option<&File>,
    ) -> Result<Self, AppError> {
        // So that no signal can end the app and leave the unfinished file.
        let _ = interrupt::flag();
        let shown = path.display();
        let refused = |error: io::Error| {
            AppError::Usage(format!("cannot write {shown}: {error}; choose another name"))
        };
        let mut replaced = None;
        // A link stays a link; what it names is replaced.
        let path = match fs::canonicalize(path) {
            Ok(existing) if !existing.is_file() => {
                return Err(AppError::Usage(format!(
                    "cannot write {shown}: it is not a regular file; name one"
                )));
            }
            Ok(_) if !force => {
                return Err(AppError::Usage(format!("{shown} exists; use --force to replace it")));
            }
            Ok(existing) => {
                let file = OpenOptions::new().write(true).open(&existing).map_err(refused)?;
                replaced = Some(file.metadata().map_err(refused)?.permissions());
                existing
            }
            Err(_) => path.to_owned(),
        };
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => FilePath::new("."),
        };
        let mut builder = tempfile::Builder::new();
        builder.prefix(".dmaproof-").suffix(".part");
        #[cfg(unix)]
        builder.permissions(initial_permissions(replaced.is_some(), source).map_err(refused)?);
        #[cfg(not(unix))]
        let _ = (source, replaced);
        let temporary = builder.tempfile_in(folder).map_err(|error| {
            AppError::Usage(format!(
                "cannot write {shown}: {error}; choose a folder that exists and can be written"
            ))
        })?;
        let part = interrupt::Part::new(temporary.path());
        Ok(Self {
            temporary,
            path,
            force,
            #[cfg(unix)]
            replaced,
            _part: part,
        })
    }

    /// A handle to write to.
    pub(super) fn handle(&self) -> Result<File, AppError> {
        self.temporary.as_file().try_clone().map_err(|error| self.error(&error))
    }

    /// Writes all of a text, and gives the file its name.
    pub(super) fn finish_with(self, text: &str) -> Result<(), AppError> {
        self.handle()?.write_all(text.as_bytes()).map_err(|error| self.error(&error))?;
        self.finish()
    }

    /// Gives the file its name.
    pub(super) fn finish(self) -> Result<(), AppError> {
        #[cfg(unix)]
        if let Some(permissions) = &self.replaced {
            use std::os::unix::fs::PermissionsExt;
            let permissions = Permissions::from_mode(permissions.mode() & 0o777);
            let file = self.temporary.as_file();
            file.set_permissions(permissions).map_err(|error| self.error(&error))?;
        }
        self.temporary.as_file().sync_all().map_err(|error| self.error(&error))?;
        let Self { temporary, path, force, .. } = self;
        let result =
            if force { temporary.persist(&path) } else { temporary.persist_noclobber(&path) };
        match result {
            Ok(_) => Ok(()),
            Err(error) => Err(AppError::Usage(format!(
                "cannot write {}: {}; choose another name",
                path.display(),
                error.error
            ))),
        }
    }

    fn error(&self, error: &io::Error) -> AppError {
        let hint = "free some space, or choose another place";
        AppError::Usage(format!("cannot write {}: {error}; {hint}", self.path.display()))
    }
}

/// How a command ends whose report is told, where a file with it could be written or not: that it
/// could not hides nothing that is worse.
pub(super) fn end_with(end: Exit, written: Result<(), AppError>) -> Result<Exit, AppError> {
    match written {
        Err(error) if end != Exit::Intact => {
            // If nobody can read standard error, the exit status has to do.
            let _ = writeln!(io::stderr(), "dmaproof: {error}");
            Ok(end)
        }
        written => written.map(|()| end),
    }
}

/// The permissions that an unfinished file begins with; the user's mask is applied to them.
#[cfg(unix)]
fn initial_permissions(replaces: bool, source: Option<&File>) -> io::Result<Permissions> {
    use std::os::unix::fs::PermissionsExt;
    let mode = match source {
        // Nobody else's until it gets those of the file that it replaces.
        _ if replaces => 0o600,
        Some(source) => source.metadata()?.permissions().mode() & 0o777,
        None => 0o666,
    };
    Ok(Permissions::from_mode(mode))
}

/// The error of a file while data was moved.
pub(super) fn file_error(what: &str, path: &FilePath, error: &io::Error, fate: Fate) -> AppError {
    AppError::Usage(format!("cannot {what} {}: {error}; {fate}", path.display()))
}

/// Runs what moves a file, and lists the rules that were not followed meanwhile and the failures
/// that were asked for, whatever came of the file.
pub(super) fn carry_out<R: Send + 'static>(
    target: &dyn Target,
    body: impl FnOnce(&mut dyn Session) -> Result<R, AppError> + Send + 'static,
    bar: &ProgressBar,
    out: &mut dyn io::Write,
) -> Result<(R, Ended), AppError> {
    let ended = with_end(target, body);
    bar.finish_and_clear();
    let (result, ended) = ended?;
    notes::write(out, &ended.notes)?;
    provoked::write(out, &ended.provoked)?;
    Ok((result?, ended))
}

/// How a command ends whose data is intact.
pub(super) fn intact(ended: &Ended) -> Result<Exit, AppError> {
    if let Some(note) = notes::broken(&ended.notes) {
        return Err(AppError::RuleBroken(note.rule.clone()));
    }
    match provoked::missed(&ended.provoked) {
        None => Ok(Exit::Intact),
        Some(text) => Err(AppError::NotProvoked(text)),
    }
}

/// What the device offers to a command that moves files.
#[derive(Clone, Debug)]
pub(super) struct Way {
    /// How to ask for transfers.
    pub(super) route: Route,
    limits: Limits,
    /// The options that choose the device, for messages.
    target: String,
}

/// What the user asked for that concerns the way of the data.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    /// The path, if one was named.
    pub(super) path: Option<Route>,
    /// The options that choose the device.
    pub(super) target: String,
}

impl Way {
    /// Asks the driver, and chooses a path if the user did not.
    pub(super) fn find(session: &mut dyn Session, wish: Wish) -> Result<Self, AppError> {
        let Wish { path, target } = wish;
        let request = |status| AppError::Request { what: "asking the driver", status };
        let reply = session.query().map_err(request)?;
        let limits = reply.limits().map_err(|_| request(NtStatus(status::REVISION_MISMATCH)))?;
        let route = match path {
            Some(route) if limits.is_available(route.path()) => route,
            Some(route) => {
                return Err(AppError::Usage(format!(
                    "this device does not offer the path {}; `dmaproof info {target}` shows those \
                     that it offers",
                    route.option()
                )));
            }
            None => preferred(&limits).ok_or_else(|| {
                AppError::Usage("this device offers no path that reaches its memory".to_owned())
            })?,
        };
        Ok(Self { route, limits, target })
    }

    /// Checks that what is written by the path can be read back by it: registers keep nothing.
    pub(super) fn check_memory(&self) -> Result<(), AppError> {
        if reaches_memory(&self.limits, self.route) {
            return Ok(());
        }
        let others: Vec<_> =
            Route::ALL.into_iter().filter(|other| reaches_memory(&self.limits, *other)).collect();
        let others: Vec<_> = others.into_iter().map(Route::option).collect();
        Err(AppError::Usage(format!(
            "a copy needs memory that keeps it, and the path {} reaches only registers of this \
             device; its paths to memory are {} (--path)",
            self.route.option(),
            others.join(", ")
        )))
    }

    /// The command that tests the path on this device.
    pub(super) fn test(&self) -> String {
        format!("dmaproof test {} --paths {}", self.target, self.route.option())
    }

    /// The length of what the path reaches on the device, in bytes.
    pub(super) const fn window(&self) -> u64 {
        self.limits.window_length(self.route.path())
    }

    /// The longest piece, in bytes.
    pub(super) fn piece_max(&self) -> u64 {
        let longest = self.limits.transfer_length_max.min(PIECE_MAX).min(self.window());
        match (self.route.path(), u64::from(self.limits.pio.alignment)) {
            (Path::Pio, unit @ 2..) => longest / unit * unit,
            _ => longest,
        }
    }

    /// Checks that a range can be moved, piece by piece, before anything is.
    pub(super) fn check(
        &self,
        direction: Direction,
        offset: u64,
        length: u64,
    ) -> Result<(), AppError> {
        let window = self.window();
        if offset.checked_add(length).is_none_or(|end| end > window) {
            return Err(AppError::Usage(format!(
                "{} at offset {offset} do not fit: the path {} reaches {} of this device; choose a \
                 smaller offset or length",
                count(length, "byte"),
                self.route.option(),
                count(window, "byte")
            )));
        }
        let piece = self.piece_max();
        if length > 0 && piece == 0 {
            return Err(AppError::Usage("the device takes no transfer of any length".to_owned()));
        }
        let mut at = 0;
        while at < length {
            let part = piece.min(length - at);
            self.allow(direction, offset + at, part)?;
            at += part;
        }
        Ok(())
    }

    fn allow(&self, direction: Direction, offset: u64, length: u64) -> Result<(), AppError> {
        let result = match self.route {
            Route::Path(path) => {
                TransferHeader::new(path, offset, length).check(direction, length, &self.limits)
            }
            // CAST: the window's end was checked.
            Route::File => check_read_write(direction, offset as i64, length, &self.limits),
        };
        result.map(|_| ()).map_err(|refusal| {
            AppError::Usage(format!(
                "{} at offset {offset} cannot be moved by the path {}: {refusal}; `dmaproof info \
                 {}` shows what the device allows",
                count(length, "byte"),
                self.route.option(),
                self.target
            ))
        })
    }

    /// Moves one piece.
    pub(super) fn carry(
        &self,
        session: &mut dyn Session,
        direction: Direction,
        offset: u64,
        buffer: &mut [u8],
        fate: Fate,
    ) -> Result<(), AppError> {
        let what = match direction {
            Direction::ToDevice => "the transfer to the device",
            Direction::FromDevice => "the transfer from the device",
        };
        let asked = buffer.len();
        match session.move_by(self.route, direction, offset, buffer) {
            Ok(said) if said == asked => Ok(()),
            Ok(said) => Err(AppError::Corrupted(format!(
                "{what} at offset {offset} moved {said} of {asked} bytes; {fate}"
            ))),
            Err(status) => Err(AppError::Request { what, status }),
        }
    }
}

/// Packet if there is one, else the first path that reaches memory.
fn preferred(limits: &Limits) -> Option<Route> {
    let packet = Route::Path(Path::Packet);
    [packet].into_iter().chain(Route::ALL).find(|route| {
        let path = route.path();
        limits.is_available(path) && path != Path::Pio && limits.memory_length > 0
    })
}
