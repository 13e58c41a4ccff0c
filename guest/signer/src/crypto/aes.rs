//! AES in the modes that PKCS#11 names, with keys of 16, 24 and 32 bytes (FIPS 197, NIST SP 800-38A, -38B, -38D, -38F); and
//! triple DES in two of them, with keys of 24 bytes (NIST SP 800-67), for what is old.
//!
//! Initialisation vectors are the caller's: a token computes what it is asked for.

use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};

use aws_lc_sys as sys;
use zeroize::{Zeroize, Zeroizing};

/// Bytes of AES's block.
pub const BLOCK: usize = 16;

/// How blocks are chained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Each for itself.
    Ecb,
    /// Chained.
    Cbc,
    /// A counter of 128 bits.
    Ctr,
    /// Galois/Counter Mode.
    Gcm,
    /// Triple DES, each block for itself.
    Des3Ecb,
    /// Triple DES, chained.
    Des3Cbc,
}

impl Mode {
    /// Bytes of a block.
    pub const fn block(self) -> usize {
        match self {
            Self::Des3Ecb | Self::Des3Cbc => 8,
            _ => BLOCK,
        }
    }
}

type Output = Option<Zeroizing<Vec<u8>>>;

fn cipher(mode: Mode, key: &[u8]) -> Option<*const sys::EVP_CIPHER> {
    // SAFETY: these take nothing and give a pointer to a constant.
    Some(unsafe {
        match (mode, key.len()) {
            (Mode::Ecb, 16) => sys::EVP_aes_128_ecb(),
            (Mode::Ecb, 24) => sys::EVP_aes_192_ecb(),
            (Mode::Ecb, 32) => sys::EVP_aes_256_ecb(),
            (Mode::Cbc, 16) => sys::EVP_aes_128_cbc(),
            (Mode::Cbc, 24) => sys::EVP_aes_192_cbc(),
            (Mode::Cbc, 32) => sys::EVP_aes_256_cbc(),
            (Mode::Ctr, 16) => sys::EVP_aes_128_ctr(),
            (Mode::Ctr, 24) => sys::EVP_aes_192_ctr(),
            (Mode::Ctr, 32) => sys::EVP_aes_256_ctr(),
            (Mode::Gcm, 16) => sys::EVP_aes_128_gcm(),
            (Mode::Gcm, 24) => sys::EVP_aes_192_gcm(),
            (Mode::Gcm, 32) => sys::EVP_aes_256_gcm(),
            (Mode::Des3Ecb, 24) => sys::EVP_des_ede3_ecb(),
            (Mode::Des3Cbc, 24) => sys::EVP_des_ede3_cbc(),
            _ => return None,
        }
    })
}

/// Encrypts or decrypts in ECB, CBC or CTR. `iv` is a block, and empty for ECB. With `padding` (PKCS #7) the input of an
/// encryption may have any length; without, ECB and CBC take whole blocks.
pub fn crypt(mode: Mode, encrypt: bool, key: &[u8], iv: &[u8], padding: bool, input: &[u8]) -> Output {
    let wanted = if matches!(mode, Mode::Ecb | Mode::Des3Ecb) { 0 } else { mode.block() };
    if mode == Mode::Gcm || iv.len() != wanted {
        return None;
    }
    let context = Cipher::new()?;
    let cipher = cipher(mode, key)?;
    // SAFETY: the context is live; `key` and `iv` have the lengths that the cipher reads.
    let ready = unsafe {
        sys::EVP_CipherInit_ex(
            context.as_ptr(),
            cipher,
            ptr::null_mut(),
            key.as_ptr(),
            iv.as_ptr(),
            c_int::from(encrypt),
        ) == 1
            && sys::EVP_CIPHER_CTX_set_padding(context.as_ptr(), c_int::from(padding)) == 1
    };
    if ready { context.finish(input) } else { None }
}

/// Encrypts in GCM; the tag, of `tag` bytes, follows the ciphertext.
pub fn gcm_seal(key: &[u8], iv: &[u8], aad: &[u8], tag: usize, input: &[u8]) -> Output {
    let context = Cipher::gcm(true, key, iv, aad)?;
    let mut output = context.finish(input)?;
    let mut whole = [0; BLOCK];
    // SAFETY: the context has finished; the tag is written for the 16 bytes that the array has.
    let done = unsafe {
        sys::EVP_CIPHER_CTX_ctrl(
            context.as_ptr(),
            sys::EVP_CTRL_AEAD_GET_TAG,
            BLOCK as c_int,
            whole.as_mut_ptr().cast(),
        )
    };
    if done != 1 {
        return None;
    }
    output.extend_from_slice(whole.get(..tag)?);
    Some(output)
}

