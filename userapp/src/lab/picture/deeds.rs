//! Steps that belong together, and what they are in words.

use dmaproof_protocol::{Direction, Path};
use nthost::cache::{Cause, Lost, Step};

use crate::lab::table::Cell;

/// Title, explanation, and the places between which data moves.
type Told = (String, String, &'static [&'static str]);

/// The steps in groups of one deed: one call, or what a device or a cache does in a row. Of what
/// goes through the DMA controller the first chunk is apart: into the FIFO, and on from there.
pub(super) fn deeds<'s, 'r>(cell: &Cell, steps: &'s [&'r Step]) -> Vec<&'s [&'r Step]> {
    let mut deeds = Vec::new();
    let mut first = true;
    for deed in steps.chunk_by(|a, b| are_one_deed(cell, a, b)) {
        if !(first && is_controllers(cell, deed[0])) {
            deeds.push(deed);
            continue;
        }
        first = false;
        let goes_on = |step: &&Step| matches!(step.cause, Cause::DeviceWrite | Cause::FifoDrained);
        let filled = deed.iter().position(goes_on).unwrap_or(deed.len());
        let rest = &deed[filled..];
        let drained = rest.iter().position(|step| !goes_on(step)).unwrap_or(rest.len());
        let parts = [&deed[..filled], &rest[..drained], &rest[drained..]];
        deeds.extend(parts.into_iter().filter(|part| !part.is_empty()));
    }
    deeds
}

fn are_one_deed(cell: &Cell, one: &Step, other: &Step) -> bool {
    let fifo = |step: &Step| matches!(step.cause, Cause::FifoFilled | Cause::FifoDrained);
    match one.cause {
        Cause::Call(_) => one.cause == other.cause && one.moment.event == other.moment.event,
        _ if is_controllers(cell, one) && is_controllers(cell, other) => flush(one) == flush(other),
        _ => one.cause == other.cause || fifo(one) && fifo(other),
    }
}

/// Whether a step is one of the DMA controller and its FIFO.
fn is_controllers(cell: &Cell, step: &Step) -> bool {
    let passes = matches!(
        step.cause,
        Cause::DeviceRead | Cause::DeviceWrite | Cause::FifoFilled | Cause::FifoDrained
    );
    cell.path == Path::SystemDma && passes
}

/// The driver's flush in which a step was taken, if it was.
fn flush(step: &Step) -> Option<&'static str> {
    Some(step.moment.call).filter(|call| call.starts_with("FlushAdapterBuffers"))
}

/// What a deed is.
pub(super) fn describe(cell: &Cell, deed: &[&Step]) -> Told {
    if is_controllers(cell, deed[0]) {
        return describe_controller(cell.direction, deed);
    }
    describe_step(cell, deed[0].cause)
}

/// What the DMA controller does.
fn describe_controller(direction: Direction, deed: &[&Step]) -> Told {
    let has = |cause| deed.iter().any(|step| step.cause == cause);
    let (filled, drained) = (has(Cause::FifoFilled), has(Cause::FifoDrained));
    let (title, text, moved): (_, _, &'static [&'static str]) = match (direction, flush(deed[0])) {
        (Direction::FromDevice, Some(call)) => {
            let text = "What waits in the controller's FIFO goes on to memory.";
            return (format!("The driver calls {call}"), text.to_owned(), &["fifo", "ram"]);
        }
        (Direction::ToDevice, Some(call)) => {
            let text = "What waits in the controller's FIFO goes on to the device.";
            return (format!("The driver calls {call}"), text.to_owned(), &["fifo", "device"]);
        }
        (Direction::FromDevice, None) if !drained => (
            "The device fills the controller's FIFO",
            "It goes on to memory when a whole chunk is there.",
            &["device", "fifo"],
        ),
        (Direction::FromDevice, None) if !filled => (
            "The chunk goes on to memory",
            "What the cache holds of these lines stays as it is.",
            &["fifo", "ram"],
        ),
        (Direction::FromDevice, None) => (
            "The device goes on, chunk by chunk",
            "What is less than a chunk at the end waits in the FIFO until FlushAdapterBuffers is \
             called. What the cache holds of these lines stays as it is.",
            &["device", "fifo", "ram"],
        ),
        (Direction::ToDevice, None) if !drained => (
            "The controller fills its FIFO",
            "It reads memory, not the processor's cache.",
            &["ram", "fifo"],
        ),
        (Direction::ToDevice, None) if !filled => {
            ("The device takes the chunk", "It is given whole chunks only.", &["fifo", "device"])
        }
        (Direction::ToDevice, None) => (
            "The device goes on, chunk by chunk",
            "What is less than a chunk at the end waits in the FIFO until FlushAdapterBuffers is \
             called.",
            &["ram", "fifo", "device"],
        ),
    };
    (title.to_owned(), text.to_owned(), moved)
}

