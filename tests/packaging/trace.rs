//! The trace profile.

use std::collections::BTreeSet;

use roxmltree::Document;

use crate::read;

/// The provider that `driver/src/trace.rs` defines.
const PROVIDER: &str = "Dmaproof";

#[test]
fn the_profile_records_the_drivers_provider() {
    // ARRANGE
    let text = read("windows/dmaproof.wprp");
    let document = Document::parse(&text).expect("well-formed XML");
    let named = |tag: &'static str| document.descendants().filter(move |n| n.has_tag_name(tag));

    // ACT
    let providers: Vec<_> = named("EventProvider").collect();

    // ASSERT
    assert!(
        read("driver/src/trace.rs")
            .contains(&format!("define_provider!(PROVIDER, \"{PROVIDER}\")"))
    );
    let [provider] = providers.as_slice() else { panic!("one provider") };
    let guid = format!("{:?}", tracelogging::Guid::from_name(PROVIDER));
    assert_eq!(provider.attribute("Name"), Some(guid.as_str()));
    assert_eq!(provider.attribute("NonPagedMemory"), Some("true"), "events come from DPCs");
}

#[test]
fn every_reference_of_the_profile_is_defined() {
    let text = read("windows/dmaproof.wprp");
    let document = Document::parse(&text).expect("well-formed XML");
    let mut defined = BTreeSet::new();
    for node in document.descendants() {
        if let Some(id) = node.attribute("Id") {
            assert!(defined.insert(id), "{id} is defined twice");
        }
    }
    for node in document.descendants() {
        let by_value = node.tag_name().name().ends_with("Id").then(|| node.attribute("Value"));
        for reference in [by_value.flatten(), node.attribute("Base")].into_iter().flatten() {
            assert!(defined.contains(reference), "{reference} is not defined");
        }
    }
    // WPR takes a profile's name apart from its Id: Name.DetailLevel.LoggingMode, in both modes.
    for mode in ["File", "Memory"] {
        assert!(defined.contains(format!("{PROVIDER}.Verbose.{mode}").as_str()), "{mode}");
    }
}
