//! Mistakes that do not compile, with the compiler's words for them.

/// The snapshots hold the messages of one compiler; another one words them differently. That the
/// mistakes do not compile at all is checked by the README's examples on every compiler.
#[rustversion::attr(not(stable(1.95)), ignore = "the snapshots are those of rustc 1.95")]
#[test]
fn mistakes_do_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}
