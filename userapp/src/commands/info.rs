//! `dmaproof info`

use std::io::Write;

use dmaproof_protocol::{Direction, Path, QueryReply, Statistics};
use serde_json::{Value, json};

use crate::cli::InfoArgs;
use crate::describe;
use crate::exit::{AppError, Exit};
use crate::route::Route;
use crate::target::{Machine, NtStatus, Target, with_target};

pub(super) fn run(
    arguments: &InfoArgs,
    target: &dyn Target,
    out: &mut dyn Write,
) -> Result<Exit, AppError> {
    let answers = with_target(target, |session| -> Result<_, NtStatus> {
        Ok((session.query()?, session.statistics()?))
    })?;
    let (reply, statistics) =
        answers.map_err(|status| AppError::Request { what: "asking the driver", status })?;
    let machine = target.machine();
    if arguments.json {
        let document = json!({
            "schema": "dmaproof.info",
            "schema_version": 1,
            "tested": target.describe(),
            "device": describe::to_json(&reply),
            "machine": machine.as_ref().map(Machine::to_json),
            "statistics": statistics_json(&statistics),
        });
        writeln!(out, "{document:#}")?;
    } else {
        write(out, &target.describe(), &reply, machine.as_ref(), &statistics)?;
    }
    Ok(Exit::Intact)
}

fn write(
    out: &mut dyn Write,
    tested: &str,
    reply: &QueryReply,
    machine: Option<&Machine>,
    statistics: &Statistics,
) -> Result<(), AppError> {
    writeln!(out, "{tested}")?;
    writeln!(out, "{}", describe::summary(reply))?;
    writeln!(out, "PIO window:  {}", describe::pio(reply))?;
    writeln!(out, "adapter V2:  {}", describe::adapter(&reply.adapter_v2))?;
    writeln!(out, "adapter V3:  {}", describe::adapter(&reply.adapter_v3))?;
    if let Some(machine) = machine {
        writeln!(out, "remapping:   {}", machine.dma_remapping())?;
        writeln!(out, "verifier:    {}", machine.driver_verifier())?;
    }
    writeln!(out, "paths")?;
    for route in Route::ALL {
        let state = if reply.paths.contains(route.path()) { "available" } else { "not available" };
        writeln!(out, "  {:<16} {:<28} {state}", route.option(), route.title())?;
    }
    writeln!(out, "transfers since the device started")?;
    for &path in Path::ALL {
        for &direction in Direction::ALL {
            let count = statistics.count(path, direction);
            if count.transfers > 0 {
                let (transfers, bytes) = (count.transfers, count.bytes);
                writeln!(out, "  {path:<24} {direction:<12} {transfers} of {bytes} bytes")?;
            }
        }
    }
    for (name, value) in describe::counters(statistics) {
        writeln!(out, "  {:<24} {value}", name.replace('_', " "))?;
    }
    Ok(())
}

fn statistics_json(statistics: &Statistics) -> Value {
    let mut transfers = Vec::new();
    for &path in Path::ALL {
        for &direction in Direction::ALL {
            let count = statistics.count(path, direction);
            transfers.push(json!({
                "path": path.option(),
                "direction": direction.title(),
                "transfers": count.transfers,
                "bytes": count.bytes,
            }));
        }
    }
    let mut document = json!({ "transfers": transfers });
    for (name, value) in describe::counters(statistics) {
        document[name] = value.into();
    }
    document
}
