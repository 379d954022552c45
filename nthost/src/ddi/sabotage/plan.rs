//! What is to be done to a driver's calls: plain data.

use std::fmt;

/// Spoils calls of one function on their way from the driver to the host.
///
/// Driver, checks and application see the calls as they are afterwards, as if the driver's author
/// had written them so. Functions and arguments have the names of the WDK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sabotage {
    /// The function.
    pub function: &'static str,
    /// Which calls of it.
    pub calls: Calls,
    /// What is done to them.
    pub deed: Deed,
}

impl Sabotage {
    /// Does this to every call of a function.
    #[must_use]
    pub const fn of(function: &'static str, deed: Deed) -> Self {
        Self { function, calls: Calls::Every, deed }
    }
}

/// Which calls of a function are spoiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Calls {
    /// All of them.
    Every,
    /// The one with this number, counted from 1.
    Nth(u64),
}

/// What is done to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// It is not made. The driver is told TRUE or STATUS_SUCCESS where the function answers
    /// something.
    LeaveOut,
    /// It is made with another value for the argument of this name.
    Falsify(&'static str, Forgery),
    /// It is made, and the driver is given another answer.
    Misreport(Forgery),
    /// It is made twice in a row; the driver is given the first answer.
    Repeat,
    /// It is made later: when the next call of the function named here has been answered.
    PutOff(&'static str),
    /// It is made too early: when the next call of the function named here has been answered, with
    /// the values that the driver's last calls had under the names of its arguments. When the
    /// driver comes to make it, it is left out.
    Hasten(&'static str),
}

/// Another value for an argument or an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgery {
    /// So much more; less if negative.
    Add(i64),
    /// FALSE for TRUE and TRUE for FALSE.
    Invert,
    /// This value.
    Set(u64),
    /// The argument points to a 32-bit number, which goes in so much higher and comes back so much
    /// lower: the driver sees nothing of it.
    AddToTarget(i64),
    /// What the last call of this function had for this argument.
    Of(&'static str, &'static str),
}

impl fmt::Display for Sabotage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let function = self.function;
        match self.deed {
            Deed::LeaveOut => write!(f, "{function} left out"),
            Deed::Falsify(argument, forgery) => write!(f, "{function} with {argument} {forgery}"),
            Deed::Misreport(forgery) => write!(f, "the answer of {function} {forgery}"),
            Deed::Repeat => write!(f, "{function} called twice"),
            Deed::PutOff(until) => write!(f, "{function} only after {until}"),
            Deed::Hasten(to) => write!(f, "{function} right after {to}, too early"),
        }?;
        match self.calls {
            Calls::Every => Ok(()),
            Calls::Nth(number) => write!(f, " (call {number})"),
        }
    }
}

impl fmt::Display for Forgery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Add(more) | Self::AddToTarget(more) if more < 0 => {
                write!(f, "too low by {}", more.unsigned_abs())
            }
            Self::Add(more) | Self::AddToTarget(more) => write!(f, "too high by {more}"),
            Self::Invert => f.write_str("inverted"),
            Self::Set(value) => write!(f, "taken for {value}"),
            Self::Of(function, _) => write!(f, "that of {function}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_said_in_words() {
        let said = |deed| Sabotage::of("F", deed).to_string();
        assert_eq!(said(Deed::LeaveOut), "F left out");
        assert_eq!(said(Deed::Falsify("Length", Forgery::Add(-64))), "F with Length too low by 64");
        assert_eq!(said(Deed::PutOff("G")), "F only after G");
        let second = Sabotage { calls: Calls::Nth(2), ..Sabotage::of("F", Deed::Repeat) };
        assert_eq!(second.to_string(), "F called twice (call 2)");
    }
}
