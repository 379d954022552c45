//! `dmaproof rules`

use std::io::Write;

use crate::catalogue::{DmaDebug, Rule};
use crate::cli::RulesArgs;
use crate::exit::{AppError, Exit};
use crate::target::dma_debug;

pub(super) fn run(
    arguments: &RulesArgs,
    rules: &[Rule],
    out: &mut dyn Write,
) -> Result<Exit, AppError> {
    let Some(id) = &arguments.id else {
        if arguments.json {
            serde_json::to_writer_pretty(&mut *out, rules).map_err(std::io::Error::from)?;
            writeln!(out)?;
        } else {
            for rule in rules {
                writeln!(out, "{:<9} {} [{}]", rule.id, rule.title, rule.enforced)?;
            }
            writeln!(out, "\nLinux's dma-debug reports, and the rules that forbid the same:")?;
            for DmaDebug { error, counterpart } in dma_debug() {
                writeln!(out, "  {error} [{counterpart}]")?;
            }
            writeln!(out, "\n{} rules; `dmaproof rules ID` shows one of them", rules.len())?;
        }
        return Ok(Exit::Intact);
    };
    let rule = rules.iter().find(|rule| rule.id.eq_ignore_ascii_case(id)).ok_or_else(|| {
        AppError::Usage(format!(
            "there is no rule {id}; `dmaproof rules` lists them all, such as DMA-85"
        ))
    })?;
    if arguments.json {
        serde_json::to_writer_pretty(&mut *out, rule).map_err(std::io::Error::from)?;
        writeln!(out)?;
    } else {
        rule.write(out)?;
    }
    Ok(Exit::Intact)
}
