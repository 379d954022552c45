//! Which rule is usually broken when data looks like this.

use dmaproof_protocol::{Direction, Path};

use super::Class;
use crate::route::Route;

/// The rule of the catalogue that is the usual cause, if there is one.
#[must_use]
pub const fn usual_rule(class: Class, route: Route, direction: Direction) -> Option<&'static str> {
    let path = route.path();
    Some(match class {
        Class::StaleLine | Class::LateWriteBack | Class::OldData => cache_rule(path, direction),
        Class::TornEdge => "DMA-88",
        Class::NeighbourStore => "DMA-94",
        Class::Poison => match direction {
            Direction::ToDevice => cache_rule(path, direction),
            Direction::FromDevice => flush_rule(path),
        },
        Class::ZeroFilled => "SIM-02",
        Class::NotCopied => match direction {
            Direction::ToDevice => "DMA-93",
            Direction::FromDevice => flush_rule(path),
        },
        Class::PieceNotCopied => match path {
            Path::ScatterGather => "DMA-77",
            Path::Version3 => "DMA-66",
            _ => "DMA-56",
        },
        Class::TailMissing => match direction {
            Direction::ToDevice => "DMA-49",
            Direction::FromDevice => flush_rule(path),
        },
        Class::Shifted => match path {
            Path::Version3 => "DMA-64",
            _ => "DMA-46",
        },
        Class::Swapped | Class::PieceRepeated | Class::Misplaced => match path {
            Path::ScatterGather => "DMA-77",
            Path::Version3 => "DMA-66",
            _ => "DMA-48",
        },
        Class::Wrapped => match path {
            Path::Version3 | Path::CommonBufferUncached => "DMA-06",
            _ => "DMA-05",
        },
        Class::Overrun => match path {
            Path::CommonBufferCached | Path::CommonBufferUncached => "DMA-25",
            _ => "DMA-53",
        },
        Class::SourceChanged => "DMA-52",
        Class::ShortCompletion => "DMA-96",
        Class::BitFlips | Class::RequestFailed | Class::WrongRegister | Class::Unknown => {
            return None;
        }
    })
}

/// The call that is missing or misplaced when this rule is broken, with its arguments.
#[must_use]
pub fn missing_call(rule: &'static str) -> Option<&'static str> {
    Some(match rule {
        "DMA-85" | "DMA-90" => {
            "KeFlushIoBuffers(Mdl, ReadOperation, TRUE) right before the transfer, for every MDL"
        }
        "DMA-86" => "KeFlushIoBuffers(Mdl, TRUE, FALSE) at the end of the read",
        "DMA-42" | "DMA-53" | "DMA-54" => {
            "FlushAdapterBuffers with the first CurrentVa and the whole length, after the device \
             is done"
        }
        "DMA-66" | "DMA-67" => "FlushAdapterBuffersEx after each MapTransferEx",
        "DMA-75" | "DMA-76" => "PutScatterGatherList after the device is done",
        "DMA-100" => "the flush that ends the mapping, before the request is completed",
        "DMA-58" => "MapTransferEx, which makes the caches and memory agree, for each piece",
        _ => return None,
    })
}

/// The rule that keeps processor caches coherent on this path.
const fn cache_rule(path: Path, direction: Direction) -> &'static str {
    match path {
        Path::CommonBufferCached => "DMA-90",
        Path::CommonBufferUncached => "DMA-27",
        Path::Version3 => match direction {
            Direction::ToDevice => "DMA-58",
            Direction::FromDevice => "DMA-67",
        },
        Path::Pio => "DMA-86",
        Path::Packet | Path::ScatterGather | Path::SystemDma => "DMA-85",
    }
}

/// The rule that brings bounced or buffered data to the caller's buffer on this path.
const fn flush_rule(path: Path) -> &'static str {
    match path {
        Path::Packet | Path::SystemDma => "DMA-54",
        Path::ScatterGather => "DMA-76",
        Path::Version3 => "DMA-67",
        Path::CommonBufferCached => "DMA-90",
        Path::CommonBufferUncached => "DMA-27",
        Path::Pio => "DMA-86",
    }
}
