//! The structures that Windows adds to CMS: indirect data, and what catalogs are made of.
//!
//! Authenticode's document (Windows Authenticode Portable Executable Signature Format) describes
//! the first; the layout of version 2 catalogs is that of catalogs that Windows accepts.

use cms::cert::x509::attr::Attribute;
use cms::cert::x509::spki::AlgorithmIdentifierOwned;
use der::asn1::{BmpString, ObjectIdentifier, OctetString, SetOfVec, UtcTime};
use der::{Any, AnyRef, Decode, Encode, Sequence, Tag, TagNumber};

/// Object identifiers: PKCS #7 and #9, NIST, and Microsoft's.
pub mod oid {
    use der::asn1::ObjectIdentifier;

    const fn oid(text: &str) -> ObjectIdentifier {
        ObjectIdentifier::new_unwrap(text)
    }

    /// signedData.
    pub const SIGNED_DATA: ObjectIdentifier = oid("1.2.840.113549.1.7.2");
    /// contentType.
    pub const CONTENT_TYPE: ObjectIdentifier = oid("1.2.840.113549.1.9.3");
    /// messageDigest.
    pub const MESSAGE_DIGEST: ObjectIdentifier = oid("1.2.840.113549.1.9.4");
    /// rsaEncryption.
    pub const RSA: ObjectIdentifier = oid("1.2.840.113549.1.1.1");
    /// SHA-256.
    pub const SHA_256: ObjectIdentifier = oid("2.16.840.1.101.3.4.2.1");
    /// codeSigning.
    pub const CODE_SIGNING: ObjectIdentifier = oid("1.3.6.1.5.5.7.3.3");
    /// SPC_INDIRECT_DATA: the digest of something outside the signature.
    pub const INDIRECT_DATA: ObjectIdentifier = oid("1.3.6.1.4.1.311.2.1.4");
    /// SPC_STATEMENT_TYPE.
    pub const STATEMENT_TYPE: ObjectIdentifier = oid("1.3.6.1.4.1.311.2.1.11");
    /// SPC_SP_OPUS_INFO.
    pub const OPUS_INFO: ObjectIdentifier = oid("1.3.6.1.4.1.311.2.1.12");
    /// SPC_PE_IMAGE_DATA.
    pub const PE_IMAGE: ObjectIdentifier = oid("1.3.6.1.4.1.311.2.1.15");
    /// SPC_INDIVIDUAL_SP_KEY_PURPOSE.
    pub const INDIVIDUAL: ObjectIdentifier = oid("1.3.6.1.4.1.311.2.1.21");
    /// SPC_CAB_DATA, which stands for any file that is not an image.
    pub const FLAT_FILE: ObjectIdentifier = oid("1.3.6.1.4.1.311.2.1.25");
    /// Certificate trust list: the content of a catalog.
    pub const TRUST_LIST: ObjectIdentifier = oid("1.3.6.1.4.1.311.10.1");
    /// What the list is for: a catalog.
    pub const CATALOG_LIST: ObjectIdentifier = oid("1.3.6.1.4.1.311.12.1.1");
    /// A catalog's member, version 2: its tag is a digest.
    pub const CATALOG_MEMBER_V2: ObjectIdentifier = oid("1.3.6.1.4.1.311.12.1.3");
    /// CAT_NAMEVALUE.
    pub const NAME_VALUE: ObjectIdentifier = oid("1.3.6.1.4.1.311.12.2.1");
    /// CAT_MEMBERINFO2.
    pub const MEMBER_INFO_V2: ObjectIdentifier = oid("1.3.6.1.4.1.311.12.2.3");
}

/// What a signature is about: an object outside of it, by its digest.
#[derive(Clone, Debug, Sequence)]
pub struct IndirectData {
    data: TypeAndValue,
    digest: DigestInfo,
}

#[derive(Clone, Debug, Sequence)]
struct TypeAndValue {
    kind: ObjectIdentifier,
    value: Any,
}

#[derive(Clone, Debug, Sequence)]
struct DigestInfo {
    algorithm: AlgorithmIdentifierOwned,
    digest: OctetString,
}

/// The kinds of file that differ in how they are digested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An executable image: by Authenticode's digest, which leaves the signature out.
    Image,
    /// Anything else: every byte.
    Flat,
}

impl IndirectData {
    /// Of a file inside a catalog, where the file has no name.
    pub fn member(kind: Kind, sha256: &[u8]) -> der::Result<Self> {
        match kind {
            Kind::Image => Self::new(oid::PE_IMAGE, &image_data(&[])?, sha256),
            Kind::Flat => Self::new(oid::FLAT_FILE, &link(&[])?, sha256),
        }
    }

