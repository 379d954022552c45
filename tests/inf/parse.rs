//! A strict reader of INF text: what setup would let pass, a mistake most likely, is refused.

/// An INF file: its sections in order.
pub struct Inf {
    sections: Vec<Section>,
}

/// A section with its lines.
pub struct Section {
    /// The name as written, without brackets.
    pub name: String,
    /// The lines that say something.
    pub entries: Vec<Entry>,
}

/// `key = value, value, ...`, or values alone.
pub struct Entry {
    /// Where it stands, from 1.
    pub line: usize,
    /// What stands before the equals sign.
    pub key: Option<String>,
    /// The values, without their quotes.
    pub values: Vec<String>,
}

impl Entry {
    /// A value, empty if there is none.
    pub fn value(&self, index: usize) -> &str {
        self.values.get(index).map_or("", String::as_str)
    }
}

impl Section {
    /// The entries with this key.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a Entry> {
        self.entries
            .iter()
            .filter(move |entry| entry.key.as_deref().is_some_and(|k| k.eq_ignore_ascii_case(key)))
    }

    /// The first value of the one entry with this key.
    pub fn get<'a>(&'a self, key: &'a str) -> Option<&'a str> {
        self.all(key).next().map(|entry| entry.value(0))
    }
}

impl Inf {
    /// Reads the text of a file.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut sections: Vec<Section> = Vec::new();
        let body = text.strip_suffix("\r\n").ok_or("the file does not end with a line end")?;
        for (index, raw) in body.split("\r\n").enumerate() {
            let line = index + 1;
            if !raw.chars().all(|c| (' '..='~').contains(&c)) {
                return Err(format!("line {line}: a character that is not plain ASCII"));
            }
            let said = without_comment(raw).map_err(|e| format!("line {line}: {e}"))?.trim();
            if said.is_empty() {
                continue;
            }
            if let Some(rest) = said.strip_prefix('[') {
                let name = rest.strip_suffix(']').ok_or(format!("line {line}: no closing ']'"))?;
                if sections.iter().any(|known| known.name.eq_ignore_ascii_case(name)) {
                    return Err(format!("line {line}: section [{name}] appears twice"));
                }
                sections.push(Section { name: name.into(), entries: Vec::new() });
                continue;
            }
            let section = sections.last_mut().ok_or(format!("line {line}: outside a section"))?;
            section.entries.push(entry(line, said)?);
        }
        Ok(Self { sections })
    }

    /// All sections.
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// The section of this name.
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name.eq_ignore_ascii_case(name))
    }
}

fn without_comment(raw: &str) -> Result<&str, &'static str> {
    let mut quoted = false;
    for (index, byte) in raw.bytes().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            b';' if !quoted => return Ok(&raw[..index]),
            _ => {}
        }
    }
    if quoted { Err("a quote is not closed") } else { Ok(raw) }
}

fn entry(line: usize, said: &str) -> Result<Entry, String> {
    if said.ends_with('\\') {
        return Err(format!("line {line}: a continued line"));
    }
    let mut parts = split(said, '=', 2).into_iter();
    let first = parts.next().unwrap_or_default();
    let (key, values) = match parts.next() {
        Some(values) => (Some(plain(first)), values),
        None => (None, first),
    };
    if key.as_deref() == Some("") {
        return Err(format!("line {line}: nothing before '='"));
    }
    Ok(Entry { line, key, values: split(values, ',', usize::MAX).into_iter().map(plain).collect() })
}

/// Splits at a separator outside quotes, into at most `limit` parts.
fn split(text: &str, separator: char, limit: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut begin, mut quoted) = (0, false);
    for (index, c) in text.char_indices() {
        if c == '"' {
            quoted = !quoted;
        } else if c == separator && !quoted && parts.len() + 1 < limit {
            parts.push(&text[begin..index]);
            begin = index + 1;
        }
    }
    parts.push(&text[begin..]);
    parts
}

fn plain(part: &str) -> String {
    part.trim().replace('"', "")
}
