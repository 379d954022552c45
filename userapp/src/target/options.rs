//! The options that choose the target.

use std::path::PathBuf;

use super::Simulation;

/// Which device to use. Without any of these: on Windows the first real device if there is one,
/// else the simulated machine x64 with the exerciser.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
#[command(next_help_heading = "Target")]
pub struct TargetOptions {
    /// A simulated machine: x64, x64-dmar (behind an IOMMU), arm64 or nt (caches that are not
    /// coherent), then options separated by commas.
    ///
    /// Options, each at most once: device=exerciser, edu or slave, scheduling=straight, threads or
    /// deterministic, processors=N (not with straight), policy=random, pct:DEPTH, pct:DEPTH:STEPS
    /// or replay:CHOICES (with deterministic: who decides what happens next), seed=N,
    /// map-registers=N (at most N for each adapter), double-buffer=on (bounce every transfer),
    /// versions=2..3 (newest DMA adapter version offered; with 1 the driver does not start),
    /// msi=off (line-based interrupt), system-dma=on or off (a system DMA controller, which
    /// device=slave needs; nt has one), leave-out=CALL (the driver's calls of this name do
    /// nothing), go-on=on (go on after a broken rule that loses nothing but data), fail=N+N+...
    /// (the driver's calls at these crossings fail for lack of resources) or random:N (one in N
    /// does), inject=KIND:ARGUMENT:SKIP:COUNT+... (what the exerciser does wrong, to COUNT
    /// commands, or all, after SKIP others; only KIND is needed: short-transfer, stall or another
    /// fault of its manual; one that is none is answered with all).
    #[arg(long, value_name = "PROFILE[,OPTION=VALUE]...")]
    pub sim: Option<Simulation>,

    /// A real device by its interface path (Windows, as administrator); `dmaproof list` shows the
    /// paths.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["sim", "image"])]
    pub device: Option<String>,

    /// A driver image to run on the simulated machine that --sim names (64-bit x86 Linux).
    ///
    /// Without --sim, `test` runs it on a machine of every profile, one after the other.
    #[arg(long, value_name = "FILE.sys")]
    pub image: Option<PathBuf>,
}

/// The target that the options name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Whatever there is.
    Default,
    /// A simulated machine.
    Simulation(Simulation),
    /// A real device.
    Device(String),
    /// A driver image, and the simulated machine to run it on if one was named.
    Image(PathBuf, Option<Simulation>),
}

impl TargetOptions {
    /// The target that these options name.
    #[must_use]
    pub fn choice(&self) -> Choice {
        if let Some(path) = &self.device {
            return Choice::Device(path.clone());
        }
        if let Some(path) = &self.image {
            return Choice::Image(path.clone(), self.sim.clone());
        }
        self.sim.clone().map_or(Choice::Default, Choice::Simulation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_an_option_whatever_there_is_is_chosen() {
        assert_eq!(TargetOptions::default().choice(), Choice::Default);
    }
}
