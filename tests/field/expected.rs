//! What the documents say of each wrong driver. Written before any of them was run.
//!
//! The rules are those of the catalogue; the first is the one that the mistake breaks, the others
//! say the same thing in other words, or forbid what follows from it at once. `CON/` and `DDI/` are
//! the folders of the conceptual pages and of the reference.

use nthost::{Profile, RuleId};

/// How a mistake has to come to light on a machine of one profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A violation: the machine stops and names one of the rules.
    Stops,
    /// A note with one of the rules: it loses nothing here, and no data is wrong.
    Noted,
    /// No rule: only the data is wrong. No documented check sees plain loads and stores.
    Data,
    /// What the mistake needs does not happen on this machine: silence, or one of the rules.
    Spared,
}

use Verdict::{Data, Noted, Spared, Stops};

/// What the documents say of a wrong driver.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// The file under tests/drivers/field.
    pub driver: &'static str,
    /// The rules, see above.
    pub rules: &'static [RuleId],
    /// On the profiles in the order of [`Profile::ALL`]: x64, x64-dmar, arm64, nt.
    pub verdicts: [Verdict; 4],
    /// First parameters of bug check 0xE6 that a report may carry; empty where no page has one.
    pub codes: &'static [u64],
    /// Profiles on which the data has to be wrong, in at least one of some runs, where the machine
    /// goes on.
    pub loses: &'static [Profile],
    /// Where the documents say so.
    pub page: &'static str,
}

/// The drivers.
pub const EXPECTED: [Expected; 13] = [
    Expected {
        driver: "flush_at_start",
        rules: &[RuleId::Dma85],
        verdicts: [Noted, Noted, Stops, Stops],
        codes: &[],
        loses: &[Profile::Arm64, Profile::Nt],
        page: "CON/kernel/flushing-cached-data-during-dma-operations.md: before beginning a transfer",
    },
    // Added after the others were run. Where caches are coherent nobody sees a store.
    Expected {
        driver: "flushes_then_fills",
        rules: &[RuleId::Dma85],
        verdicts: [Spared, Spared, Stops, Stops],
        codes: &[],
        loses: &[Profile::Arm64, Profile::Nt],
        page: "DDI/wdm/nf-wdm-keflushiobuffers.md: just before beginning a DMA transfer operation",
    },
    Expected {
        driver: "inverted_flush",
        rules: &[RuleId::Dma84, RuleId::Dma85],
        verdicts: [Noted, Noted, Stops, Stops],
        codes: &[],
        // Corrected after the first run, which lost nothing and was expected to on arm64 and nt: the
        // page lets both calls write data caches back, and differs for instruction caches only.
        loses: &[],
        page: "DDI/wdm/nf-wdm-keflushiobuffers.md: ReadOperation is TRUE from device to memory",
    },
    Expected {
        driver: "completes_first",
        rules: &[RuleId::Dma100, RuleId::Dma54],
        verdicts: [Stops; 4],
        codes: &[0x0d, 0x16],
        loses: &[],
        page: "DDI/wdm/nc-wdm-pflush_adapter_buffers.md: before completing the IRP",
    },
    Expected {
        driver: "ignores_flush_result",
        rules: &[RuleId::Dma55],
        verdicts: [Stops; 4],
        codes: &[],
        loses: &[],
        page: "DDI/wdm/nc-wdm-pflush_adapter_buffers.md: TRUE if the data was successfully flushed",
    },
    Expected {
        driver: "cached_mailbox",
        rules: &[RuleId::Dma90],
        verdicts: [Noted, Noted, Noted, Stops],
        codes: &[],
        loses: &[Profile::Nt],
        page: "CON/kernel/flushing-cached-data-during-dma-operations.md: CacheEnabled TRUE; \
               DDI/wdm/nc-wdm-pallocate_common_buffer.md: ignored on Arm, where it is not cached",
    },
    Expected {
        driver: "advances_by_request",
        rules: &[RuleId::Dma48, RuleId::Dma53],
        verdicts: [Stops, Spared, Spared, Spared],
        codes: &[0x00, 0x16],
        loses: &[],
        page: "DDI/wdm/nc-wdm-pmap_transfer.md: Length on return is how many bytes were mapped",
    },
    Expected {
        driver: "edits_while_mapped",
        rules: &[RuleId::Dma94],
        verdicts: [Data, Data, Stops, Stops],
        codes: &[],
        loses: &[Profile::X64, Profile::Arm64, Profile::Nt],
        page: "CON/kernel/using-bus-master-dma.md, DDI/wdm/nc-wdm-pflush_adapter_buffers.md: the \
               transfer is complete after FlushAdapterBuffers",
    },
    Expected {
        driver: "first_element_only",
        rules: &[RuleId::Dma77],
        verdicts: [Stops, Spared, Spared, Spared],
        codes: &[],
        loses: &[Profile::X64],
        page: "CON/kernel/using-scatter-gather-dma.md: the number of elements; each provides the \
               length and start of one region",
    },
    Expected {
        driver: "slave_unflushed",
        rules: &[RuleId::Dma54, RuleId::Dma43, RuleId::Dma107],
        verdicts: [Stops; 4],
        codes: &[0x0d, 0x10],
        loses: &[Profile::X64, Profile::Nt],
        page: "CON/kernel/flushing-cached-data-during-dma-operations.md: at the end of each device \
               transfer operation",
    },
    Expected {
        driver: "pio_unflushed",
        rules: &[RuleId::Dma86],
        verdicts: [Noted, Noted, Stops, Stops],
        codes: &[],
        loses: &[],
        page: "CON/kernel/flushing-cached-data-during-pio-operations.md: at the end of each read",
    },
    Expected {
        driver: "physical_address",
        // The last one was added after the first run: nthost's own rule for devices that were given
        // physical addresses. It rests on the pages of DMA-95 and DMA-110.
        rules: &[RuleId::Dma24, RuleId::Dma95, RuleId::Dma110, RuleId::Dma114, RuleId::Sim01],
        verdicts: [Stops; 4],
        codes: &[0x26],
        loses: &[],
        page: "DDI/wdm/nc-wdm-pallocate_common_buffer.md: rather than calling MmGetPhysicalAddress",
    },
    Expected {
        driver: "frees_while_mapped",
        rules: &[RuleId::Dma42, RuleId::Dma54],
        verdicts: [Stops; 4],
        codes: &[0x10],
        loses: &[],
        page: "DDI/wdm/nc-wdm-pfree_map_registers.md: after calling FlushAdapterBuffers",
    },
];