fn describe_step(cell: &Cell, cause: Cause) -> (String, String, &'static [&'static str]) {
    let title: &str = match cause {
        Cause::Tracked => "The buffer is locked",
        Cause::Forgotten => "The request ends, and the buffer is unlocked",
        Cause::Store => "The processor stores into the buffer",
        Cause::Call(name) => return describe_call(cell, name),
        Cause::DeviceRead => "The device reads memory",
        Cause::DeviceWrite => "The device writes memory",
        Cause::Evict => "The cache evicts lines",
        Cause::Prefetch => "The processor prefetches lines",
        Cause::BounceIn => "Shared lines are copied to a bounce page",
        Cause::BounceOut => "Shared lines are copied back from the bounce page",
        Cause::FifoFilled => "The device writes, through the adapter's FIFO",
        Cause::FifoDrained => "The adapter's FIFO goes on to memory",
    };
    let (text, moved): (&str, &'static [&'static str]) = match cause {
        Cause::Tracked => (
            "Its lines may be in the cache, and newer there than in memory: whoever used the \
             buffer last has left them so.",
            &[],
        ),
        Cause::Forgotten => (
            "Lines that are dirty are written back some time; lines that are stale are read \
             until they leave the cache.",
            &["cache", "ram"],
        ),
        Cause::Store => ("It writes its cache; memory keeps what it had.", &["processor", "cache"]),
        Cause::DeviceRead => ("It reads memory, not the processor's cache.", &["ram", "device"]),
        Cause::DeviceWrite => (
            "It writes memory; what the cache holds of these lines stays as it is.",
            &["device", "ram"],
        ),
        Cause::Evict => (
            "At any time, and by no call: a dirty line is written back first, over whatever \
             memory holds.",
            &["cache", "ram"],
        ),
        Cause::Prefetch => {
            ("At any time, and by no call: it takes what memory holds now.", &["ram", "cache"])
        }
        Cause::FifoFilled => (
            "A full FIFO goes on to memory; the last bytes wait in it until FlushAdapterBuffers \
             is called. What the cache holds of these lines stays as it is.",
            &["device", "fifo", "ram"],
        ),
        Cause::FifoDrained => ("Now memory has it.", &["fifo", "ram"]),
        Cause::BounceIn | Cause::BounceOut | Cause::Call(_) => {
            ("The processor copies them, so that no neighbour's data is touched.", &[])
        }
    };
    (title.to_owned(), text.to_owned(), moved)
}

fn describe_call(cell: &Cell, name: &str) -> (String, String, &'static [&'static str]) {
    let from_device = cell.direction == Direction::FromDevice;
    let (text, moved): (&str, &'static [&'static str]) = match name {
        "KeFlushIoBuffers" if from_device => (
            "What is dirty is written back, and the lines leave the cache: nothing old can be \
             written over the device's data later.",
            &["cache", "ram"],
        ),
        "KeFlushIoBuffers" => (
            "What is dirty is written back, so that the device reads what the processor wrote.",
            &["cache", "ram"],
        ),
        "MapTransferEx" => (
            "The device is given the buffer; version 3 makes cache and memory agree.",
            &["cache", "ram"],
        ),
        _ if name.starts_with("Map") || name.starts_with("Build") => {
            ("The device is given the buffer. Caches are not touched.", &[])
        }
        _ if from_device && (name.contains("Flush") || name.starts_with("Put")) => (
            "The adapter's buffers go to memory, and clean lines are dropped, so that the \
             processor reads what the device wrote.",
            &["ram", "processor"],
        ),
        _ if name.contains("Flush") || name.starts_with("Put") => {
            ("The buffer is taken back from the device.", &[])
        }
        _ => ("It flushes nothing: what has not arrived by now never does.", &[]),
    };
    (format!("The driver calls {name}"), text.to_owned(), moved)
}

/// How data was lost.
pub(super) fn sentence(how: Lost, direction: Direction) -> &'static str {
    match (how, direction) {
        (Lost::LeftInFifo, Direction::ToDevice) => {
            "Data is lost: the FIFO's tail never reached the device"
        }
        (Lost::LeftInFifo, _) => "Data is lost: the FIFO's tail never reached memory",
        (Lost::ReadPoison, _) => {
            "Data is lost: the device has read memory that never had the processor's data"
        }
        (Lost::ReadOld, _) => {
            "Data is lost: the device has read memory older than the processor's data"
        }
        (Lost::WrittenOver, _) => {
            "Data is lost: an older line was written back over what the device had written"
        }
        (Lost::KeptStale, _) => "Data is lost: the processor keeps its older copy",
        (Lost::StoreDropped, _) => "Data is lost: what the processor had stored was given up",
        (Lost::LeftInBounce, _) => "Data is lost: the bounce page was never copied back",
    }
}
