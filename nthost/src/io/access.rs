//! Who may open a device, and what an open handle may do.

use std::ops::BitOr;

use wdk_lite as k;

/// Access rights of a handle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Access(u32);

impl Access {
    /// No right: only control codes that any handle holder may send (FILE_ANY_ACCESS).
    pub const NONE: Self = Self(0);
    /// FILE_READ_DATA.
    pub const READ: Self = Self(k::FILE_READ_ACCESS);
    /// FILE_WRITE_DATA.
    pub const WRITE: Self = Self(k::FILE_WRITE_ACCESS);
    /// Both.
    pub const READ_WRITE: Self = Self(k::FILE_READ_ACCESS | k::FILE_WRITE_ACCESS);

    /// Whether all of `needed` is granted.
    #[must_use]
    pub const fn contains(self, needed: Self) -> bool {
        self.0 & needed.0 == needed.0
    }

    /// What a device control code demands of the handle it is sent through (SEC-01).
    pub(crate) const fn of_control_code(code: u32) -> Self {
        Self(code >> 14 & 3)
    }
}

impl BitOr for Access {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Who opens a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A member of the local administrators group.
    Administrator,
    /// Anybody else who logged on.
    User,
}

impl Caller {
    /// Well-known security identifiers of this caller, in SDDL's letters.
    const fn groups(self) -> &'static [&'static str] {
        match self {
            Self::Administrator => &["BA", "BU", "AU", "IU", "WD"],
            Self::User => &["BU", "AU", "IU", "WD"],
        }
    }
}

/// What a security descriptor in SDDL's subset for devices, `D:P(A;;access;;;sid)...`, grants
/// (SEC-04). Without one everybody may read and write, as with a PnP device whose INF has none.
pub(super) fn granted(sddl: Option<&str>, caller: Caller) -> Access {
    let Some(sddl) = sddl else { return Access::READ_WRITE };
    let entries = sddl.split('(').skip(1).filter_map(|rest| rest.split(')').next());
    entries.fold(Access::NONE, |sum, entry| sum | allowed(entry, caller))
}

fn allowed(entry: &str, caller: Caller) -> Access {
    let mut fields = entry.split(';');
    let (kind, _flags, rights) = (fields.next(), fields.next(), fields.next().unwrap_or(""));
    let sid = fields.nth(2).unwrap_or("");
    if kind != Some("A") || !caller.groups().contains(&sid) {
        return Access::NONE;
    }
    let has = |right: &str| rights.as_bytes().chunks(2).any(|pair| pair == right.as_bytes());
    let all = has("GA") || has("FA");
    let read = all || has("GR") || has("FR");
    let write = all || has("GW") || has("FW");
    let grant = |yes: bool, access| if yes { access } else { Access::NONE };
    grant(read, Access::READ) | grant(write, Access::WRITE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADMINISTRATORS: &str = "D:P(A;;GA;;;SY)(A;;GA;;;BA)";

    #[test]
    fn the_administrators_descriptor_keeps_users_out() {
        assert_eq!(granted(Some(ADMINISTRATORS), Caller::User), Access::NONE);
        assert_eq!(granted(Some(ADMINISTRATORS), Caller::Administrator), Access::READ_WRITE);
    }

    #[test]
    fn rights_are_granted_one_by_one() {
        let sddl = "D:P(A;;GA;;;SY)(A;;GRGX;;;BU)";
        assert_eq!(granted(Some(sddl), Caller::User), Access::READ);
        assert_eq!(granted(None, Caller::User), Access::READ_WRITE);
    }

    #[test]
    fn a_control_code_states_its_access() {
        assert_eq!(Access::of_control_code(0x8000_E000), Access::READ_WRITE);
        assert_eq!(Access::of_control_code(0x8000_2000), Access::NONE);
        assert!(!Access::READ.contains(Access::WRITE));
    }
}
