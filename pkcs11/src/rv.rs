//! How functions fail: PKCS#11's return values, and nothing else crosses the boundary.

use cryptoki_sys::CK_RV;

/// A return value other than `CKR_OK`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rv(pub CK_RV);

/// What functions of the module return.
pub type Result<T> = std::result::Result<T, Rv>;

/// Fails with this return value unless the condition holds.
pub fn ensure(condition: bool, otherwise: CK_RV) -> Result<()> {
    if condition { Ok(()) } else { Err(Rv(otherwise)) }
}
