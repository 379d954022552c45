//! Programmed I/O: the processor reads or writes registers, or device memory through a window.

use wdk_dma::irql::Dispatch;
use wdk_dma::{Direction, DmaError, Transfer};

use super::slot::Stage;
use crate::device::DeviceContext;
use crate::request::Request;
use crate::sys::STATUS_DEVICE_REMOVED;

/// Moves all bytes at once. A read ends with the flush that the documents ask for (DMA-86).
pub(crate) fn perform(
    context: &DeviceContext,
    index: usize,
    transfer: Transfer<Request>,
    dispatch: &Dispatch,
) {
    let start = context.device_offset(index, 0).unwrap_or(u64::MAX);
    let registers = &context.registers;
    let at = |offset: u32| start.saturating_add(u64::from(offset));
    let transfer = match transfer.direction() {
        _ if registers.exerciser.bar.is_mapped() => {
            transfer.move_by_processor(&registers.exerciser, start, dispatch)
        }
        Direction::FromDevice => {
            transfer.read_registers(dispatch, |offset| registers.edu.pio_read(at(offset)))
        }
        Direction::ToDevice => transfer.write_registers(dispatch, |offset, value| {
            registers.edu.pio_write(at(offset), value);
        }),
    };
    // A device that is gone reads all ones, which is no data (SUR-01).
    let present = context.registers.is_present();
    let mut state = context.state.lock(dispatch);
    let transfer =
        if present { transfer } else { transfer.failed(DmaError::Refused(STATUS_DEVICE_REMOVED)) };
    state.set(index, Stage::Waiting(transfer));
}
