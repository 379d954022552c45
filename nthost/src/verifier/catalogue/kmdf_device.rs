//! Sections M and N: plug and play, power and interrupts.

use super::Home::{Check, Review, Type};
use super::{Rule, RuleId};

/// The rules of these sections, in order.
pub(super) const RULES: [Rule; 20] = [
    Rule {
        id: RuleId::Kmdf01,
        title: "EvtDevicePrepareHardware",
        text: "PASSIVE_LEVEL, before D0Entry. Walk the translated list, unmodified; identify BARs \
               by type, order and length, not by a fixed index; map every memory range needed and \
               check that it is long enough for the registers used. Take the DMA adapter and the \
               common buffers here.",
        verifier: "",
        sources: &[
            "DDI/wdfdevice/nc-wdfdevice-evt_wdf_device_prepare_hardware.md",
            "CON/wdf/raw-and-translated-resources.md",
            "CON/pci/order-of-resources-in-start-device-irp.md",
        ],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Kmdf02,
        title: "EvtDeviceReleaseHardware always runs",
        text: "After every PrepareHardware, even a failed one, on rebalance and every removal: \
               cope with each resource being absent, undo each once and clear its pointer. The \
               hardware is off and interrupts are disconnected, so no register access. Unmap BARs, \
               free common buffers, put the adapter here.",
        verifier: "0xE6/0x07-0x0A, 0xE6/0x11, 0xC4/0x62",
        sources: &["DDI/wdfdevice/nc-wdfdevice-evt_wdf_device_release_hardware.md"],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Kmdf03,
        title: "Forbidden status",
        text: "Neither PrepareHardware nor ReleaseHardware returns STATUS_NOT_SUPPORTED.",
        verifier: "KMDF break",
        sources: &[
            "DDI/wdfdevice/nc-wdfdevice-evt_wdf_device_prepare_hardware.md",
            "DDI/wdfdevice/nc-wdfdevice-evt_wdf_device_release_hardware.md",
            "WDF/shared/irphandlers/pnp/pnpstatemachine.cpp",
        ],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Kmdf04,
        title: "MMIO mapping",
        text: "MmMapIoSpace(Ex): size above 0, NULL checked, uncached; unmapped at PASSIVE_LEVEL \
               in ReleaseHardware with the same base and size. Access only through READ_REGISTER_* \
               and WRITE_REGISTER_*, within the length.",
        verifier: "0xC4/0x73, 0xC4/0x7B, 0xC4/0x83",
        sources: &[
            "DDI/wdm/nf-wdm-mmmapiospace.md",
            "DDI/wdm/nf-wdm-mmunmapiospace.md",
            "CON/wdf/finding-and-mapping-hardware-resources.md",
        ],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Kmdf05,
        title: "Power-up order",
        text: "PrepareHardware (start and rebalance), D0Entry with interrupts not yet connected, \
               connect, EvtInterruptEnable at DIRQL, D0EntryPostInterruptsEnabled, DMA-enabler \
               callbacks, queues, self-managed I/O. D0Entry may not wait for an interrupt.",
        verifier: "",
        sources: &[
            "CON/wdf/a-user-plugs-in-a-device.md",
            "CON/wdf/a-device-returns-to-its-working-state.md",
            "WDF/shared/irphandlers/pnp/powerstatemachine.cpp",
        ],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Kmdf06,
        title: "Power-down order",
        text: "Self-managed suspend, power-managed queues stopped (EvtIoStop), DMA-enabler \
               callbacks, D0ExitPreInterruptsDisabled, EvtInterruptDisable at DIRQL, queued DPCs \
               flushed, disconnect, D0Exit, ReleaseHardware (stop and removal only).",
        verifier: "",
        sources: &[
            "CON/wdf/a-device-enters-a-low-power-state.md",
            "CON/wdf/a-user-unplugs-a-device.md",
            "WDF/shared/irphandlers/pnp/interruptobject.cpp",
        ],
        homes: &[Review(
            "the framework keeps the order; a driver that counts on another one breaks KMDF-08, \
             KMDF-18, KMDF-19 or KMDF-34",
        )],
    },
    Rule {
        id: RuleId::Kmdf07,
        title: "D0Entry failure",
        text: "No D0Exit follows a failed D0Entry: it undoes its own partial work. ReleaseHardware \
               still follows (first start: orderly removal, later: surprise-removal sequence).",
        verifier: "",
        sources: &["DDI/wdfdevice/nc-wdfdevice-evt_wdf_device_d0_entry.md"],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Kmdf08,
        title: "D0Exit duties",
        text: "By its return the device does no more DMA and raises no interrupt, and context is \
               saved. D3Final is no removal hook: a device removed while in Dx gets no further \
               D0Exit. PrepareForHibernation: do not power off. Called on surprise removal too.",
        verifier: "",
        sources: &["DDI/wdfdevice/nc-wdfdevice-evt_wdf_device_d0_exit.md"],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Kmdf09,
        title: "Reinitialise in every D0Entry",
        text: "Registers, ring addresses, doorbells and masks are lost in Dx: program everything \
               again. After a rebalance BARs and vectors may differ; keep nothing derived from the \
               old ones. The PCI power-management registers belong to pci.sys.",
        verifier: "",
        sources: &[
            "DDI/wdfdevice/nc-wdfdevice-evt_wdf_device_d0_entry.md",
            "CON/wdf/the-pnp-manager-redistributes-system-resources.md",
            "CON/pci/pci-power-management-and-device-drivers.md",
        ],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Kmdf10,
        title: "No paged code on the power-up path",
        text: "Callbacks invoked on the way back to D0 (D0Entry, PostInterruptsEnabled, ISR, DPC, \
               enable, disable) are nonpageable.",
        verifier: "0x10D/1",
        sources: &[
            "CON/wdf/creating-pageable-code-in-a-kmdf-driver.md",
            "CON/devtest/kmdf-pagedcodeatd0.md",
        ],
        homes: &[Review(
            "pageability is an attribute of image sections, which a hosted driver has not; look \
             for PAGE sections in the image",
        )],
    },
    Rule {
        id: RuleId::Kmdf11,
        title: "Callback hygiene",
        text: "Every event callback returns at the IRQL at which it was entered, outside critical \
               regions, holding no WDF spin or interrupt lock.",
        verifier: "0x10D/0xE, 0x10D/0xF",
        sources: &["CON/debugger/bug-check-0x10d---wdf-violation.md"],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Kmdf12,
        title: "WdfInterruptCreate",
        text: "At or below DISPATCH_LEVEL, from device add with both descriptors NULL, or from \
               PrepareHardware with both valid; not later. EvtInterruptIsr is mandatory; DPC or \
               work item, not both; one object per MSI message wanted, though fewer may be \
               granted. The driver never deletes it. WdfInterruptSetExtendedPolicy is for \
               interrupts made in device add, with a priority and with active processors only.",
        verifier: "",
        sources: &[
            "DDI/wdfinterrupt/nf-wdfinterrupt-wdfinterruptcreate.md",
            "DDI/wdfinterrupt/ns-wdfinterrupt-_wdf_interrupt_config.md",
            "DDI/wdfinterrupt/nf-wdfinterrupt-wdfinterruptsetextendedpolicy.md",
            "CON/kernel/interrupt-affinity-and-priority.md",
            "WDF/shared/irphandlers/pnp/fxinterruptapi.cpp",
        ],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Kmdf13,
        title: "EvtInterruptEnable and EvtInterruptDisable",
        text: "At DIRQL under the interrupt lock, at each D0 entry and exit: register accesses \
               only. The vector may have changed. Disable masks interrupts at the device.",
        verifier: "",
        sources: &[
            "DDI/wdfinterrupt/nc-wdfinterrupt-evt_wdf_interrupt_enable.md",
            "DDI/wdfinterrupt/nc-wdfinterrupt-evt_wdf_interrupt_disable.md",
        ],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Kmdf14,
        title: "EvtInterruptIsr",
        text: "At DIRQL under the lock. Ask the device whether the interrupt is its own; TRUE only \
               if serviced. Capture volatile status, acknowledge at the device, queue the DPC. No \
               pageable access, completion, DMA_OPERATIONS call or wait, and no IRQL change on \
               return.",
        verifier: "0xC4/0x111, 0xE6/0x13",
        sources: &[
            "DDI/wdfinterrupt/nc-wdfinterrupt-evt_wdf_interrupt_isr.md",
            "CON/wdf/servicing-an-interrupt.md",
        ],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Kmdf15,
        title: "The ISR may run at awkward times",
        text: "The vector is connected before EvtInterruptEnable. On a shared line the ISR can run \
               before the device is enabled, after it is masked, and while it is off or gone: then \
               return FALSE and touch nothing else.",
        verifier: "",
        sources: &["WDF/shared/irphandlers/pnp/interruptobject.cpp"],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Kmdf16,
        title: "DPC queueing",
        text: "WdfInterruptQueueDpcForIsr returns FALSE when already queued; one DPC may stand for \
               several interrupts, and a second may start while the first runs. The DPC drains all \
               that is pending and tolerates an empty run.",
        verifier: "",
        sources: &[
            "DDI/wdfinterrupt/nc-wdfinterrupt-evt_wdf_interrupt_dpc.md",
            "DDI/wdfinterrupt/nf-wdfinterrupt-wdfinterruptqueuedpcforisr.md",
        ],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Kmdf17,
        title: "DPC context",
        text: "DISPATCH_LEVEL: no waits, no pageable data, no passive-only DMA routine (common \
               buffers, adapter). The right place to flush, free map registers or put the list, \
               and then complete.",
        verifier: "0xE6/0x13, 0xC4/0x121, 0xC4/0x122",
        sources: &[
            "DDI/wdfinterrupt/nc-wdfinterrupt-evt_wdf_interrupt_dpc.md",
            "CON/kernel/writing-dpc-routines.md",
        ],
        homes: &[Type("irql::Passive"), Check],
    },
    Rule {
        id: RuleId::Kmdf18,
        title: "Data shared by ISR and DPC",
        text: "What the ISR touches is accessed elsewhere only under WdfInterruptAcquireLock or in \
               WdfInterruptSynchronize. The lock is not recursive, not for use before \
               EvtInterruptEnable or after EvtInterruptDisable. Inside it, at DIRQL, no DMA \
               routine and no request call. AutomaticSerialization never covers the ISR.",
        verifier: "0x10D/2, KMDF break",
        sources: &[
            "CON/wdf/synchronizing-interrupt-code.md",
            "DDI/wdfinterrupt/nf-wdfinterrupt-wdfinterruptacquirelock.md",
            "WDF/shared/irphandlers/pnp/interruptobject.cpp",
        ],
        homes: &[
            Check,
            Review(
                "which memory the ISR shares is seen in the source alone; nthost checks the \
                 calls, not plain loads and stores",
            ),
        ],
    },
    Rule {
        id: RuleId::Kmdf19,
        title: "DPCs are drained before D0Exit",
        text: "After EvtInterruptDisable queued DPCs still run, with interrupts masked, and must \
               finish their transfers correctly.",
        verifier: "",
        sources: &["WDF/shared/irphandlers/pnp/interruptobject.cpp"],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Kmdf20,
        title: "AutomaticSerialization and execution level",
        text: "Synchronised callbacks share one IRQL: an interrupt DPC needs a dispatch-level \
               parent, a work item a passive one, else STATUS_WDF_INCOMPATIBLE_EXECUTION_LEVEL. \
               PnP callbacks are serialised, except SurpriseRemoval, QueryRemove and QueryStop.",
        verifier: "",
        sources: &["CON/wdf/using-automatic-synchronization.md"],
        homes: &[Check],
    },
];
