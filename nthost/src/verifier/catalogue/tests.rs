//! Tests of the catalogue's form.

use std::collections::BTreeSet;

use super::*;

/// How many rules each family has.
const FAMILIES: [(&str, usize); 5] =
    [("DMA", 117), ("KMDF", 47), ("SEC", 13), ("SUR", 6), ("SIM", 16)];

/// The longest text allowed.
const TEXT_LIMIT: usize = 600;

/// The reason that a rule's form is wrong.
fn defect(rule: &Rule) -> Option<&'static str> {
    if rule.title.is_empty() || rule.title.ends_with('.') || rule.title.len() > 60 {
        return Some("title empty, long or a sentence");
    }
    if rule.text.is_empty() || !rule.text.ends_with(['.', ')']) || rule.text.contains("  ") {
        return Some("text empty or not in sentences");
    }
    if rule.text.len() > TEXT_LIMIT {
        return Some("text too long");
    }
    if rule.sources.is_empty() || rule.sources.iter().any(|source| !is_source(source)) {
        return Some("source missing or without its prefix");
    }
    if rule.homes.is_empty() || rule.homes.iter().any(|home| !is_home(home)) {
        return Some("home missing or unnamed");
    }
    None
}

/// Whether a source has one of the known prefixes, or is one of the three that are no page there.
fn is_source(source: &str) -> bool {
    const OTHERS: [&str; 3] = [
        "simulation",
        "reactos/reactos hal/halx86/generic/dma.c",
        "PCI master abort; no Microsoft page says it",
    ];
    let page = ["DDI/", "CON/", "WDF/", "SMP/"].iter().any(|prefix| source.starts_with(prefix))
        && [".md", ".c", ".cpp", ".hpp"].iter().any(|suffix| source.ends_with(suffix));
    page || OTHERS.contains(&source)
}

/// Whether a home that needs words has them.
fn is_home(home: &Home) -> bool {
    match home {
        Home::Type(name) => !name.is_empty() && !name.contains(char::is_whitespace),
        Home::Review(reason) => !reason.is_empty(),
        Home::Check | Home::Note | Home::Inf => true,
    }
}

/// Whether a text is `0x` and upper-case hexadecimal digits.
fn is_hex(text: &str) -> bool {
    text.strip_prefix("0x").is_some_and(|digits| {
        !digits.is_empty() && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F'))
    })
}

/// Whether a text is one of the forms that [`Rule::verifier`] takes.
fn is_code(code: &str) -> bool {
    if code == "KMDF break" {
        return true;
    }
    let Some((check, parameter)) = code.split_once('/') else {
        return is_hex(code);
    };
    let digit = parameter.len() == 1 && parameter.bytes().all(|byte| byte.is_ascii_digit());
    is_hex(check)
        && (digit
            || match parameter.split_once('-') {
                Some((first, last)) => is_hex(first) && is_hex(last),
                None => is_hex(parameter),
            })
}

#[test]
fn has_every_rule_once_and_in_order() {
    let expected: Vec<String> = FAMILIES
        .iter()
        .flat_map(|(family, count)| (1..=*count).map(move |n| format!("{family}-{n:02}")))
        .collect();

    let names: Vec<String> = all().iter().map(|rule| rule.id.to_string()).collect();

    assert_eq!(names, expected);
    assert_eq!(names.len(), 183 + 16);
    assert!(all().is_sorted_by(|a, b| a.id < b.id));
}

#[test]
fn variants_are_called_as_they_print() {
    for rule in all() {
        let variant = format!("{:?}", rule.id).to_uppercase();

        assert_eq!(variant, rule.id.name().replace('-', ""));
    }
}

#[test]
fn rule_finds_by_identifier() {
    for expected in all() {
        assert!(std::ptr::eq(rule(expected.id), expected));
    }
}

#[test]
fn parse_reverses_display() {
    for rule in all() {
        assert_eq!(rule.id.to_string().parse(), Ok(rule.id));
        assert_eq!(rule.id.to_string().to_lowercase().parse(), Ok(rule.id));
    }
}

#[test]
fn parse_refuses_what_names_no_rule() {
    for text in ["", "DMA", "DMA-", "DMA-0", "DMA-1", "DMA-00", "DMA-118", "DMA54", " DMA-54"] {
        let error = text.parse::<RuleId>().expect_err(text);

        assert!(error.to_string().contains(&format!("`{text}`")));
    }
}

#[test]
fn display_pads() {
    assert_eq!(format!("[{:8}]", RuleId::Dma54), "[DMA-54  ]");
}

#[test]
fn rules_are_well_formed() {
    let defects: Vec<_> =
        all().iter().filter_map(|rule| Some((rule.id.name(), defect(rule)?))).collect();

    assert_eq!(defects, []);
}

#[test]
fn titles_are_unique() {
    let titles: BTreeSet<_> = all().iter().map(|rule| rule.title).collect();

    assert_eq!(titles.len(), all().len());
}

#[test]
fn sources_and_homes_do_not_repeat() {
    for rule in all() {
        let sources: BTreeSet<_> = rule.sources.iter().collect();
        let kinds: BTreeSet<_> = rule.homes.iter().map(|home| format!("{home:?}")).collect();

        assert_eq!(sources.len(), rule.sources.len(), "{}", rule.id);
        assert_eq!(kinds.len(), rule.homes.len(), "{}", rule.id);
    }
}

#[test]
fn verifier_codes_are_well_formed() {
    for rule in all().iter().filter(|rule| !rule.verifier.is_empty()) {
        for code in rule.verifier.split(", ") {
            assert!(is_code(code), "{}: {code:?}", rule.id);
        }
    }
}

#[test]
fn malformed_codes_are_noticed() {
    for code in ["", "E6/13", "0xe6/0x13", "0xE6/", "0xE6/13", "0xE6/0x", "0x10D/5?", "break"] {
        assert!(!is_code(code), "{code:?}");
    }
}

/// Every documented 0xE6 code that a DMA call can cause belongs to a rule.
#[test]
fn every_dma_bug_check_has_a_rule() {
    const NOT_DMA: [u32; 2] = [0x01, 0x02];
    const UNDOCUMENTED: [u32; 4] = [0x12, 0x17, 0x1A, 0x1C];
    const IRQL_WITHOUT_DETAIL: u32 = 0x14; // rules name 0x13, which says which level
    let ranges: Vec<(u32, u32)> = all()
        .iter()
        .flat_map(|rule| rule.verifier.split(", "))
        .filter_map(|code| code.strip_prefix("0xE6/0x"))
        .map(|range| {
            let (first, last) = range.split_once("-0x").unwrap_or((range, range));
            (u32::from_str_radix(first, 16).unwrap(), u32::from_str_radix(last, 16).unwrap())
        })
        .collect();

    for code in 0x00..=0x26 {
        let named = ranges.iter().any(|(first, last)| (*first..=*last).contains(&code));
        let expected = !NOT_DMA.contains(&code)
            && !UNDOCUMENTED.contains(&code)
            && code != IRQL_WITHOUT_DETAIL;

        assert_eq!(named, expected, "0xE6/{code:#04X}");
    }
}

#[test]
fn dma_debug_is_complete() {
    assert_eq!(DMA_DEBUG.len(), 23);
    for (error, number) in DMA_DEBUG.iter().zip(1..) {
        assert_eq!(error.number, number);
        assert!(!error.message.is_empty());
        match error.counterpart {
            Counterpart::Rules(rules) => assert!(!rules.is_empty() && rules.is_sorted()),
            Counterpart::None(reason) => assert!(!reason.is_empty()),
        }
    }
}
