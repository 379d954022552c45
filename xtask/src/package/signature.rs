//! The test certificate, and what is signed with it.

use std::time::Duration;

use cms::cert::x509::Certificate;
use cms::cert::x509::attr::Attribute;
use cms::cert::x509::builder::{Builder, CertificateBuilder, Profile};
use cms::cert::x509::ext::pkix::ExtendedKeyUsage;
use cms::cert::x509::name::Name;
use cms::cert::x509::serial_number::SerialNumber;
use cms::cert::x509::spki::{AlgorithmIdentifier, SubjectPublicKeyInfoOwned};
use cms::cert::x509::time::{Time, Validity};
use cms::cert::{CertificateChoices, IssuerAndSerialNumber};
use cms::content_info::{CmsVersion, ContentInfo};
use cms::signed_data::{
    CertificateSet, EncapsulatedContentInfo, SignedData, SignerIdentifier, SignerInfo, SignerInfos,
};
use der::asn1::{ObjectIdentifier, OctetString, SetOfVec, UtcTime};
use der::{Any, AnyRef, DateTime, Decode, Encode, Tag};
use rsa::pkcs1v15::SigningKey;
use rsa::rand_core::{OsRng, RngCore};
use rsa::signature::{Keypair, SignatureEncoding, Signer as _};
use sha2::{Digest, Sha256};

use super::Error;
use super::encoding::{attribute, oid, sha256_identifier};

/// Bits of the key: what kernel-mode signatures use.
const KEY_BITS: usize = 2048;
/// How long the certificate is good.
const VALID: Duration = Duration::from_secs(5 * 365 * 24 * 60 * 60);

/// A key and its certificate, made for one package. The key is never written down: what trusts the
/// certificate trusts this package, and nothing that is signed later.
pub struct Signer {
    key: SigningKey<Sha256>,
    certificate: Certificate,
}

impl Signer {
    /// Makes a key and a certificate for code signing that is good from `time` on.
    pub fn new(time: DateTime) -> Result<Self, Error> {
        let key = SigningKey::<Sha256>::new(rsa::RsaPrivateKey::new(&mut OsRng, KEY_BITS)?);
        let mut serial = [0; 16];
        OsRng.fill_bytes(&mut serial);
        // Positive, and the first byte not zero.
        serial[0] = serial[0] & 0x7F | 0x40;
        let subject: Name = "CN=dmaproof test signing,O=dmaproof project".parse()?;
        let until = DateTime::from_unix_duration(time.unix_duration() + VALID)?;
        let validity = Validity {
            not_before: Time::UtcTime(UtcTime::from_date_time(time)?),
            not_after: Time::UtcTime(UtcTime::from_date_time(until)?),
        };
        let profile = Profile::Leaf {
            issuer: subject.clone(),
            enable_key_agreement: false,
            enable_key_encipherment: false,
        };
        let public = SubjectPublicKeyInfoOwned::from_key(key.verifying_key())?;
        let serial = SerialNumber::new(&serial)?;
        let mut builder =
            CertificateBuilder::new(profile, serial, validity, subject, public, &key)?;
        builder.add_extension(&ExtendedKeyUsage(vec![oid::CODE_SIGNING]))?;
        let certificate = builder.build::<rsa::pkcs1v15::Signature>()?;
        Ok(Self { key, certificate })
    }

    /// The certificate, as Windows imports it (`.cer`).
    pub fn certificate(&self) -> Result<Vec<u8>, Error> {
        Ok(self.certificate.to_der()?)
    }

    /// Signs `content`, the DER of a value of type `kind`: a PKCS #7 message with content,
    /// certificate and signature. It says nothing of the time.
    pub fn sign(&self, kind: ObjectIdentifier, content: &[u8]) -> Result<Vec<u8>, Error> {
        let content = Any::from_der(content)?;
        let attributes = attributes(kind, &content)?;
        // Signed as a SET, though it is stored under another tag.
        let signature = self.key.sign(&attributes.to_der()?).to_vec();
        let issued = &self.certificate.tbs_certificate;
        let signer = SignerInfo {
            version: CmsVersion::V1,
            sid: SignerIdentifier::IssuerAndSerialNumber(IssuerAndSerialNumber {
                issuer: issued.issuer.clone(),
                serial_number: issued.serial_number.clone(),
            }),
            digest_alg: sha256_identifier(),
            signed_attrs: Some(attributes),
            signature_algorithm: AlgorithmIdentifier {
                oid: oid::RSA,
                parameters: Some(Any::null()),
            },
            signature: OctetString::new(signature)?,
            unsigned_attrs: None,
        };
        let certificate = CertificateChoices::Certificate(self.certificate.clone());
        let data = SignedData {
            // PKCS #7's version, whatever the content: CMS would count differently.
            version: CmsVersion::V1,
            digest_algorithms: SetOfVec::try_from(vec![sha256_identifier()])?,
            encap_content_info: EncapsulatedContentInfo {
                econtent_type: kind,
                econtent: Some(content),
            },
            certificates: Some(CertificateSet::try_from(vec![certificate])?),
            crls: None,
            signer_infos: SignerInfos::try_from(vec![signer])?,
        };
        let content = Any::from_der(&data.to_der()?)?;
        Ok(ContentInfo { content_type: oid::SIGNED_DATA, content }.to_der()?)
    }
}

/// What is signed: the type and the digest of the content, and that an individual signs.
fn attributes(kind: ObjectIdentifier, content: &Any) -> Result<SetOfVec<Attribute>, Error> {
    // PKCS #7 digests the contents without tag and length.
    let digest = OctetString::new(Sha256::digest(content.value()).to_vec())?;
    Ok(SetOfVec::try_from(vec![
        attribute(oid::CONTENT_TYPE, &kind)?,
        attribute(oid::STATEMENT_TYPE, &vec![oid::INDIVIDUAL])?,
        attribute(oid::OPUS_INFO, &AnyRef::new(Tag::Sequence, &[])?)?,
        attribute(oid::MESSAGE_DIGEST, &digest)?,
    ])?)
}
