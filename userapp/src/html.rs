//! What all pages share: one file that needs no network, readable without scripts, light and dark,
//! narrow and wide.

use maud::{DOCTYPE, Markup, PreEscaped, html};

const BASE: &str = include_str!("html/base.css");

/// The frame of a page.
#[derive(Debug)]
pub struct Page<'a> {
    /// Which command made it, and what it is about.
    pub kicker: &'a str,
    /// The heading.
    pub heading: &'a str,
    /// Rules of this kind of page.
    pub style: &'a str,
    /// What the page can do with a script.
    pub script: Option<&'a str>,
}

impl Page<'_> {
    /// The whole page: what follows the heading, and the rest.
    #[must_use]
    pub fn render(&self, head: &Markup, body: &Markup) -> String {
        let markup = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (self.heading) " – " (self.command()) }
                    style { (PreEscaped(BASE)) (PreEscaped(self.style)) }
                }
                body {
                    header {
                        p.kicker { (self.kicker) }
                        h1 { (self.heading) }
                        (head)
                    }
                    (body)
                    @if let Some(script) = self.script { script { (PreEscaped(script)) } }
                }
            }
        };
        markup.into_string()
    }

    /// The command alone.
    fn command(&self) -> &str {
        self.kicker.split(':').next().unwrap_or_default()
    }
}

/// Facts with their names.
#[must_use]
pub fn facts(facts: &[(&str, String)]) -> Markup {
    html! {
        dl.facts {
            @for (name, fact) in facts { div { dt { (name) } dd { (fact) } } }
        }
    }
}

/// A table that is too wide for a narrow page moves in a frame of its own, also by keyboard.
#[must_use]
pub fn scroll(label: &str, table: &Markup) -> Markup {
    html! { div.scroll role="region" tabindex="0" aria-label=(label) { (table) } }
}
