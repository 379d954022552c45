//! What a driver says about its device in a DEVICE_DESCRIPTION (RULES section A).

use wdk_lite::*;

use super::controller::COUNTER;
use super::system::Slave;
use super::windows::Class;
use crate::RuleId;
use crate::memory::PAGE_SHIFT;
use crate::memory::pages::span;
use crate::verifier::{Violation, broken};

/// What the HAL makes of a description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Traits {
    /// The table's version: 1 to 3.
    pub version: u32,
    /// Address bits the device decodes.
    pub bits: u32,
    /// The device takes lists of fragments (DMA-07).
    pub scatter_gather: bool,
    /// Bytes of the largest operation (DMA-09).
    pub maximum_length: u32,
    /// Set if the device masters nothing and has a system DMA channel.
    pub slave: Option<Slave>,
}

impl Traits {
    pub(super) fn class(&self) -> Class {
        Class::of(self.bits)
    }

    /// Registers for the largest operation, one more for an unaligned start (DMA-10); for a slave
    /// device at most what the controller counts in one operation.
    pub(super) fn registers(&self) -> u32 {
        // CAST: at most 2^20 pages.
        let registers = span(0, self.maximum_length as usize) as u32 + 1;
        if self.slave.is_some() { registers.min(COUNTER >> PAGE_SHIFT) } else { registers }
    }
}

/// Checks a description; `None` for an adapter this system does not offer, up to version `newest`.
/// `as_slave` makes something of one with Master FALSE, if the device has a system DMA channel.
///
/// # Errors
/// DMA-03 for what was not zeroed, DMA-04 for an unknown version, DMA-08 and DMA-09 for members
/// that make no sense for a bus master.
pub(super) fn examine(
    description: &DEVICE_DESCRIPTION,
    newest: u32,
    as_slave: impl FnOnce(&DEVICE_DESCRIPTION) -> Option<Result<Option<Traits>, Violation>>,
) -> Result<Option<Traits>, Violation> {
    let version = description.Version;
    if version > DEVICE_DESCRIPTION_VERSION3 {
        let message = format!("DEVICE_DESCRIPTION.Version is {version}; 0 to 3 exist");
        return Err(broken(RuleId::Dma04, message).code(0xE6, [0x25, version.into(), 0, 0]));
    }
    check_zeroed(description)?;
    let slave = if description.Master == 0 { as_slave(description) } else { None };
    if slave.is_none() {
        check_bus_master(description)?;
    }
    if version > newest {
        return Ok(None);
    }
    if description.MaximumLength == 0 {
        return Err(broken(RuleId::Dma09, "DEVICE_DESCRIPTION.MaximumLength is 0"));
    }
    if let Some(slave) = slave {
        return slave;
    }
    let Some(bits) = reach(description) else { return Ok(None) };
    Ok(Some(Traits {
        version: version.max(1),
        bits,
        scatter_gather: description.ScatterGather != 0,
        maximum_length: description.MaximumLength,
        slave: None,
    }))
}

/// DMA-03: members that only uninitialised memory could hold.
fn check_zeroed(d: &DEVICE_DESCRIPTION) -> Result<(), Violation> {
    let booleans = [
        ("Master", d.Master),
        ("ScatterGather", d.ScatterGather),
        ("DemandMode", d.DemandMode),
        ("AutoInitialize", d.AutoInitialize),
        ("Dma32BitAddresses", d.Dma32BitAddresses),
        ("IgnoreCount", d.IgnoreCount),
        ("Dma64BitAddresses", d.Dma64BitAddresses),
    ];
    let garbage = |name: &str, value: i64| {
        let message = format!(
            "DEVICE_DESCRIPTION.{name} is {value:#x}: the structure was not zeroed before use"
        );
        Err(broken(RuleId::Dma03, message))
    };
    if d.Reserved1 != 0 {
        return garbage("Reserved1", d.Reserved1.into());
    }
    if let Some((name, value)) = booleans.into_iter().find(|&(_, value)| value > 1) {
        return garbage(name, value.into());
    }
    let enumerations = [
        ("InterfaceType", d.InterfaceType, -1, 32),
        ("DmaWidth", d.DmaWidth, 0, _DMA_WIDTH::MaximumDmaWidth),
        ("DmaSpeed", d.DmaSpeed, 0, _DMA_SPEED::MaximumDmaSpeed),
    ];
    let unknown =
        enumerations.into_iter().find(|&(_, value, low, high)| !(low..=high).contains(&value));
    match unknown {
        Some((name, value, ..)) => garbage(name, value.into()),
        None => Ok(()),
    }
}

