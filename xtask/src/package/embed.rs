//! The signature inside an image.

use authenticode::PeTrait;
use der::Encode;
use object_0_39::read::pe::PeFile64;
use sha2::{Digest, Sha256};

use super::Error;
use super::encoding::{IndirectData, oid};
use super::signature::Signer;
use crate::image::checksum;

/// Size of a WIN_CERTIFICATE's header, bytes.
const HEADER: usize = 8;
/// WIN_CERT_REVISION_2_0 and WIN_CERT_TYPE_PKCS_SIGNED_DATA (wintrust.h).
const REVISION: u16 = 0x0200;
const SIGNED_DATA: u16 = 2;

/// Authenticode's digest of an image: everything but checksum and signature.
pub fn digest<D: Digest + digest::Update>(image: &[u8]) -> Result<Vec<u8>, Error> {
    let file = PeFile64::parse(image).map_err(|error| Error::Image(error.to_string()))?;
    let mut digest = <D as Digest>::new();
    authenticode::authenticode_digest(&file, &mut digest)
        .map_err(|error| Error::Image(error.to_string()))?;
    Ok(digest.finalize().to_vec())
}

/// The image with a signature of its own at its end, and its checksum made right again.
pub fn sign(image: &[u8], signer: &Signer) -> Result<Vec<u8>, Error> {
    let content = IndirectData::embedded(&digest::<Sha256>(image)?)?.to_der()?;
    let mut message = signer.sign(oid::INDIRECT_DATA, &content)?;
    message.resize(message.len().next_multiple_of(8), 0);
    let (field, directory) = places(image)?;

    let mut signed = image.to_vec();
    if !signed.len().is_multiple_of(8) {
        return Err(Error::Image("its length is not a multiple of 8".into()));
    }
    let fits =
        |number: usize| u32::try_from(number).map_err(|_| Error::Image("it is too large".into()));
    let (offset, length) = (fits(signed.len())?, fits(HEADER + message.len())?);
    signed[directory..directory + 4].copy_from_slice(&offset.to_le_bytes());
    signed[directory + 4..directory + 8].copy_from_slice(&length.to_le_bytes());
    signed.extend(length.to_le_bytes());
    signed.extend(REVISION.to_le_bytes());
    signed.extend(SIGNED_DATA.to_le_bytes());
    signed.extend(message);
    let sum = checksum(&signed, field);
    signed[field..field + 4].copy_from_slice(&sum.to_le_bytes());
    Ok(signed)
}

/// Where the checksum and the directory of signatures stand; there is no signature yet.
fn places(image: &[u8]) -> Result<(usize, usize), Error> {
    let file = PeFile64::parse(image).map_err(|error| Error::Image(error.to_string()))?;
    let offsets = file.offsets().map_err(|error| Error::Image(error.to_string()))?;
    let signed = file.certificate_table_range().map_err(|error| Error::Image(error.to_string()))?;
    if signed.is_some() {
        return Err(Error::Image("it is signed already".into()));
    }
    Ok((offsets.check_sum, offsets.security_data_dir))
}
