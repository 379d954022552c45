//! The catalogue of rules: what a driver that masters the bus must do, and who enforces it.
//!
//! Rules `DMA`, `KMDF`, `SEC` and `SUR` restate Microsoft's documentation and the public KMDF
//! sources; rules `SIM` are what the simulation sees besides. The catalogue is data only: the
//! checks name rules by their [`RuleId`], and `dmaproof rules` prints it.
//!
//! Sources begin with `DDI/` (MicrosoftDocs/windows-driver-docs-ddi, `wdk-ddi-src/content/`),
//! `CON/` (MicrosoftDocs/windows-driver-docs, `windows-driver-docs-pr/`), `WDF/`
//! (microsoft/Windows-Driver-Frameworks, `src/framework/`) or `SMP/`
//! (microsoft/Windows-driver-samples).

use std::fmt;
use std::str::FromStr;

pub use dma_debug::{Counterpart, DMA_DEBUG, DmaDebug};

mod adapter;
mod dma_debug;
mod kmdf_device;
mod kmdf_io;
mod list;
mod memory;
mod packet;
mod security;
mod simulation;
#[cfg(test)]
mod tests;

/// Where a rule is enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// This type of `wdk-dma` makes the mistake not compile.
    Type(&'static str),
    /// nthost checks it at run time.
    Check,
    /// Reported as a note on machines where it cannot lose data.
    Note,
    /// A test of the INF.
    Inf,
    /// A person has to look; says why no machine check is possible.
    Review(&'static str),
}

/// One rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name.
    pub id: RuleId,
    /// What it is about, in a few words.
    pub title: &'static str,
    /// What it demands.
    pub text: &'static str,
    /// What Driver Verifier or KMDF Verifier does about it, separated by `, `: a bug check with
    /// its first parameter (`0xE6/0x13`, `0x10D/5`), without one (`0x9F`), a range of parameters
    /// (`0xE6/0x07-0x0A`), or `KMDF break` (a trace and a break into the debugger). Empty if
    /// nothing is documented. For DMA-21, DMA-26, DMA-38, DMA-60 and the `SIM` rules no page ties
    /// the code to the rule: it is the nearest one documented. DMA-20, DMA-56, DMA-58, KMDF-17,
    /// KMDF-44 and SUR-05 have those of the rules that they sum up.
    pub verifier: &'static str,
    /// Where it comes from: pages, source files, or `simulation`.
    pub sources: &'static [&'static str],
    /// Where it is enforced.
    pub homes: &'static [Home],
}

/// Declares [`RuleId`] from the variants and their printed names.
macro_rules! rule_ids {
    ($($variant:ident $name:literal,)+) => {
        /// The name of a rule, printed as `DMA-54`, `KMDF-21`, `SEC-01`, `SUR-03` or `SIM-02`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum RuleId {
            $(#[doc = concat!("Rule ", $name, ".")] $variant,)+
        }

        /// The printed names, in the order of the variants.
        const NAMES: &[&str] = &[$($name),+];
    };
}

