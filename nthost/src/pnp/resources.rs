//! The resources of a device: memory windows, interrupts and DMA channels, as raw and translated descriptors.

use std::sync::atomic::Ordering;

use testdev::bus::SystemDevice;
use wdk_lite::*;

use crate::bus::Function;
use crate::machine::Kernel;
use crate::machine::interrupts::{LineId, Targets};
use crate::wdf::device::Device;
use crate::wdf::helpers::resources::ResourceList;
use crate::wdf::interrupt::{self, Resource};

use super::Target;
use _CM_PARTIAL_RESOURCE_DESCRIPTOR__bindgen_ty_1__bindgen_ty_4__bindgen_ty_1 as Views;
use _CM_PARTIAL_RESOURCE_DESCRIPTOR__bindgen_ty_1__bindgen_ty_4__bindgen_ty_1__bindgen_ty_1 as Raw;
use _CM_PARTIAL_RESOURCE_DESCRIPTOR__bindgen_ty_1__bindgen_ty_4__bindgen_ty_1__bindgen_ty_2 as Translated;

/// One resource: its two descriptors, and the lines of an interrupt.
pub(super) struct Assigned {
    raw: CM_PARTIAL_RESOURCE_DESCRIPTOR,
    translated: CM_PARTIAL_RESOURCE_DESCRIPTOR,
    lines: Vec<LineId>,
    message: bool,
    targets: Targets,
}

impl Assigned {
    /// A resource that is no interrupt: both views of it are one.
    fn plain(descriptor: CM_PARTIAL_RESOURCE_DESCRIPTOR) -> Self {
        Self {
            raw: descriptor,
            translated: descriptor,
            lines: Vec::new(),
            message: false,
            targets: Targets::ANY,
        }
    }
}

/// The policies of the interrupts that were made in device add, in order of creation: the n-th is
/// for the n-th interrupt resource, a message or a range of them, and the first for a line too (KMDF,
/// FxPkgPnp::FilterResourceRequirements).
#[derive(Default)]
struct Policies(Vec<u64>);

impl Policies {
    fn of(kernel: &Kernel, device: &Device) -> Self {
        let all = interrupt::of_device(kernel, device).into_iter();
        let early = all.filter(|(_, interrupt)| !interrupt.config.lock().from_prepare);
        Self(early.map(|(_, interrupt)| interrupt.policy.load(Ordering::Relaxed)).collect())
    }

    fn targets(&self, kernel: &Kernel, resource: usize) -> Targets {
        let mask = self.0.get(resource).copied().unwrap_or(0);
        Targets::of(mask, kernel.all_processors())
    }
}

/// Whether the function's interrupts are messages.
pub(crate) fn uses_messages(kernel: &Kernel, function: &Function) -> bool {
    kernel.options.messages && function.config.can_message()
}

/// What the function gets: its windows by BAR number, then its interrupts.
fn assign(kernel: &Kernel, function: &Function, policies: &Policies) -> Vec<Assigned> {
    let mut all: Vec<Assigned> = function
        .config
        .windows
        .iter()
        .flatten()
        .map(|window| memory(window.base, window.size))
        .collect();
    if uses_messages(kernel, function) {
        if function.identity.msix_messages > 0 {
            all.extend(function.messages.iter().enumerate().map(|(number, &line)| {
                message(kernel, vec![line], policies.targets(kernel, number))
            }));
        } else {
            let messages = function.messages.clone();
            all.push(message(kernel, messages, policies.targets(kernel, 0)));
        }
    } else if function.identity.interrupt_pin != 0 {
        all.push(line(kernel, function.line, policies.targets(kernel, 0)));
    }
    if let Some(device) = function.system {
        all.push(channel(kernel, device));
    }
    all
}

