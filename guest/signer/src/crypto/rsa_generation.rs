//! Making RSA keys without keeping everybody else waiting.
//!
//! aws-lc makes an RSA key in one go: 0.1 s for RSA_2048, one to three seconds for RSA_4096. It asks a callback between any
//! two of its steps, though, whether to go on. So it runs here on a stack of its own, as a coroutine, and the callback
//! suspends it once it has had its [`SLICE`]: between two slices, everybody else has a turn. What is computed, and how, stays aws-lc's alone.
//!
//! A suspended generation holds no lock and no state of aws-lc's that other operations use: its numbers are its own, and
//! random bytes are drawn in a whole step. One that is no longer wanted is told not to go on, and ends as aws-lc ends it,
//! erasing what it has.

use std::cell::RefCell;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use corosensei::stack::{Stack, StackPointer};
use corosensei::{Coroutine, CoroutineResult};
use tokio::sync::Semaphore;
use zeroize::{Zeroize, Zeroizing};

use super::{CryptoError, KeySpec, lc};

/// How long a generation computes before others get their turn; a step of its own, a few milliseconds for RSA_4096, may
/// make it longer.
const SLICE: Duration = Duration::from_millis(1);
/// How many keys are made at the same time; further ones wait. Each takes a stack, and they share one processor anyway.
const AT_ONCE: usize = 4;
/// Words of 16 bytes in a generation's stack: 256 KiB. A test says how much of it is used.
const STACK_WORDS: usize = 16 * 1024;

const FAILED: CryptoError = CryptoError::Library("key generation");

/// RSA keys that are made and not yet taken, and those in the making.
pub struct RsaStock {
    ready: RefCell<Vec<(KeySpec, Zeroizing<Vec<u8>>)>>,
    turns: Semaphore,
}

impl Default for RsaStock {
    fn default() -> Self {
        Self { ready: RefCell::default(), turns: Semaphore::new(AT_ONCE) }
    }
}

impl RsaStock {
    /// Takes a key of that spec, in PKCS #8, if there is one.
    pub fn take(&self, spec: KeySpec) -> Option<Zeroizing<Vec<u8>>> {
        let mut ready = self.ready.borrow_mut();
        let index = ready.iter().position(|(made, _)| *made == spec)?;
        Some(ready.swap_remove(index).1)
    }

    /// Makes a key of that spec and puts it in stock. Whatever else the runtime has to do is done meanwhile.
    pub async fn make(&self, spec: KeySpec) -> Result<(), CryptoError> {
        let _turn = self.turns.acquire().await.map_err(|_| FAILED)?;
        let mut generation = Generation::of(spec)?;
        let key = loop {
            match generation.go_on() {
                Some(key) => break key?,
                // Not a waker that is woken at once: tokio would poll a local task sixty times before it looks at
                // anything but its like. This waits until everything, input and output too, has had its turn.
                None => tokio::task::yield_now().await,
            }
        };
        self.ready.borrow_mut().push((spec, key));
        Ok(())
    }
}

/// A key in the making.
struct Generation {
    /// What goes in is whether to go on.
    coroutine: Coroutine<bool, (), Option<Zeroizing<Vec<u8>>>, HeapStack>,
}

impl Generation {
    fn of(spec: KeySpec) -> Result<Self, CryptoError> {
        let bits = spec.rsa_bits().ok_or(CryptoError::Mismatch("RSA", spec.name()))?;
        let coroutine = Coroutine::with_stack(HeapStack::new(), move |yielder, go_on: bool| {
            let mut since = Instant::now();
            let mut step = || {
                if since.elapsed() < SLICE {
                    return true;
                }
                let go_on = yielder.suspend(());
                since = Instant::now();
                go_on
            };
            if go_on { lc::rsa_generate(bits, &mut step) } else { None }
        });
        Ok(Self { coroutine })
    }
}

impl Generation {
    /// Computes for a slice; the key, or that there is none, when it is done.
    fn go_on(&mut self) -> Option<Result<Zeroizing<Vec<u8>>, CryptoError>> {
        match self.coroutine.resume(true) {
            CoroutineResult::Yield(()) => None,
            CoroutineResult::Return(key) => Some(key.ok_or(FAILED)),
        }
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        // A suspended coroutine must not be dropped: what is on its stack would not be.
        while !self.coroutine.done() {
            let _ = self.coroutine.resume(false);
        }
    }
}

