//! The lab: the real driver with one mistake made for it, over the whole table of mistakes.
//!
//! [`table`] says, from the documents alone, what each mistake does to the data and which rule may
//! name it; [`select`] chooses cells of it. [`run`] makes a mistake once, [`verdict`] as often as it
//! takes; [`report`], [`page`] and [`picture`] tell.

pub mod page;
pub mod picture;
pub mod report;
pub mod run;
pub mod select;
pub mod table;
pub mod verdict;