/// Decrypts what [`gcm_seal`] gives, if it is genuine.
pub fn gcm_open(key: &[u8], iv: &[u8], aad: &[u8], tag: usize, sealed: &[u8]) -> Output {
    let (input, tag) = sealed.split_at_checked(sealed.len().checked_sub(tag)?)?;
    let mut tag = tag.to_vec();
    let context = Cipher::gcm(false, key, iv, aad)?;
    let length = c_int::try_from(tag.len()).ok()?;
    // SAFETY: the context is live; the tag is read for its length.
    let set = unsafe {
        sys::EVP_CIPHER_CTX_ctrl(
            context.as_ptr(),
            sys::EVP_CTRL_AEAD_SET_TAG,
            length,
            tag.as_mut_ptr().cast(),
        )
    };
    // An output that turns out not to be genuine is erased with its buffer.
    if set == 1 { context.finish(input) } else { None }
}

/// The CMAC of a message (NIST SP 800-38B).
pub fn cmac(key: &[u8], message: &[u8]) -> Option<[u8; BLOCK]> {
    let cipher = cipher(Mode::Cbc, key)?;
    let mut mac = [0; BLOCK];
    // SAFETY: the context is checked and freed at the end, whatever happens; `key` has the length that the cipher reads, the
    // message is read for its length, and the MAC of a 16-byte block cipher has the 16 bytes of the array.
    let done = unsafe {
        let context = sys::CMAC_CTX_new();
        if context.is_null() {
            return None;
        }
        let mut length = 0;
        let done = sys::CMAC_Init(context, key.as_ptr().cast(), key.len(), cipher, ptr::null_mut()) == 1
            && sys::CMAC_Update(context, message.as_ptr(), message.len()) == 1
            && sys::CMAC_Final(context, mac.as_mut_ptr(), &raw mut length) == 1;
        sys::CMAC_CTX_free(context);
        done && length == BLOCK
    };
    done.then_some(mac)
}

/// A key schedule, erased when dropped.
struct Schedule(MaybeUninit<sys::AES_KEY>);

impl Schedule {
    fn new(key: &[u8], encrypt: bool) -> Option<Self> {
        let bits = u32::try_from(key.len().checked_mul(8)?).ok()?;
        let mut schedule = Self(MaybeUninit::zeroed());
        let set = if encrypt { sys::AES_set_encrypt_key } else { sys::AES_set_decrypt_key };
        // SAFETY: `key` is read for `bits`, its length, which aws-lc refuses if it is not 128, 192 or 256; the schedule is
        // written within itself.
        let done = unsafe { set(key.as_ptr(), bits, schedule.0.as_mut_ptr()) };
        (done == 0).then_some(schedule)
    }
}

impl Drop for Schedule {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Wraps a key of whole half-blocks, two at least (KW, RFC 3394); `iv` is the default one if `None`.
pub fn wrap(key: &[u8], iv: Option<&[u8; 8]>, input: &[u8]) -> Output {
    half_blocks(Schedule::new(key, true)?, sys::AES_wrap_key, iv, input, input.len().checked_add(8)?)
}

/// Unwraps what [`wrap`] gives.
pub fn unwrap(key: &[u8], iv: Option<&[u8; 8]>, input: &[u8]) -> Output {
    half_blocks(Schedule::new(key, false)?, sys::AES_unwrap_key, iv, input, input.len().checked_sub(8)?)
}

type HalfBlocks = unsafe extern "C" fn(*const sys::AES_KEY, *const u8, *mut u8, *const u8, usize) -> c_int;

/// `length` is what the step gives for this input: eight bytes more when it wraps, eight less when it unwraps.
fn half_blocks(
    schedule: Schedule,
    step: HalfBlocks,
    iv: Option<&[u8; 8]>,
    input: &[u8],
    length: usize,
) -> Output {
    let mut output = Zeroizing::new(vec![0; length]);
    // SAFETY: the schedule is set in the direction of the step; `input` is read for its length, and `output` is written for
    // its own, as the two callers above see to.
    let written = unsafe {
        step(
            schedule.0.as_ptr(),
            iv.map_or(ptr::null(), |iv| iv.as_ptr()),
            output.as_mut_ptr(),
            input.as_ptr(),
            input.len(),
        )
    };
    (usize::try_from(written).ok()? == output.len()).then_some(output)
}

/// Wraps a key of any length (KWP, RFC 5649).
pub fn wrap_padded(key: &[u8], input: &[u8]) -> Output {
    padded(Schedule::new(key, true)?, sys::AES_wrap_key_padded, input)
}

/// Unwraps what [`wrap_padded`] gives.
pub fn unwrap_padded(key: &[u8], input: &[u8]) -> Output {
    padded(Schedule::new(key, false)?, sys::AES_unwrap_key_padded, input)
}

type Padded =
    unsafe extern "C" fn(*const sys::AES_KEY, *mut u8, *mut usize, usize, *const u8, usize) -> c_int;

fn padded(schedule: Schedule, step: Padded, input: &[u8]) -> Output {
    let mut output = Zeroizing::new(vec![0; input.len().checked_add(16)?]);
    let mut length = 0;
    // SAFETY: the schedule is set in the direction of the step; `input` is read for its length, and `output` is written for
    // at most its own.
    let done = unsafe {
        step(
            schedule.0.as_ptr(),
            output.as_mut_ptr(),
            &raw mut length,
            output.len(),
            input.as_ptr(),
            input.len(),
        )
    };
    if done != 1 || length > output.len() {
        return None;
    }
    output.truncate(length);
    Some(output)
}

/// An `EVP_CIPHER_CTX`; aws-lc cleanses it when it is freed.
struct Cipher(NonNull<sys::EVP_CIPHER_CTX>);

impl Cipher {
    fn new() -> Option<Self> {
        // SAFETY: it takes nothing and gives null or a context that is ours to free.
        NonNull::new(unsafe { sys::EVP_CIPHER_CTX_new() }).map(Self)
    }

