//! The caller's memory. Input is copied at once: PKCS#11 allows that output goes to the same place.

use casemate_hsm::{Bytes, ck};
use cryptoki_sys::{CK_BYTE, CK_ULONG};

use crate::rv::{Result, Rv, ensure};

/// Most bytes that are read or written at once.
const MOST: usize = isize::MAX as usize;

const _: () = assert!(
    size_of::<CK_ULONG>() == 8 && cfg!(target_endian = "little"),
    "values go as they are to the token, whose numbers are CK_ULONG of this size and order"
);

fn length(length: CK_ULONG) -> Result<usize> {
    usize::try_from(length).ok().filter(|length| *length <= MOST).ok_or(Rv(ck::CKR_ARGUMENTS_BAD))
}

/// A copy of the caller's bytes. Null is good if there are none.
///
/// # Safety
///
/// `data` is null or points to `count` bytes that can be read.
pub unsafe fn bytes(data: *const CK_BYTE, count: CK_ULONG) -> Result<Bytes> {
    let count = length(count)?;
    if count == 0 {
        return Ok(Bytes::default());
    }
    ensure(!data.is_null(), ck::CKR_ARGUMENTS_BAD)?;
    // SAFETY: not null, and the caller answers for `count` readable bytes; nothing writes to them during this copy.
    Ok(Bytes::copy(unsafe { std::slice::from_raw_parts(data, count) }))
}

/// A copy of the caller's array. Null is good if it is empty.
///
/// # Safety
///
/// `items` is null or points to `count` items, aligned and initialised.
pub unsafe fn array<T: Copy>(items: *const T, count: CK_ULONG) -> Result<Vec<T>> {
    let count = length(count)?;
    if count == 0 {
        return Ok(Vec::new());
    }
    let fits = count.checked_mul(size_of::<T>()).is_some_and(|size| size <= MOST);
    ensure(!items.is_null() && fits && items.is_aligned(), ck::CKR_ARGUMENTS_BAD)?;
    // SAFETY: not null, aligned, of a size that memory has, and the caller answers for `count` items.
    Ok(unsafe { std::slice::from_raw_parts(items, count) }.to_vec())
}

/// The caller's value. A null pointer is an error.
///
/// # Safety
///
/// `value` is null or points to a value that is initialised.
pub unsafe fn get<T: Copy>(value: *const T) -> Result<T> {
    ensure(!value.is_null(), ck::CKR_ARGUMENTS_BAD)?;
    // SAFETY: not null; the caller answers for the rest, and for alignment nobody has to.
    Ok(unsafe { value.read_unaligned() })
}

/// Writes a value for the caller. A null pointer is an error.
///
/// # Safety
///
/// `place` is null or points to as much memory as a `T` takes, which can be written.
pub unsafe fn put<T>(place: *mut T, value: T) -> Result<()> {
    ensure(!place.is_null(), ck::CKR_ARGUMENTS_BAD)?;
    // SAFETY: not null; the caller answers for the rest. What was there is not dropped: it may be uninitialised.
    unsafe { place.write_unaligned(value) };
    Ok(())
}

/// Writes an array for the caller, who may ask for its length with a null pointer (5.2). A caller with too little room
/// is told the length as well.
///
/// # Safety
///
/// `count` is null or points to a number that can be read and written; `place` is null or points to as many items that
/// can be written.
pub unsafe fn put_array<T: Copy>(items: &[T], place: *mut T, count: *mut CK_ULONG) -> Result<()> {
    // SAFETY: as the caller promises of `count`.
    let room = unsafe { get(count) }?;
    let length = CK_ULONG::try_from(items.len()).map_err(|_| Rv(ck::CKR_GENERAL_ERROR))?;
    // SAFETY: as the caller promises of `count`.
    unsafe { put(count, length) }?;
    if place.is_null() {
        return Ok(());
    }
    ensure(room >= length, ck::CKR_BUFFER_TOO_SMALL)?;
    // SAFETY: there is room for so many items, as the caller promises; they are the module's own, so nothing overlaps.
    unsafe { std::ptr::copy_nonoverlapping(items.as_ptr(), place, items.len()) };
    Ok(())
}

/// Where a result goes: the caller's buffer with its length beside it, by the conventions of 5.2.
pub struct Output {
    /// Null: only the length is wanted.
    place: *mut CK_BYTE,
    /// Never null.
    length: *mut CK_ULONG,
    room: usize,
}

impl Output {
    /// A buffer of the caller's.
    ///
    /// # Safety
    ///
    /// Until the value is dropped: `length` is null or points to a number that can be read and written; `place` is null or
    /// points to as many bytes that can be written.
    pub unsafe fn new(place: *mut CK_BYTE, length: *mut CK_ULONG) -> Result<Self> {
        // SAFETY: as the caller promises.
        let room = unsafe { get(length) }?;
        let room = if place.is_null() { 0 } else { usize::try_from(room).unwrap_or(MOST) };
        Ok(Self { place, length, room })
    }

    /// Whether the caller only asks how long the result is.
    pub const fn is_query(&self) -> bool {
        self.place.is_null()
    }

    /// Tells the caller a length.
    pub fn put_length(&mut self, length: usize) -> Result<()> {
        let length = CK_ULONG::try_from(length).map_err(|_| Rv(ck::CKR_GENERAL_ERROR))?;
        // SAFETY: whoever made this value promised that `length` can be written.
        unsafe { put(self.length, length) }
    }

    /// Whether a result of this length goes in; `false` if the caller only asked. Tells the length where it does not.
    pub fn fits(&mut self, length: usize) -> Result<bool> {
        if self.is_query() {
            self.put_length(length)?;
            return Ok(false);
        }
        if self.room < length {
            self.put_length(length)?;
            return Err(Rv(ck::CKR_BUFFER_TOO_SMALL));
        }
        Ok(true)
    }

    /// Gives the caller the result, or its length.
    pub fn put(&mut self, result: &[u8]) -> Result<()> {
        if self.fits(result.len())? {
            // SAFETY: `place` has room for it, as whoever made this value promised; `result` is the module's own memory.
            unsafe { std::ptr::copy_nonoverlapping(result.as_ptr(), self.place, result.len()) };
            self.put_length(result.len())?;
        }
        Ok(())
    }
}

/// Text as C structures have it: cut or padded with spaces.
pub fn padded<const LENGTH: usize>(text: &str) -> [u8; LENGTH] {
    let mut padded = [b' '; LENGTH];
    let end = text.floor_char_boundary(LENGTH);
    for (place, byte) in padded.iter_mut().zip(text.as_bytes().iter().take(end)) {
        *place = *byte;
    }
    padded
}