/// The channel of a system DMA controller: the descriptor of Windows 8 and later, or the older one
/// on a system that does not know version 3.
fn channel(kernel: &Kernel, device: SystemDevice) -> Assigned {
    use _CM_PARTIAL_RESOURCE_DESCRIPTOR__bindgen_ty_1 as Union;

    let SystemDevice { channel, request_line, .. } = device;
    let (flags, u) = if kernel.options.versions >= DEVICE_DESCRIPTION_VERSION3 {
        let third = _CM_PARTIAL_RESOURCE_DESCRIPTOR__bindgen_ty_1__bindgen_ty_7 {
            Channel: channel,
            RequestLine: request_line,
            // CAST: 0.
            TransferWidth: DMAV3_TRANFER_WIDTH_8 as UCHAR,
            ..Default::default()
        };
        (CM_RESOURCE_DMA_8 | CM_RESOURCE_DMA_V3, Union { DmaV3: third })
    } else {
        let older = _CM_PARTIAL_RESOURCE_DESCRIPTOR__bindgen_ty_1__bindgen_ty_6 {
            Channel: channel,
            ..Default::default()
        };
        (CM_RESOURCE_DMA_8, Union { Dma: older })
    };
    let both = descriptor(CmResourceTypeDma, CmResourceShareDeviceExclusive, flags, u);
    Assigned::plain(both)
}

fn descriptor(
    kind: u32,
    share: u32,
    flags: u32,
    u: _CM_PARTIAL_RESOURCE_DESCRIPTOR__bindgen_ty_1,
) -> CM_PARTIAL_RESOURCE_DESCRIPTOR {
    // CAST: all below 256.
    CM_PARTIAL_RESOURCE_DESCRIPTOR {
        Type: kind as UCHAR,
        ShareDisposition: share as UCHAR,
        Flags: flags as USHORT,
        u,
    }
}

fn memory(base: u64, size: u64) -> Assigned {
    let range = _CM_PARTIAL_RESOURCE_DESCRIPTOR__bindgen_ty_1__bindgen_ty_5 {
        // CAST: the signed view of an address; windows are far below 4 GiB.
        Start: PHYSICAL_ADDRESS { QuadPart: base as i64 },
        Length: size as u32,
    };
    let both = descriptor(
        CmResourceTypeMemory,
        CmResourceShareDeviceExclusive,
        CM_RESOURCE_MEMORY_READ_WRITE,
        _CM_PARTIAL_RESOURCE_DESCRIPTOR__bindgen_ty_1 { Memory: range },
    );
    Assigned::plain(both)
}

fn line(kernel: &Kernel, line: LineId, targets: Targets) -> Assigned {
    let affinity = targets.mask(kernel.all_processors());
    let interrupt = |level: u32, vector: u32| {
        let range = _CM_PARTIAL_RESOURCE_DESCRIPTOR__bindgen_ty_1__bindgen_ty_3 {
            Level: level,
            Vector: vector,
            Affinity: affinity,
        };
        descriptor(
            CmResourceTypeInterrupt,
            CmResourceShareShared,
            CM_RESOURCE_INTERRUPT_LEVEL_SENSITIVE,
            _CM_PARTIAL_RESOURCE_DESCRIPTOR__bindgen_ty_1 { Interrupt: range },
        )
    };
    let (irql, vector) = (kernel.interrupts.irql(line), kernel.interrupts.vector(line));
    // The bus numbers lines in its own way.
    let raw = interrupt(vector & 0xF, vector & 0xF);
    let translated = interrupt(irql.into(), vector);
    Assigned { raw, translated, lines: vec![line], message: false, targets }
}

fn message(kernel: &Kernel, lines: Vec<LineId>, targets: Targets) -> Assigned {
    use _CM_PARTIAL_RESOURCE_DESCRIPTOR__bindgen_ty_1__bindgen_ty_4 as Message;

    let first = lines.first().copied();
    let irql = first.map_or(0, |line| kernel.interrupts.irql(line));
    let vector = first.map_or(0, |line| kernel.interrupts.vector(line));
    let interrupt = |views: Views| {
        descriptor(
            CmResourceTypeInterrupt,
            CmResourceShareDeviceExclusive,
            CM_RESOURCE_INTERRUPT_LATCHED | CM_RESOURCE_INTERRUPT_MESSAGE,
            _CM_PARTIAL_RESOURCE_DESCRIPTOR__bindgen_ty_1 {
                MessageInterrupt: Message { __bindgen_anon_1: views },
            },
        )
    };
    let affinity = targets.mask(kernel.all_processors());
    // CAST: a few messages.
    let raw =
        Raw { Group: 0, MessageCount: lines.len() as u16, Vector: vector, Affinity: affinity };
    let translated = Translated { Level: irql.into(), Vector: vector, Affinity: affinity };
    Assigned {
        raw: interrupt(Views { Raw: raw }),
        translated: interrupt(Views { Translated: translated }),
        lines,
        message: true,
        targets,
    }
}

