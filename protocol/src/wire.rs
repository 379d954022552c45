//! What the structures have in common: numbers with names, and requests read from bytes.

use core::fmt;

use zerocopy::FromBytes;

use crate::{Refusal, VERSION};

/// A number that this version of the contract gives no meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownCode(pub u32);

impl fmt::Display for UnknownCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x} has no meaning in version {VERSION} of the protocol", self.0)
    }
}

impl core::error::Error for UnknownCode {}

/// Declares an enumeration that travels as a `u32`.
macro_rules! wire_enum {
    (
        $(#[$outer:meta])*
        $name:ident { $($(#[$inner:meta])* $variant:ident = $value:expr,)+ }
    ) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum $name { $($(#[$inner])* $variant = $value,)+ }

        impl $name {
            /// Every value, in the order of the numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The number that stands for it in a request or a reply.
            #[must_use]
            pub const fn code(self) -> u32 {
                // CAST: the enumeration is `repr(u32)`.
                self as u32
            }
        }

        impl TryFrom<u32> for $name {
            type Error = $crate::UnknownCode;

            fn try_from(code: u32) -> Result<Self, Self::Error> {
                Self::ALL
                    .iter()
                    .copied()
                    .find(|known| known.code() == code)
                    .ok_or($crate::UnknownCode(code))
            }
        }
    };
}
pub(crate) use wire_enum;

/// Copies a request out of its input buffer, in the order that `docs/protocol.md` promises:
/// too short, wrong version (the first field of every request), too long.
pub(crate) fn read_request<T: FromBytes>(input: &[u8]) -> Result<T, Refusal> {
    let (request, rest) = T::read_from_prefix(input).map_err(|_| Refusal::HeaderTooShort)?;
    let (version, _) = u32::read_from_prefix(input).map_err(|_| Refusal::HeaderTooShort)?;
    if version != VERSION {
        return Err(Refusal::WrongVersion);
    }
    if !rest.is_empty() {
        return Err(Refusal::HeaderTooLong);
    }
    Ok(request)
}