/// A stack on the heap. It has no guard page: there is nobody who could unmap one. It is erased when dropped.
struct HeapStack(Box<[u128]>);

impl HeapStack {
    fn new() -> Self {
        Self(vec![0; STACK_WORDS].into_boxed_slice())
    }
}

// SAFETY: the words belong to this value alone, which hands out no reference to them while the coroutine lives; they do
// not move when it does; base and limit are their end and their beginning, and u128 aligns both to 16 bytes.
unsafe impl Stack for HeapStack {
    fn base(&self) -> StackPointer {
        address(self.0.as_ptr_range().end)
    }

    fn limit(&self) -> StackPointer {
        address(self.0.as_ptr_range().start)
    }
}

/// The address as a number; the box is not empty, so it is not zero.
fn address(pointer: *const u128) -> NonZeroUsize {
    NonZeroUsize::new(pointer.expose_provenance()).unwrap_or(NonZeroUsize::MAX)
}

impl Drop for HeapStack {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{KeyUsage, Material};

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("runtime").block_on(future)
    }

    #[test]
    fn a_key_that_was_made_in_slices_is_a_key() {
        let stock = RsaStock::default();
        for spec in [KeySpec::Rsa2048, KeySpec::Rsa3072] {
            block_on(stock.make(spec)).expect("a key");
            assert!(stock.take(KeySpec::Rsa4096).is_none(), "another spec");
            let key = stock.take(spec).expect("in stock");
            assert!(stock.take(spec).is_none(), "a key is taken once");
            Material::from_bytes(spec, KeyUsage::SignVerify, &key).expect("PKCS #8");
        }
    }

    #[test]
    fn others_run_while_a_key_is_made() {
        let stock = RsaStock::default();
        let turns = std::cell::Cell::new(0_u32);
        block_on(async {
            let made = stock.make(KeySpec::Rsa3072);
            let others = async {
                loop {
                    turns.set(turns.get() + 1);
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! {
                biased;
                made = made => made.expect("a key"),
                () = others => {}
            }
        });
        assert!(turns.get() > 3, "others had {} turns", turns.get());
    }

    #[test]
    fn several_keys_at_once_do_not_get_in_each_others_way() {
        let stock = RsaStock::default();
        block_on(async {
            let all = tokio::join!(
                stock.make(KeySpec::Rsa2048),
                stock.make(KeySpec::Rsa2048),
                stock.make(KeySpec::Rsa2048),
                stock.make(KeySpec::Rsa2048),
                stock.make(KeySpec::Rsa2048),
                stock.make(KeySpec::Rsa2048),
            );
            assert_eq!(all, (Ok(()), Ok(()), Ok(()), Ok(()), Ok(()), Ok(())));
        });
        let keys: std::collections::BTreeSet<Vec<u8>> =
            std::iter::from_fn(|| stock.take(KeySpec::Rsa2048)).map(|key| key.to_vec()).collect();
        assert_eq!(keys.len(), 6);
        for key in &keys {
            Material::from_bytes(KeySpec::Rsa2048, KeyUsage::EncryptDecrypt, key).expect("PKCS #8");
        }
    }

    #[test]
    fn a_generation_that_is_given_up_ends() {
        let mut generation = Generation::of(KeySpec::Rsa4096).expect("RSA");
        assert!(generation.go_on().is_none());
        drop(generation);
        // One that never began, too.
        drop(Generation::of(KeySpec::Rsa4096).expect("RSA"));
        assert!(Generation::of(KeySpec::P256).is_err());
    }

    #[test]
    fn a_quarter_of_the_stack_would_do() {
        let mut generation = Generation::of(KeySpec::Rsa4096).expect("RSA");
        while generation.go_on().is_none() {}
        // Take the stack out of the finished coroutine, so that it is not erased first.
        let coroutine = std::mem::replace(
            &mut generation.coroutine,
            Coroutine::with_stack(HeapStack::new(), |_, _| None),
        );
        let stack = coroutine.into_stack();
        let untouched = stack.0.iter().take_while(|word| **word == 0).count();
        let used = STACK_WORDS - untouched;
        assert!(used > 100, "the coroutine ran elsewhere");
        assert!(used < STACK_WORDS / 4, "{} bytes of stack used", used * 16);
    }
}
