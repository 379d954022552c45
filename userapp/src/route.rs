//! The ways a program can ask the driver to move data: each path, and plain file reads and writes.

use std::fmt;
use std::str::FromStr;

use dmaproof_protocol::Path;

/// One row of the test: how the app asks for a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Route {
    /// By the transfer requests, with this path.
    Path(Path),
    /// By `ReadFile` and `WriteFile` on the handle; the driver takes the packet path for them.
    File,
}

impl Route {
    /// All routes, in the order of the report.
    pub const ALL: [Self; 8] = [
        Self::Path(Path::CommonBufferCached),
        Self::Path(Path::CommonBufferUncached),
        Self::Path(Path::Packet),
        Self::Path(Path::ScatterGather),
        Self::Path(Path::Version3),
        Self::Path(Path::Pio),
        Self::Path(Path::SystemDma),
        Self::File,
    ];

    /// The name for people.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Path(path) => path.title(),
            Self::File => "ReadFile/WriteFile (packet)",
        }
    }

    /// The name for command lines and machine-readable reports; parsing reads it back.
    #[must_use]
    pub const fn option(self) -> &'static str {
        match self {
            Self::Path(path) => path.option(),
            Self::File => "file",
        }
    }

    /// The path that the driver takes.
    #[must_use]
    pub const fn path(self) -> Path {
        match self {
            Self::Path(path) => path,
            Self::File => Path::Packet,
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.title())
    }
}

/// The text names no route.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no path is called `{name}`; the paths are {}", names())]
pub struct UnknownRoute {
    name: String,
}

/// The names of all routes, for messages and help.
#[must_use]
pub fn names() -> String {
    Route::ALL.map(Route::option).join(", ")
}

impl FromStr for Route {
    type Err = UnknownRoute;

    fn from_str(name: &str) -> Result<Self, UnknownRoute> {
        Self::ALL
            .into_iter()
            .find(|route| route.option() == name)
            .ok_or_else(|| UnknownRoute { name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_parses_from_its_option_and_every_path_has_one() {
        for route in Route::ALL {
            assert_eq!(route.option().parse(), Ok(route));
        }
        for path in Path::ALL {
            assert!(Route::ALL.contains(&Route::Path(*path)));
        }
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let message = "dma".parse::<Route>().unwrap_err().to_string();
        assert!(message.contains("`dma`") && message.contains("sg") && message.contains("file"));
    }
}