/// The raw and the translated descriptors of a function without policies.
pub(crate) fn descriptors(
    kernel: &Kernel,
    function: &Function,
) -> (Vec<CM_PARTIAL_RESOURCE_DESCRIPTOR>, Vec<CM_PARTIAL_RESOURCE_DESCRIPTOR>) {
    let all = assign(kernel, function, &Policies::default());
    all.into_iter().map(|both| (both.raw, both.translated)).unzip()
}

/// The interrupts of a function without policies.
pub(crate) fn interrupts_of(kernel: &Kernel, function: &Function) -> Vec<Resource> {
    let all = assign(kernel, function, &Policies::default());
    let nth = |assigned: &Assigned| {
        let lines = 0..assigned.lines.len();
        lines.filter_map(|nth| resource(kernel, assigned, nth)).collect::<Vec<_>>()
    };
    all.iter().flat_map(nth).collect()
}

fn resource(kernel: &Kernel, assigned: &Assigned, nth: usize) -> Option<Resource> {
    let line = *assigned.lines.get(nth)?;
    Some(Resource {
        line,
        irql: kernel.interrupts.irql(line),
        vector: kernel.interrupts.vector(line),
        message: assigned.message,
        targets: assigned.targets,
        affinity: assigned.targets.mask(kernel.all_processors()),
        shared: !assigned.message,
    })
}

impl Target<'_> {
    /// Fills the resource lists, and gives interrupt resources to the interrupts made in device
    /// add, in order of creation.
    pub(super) fn give_resources(&self) {
        let kernel = self.kernel;
        let policies = Policies::of(kernel, self.device);
        let all = assign(kernel, &self.node.function, &policies);
        let raw: Vec<_> = all.iter().map(|assigned| assigned.raw).collect();
        let translated: Vec<_> = all.iter().map(|assigned| assigned.translated).collect();
        for (list, contents) in [(&self.device.raw, &raw), (&self.device.translated, &translated)] {
            if let Some(list) = list.get().and_then(|list| kernel.wdf.payload::<ResourceList>(list))
            {
                list.fill(contents);
            }
        }
        let granted = all.iter().flat_map(|assigned| {
            (0..assigned.lines.len()).filter_map(|nth| resource(kernel, assigned, nth))
        });
        let mut granted = granted.collect::<Vec<_>>().into_iter();
        for (_, interrupt) in interrupt::of_device(kernel, self.device) {
            if interrupt.config.lock().from_prepare {
                continue;
            }
            let resource = granted.next();
            *interrupt.resource.lock() = resource;
            let irql = resource.map_or(0, |resource| resource.irql);
            interrupt.synchronize.store(irql, Ordering::Relaxed);
        }
    }

    /// Interrupts lose their resources; those made in PrepareHardware are deleted, in reverse
    /// order of creation.
    pub(super) fn take_resources(&self) {
        for (handle, interrupt) in interrupt::of_device(self.kernel, self.device).into_iter().rev()
        {
            if interrupt.config.lock().from_prepare {
                self.device.interrupts.lock().retain(|&other| other != handle);
                self.kernel.wdf.delete(self.kernel, handle);
            } else {
                *interrupt.resource.lock() = None;
            }
        }
    }
}

/// The resource for the `nth` interrupt that a driver makes in PrepareHardware from the
/// descriptor at `index`.
pub(crate) fn interrupt_resource(
    kernel: &Kernel,
    device: &Device,
    index: usize,
    nth: usize,
) -> Option<Resource> {
    let function = kernel.bus.function(device.slot())?;
    let all = assign(kernel, &function, &Policies::of(kernel, device));
    let assigned = all.get(index)?;
    let before: usize = all[..index].iter().map(|assigned| assigned.lines.len()).sum();
    resource(kernel, assigned, nth.saturating_sub(before).min(assigned.lines.len().max(1) - 1))
}
