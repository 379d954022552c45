//! What `lab --skip` takes, and what is like a name that is none.

use std::ffi::OsStr;

use clap::builder::{PossibleValue, PossibleValuesParser, StyledStr, TypedValueParser};
use clap::error::{ContextKind, ContextValue};

use crate::lab::select::{self, Skipped};

/// The name among these that is most like a word, if one is like it.
pub(crate) fn nearest<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    /// Words that share less are not alike.
    const ALIKE: f64 = 0.8;
    let word = word.to_lowercase();
    names
        .map(|name| (strsim::jaro_winkler(&word, &name.to_lowercase()), name))
        .filter(|(likeness, _)| *likeness > ALIKE)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, name)| name)
}

/// Offers the calls and rules of the table; the help shows the calls only.
#[derive(Clone, Copy, Debug)]
pub(super) struct SkippedParser;

impl SkippedParser {
    fn values() -> PossibleValuesParser {
        let flush = PossibleValue::new(select::FLUSH).help("every flush of caches and adapters");
        let calls = select::calls().map(PossibleValue::new);
        let rules =
            select::rules().into_iter().map(|rule| PossibleValue::new(rule.name()).hide(true));
        std::iter::once(flush).chain(calls).chain(rules).collect::<Vec<_>>().into()
    }
}

impl TypedValueParser for SkippedParser {
    type Value = Skipped;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<Self::Value, clap::Error> {
        let name = Self::values().parse_ref(command, argument, value).map_err(|mut error| {
            let mut tips: Vec<String> = Vec::new();
            let rules = select::rules();
            let rules = rules.iter().map(|rule| rule.name());
            let known = std::iter::once(select::FLUSH).chain(select::calls()).chain(rules);
            let near = nearest(&value.to_string_lossy(), known);
            tips.extend(near.map(|name| format!("the most similar name is {name}")));
            tips.push(
                "a rule that the table names, such as DMA-85, can be given too; rows with calls \
                 that are falsified, repeated or moved are chosen with --case NAME, and `dmaproof \
                 lab --list` lists the names of all rows"
                    .to_owned(),
            );
            error.remove(ContextKind::SuggestedValue);
            let tips = tips.into_iter().map(StyledStr::from).collect();
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(tips));
            error
        })?;
        Ok(Skipped::named(&name).expect("each value that is offered has a meaning"))
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let values: Vec<_> = Self::values().possible_values()?.collect();
        Some(Box::new(values.into_iter()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_one_that_is_like_it() {
        let names = ["KeFlushIoBuffers", "FreeCommonBuffer", "DMA-85"];
        for (word, name) in [
            ("keflushiobuffer", Some("KeFlushIoBuffers")),
            ("DMA-58", Some("DMA-85")),
            ("foo", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, names.into_iter()), name, "{word}");
        }
    }
}