/// DMA-08: what a bus master of a PCI bus says.
fn check_bus_master(d: &DEVICE_DESCRIPTION) -> Result<(), Violation> {
    let message = match d {
        _ if d.Master == 0 => "Master is FALSE, but a PCI function has no system DMA channel",
        _ if d.DemandMode != 0 => "DemandMode is TRUE for a bus master",
        _ if d.AutoInitialize != 0 => "AutoInitialize is TRUE for a bus master",
        _ if !matches!(
            d.InterfaceType,
            _INTERFACE_TYPE::PCIBus
                | _INTERFACE_TYPE::InterfaceTypeUndefined
                | _INTERFACE_TYPE::PNPBus
        ) =>
        {
            "InterfaceType is neither PCIBus nor InterfaceTypeUndefined"
        }
        _ => return Ok(()),
    };
    Err(broken(RuleId::Dma08, format!("DEVICE_DESCRIPTION: {message}")))
}

/// Address bits the description claims (DMA-05, DMA-06); `None` if it claims none.
fn reach(d: &DEVICE_DESCRIPTION) -> Option<u32> {
    if d.Version == DEVICE_DESCRIPTION_VERSION3 {
        return (24..=64).contains(&d.DmaAddressWidth).then_some(d.DmaAddressWidth);
    }
    let pci = d.InterfaceType == _INTERFACE_TYPE::PCIBus;
    Some(match d {
        _ if d.Dma64BitAddresses != 0 => 64,
        _ if d.Dma32BitAddresses != 0 || (d.ScatterGather != 0 && pci) => 32,
        _ => 24,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description(version: u32) -> DEVICE_DESCRIPTION {
        DEVICE_DESCRIPTION {
            Version: version,
            Master: 1,
            InterfaceType: _INTERFACE_TYPE::PCIBus,
            MaximumLength: 0x1_0000,
            DmaAddressWidth: if version == 3 { 28 } else { 0 },
            ..Default::default()
        }
    }

    fn bits(d: DEVICE_DESCRIPTION) -> Option<u32> {
        examine(&d, 3, |_| None).expect("it is well-formed").map(|traits| traits.bits)
    }

    fn rule(d: DEVICE_DESCRIPTION) -> RuleId {
        examine(&d, 3, |_| None).expect_err("it is wrong").rule
    }

    #[test]
    fn reach_follows_the_flags_and_the_width() {
        assert_eq!(bits(description(2)), Some(24));
        assert_eq!(bits(DEVICE_DESCRIPTION { ScatterGather: 1, ..description(2) }), Some(32));
        assert_eq!(bits(DEVICE_DESCRIPTION { Dma32BitAddresses: 1, ..description(1) }), Some(32));
        assert_eq!(bits(DEVICE_DESCRIPTION { Dma64BitAddresses: 1, ..description(0) }), Some(64));
        assert_eq!(bits(description(3)), Some(28));
        assert_eq!(bits(DEVICE_DESCRIPTION { DmaAddressWidth: 0, ..description(3) }), None);
        assert_eq!(bits(DEVICE_DESCRIPTION { DmaAddressWidth: 65, ..description(3) }), None);
    }

    #[test]
    fn a_version_not_offered_is_no_error() {
        assert_eq!(examine(&description(3), 2, |_| None).expect("it is well-formed"), None);
    }

    #[test]
    fn mistakes_have_their_rules() {
        assert_eq!(rule(description(4)), RuleId::Dma04);
        assert_eq!(rule(DEVICE_DESCRIPTION { Reserved1: 1, ..description(2) }), RuleId::Dma03);
        assert_eq!(rule(DEVICE_DESCRIPTION { IgnoreCount: 0xCC, ..description(2) }), RuleId::Dma03);
        assert_eq!(rule(DEVICE_DESCRIPTION { DmaSpeed: 99, ..description(2) }), RuleId::Dma03);
        assert_eq!(rule(DEVICE_DESCRIPTION { Master: 0, ..description(2) }), RuleId::Dma08);
        assert_eq!(rule(DEVICE_DESCRIPTION { MaximumLength: 0, ..description(2) }), RuleId::Dma09);
    }
}
