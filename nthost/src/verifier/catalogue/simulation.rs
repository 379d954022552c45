//! What the simulation sees beyond the numbered rules: errors that Driver Verifier cannot detect.

use super::Home::{Check, Type};
use super::{Rule, RuleId};

/// The rules of these sections, in order.
pub(super) const RULES: [Rule; 16] = [
    Rule {
        id: RuleId::Sim01,
        title: "Physical instead of logical address",
        text: "The device accessed a physical address. Nothing is mapped there for it: logical \
               addresses never coincide with physical ones in nthost.",
        verifier: "0xE6/0x26",
        sources: &[
            "CON/kernel/map-registers.md",
            "CON/pci/enabling-dma-remapping-for-device-drivers.md",
        ],
        homes: &[Type("LogicalAddress"), Check],
    },
    Rule {
        id: RuleId::Sim02,
        title: "Access to an unmapped logical address",
        text: "The device accessed a logical address that no mapping or common buffer covers, or \
               covers no more.",
        verifier: "0xE6/0x26",
        sources: &["CON/debugger/bug-check-0xe6--driver-verifier-dma-violation.md"],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Sim03,
        title: "PCI header or capability written",
        text: "The driver wrote the PCI header or a capability of its device; they belong to \
               pci.sys.",
        verifier: "",
        sources: &[
            "CON/pci/accessing-pci-device-configuration-space.md",
            "CON/pci/pci-power-management-and-device-drivers.md",
        ],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Sim04,
        title: "Request never completed",
        text: "A request was never completed, or the driver still held one when it was unloaded.",
        verifier: "0x9F",
        sources: &["CON/wdf/completing-i-o-requests.md"],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Sim05,
        title: "Device never stopped",
        text: "The device would not stop and the driver abandoned what it may still write to, as \
               it should. An outcome of its own, not a violation: neither a leak nor a pass.",
        verifier: "",
        sources: &["simulation"],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Sim06,
        title: "Register access outside the BAR",
        text: "A register was accessed outside the mapped range, after it was unmapped, or at an \
               offset that is no multiple of the access's width.",
        verifier: "",
        sources: &["DDI/wdm/nf-wdm-mmmapiospace.md", "DDI/wdm/nf-wdm-mmunmapiospace.md"],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Sim07,
        title: "Deep kernel stack",
        text: "One call into the driver used more than 12 KiB of kernel stack.",
        verifier: "",
        sources: &["CON/kernel/using-the-kernel-stack.md"],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Sim08,
        title: "Spin lock acquired twice",
        text: "The holder of a spin lock acquired it again, which can never succeed.",
        verifier: "0xC4/0x1000, 0x10D/2",
        sources: &["CON/devtest/deadlock-detection.md"],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Sim09,
        title: "Impossible wait",
        text: "A blocking wait above PASSIVE_LEVEL, or one that nothing left in the machine can \
               end.",
        verifier: "0xC4/0x121, 0xC4/0x122",
        sources: &["CON/wdf/using-power-managed-i-o-queues.md", "simulation"],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Sim10,
        title: "Pool leaked at unload",
        text: "The driver was unloaded with pool still allocated.",
        verifier: "0xC4/0x62",
        sources: &["CON/devtest/pool-tracking.md"],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Sim11,
        title: "Freed or foreign object",
        text: "The driver used a pointer or handle that was freed, that it does not own, or that \
               names an object of another kind.",
        verifier: "0x10D/5",
        sources: &["CON/devtest/special-pool.md"],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Sim12,
        title: "Completed under a pending build or mapping",
        text: "A request was completed while a pending list build, channel allocation or mapping \
               still names its MDL.",
        verifier: "",
        sources: &["CON/kernel/using-direct-i-o-with-dma.md"],
        homes: &[Type("packet::Mapping"), Check],
    },
    Rule {
        id: RuleId::Sim13,
        title: "Store beside a device's bytes in one cache line",
        text: "Where caches are not coherent nobody stores into a cache line, part of which a \
               device writes directly: the line holds the processor's bytes or the device's, and \
               one of them is lost, whatever was flushed before. Buffers of whole lines \
               (GetDmaAlignment) have no neighbours.",
        verifier: "",
        sources: &[
            "DDI/wdm/nc-wdm-pget_dma_alignment.md",
            "WDF/kmdf/src/dma/base/fxdmatransactionpacket.cpp",
        ],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Sim14,
        title: "Not covered by nthost",
        text: "A driver image called a function, used an instruction or touched a kernel structure \
               that nthost does not have. The run ends there; it says nothing about the driver.",
        verifier: "",
        sources: &["simulation"],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Sim15,
        title: "Fault in the driver",
        text: "The code of a driver image faulted, gave up with a fast-fail code, or called \
               KeBugCheckEx.",
        verifier: "0x1E, 0x50, 0x139",
        sources: &[
            "CON/debugger/bug-check-0x50--page-fault-in-nonpaged-area.md",
            "CON/debugger/bug-check-0x139--kernel-security-check-failure.md",
        ],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Sim16,
        title: "Requester's store during a transfer",
        text: "Where caches are not coherent: the application whose buffer a device writes stored \
               into it meanwhile, and the driver has no address of the buffer. The processor's bytes \
               or the device's are lost. A note, never a violation: no driver can keep a thread of \
               the requester's from that.",
        verifier: "",
        sources: &[
            "CON/kernel/errors-in-direct-i-o.md",
            "CON/kernel/flushing-cached-data-during-dma-operations.md",
        ],
        homes: &[Check],
    },
];
