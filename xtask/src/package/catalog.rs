//! The package's catalog: the digests of the files that Windows installs, signed as one.

use std::path::Path;

use cms::cert::x509::attr::Attribute;
use cms::cert::x509::spki::AlgorithmIdentifier;
use der::asn1::{Any, OctetString, SetOfVec, UtcTime};
use der::{DateTime, Encode};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::encoding::{
    Extension, IndirectData, Kind, Member, NameValue, TrustList, attribute, member_info, oid,
};
use super::{Error, embed};

/// A file that the catalog vouches for.
#[derive(Debug)]
pub struct File<'a> {
    /// Its name in the package.
    pub name: &'a str,
    /// What it contains.
    pub contents: &'a [u8],
}

/// What the catalog says about all of its files.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The systems, as catalogs name them.
    pub systems: &'a str,
    /// The hardware IDs of the INF.
    pub hardware: &'a [String],
    /// When it is made.
    pub time: DateTime,
}

/// A catalog's list of `files`, ready to be signed: the content of the signature.
pub fn list(files: &[File<'_>], facts: &Facts<'_>) -> Result<Vec<u8>, Error> {
    let mut members = Vec::new();
    for file in files {
        members.extend(entries(file)?);
    }
    members.sort_by(|one, other| one.tag.as_bytes().cmp(other.tag.as_bytes()));
    let mut extensions = vec![Extension::name_value("OS", facts.systems)?];
    for (number, id) in facts.hardware.iter().enumerate() {
        let name = format!("HWID{}", number + 1);
        extensions.push(Extension::name_value(&name, &id.to_ascii_lowercase())?);
    }
    // The name follows from the contents, so that the same files make the same catalog.
    let identity = Sha256::digest(members.to_der()?);
    let list = TrustList {
        usage: vec![oid::CATALOG_LIST],
        identifier: OctetString::new(&identity[..16])?,
        time: UtcTime::from_date_time(facts.time)?,
        algorithm: AlgorithmIdentifier {
            oid: oid::CATALOG_MEMBER_V2,
            parameters: Some(Any::null()),
        },
        members,
        extensions,
    };
    Ok(list.to_der()?)
}

/// The two members of a file: by SHA-256, and by SHA-1 for those who look it up so.
fn entries(file: &File<'_>) -> Result<[Member; 2], Error> {
    let kind = kind(file.name);
    let (sha1, sha256) = match kind {
        Kind::Image => {
            (embed::digest::<Sha1>(file.contents)?, embed::digest::<Sha256>(file.contents)?)
        }
        Kind::Flat => {
            (Sha1::digest(file.contents).to_vec(), Sha256::digest(file.contents).to_vec())
        }
    };
    let mut attributes = vec![
        member_info(kind)?,
        NameValue::attribute("OSAttr", "2:10.0")?,
        NameValue::attribute("File", &file.name.to_ascii_lowercase())?,
    ];
    let compatible = member(&sha1, attributes.clone())?;
    attributes.push(attribute(oid::INDIRECT_DATA, &IndirectData::member(kind, &sha256)?)?);
    Ok([compatible, member(&sha256, attributes)?])
}

fn member(tag: &[u8], attributes: Vec<Attribute>) -> Result<Member, Error> {
    Ok(Member { tag: OctetString::new(tag)?, attributes: SetOfVec::try_from(attributes)? })
}

/// How a file is digested, by its name's extension.
fn kind(name: &str) -> Kind {
    let extension = Path::new(name).extension().unwrap_or_default().to_ascii_lowercase();
    let image = ["sys", "exe", "dll"].iter().any(|known| extension == *known);
    if image { Kind::Image } else { Kind::Flat }
}
