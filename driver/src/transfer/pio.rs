//! Programmed I/O: the processor reads or writes registers.

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
    let start = context.device_offset(index, 0, dispatch).unwrap_or(u64::MAX);
    let transfer = match transfer.direction() {
        Direction::FromDevice => transfer.read_registers(dispatch, |offset| {
            context.registers.pio_read(start.saturating_add(u64::from(offset)))
        }),
        Direction::ToDevice => transfer.write_registers(dispatch, |offset, value| {
            context.registers.pio_write(start.saturating_add(u64::from(offset)), value);
        }),
    };
    // A device that is gone reads all ones, which is no data (SUR-01).
    let present = context.registers.is_present();
    let mut state = context.state.lock(dispatch);
    let transfer =
        if present { transfer } else { transfer.failed(DmaError::Refused(STATUS_DEVICE_REMOVED)) };
    state.set(index, Stage::Waiting(transfer));
}
