//! The sabotage table: every row comes out as the documents say.

use dmaproof::lab::table::cells;
use dmaproof::lab::verdict::{Verdict, judge, names};

#[test]
fn every_row_comes_out_as_the_documents_say() {
    let mut differing = Vec::new();
    for cell in cells() {
        let outcome = judge(&cell, 1);
        if let Verdict::Differs(how) = &outcome.verdict {
            let named = names(outcome.named.iter().copied());
            differing
                .push(format!("{cell}: {} expected, {how}; named {named}", cell.expected.name()));
        }
    }
    assert!(differing.is_empty(), "{} rows differ:\n{}", differing.len(), differing.join("\n"));
}