    /// Of the image that the signature is embedded in; the text is the one that Authenticode's
    /// document prescribes.
    pub fn embedded(sha256: &[u8]) -> der::Result<Self> {
        let text: Vec<u8> = "<<<Obsolete>>>".encode_utf16().flat_map(u16::to_be_bytes).collect();
        Self::new(oid::PE_IMAGE, &image_data(&text)?, sha256)
    }

    fn new(kind: ObjectIdentifier, value: &[u8], sha256: &[u8]) -> der::Result<Self> {
        let data = TypeAndValue { kind, value: Any::from_der(value)? };
        let digest =
            DigestInfo { algorithm: sha256_identifier(), digest: OctetString::new(sha256)? };
        Ok(Self { data, digest })
    }
}

/// SpcLink with a file's name: `[2] EXPLICIT SpcString`, whose Unicode choice is `[0] IMPLICIT`.
fn link(text: &[u8]) -> der::Result<Vec<u8>> {
    context(2, true, &context(0, false, text)?)
}

/// SpcPeImageData: no flags, and the link.
fn image_data(text: &[u8]) -> der::Result<Vec<u8>> {
    // A bit string with all bits cleared; written with its three usual ones, of which 5 are unused.
    const FLAGS: [u8; 4] = [0x03, 0x02, 0x05, 0xA0];
    let body = [&FLAGS[..], &context(0, true, &link(text)?)?].concat();
    AnyRef::new(Tag::Sequence, &body)?.to_der()
}

/// A context-specific element with the given contents.
fn context(number: u8, constructed: bool, contents: &[u8]) -> der::Result<Vec<u8>> {
    let tag = Tag::ContextSpecific { constructed, number: TagNumber::new(number) };
    AnyRef::new(tag, contents)?.to_der()
}

/// The algorithm SHA-256, with its NULL.
pub fn sha256_identifier() -> AlgorithmIdentifierOwned {
    AlgorithmIdentifierOwned { oid: oid::SHA_256, parameters: Some(Any::null()) }
}

/// An attribute with one value.
pub fn attribute(oid: ObjectIdentifier, value: &impl Encode) -> der::Result<Attribute> {
    let values = SetOfVec::try_from(vec![Any::from_der(&value.to_der()?)?])?;
    Ok(Attribute { oid, values })
}

/// A catalog's list.
#[derive(Clone, Debug, Sequence)]
pub struct TrustList {
    /// What the list is for.
    pub usage: Vec<ObjectIdentifier>,
    /// Names the list.
    pub identifier: OctetString,
    /// When it was made.
    pub time: UtcTime,
    /// How the members' tags are made.
    pub algorithm: AlgorithmIdentifierOwned,
    /// The members, by ascending tag.
    pub members: Vec<Member>,
    /// What the catalog says about itself.
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    pub extensions: Vec<Extension>,
}

/// A file of a catalog.
#[derive(Clone, Debug, Sequence)]
pub struct Member {
    /// The file's digest.
    pub tag: OctetString,
    /// What is known about it.
    pub attributes: SetOfVec<Attribute>,
}

/// A statement about the whole catalog.
#[derive(Clone, Debug, Sequence)]
pub struct Extension {
    oid: ObjectIdentifier,
    value: OctetString,
}

impl Extension {
    /// A name and its value.
    pub fn name_value(name: &str, value: &str) -> der::Result<Self> {
        let value = OctetString::new(NameValue::new(name, value)?.to_der()?)?;
        Ok(Self { oid: oid::NAME_VALUE, value })
    }
}

/// CAT_NAMEVALUE.
#[derive(Clone, Debug, Sequence)]
pub struct NameValue {
    name: BmpString,
    flags: u32,
    value: OctetString,
}

impl NameValue {
    /// Authenticated, plain text, with a name of characters (mscat.h).
    const FLAGS: u32 = 0x1001_0001;

    /// A name and its value.
    pub fn new(name: &str, value: &str) -> der::Result<Self> {
        let text: Vec<u8> = value.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
        let (name, value) = (BmpString::from_utf8(name)?, OctetString::new(text)?);
        Ok(Self { name, flags: Self::FLAGS, value })
    }

    /// As an attribute of a member.
    pub fn attribute(name: &str, value: &str) -> der::Result<Attribute> {
        attribute(oid::NAME_VALUE, &Self::new(name, value)?)
    }
}

/// The attribute that says what kind of file a member is.
pub fn member_info(kind: Kind) -> der::Result<Attribute> {
    let number = match kind {
        Kind::Image => 0,
        Kind::Flat => 2,
    };
    attribute(oid::MEMBER_INFO_V2, &Any::from_der(&context(number, false, &[])?)?)
}