rule_ids! {
    Dma01 "DMA-01", Dma02 "DMA-02", Dma03 "DMA-03", Dma04 "DMA-04", Dma05 "DMA-05", Dma06 "DMA-06",
    Dma07 "DMA-07", Dma08 "DMA-08", Dma09 "DMA-09", Dma10 "DMA-10", Dma11 "DMA-11", Dma12 "DMA-12",
    Dma13 "DMA-13", Dma14 "DMA-14", Dma15 "DMA-15", Dma16 "DMA-16", Dma17 "DMA-17", Dma18 "DMA-18",
    Dma19 "DMA-19", Dma20 "DMA-20", Dma21 "DMA-21", Dma22 "DMA-22", Dma23 "DMA-23", Dma24 "DMA-24",
    Dma25 "DMA-25", Dma26 "DMA-26", Dma27 "DMA-27", Dma28 "DMA-28", Dma29 "DMA-29", Dma30 "DMA-30",
    Dma31 "DMA-31", Dma32 "DMA-32", Dma33 "DMA-33", Dma34 "DMA-34", Dma35 "DMA-35", Dma36 "DMA-36",
    Dma37 "DMA-37", Dma38 "DMA-38", Dma39 "DMA-39", Dma40 "DMA-40", Dma41 "DMA-41", Dma42 "DMA-42",
    Dma43 "DMA-43", Dma44 "DMA-44", Dma45 "DMA-45", Dma46 "DMA-46", Dma47 "DMA-47", Dma48 "DMA-48",
    Dma49 "DMA-49", Dma50 "DMA-50", Dma51 "DMA-51", Dma52 "DMA-52", Dma53 "DMA-53", Dma54 "DMA-54",
    Dma55 "DMA-55", Dma56 "DMA-56", Dma57 "DMA-57", Dma58 "DMA-58", Dma59 "DMA-59", Dma60 "DMA-60",
    Dma61 "DMA-61", Dma62 "DMA-62", Dma63 "DMA-63", Dma64 "DMA-64", Dma65 "DMA-65", Dma66 "DMA-66",
    Dma67 "DMA-67", Dma68 "DMA-68", Dma69 "DMA-69", Dma70 "DMA-70", Dma71 "DMA-71", Dma72 "DMA-72",
    Dma73 "DMA-73", Dma74 "DMA-74", Dma75 "DMA-75", Dma76 "DMA-76", Dma77 "DMA-77", Dma78 "DMA-78",
    Dma79 "DMA-79", Dma80 "DMA-80", Dma81 "DMA-81", Dma82 "DMA-82", Dma83 "DMA-83", Dma84 "DMA-84",
    Dma85 "DMA-85", Dma86 "DMA-86", Dma87 "DMA-87", Dma88 "DMA-88", Dma89 "DMA-89", Dma90 "DMA-90",
    Dma91 "DMA-91", Dma92 "DMA-92", Dma93 "DMA-93", Dma94 "DMA-94", Dma95 "DMA-95", Dma96 "DMA-96",
    Dma97 "DMA-97", Dma98 "DMA-98", Dma99 "DMA-99", Dma100 "DMA-100", Dma101 "DMA-101",
    Dma102 "DMA-102", Dma103 "DMA-103", Dma104 "DMA-104", Dma105 "DMA-105", Dma106 "DMA-106",
    Dma107 "DMA-107", Dma108 "DMA-108", Dma109 "DMA-109", Dma110 "DMA-110", Dma111 "DMA-111",
    Dma112 "DMA-112", Dma113 "DMA-113", Dma114 "DMA-114", Dma115 "DMA-115", Dma116 "DMA-116",
    Dma117 "DMA-117",
    Kmdf01 "KMDF-01", Kmdf02 "KMDF-02", Kmdf03 "KMDF-03", Kmdf04 "KMDF-04", Kmdf05 "KMDF-05",
    Kmdf06 "KMDF-06", Kmdf07 "KMDF-07", Kmdf08 "KMDF-08", Kmdf09 "KMDF-09", Kmdf10 "KMDF-10",
    Kmdf11 "KMDF-11", Kmdf12 "KMDF-12", Kmdf13 "KMDF-13", Kmdf14 "KMDF-14", Kmdf15 "KMDF-15",
    Kmdf16 "KMDF-16", Kmdf17 "KMDF-17", Kmdf18 "KMDF-18", Kmdf19 "KMDF-19", Kmdf20 "KMDF-20",
    Kmdf21 "KMDF-21", Kmdf22 "KMDF-22", Kmdf23 "KMDF-23", Kmdf24 "KMDF-24", Kmdf25 "KMDF-25",
    Kmdf26 "KMDF-26", Kmdf27 "KMDF-27", Kmdf28 "KMDF-28", Kmdf29 "KMDF-29", Kmdf30 "KMDF-30",
    Kmdf31 "KMDF-31", Kmdf32 "KMDF-32", Kmdf33 "KMDF-33", Kmdf34 "KMDF-34", Kmdf35 "KMDF-35",
    Kmdf36 "KMDF-36", Kmdf37 "KMDF-37", Kmdf38 "KMDF-38", Kmdf39 "KMDF-39", Kmdf40 "KMDF-40",
    Kmdf41 "KMDF-41", Kmdf42 "KMDF-42", Kmdf43 "KMDF-43", Kmdf44 "KMDF-44", Kmdf45 "KMDF-45",
    Kmdf46 "KMDF-46", Kmdf47 "KMDF-47",
    Sec01 "SEC-01", Sec02 "SEC-02", Sec03 "SEC-03", Sec04 "SEC-04", Sec05 "SEC-05", Sec06 "SEC-06",
    Sec07 "SEC-07", Sec08 "SEC-08", Sec09 "SEC-09", Sec10 "SEC-10", Sec11 "SEC-11", Sec12 "SEC-12",
    Sec13 "SEC-13",
    Sur01 "SUR-01", Sur02 "SUR-02", Sur03 "SUR-03", Sur04 "SUR-04", Sur05 "SUR-05", Sur06 "SUR-06",
    Sim01 "SIM-01", Sim02 "SIM-02", Sim03 "SIM-03", Sim04 "SIM-04", Sim05 "SIM-05", Sim06 "SIM-06",
    Sim07 "SIM-07", Sim08 "SIM-08", Sim09 "SIM-09", Sim10 "SIM-10", Sim11 "SIM-11", Sim12 "SIM-12",
    Sim13 "SIM-13", Sim14 "SIM-14", Sim15 "SIM-15", Sim16 "SIM-16",
}

impl RuleId {
    /// The printed form.
    pub const fn name(self) -> &'static str {
        NAMES[self as usize]
    }
}

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A text that names no rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseRuleIdError {
    text: String,
}

impl fmt::Display for ParseRuleIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no rule is called `{}`; rules have names like DMA-54 or KMDF-21", self.text)
    }
}

impl std::error::Error for ParseRuleIdError {}

impl FromStr for RuleId {
    type Err = ParseRuleIdError;

    /// Takes the printed form, in any case.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        TABLE
            .iter()
            .map(|rule| rule.id)
            .find(|id| id.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| ParseRuleIdError { text: text.to_owned() })
    }
}

/// The sections, in the order of [`RuleId`].
const SECTIONS: &[&[Rule]] = &[
    &adapter::RULES,
    &packet::RULES,
    &list::RULES,
    &memory::RULES,
    &kmdf_device::RULES,
    &kmdf_io::RULES,
    &security::RULES,
    &simulation::RULES,
];

/// All rules; a rule's index is its identifier's discriminant.
static TABLE: [Rule; NAMES.len()] = table();

/// Joins the sections. A missing, additional or misplaced rule does not compile.
const fn table() -> [Rule; NAMES.len()] {
    let mut table = [SECTIONS[0][0]; NAMES.len()];
    let mut next = 0;
    let mut section = 0;
    while section < SECTIONS.len() {
        let mut index = 0;
        while index < SECTIONS[section].len() {
            let rule = SECTIONS[section][index];
            assert!(rule.id as usize == next, "a rule is missing or out of order");
            table[next] = rule;
            next += 1;
            index += 1;
        }
        section += 1;
    }
    assert!(next == NAMES.len(), "the last rules are missing");
    table
}

/// The rule with this identifier.
pub fn rule(id: RuleId) -> &'static Rule {
    &TABLE[id as usize]
}

/// All rules, in order.
pub fn all() -> &'static [Rule] {
    &TABLE
}