    fn as_ptr(&self) -> *mut sys::EVP_CIPHER_CTX {
        self.0.as_ptr()
    }

    /// One that is ready for the text, the associated data taken in.
    fn gcm(encrypt: bool, key: &[u8], iv: &[u8], aad: &[u8]) -> Option<Self> {
        let (cipher, context) = (cipher(Mode::Gcm, key)?, Self::new()?);
        if iv.is_empty() {
            return None;
        }
        let (iv_len, aad_len) = (c_int::try_from(iv.len()).ok()?, c_int::try_from(aad.len()).ok()?);
        let (direction, at) = (c_int::from(encrypt), context.as_ptr());
        let mut length = 0;
        // SAFETY: the context is live; `key` has the length that the cipher reads, `iv` the one that was set, and the
        // associated data are read for their own. Without an output nothing is written but the length.
        let ready = unsafe {
            sys::EVP_CipherInit_ex(at, cipher, ptr::null_mut(), ptr::null(), ptr::null(), direction) == 1
                && sys::EVP_CIPHER_CTX_ctrl(at, sys::EVP_CTRL_AEAD_SET_IVLEN, iv_len, ptr::null_mut()) == 1
                && sys::EVP_CipherInit_ex(
                    at,
                    ptr::null(),
                    ptr::null_mut(),
                    key.as_ptr(),
                    iv.as_ptr(),
                    direction,
                ) == 1
                && (aad.is_empty()
                    || sys::EVP_CipherUpdate(at, ptr::null_mut(), &raw mut length, aad.as_ptr(), aad_len)
                        == 1)
        };
        ready.then_some(context)
    }

    /// The output for all of the input.
    fn finish(&self, input: &[u8]) -> Output {
        let input_len = c_int::try_from(input.len()).ok()?;
        let mut output = Zeroizing::new(vec![0; input.len().checked_add(2 * BLOCK)?]);
        let (mut first, mut last) = (0, 0);
        // SAFETY: the context is live and ready; `input` is read for its length. An update writes at most a block more than
        // it reads, the end at most a block, and the output has room for both.
        let done = unsafe {
            sys::EVP_CipherUpdate(
                self.as_ptr(),
                output.as_mut_ptr(),
                &raw mut first,
                input.as_ptr(),
                input_len,
            ) == 1
                && {
                    let written = usize::try_from(first).ok()?;
                    let rest = output.get_mut(written..)?;
                    sys::EVP_CipherFinal_ex(self.as_ptr(), rest.as_mut_ptr(), &raw mut last) == 1
                }
        };
        let length = usize::try_from(first).ok()?.checked_add(usize::try_from(last).ok()?)?;
        if !done || length > output.len() {
            return None;
        }
        output.truncate(length);
        Some(output)
    }
}

impl Drop for Cipher {
    fn drop(&mut self) {
        // SAFETY: the context came from `EVP_CIPHER_CTX_new` and is not used after this.
        unsafe { sys::EVP_CIPHER_CTX_free(self.0.as_ptr()) }
    }
}
