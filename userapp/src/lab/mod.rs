//! The lab: the real driver with one mistake made for it, over the whole table of mistakes.
//!
//! [`table`] says, from the documents alone, what each mistake does to the data and which rule may
//! name it; [`run`] makes it once, [`verdict`] as often as it takes.

pub mod run;
pub mod table;
pub mod verdict;
